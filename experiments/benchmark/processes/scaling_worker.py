"""One of the processes: ``FILE LINK COUNT PORT NUMBER``; the first one writes measured points."""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments.benchmark.processes.plan import CHUNK, STEPS, Point
from experiments.benchmark.rnn_lm.baselines import our_loss
from experiments.machine import usable_cores
from rntn_jax.models import rnn_lm
from rntn_jax.sequences import SequenceBatch
from rntn_jax.training import devices, init_state, make_train_step, processes

ROWS, WORDS, WIDTHS = (4, 16, 64), (1000, 8000), (64, 256)
ROUNDS, SECONDS = 5, 0.15  # turns of a program, and about how long each


def program(mesh: Any, rows: int, words: int, width: int) -> tuple[Any, Any, Any, int]:
    """A compiled step, its state and minibatch, and the number of parameters."""
    rng, place = np.random.default_rng(0), devices.Placement(mesh)
    config = rnn_lm.Config(words, embed_dim=width, hidden_dim=width)
    params = rnn_lm.init(jax.random.key(0), config)
    shape = rows * place.count, STEPS
    tokens, targets = rng.integers(1, words, (2, *shape), np.int32)
    batch = SequenceBatch(tokens, targets, np.ones(shape, bool))
    carry = (np.zeros((shape[0], width), np.float32),)
    loss = place.loss(our_loss(CHUNK), lambda piece, aux: piece[0].mask.sum())
    optimizer = optax.adam(1e-3)
    state = place.whole(init_state(params, optimizer, jax.random.key(0)))
    pieces = place.rows((batch, carry))
    step: Any = make_train_step(loss, optimizer)  # jitted
    number = sum(x.size for x in jax.tree.leaves(params))
    return step.lower(state, pieces).compile(), state, pieces, number


def main() -> None:
    path, link = Path(sys.argv[1]), sys.argv[2]
    count, port, number = map(int, sys.argv[3:])
    cores = usable_cores()
    if link == "processes":
        if hasattr(os, "sched_setaffinity"):
            # XLA's matrix products run in a pool as large as the cores that there are.
            os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[number % cores]})
        if count > 1:
            processes.connect(f"127.0.0.1:{port}", count, number)
        mesh = devices.data_mesh(1)
    else:
        mesh = devices.data_mesh(count)
    points = []
    for rows, words, width in product(ROWS, WORDS, WIDTHS):
        step, state, pieces, parameters = program(mesh, rows, words, width)
        memory = step.memory_analysis()
        state, _ = jax.block_until_ready(step(state, pieces))
        begun = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, pieces))
        # All processes have to take as many steps.
        once = processes.from_first(time.perf_counter() - begun)
        steps, times = max(1, round(SECONDS / once)), []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            for _ in range(steps):
                state, _ = step(state, pieces)
            jax.block_until_ready(state)
            times.append((time.perf_counter() - begun) / steps)
        points.append(
            Point(
                link, count, rows, words, width, parameters, max(1.0, count / cores),
                float(np.median(times)),
                memory.argument_size_in_bytes + memory.temp_size_in_bytes,
            )
        )  # fmt: skip
    if not number:
        path.write_text(json.dumps(points))


if __name__ == "__main__":
    main()
