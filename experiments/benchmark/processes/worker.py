"""One of the processes: ``FILE ROUNDS PORT COUNT NUMBER``; the first one writes the file."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec

from experiments.benchmark.compiled.hlo import collectives
from experiments.benchmark.rnn_lm.baselines import autodiff_loss, our_loss
from rntn_jax.crf import chain
from rntn_jax.crf.chain import shared_edges
from rntn_jax.models import rnn_lm
from rntn_jax.sequences import SequenceBatch
from rntn_jax.training import devices, init_state, make_train_step, processes

B, T, D, V, F, C = 32, 35, 200, 2000, 64, 45  # rows in all, steps, widths, words, labels
STEPS = 5  # of a turn

Loss = Callable[[Any, Any], tuple[jax.Array, Any]]


def language_model(rng: np.random.Generator) -> tuple[Any, Any, Loss, Loss]:
    """Parameters, a minibatch, our loss, and that of autodiff."""
    params = rnn_lm.init(jax.random.key(0), rnn_lm.Config(V, embed_dim=D, hidden_dim=D))
    tokens, targets = rng.integers(1, V, (2, B, T), np.int32)
    batch = SequenceBatch(tokens, targets, np.ones((B, T), bool))
    carry = (np.zeros((B, D), np.float32),)
    return params, (batch, carry), our_loss(160), autodiff_loss


def tagger(rng: np.random.Generator) -> tuple[Any, Any, Loss, Loss]:
    """A linear layer below a chain CRF."""
    params = tuple(jnp.asarray(0.1 * rng.normal(size=s), jnp.float32) for s in ((F, C), (C, C)))
    x = rng.normal(size=(B, T, F)).astype(np.float32)
    batch = x, rng.integers(0, C, (B, T), np.int32), np.ones((B, T), bool)

    def loss_with(log_partition: Callable[..., jax.Array]) -> Loss:
        def loss(params: Any, batch: Any) -> tuple[jax.Array, Any]:
            (w, edge), (x, labels, mask) = params, batch
            scores = chain.Scores(x @ w, edge, mask=mask)
            return (log_partition(*scores[:2], mask) - chain.score(scores, labels)).mean(), None

        return loss

    ours = lambda node, edge, mask: chain.log_partition(chain.Scores(node, edge, mask=mask))
    return params, batch, loss_with(ours), loss_with(shared_edges.reference)


def steps_of(mesh: Any) -> dict[str, tuple[Any, Any, Any]]:
    """By name: the compiled step, a state, and a minibatch on the devices."""
    found, optimizer, place = {}, optax.sgd(0.01), devices.Placement(mesh)
    makers = {"RNN language model": language_model, "chain CRF": tagger}
    for name, make in makers.items():
        params, batch, ours, plain = make(np.random.default_rng(0))
        count = lambda piece, aux: jax.tree.leaves(piece)[0].shape[0]
        kinds = {
            "rule": (place.loss(ours, count), place.rows(batch)),
            "autodiff, summed once": (place.loss(plain, count), place.rows(batch)),
            "autodiff, rows sharded": (
                plain, devices.place(mesh, batch, PartitionSpec(devices.DATA))
            ),
        }  # fmt: skip
        for kind, (loss, rows) in kinds.items():
            state = place.whole(init_state(params, optimizer, jax.random.key(0)))
            program: Any = make_train_step(loss, optimizer)  # jitted
            program = program.lower(state, rows).compile()
            found[f"{name}, {kind}"] = program, state, rows
    return found


def main() -> None:
    path, (rounds, port, count, number) = Path(sys.argv[1]), map(int, sys.argv[2:])
    if count > 1:
        processes.connect(f"127.0.0.1:{port}", count, number)
    steps = steps_of(devices.data_mesh(1))
    times: dict[str, list[float]] = {name: [] for name in steps}
    losses: dict[str, float] = {}
    for _ in range(rounds + 1):  # the first one is not counted
        for name, (program, state, rows) in steps.items():
            begun, out = time.perf_counter(), {}
            for _ in range(STEPS):
                state, out = program(state, rows)
            losses[name] = float(out["loss"])
            times[name].append((time.perf_counter() - begun) / STEPS)
            steps[name] = program, state, rows
    if number:
        return
    table: dict[str, Any] = {}
    for name, (program, _, _) in steps.items():
        rule = f"{name.split(', ')[0]}, rule"
        np.testing.assert_allclose(losses[name], losses[rule], rtol=1e-4)
        own, of_rule = (np.array(times[n][1:]) for n in (name, rule))
        everywhere, inside = collectives(program)
        table[name] = {
            "ms": 1e3 * float(np.median(own)),
            "ratio": float(np.median(own / of_rule)),
            "collectives": everywhere.total(),
            "in_loops": inside.total(),
        }
    found = {"jax": jax.__version__, "processes": count, "rounds": rounds, "steps": table}
    path.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
