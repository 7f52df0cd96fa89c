"""Data-parallel training: what one device gives, and how often devices talk to each other."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from experiments.benchmark.compiled.hlo import collectives
from rntn_jax.training import TrainState, devices, init_state, make_train_step
from tests.helpers import assert_close
from tests.training.device_cases import CASES, STEPS, Case, minibatches


def initial(case: Case, optimizer: Any) -> TrainState:
    """In float64, that what is left is rounding."""
    params = jax.tree.map(lambda x: x.astype(np.float64), case.init())
    return init_state(params, optimizer, jax.random.key(1))


def trained(case: Case, count: int) -> tuple[Any, Any, list[float]]:
    """Parameters after all steps, the compiled step, and losses."""
    mesh, optimizer = devices.data_mesh(count), optax.sgd(0.1)
    step = make_train_step(devices.data_parallel(case.loss, mesh, case.count), optimizer)
    state = devices.place(mesh, initial(case, optimizer))
    batches = [devices.place(mesh, own, P("data")) for own in minibatches(case, count)]
    program, losses = step.lower(state, batches[0]).compile(), []
    for batch in batches:
        state, out = program(state, batch)
        losses.append(float(out["loss"]))
    return state.params, program, losses


def alone(case: Case) -> tuple[Any, list[float]]:
    """Training by the loss as it is, of whole minibatches."""
    optimizer = optax.sgd(0.1)
    step = make_train_step(case.loss, optimizer)
    state, losses = initial(case, optimizer), []
    for batch in minibatches(case, 1):
        state, out = step(state, jax.tree.map(lambda x: x[0], batch))
        losses.append(float(out["loss"]))
    return state.params, losses


QUICK = "rnn_lm", "rntn", "parser"


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CASES]
)
def test_several_devices_train_as_one_and_never_wait_within_a_loop(name):
    case = CASES[name]
    params, losses = alone(case)
    assert len(set(losses)) > STEPS // 2  # something is learnt
    for count in (1, 2, 4):
        found, program, own = trained(case, count)
        assert_close(own, losses, 1e-9)
        assert_close(found, params, 1e-9)
        everywhere, in_loops = collectives(program)
        assert not in_loops
        assert everywhere == {"all-reduce": 1}  # gradients, losses, and what they are means over
