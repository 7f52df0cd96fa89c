"""`training.lbfgs`: full-batch minimisation."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from rntn_jax.training import Checkpointer, Stopping, lbfgs, minimize_l1
from tests.helpers import assert_close

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(40, 6)))
Y = jnp.asarray(RNG.integers(0, 2, 40))


def logistic(w, x, y):
    z = x @ w["w"] + w["b"]
    return (jnp.logaddexp(0, z) - y * z).sum() + 0.1 * jnp.square(w["w"]).sum()


START = {"w": jnp.zeros(6), "b": jnp.zeros(())}
evaluate = jax.jit(jax.value_and_grad(logistic))


def optimum(l1=0.0):
    """By another method; with the penalty on the magnitude of all weights."""

    def loss(w):
        weights = {"w": jnp.asarray(w[:6]), "b": jnp.asarray(w[6])}
        return float(logistic(weights, X, Y)) + l1 * np.abs(w).sum()

    options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 40_000, "maxfev": 40_000}
    options |= {"adaptive": True}
    found = np.zeros(7)
    for _ in range(3):
        found = scipy.optimize.minimize(loss, found, method="Nelder-Mead", options=options).x
    return loss(found)


def test_finds_the_optimum_and_never_climbs():
    method = lbfgs(evaluate)
    state = method.init(START, X, Y)
    values = [float(state.value)]
    for _ in range(30):
        state = method.step(state, X, Y)
        values.append(float(state.value))
    assert all(after <= before for before, after in itertools.pairwise(values))
    assert abs(values[-1] - optimum()) < 1e-7
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(state.grad)) < 1e-6
    # At the optimum rounding leaves no better step: nothing moves, nothing breaks.
    again = method.step(state, X, Y)
    assert float(again.value) <= values[-1]


def test_a_state_resumes(tmp_path):
    method = lbfgs(evaluate)
    state = method.init(START, X, Y)
    for _ in range(4):
        state = method.step(state, X, Y)
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(4, state, {})
    restored, _, _ = checkpointer.restore(state)
    assert_close(method.step(restored, X, Y).params, method.step(state, X, Y).params, 0)


def test_steep_and_undefined_places_are_stepped_around():
    """The first step of 1 leads where the loss is NaN; far away the slope is nearly constant."""
    steep = jax.jit(jax.value_and_grad(lambda x: -jnp.log(x) + x))
    method = lbfgs(steep)
    state = method.init(jnp.asarray(20.0))
    for _ in range(20):
        state = method.step(state)
    assert abs(float(state.params) - 1) < 1e-5


def test_l1_penalty():
    params, values = minimize_l1(evaluate, START, (X, Y), 3.0, Stopping(delta=1e-12))
    weights = np.append(params["w"], params["b"])
    assert abs(values[-1] - optimum(3.0)) < 1e-4
    assert 0 < (weights == 0).sum() < 7
    # The conditions of a minimum: slope of the loss -l1 sign(w), at zeros within +-l1.
    _, gradient = evaluate(params, X, Y)
    slopes = np.append(gradient["w"], gradient["b"])
    np.testing.assert_allclose(slopes[weights != 0], -3 * np.sign(weights[weights != 0]), atol=1e-3)
    assert (np.abs(slopes[weights == 0]) <= 3.001).all()


def test_reports_and_stops():
    seen = []
    stopping = Stopping(max_iterations=3)
    _, values = minimize_l1(
        evaluate, START, (X, Y), 0.1, stopping, report=lambda *row: seen.append(row)
    )
    assert [row[0] for row in seen] == [1, 2, 3] and [row[1] for row in seen] == values


@pytest.mark.parametrize(
    ("values", "norms", "done"),
    [
        ([5.0, 4.0], (1.0, 1.0), False),
        ([5.0, 4.0], (1e-6, 1.0), True),  # flat
        ([5.0, 4.0], (1e-4, 100.0), True),  # flat for weights of that size
        ([5.0, 4.0, 3.99999], (1.0, 1.0), False),  # 20% better than two before
        ([4.00001, 4.0, 3.99999], (1.0, 1.0), True),
        ([9.0, 8.0, 7.0, 6.0, 5.0, 4.0], (1.0, 1.0), True),  # the most iterations
    ],
)
def test_when_to_stop(values, norms, done):
    stopping = Stopping(max_iterations=5, delta=1e-4, period=2, epsilon=1e-5)
    assert stopping.done(values, *norms) is done
