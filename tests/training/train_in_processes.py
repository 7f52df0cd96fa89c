"""One process of several that train together: ``FOLDER COUNT NUMBER PORT``; see test_together."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np
import optax
from jax.sharding import PartitionSpec

from rntn_jax.training import devices, init_state, make_train_step, processes


def main() -> None:
    folder, (count, number, port) = Path(sys.argv[1]), map(int, sys.argv[2:])
    if count > 1:
        processes.connect(f"127.0.0.1:{port}", count, number)
    from tests.training.device_cases import CASES, PIECES, minibatches  # which begins with JAX

    assert PIECES % count == 0
    mesh, optimizer = devices.data_mesh(1), optax.sgd(0.1)
    for name, case in CASES.items():
        step = make_train_step(devices.data_parallel(case.loss, mesh, case.count), optimizer)
        state = devices.place(mesh, init_state(case.init(), optimizer, jax.random.key(1)))
        losses = []
        for batch in minibatches(case, count):
            batch = devices.place(mesh, batch, PartitionSpec("data"))
            state, out = step(state, batch)
            losses.append(float(out["loss"]))
        found = jax.tree.leaves(devices.on_host(state.params))
        if number == 0:
            named = {f"params {k}": x for k, x in enumerate(found)}
            np.savez(folder / f"{name}.npz", losses=losses, **named)


if __name__ == "__main__":
    main()
