"""`ops.bounded_loop`."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.ops import bounded_loop
from tests.helpers import assert_close, check_rule

BOUND = 5
RNG = np.random.default_rng(0)
X, A, ORDER = RNG.normal(size=3), RNG.normal(size=4), np.array([3, 0, 2, 2, 1], np.int32)


def step(i, carry, operands):
    """A step that reads its number, real and integer operands, and a carry of two parts."""
    x, seen = carry
    a, order = operands
    x = jnp.sin(x * a[order[i]]) + 0.1 * i.astype(x.dtype)
    return x, seen + x.sum()


def looped(length, x, a, order):
    """The loop under test."""
    return bounded_loop(step, BOUND, length, (x, jnp.zeros((), x.dtype)), (a, order))


def unrolled(length, x, a, order):
    """All steps, those from ``length`` on thrown away."""
    carry = x, jnp.zeros((), x.dtype)
    for i in range(BOUND):
        new = step(jnp.int32(i), carry, (a, order))
        carry = jax.tree.map(partial(jnp.where, i < length), new, carry)
    return carry


def value_and_gradient(f):
    """Of ``f`` as a function of its length and its floating point arguments."""

    def run(length, x, a):
        total = lambda x, a: f(length, x, a, jnp.asarray(ORDER))[1]
        return f(length, x, a, jnp.asarray(ORDER)), jax.grad(total, (0, 1))(x, a)

    return run


def test_rule():
    args = (np.int32(3), X, A, ORDER)
    check_rule(looped, unrolled, args, dtypes=(jnp.float32, jnp.float64), mixed=False)


def test_all_lengths_from_none_to_the_bound_with_one_compilation():
    traces = []

    @jax.jit
    def both(length, x, a):
        traces.append(length)
        return [value_and_gradient(f)(length, x, a) for f in (looped, unrolled)]

    for length in range(BOUND + 1):
        actual, expected = both(jnp.int32(length), X, A)
        assert_close(actual, expected, 1e-12)
    assert len(traces) == 1


def test_vmap_over_lengths():
    lengths = jnp.array([0, 2, BOUND], jnp.int32)
    run = jax.jit(jax.vmap(value_and_gradient(looped), (0, None, None)))(lengths, X, A)
    expected = jax.jit(jax.vmap(value_and_gradient(unrolled), (0, None, None)))(lengths, X, A)
    assert_close(run, expected, 1e-12)


def test_numpy_operands():
    total = lambda x: looped(jnp.int32(3), x, A, ORDER)[1]
    expected = lambda x: unrolled(jnp.int32(3), x, jnp.asarray(A), jnp.asarray(ORDER))[1]
    assert_close(jax.value_and_grad(total)(X), jax.value_and_grad(expected)(X), 1e-12)


def test_runs_no_step_too_many():
    count = lambda length: bounded_loop(lambda i, n, _: n + 1, 10, length, jnp.int32(0), None)
    assert [int(count(length)) for length in (0, 1, 10)] == [0, 1, 10]


@pytest.mark.parametrize("length", [0, 3])
def test_carry_and_operands_without_leaves(length):
    double = lambda i, x, operands: 2.0 * x
    value, gradient = jax.value_and_grad(lambda x: bounded_loop(double, 4, length, x, None))(1.5)
    assert (float(value), float(gradient)) == (1.5 * 2**length, 2.0**length)
