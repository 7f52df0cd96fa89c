"""The systems of the RNTN benchmark: ours, autodiff of the same sweep, and the other libraries'.

Everything is counted: packing, graph building, gradients, the update.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark.rntn import other_baselines

Train = Callable[[], list[float]]  # one pass over all minibatches; returns their losses

PYTORCH = {"torch_hand": "LevelHand", "torch_levels": "LevelAutograd", "torch_nodes": "NodeByNode"}


def jax_train(
    problem: other_baselines.Problem, params: Any, loss: Callable[..., Any], threads: int
) -> tuple[Train, str]:
    """Our train step with the loss of a tree model."""
    import jax
    import optax

    from rntn_jax import trees
    from rntn_jax.training import RowBatch, init_state, make_train_step

    optimizer = optax.adagrad(
        problem.learning_rate, initial_accumulator_value=problem.initial_accumulator
    )
    step = make_train_step(loss, optimizer, several=True)
    state = init_state(params, optimizer, jax.random.key(0))

    # Read and encoded once, as the corpus is; packing is part of every pass.
    bank = trees.encode(*other_baselines.as_corpus(problem.batches))
    ends = np.cumsum([len(batch) for batch in problem.batches])
    members = [np.arange(end - len(b), end) for end, b in zip(ends, problem.batches, strict=True)]
    needs = [forest.shape for forest in trees.pack_batches(bank, members)]
    shapes = [trees.Shape(*(max(sizes) for sizes in zip(*needs, strict=True)))]

    def pack() -> RowBatch:
        packed = [
            RowBatch(*trees.local_tokens(forest))
            for forest in trees.pack_batches(bank, members, shapes=shapes)
        ]
        return jax.tree.map(lambda *arrays: np.stack(arrays), *packed)

    # As `EpochLoader` does: every pass packs what the next one trains on, meanwhile if it can.
    executor = ThreadPoolExecutor(1)
    ahead = executor.submit(pack)

    def train() -> list[float]:
        nonlocal state, ahead
        batch = ahead.result()
        if threads > 1:
            ahead = executor.submit(pack)
        state, metrics = step(state, batch)
        losses = np.asarray(metrics["loss"]).tolist()
        if threads == 1:
            ahead = executor.submit(pack)
        ahead.result()  # it is part of this pass
        return losses

    return train, jax.__version__


def _ours(problem: other_baselines.Problem, autodiff: bool, threads: int) -> tuple[Train, str]:
    """``autodiff`` differentiates the same forward sweep by JAX instead."""
    import jax.numpy as jnp

    from rntn_jax.models import rntn

    p = {name: jnp.asarray(value) for name, value in problem.params.items()}
    params = rntn.Params(
        p["embedding"], rntn.Cell(p["v"], p["w"], p["b"]), rntn.Head(p["head_w"], p["head_b"])
    )
    return jax_train(problem, params, _autodiff_loss if autodiff else rntn.loss, threads)


def _autodiff_loss(params: Any, forest: Any) -> tuple[Any, None]:
    """The loss with the same fast forward sweep, left to autodiff: a scan that can be reversed."""
    import jax
    import jax.numpy as jnp

    from rntn_jax.ops import slice_products

    d = params.cell.b.shape[0]
    u = params.cell.v.transpose(1, 0, 2).reshape(2 * d, d * 2 * d)
    lanes, first = forest.shape.lanes, forest.shape.first
    leaves = jnp.tanh(params.embedding[forest.tokens])
    states = jnp.zeros((forest.shape.slots, d), leaves.dtype)
    states = jax.lax.dynamic_update_slice_in_dim(states, leaves, 1, axis=0)

    def step(states, at):
        i, children = at
        x = states[children.reshape(-1)].reshape(lanes, 2 * d)
        z = jnp.einsum("nkj,nj->nk", slice_products(x, u), x) + x @ params.cell.w + params.cell.b
        slot = first + i * lanes
        return jax.lax.dynamic_update_slice_in_dim(states, jnp.tanh(z), slot, axis=0), None

    states, _ = jax.lax.scan(step, states, (jnp.arange(forest.shape.steps), forest.children))
    log_y = jax.nn.log_softmax(states @ params.head.w + params.head.b)
    nats = -jnp.take_along_axis(log_y, forest.labels[:, None], axis=1)[:, 0]
    return jnp.where(forest.labelled, nats, 0).sum() / forest.num_trees, None


def make(system: str, path: Path, threads: int) -> tuple[Train, dict[str, Any]]:
    """The baseline of that name, and the version of its library."""
    problem = other_baselines.load_problem(path)
    if system == "torch_nodes":  # takes a hundred times longer: one minibatch says as much
        problem = problem._replace(batches=problem.batches[:1])
    if system in ("ours", "autodiff"):
        train, version = _ours(problem, system == "autodiff", threads)
        return train, {"version": version}
    rates = problem.learning_rate, problem.initial_accumulator
    if system in PYTORCH:
        import torch

        from experiments.benchmark.rntn import torch_rntn

        torch_rntn.set_threads(threads)
        step = getattr(torch_rntn, PYTORCH[system])(problem.params, *rates).step
        version = torch.__version__
    elif system == "dgl":
        step, version = other_baselines.dgl_step(problem.params, *rates, threads)
    else:
        auto = system == "dynet_autobatch"
        step, version = other_baselines.dynet_step(problem.params, *rates, auto)
    return lambda: [step(batch) for batch in problem.batches], {"version": version}
