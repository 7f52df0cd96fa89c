"""`rntn_jax.recurrent`: the recurrent sweep and its rule."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.ops import activate
from rntn_jax.recurrent import Cell, birnn, jacobian_norms, rnn, stacked_rnn
from tests.helpers import assert_close, check_rule, residual_bytes, size_in_bytes
from tests.oracles import rnn_numpy as eq

B, T, E, D = 3, 5, 2, 4
HOLES = np.array([[1, 1, 1, 1, 1], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0]], bool)


def draw(*shape) -> Any:
    return np.random.default_rng(shape).normal(size=shape)


def random_cell(e=E, d=D) -> Cell:
    return Cell(h=draw(d, d) / 2, i=draw(e, d), b=draw(d))


CELL, X, CARRY, DROP = random_cell(), draw(B, T, E), draw(B, D), 1 + 0.1 * draw(B, D)


def plain(cell, x, carry, mask, drop, activation="tanh"):
    """Step by step, sequence-major, as anybody would write it."""
    x = jnp.where(mask[..., None], x, 0)
    state, hidden = carry, []
    for t in range(x.shape[1]):
        z = (state * drop) @ cell.h + x[:, t] @ cell.i + cell.b[None]
        here = mask[:, t, None]
        state = jnp.where(here, activate(activation, z), state)
        hidden.append(jnp.where(here, state, 0))
    return jnp.stack(hidden, axis=1) if hidden else jnp.zeros((*x.shape[:2], D)), state


def rule(cell, x, carry, mask, drop, **options):
    return rnn(cell, x, carry, mask, recurrent_mask=drop, **options)


def oracle(cotangents, cell, x, carry, mask, drop):
    """Source 001's recursion (errata 001, items 2 and 3), one sequence after the other."""
    g, g_carry = cotangents
    hidden, last = np.zeros((B, T, D)), np.zeros((B, D))
    d_cell = Cell(*(np.zeros_like(a) for a in cell))
    d_x, d_carry, d_drop = np.zeros_like(x), np.zeros_like(carry), np.zeros_like(drop)
    for n in range(B):
        steps = np.flatnonzero(mask[n])
        h = [carry[n]]
        for t in steps:
            h.append(eq.sigmoid((h[-1] * drop[n]) @ cell.h + x[n, t] @ cell.i + cell.b))
            hidden[n, t] = h[-1]
        last[n], down = h[-1], g_carry[n]
        for k in range(len(steps), 0, -1):
            t = steps[k - 1]
            delta = (g[n, t] + down) * h[k] * (1 - h[k])
            d_cell.h[:] += np.outer(h[k - 1] * drop[n], delta)
            d_cell.i[:] += np.outer(x[n, t], delta)
            d_cell.b[:] += delta
            d_x[n, t] = delta @ cell.i.T
            d_drop[n] += h[k - 1] * (delta @ cell.h.T)
            down = (delta @ cell.h.T) * drop[n]
        d_carry[n] = down
    return (hidden, last), (d_cell, d_x, d_carry, d_drop)


def test_rule():
    args = (CELL, X, CARRY, HOLES, DROP)
    check_rule(
        partial(rule, activation="sigmoid"),
        partial(plain, activation="sigmoid"),
        args,
        oracle=oracle,
        mixed=False,
    )


@pytest.mark.parametrize("activation", ["tanh", "relu", "identity"])
@pytest.mark.parametrize("options", [{}, {"remat_every": 2}], ids=str)
def test_other_activations_and_segments(activation, options):
    def run(f):
        def total(*floats):
            hidden, last = f(*floats)
            return jnp.sum(jnp.sin(hidden)) + jnp.sum(jnp.cos(last)), (hidden, last)

        return jax.jit(jax.value_and_grad(total, (0, 1, 2, 3), has_aux=True))(CELL, X, CARRY, DROP)

    mine = lambda cell, x, carry, drop: rule(
        cell, x, carry, HOLES, drop, activation=activation, **options
    )
    expected = lambda cell, x, carry, drop: plain(cell, x, carry, HOLES, drop, activation)
    assert_close(run(mine), run(expected))


def test_reverse_is_the_rule_on_turned_sequences():
    turned = lambda a: a[:, ::-1]
    total = lambda f: jax.value_and_grad(
        lambda cell, x: jnp.sum(jnp.sin(f(cell, x)[0])) + jnp.sum(f(cell, x)[1]), (0, 1)
    )(CELL, X)
    mine = total(lambda cell, x: rnn(cell, x, CARRY, HOLES, reverse=True))

    def expected(cell, x):
        hidden, last = rnn(cell, turned(x), CARRY, turned(HOLES))
        return turned(hidden), last

    assert_close(mine, total(expected))


def test_what_the_mask_hides_does_nothing_and_has_gradient_zero():
    def run(x):
        total = lambda cell, x: jnp.sum(jnp.sin(rnn(cell, x, CARRY, HOLES)[0]))
        return jax.value_and_grad(total, (0, 1))(CELL, x)

    dirty = run(np.where(HOLES[..., None], X, np.nan))
    clean = run(X)
    for left, right in zip(jax.tree.leaves(dirty), jax.tree.leaves(clean), strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.asarray(dirty[1][1])[~HOLES].any()
    assert np.asarray(clean[1][1])[HOLES].all()


def test_an_all_masked_row_keeps_its_carry():
    hidden, last = rnn(CELL, X, CARRY, HOLES)
    np.testing.assert_array_equal(last[2], CARRY[2])
    assert not np.asarray(hidden[2]).any()


def test_no_steps_at_all():
    empty = jnp.zeros((B, 0, E))
    value = lambda cell, carry: rnn(cell, empty, carry)[1].sum()
    d_cell, d_carry = jax.grad(value, (0, 1))(CELL, jnp.asarray(CARRY))
    assert rnn(CELL, empty, CARRY)[0].shape == (B, 0, D)
    assert not any(np.asarray(a).any() for a in d_cell)
    assert_close(d_carry, np.ones((B, D)))


def test_two_halves_are_the_whole_and_truncation_is_the_caller_s():
    def halves(cut, cell):
        left, carry = rnn(cell, X[:, :2], CARRY)
        right, carry = rnn(cell, X[:, 2:], cut(carry))
        return jnp.sum(jnp.sin(jnp.concatenate([left, right], 1))) + jnp.sum(carry)

    def whole(cell):
        hidden, carry = rnn(cell, X, CARRY)
        return jnp.sum(jnp.sin(hidden)) + jnp.sum(carry)

    assert_close(
        jax.value_and_grad(partial(halves, lambda c: c))(CELL), jax.value_and_grad(whole)(CELL)
    )
    truncated = jax.grad(partial(halves, jax.lax.stop_gradient))(CELL)
    assert np.abs(truncated.h - jax.grad(whole)(CELL).h).max() > 1e-3


def test_a_batch_is_its_rows():
    together = rnn(CELL, X, CARRY, HOLES)
    for n in range(B):
        hidden, carry = rnn(CELL, X[n : n + 1], CARRY[n : n + 1], HOLES[n : n + 1])
        assert_close((hidden[0], carry[0]), (together[0][n], together[1][n]), 1e-12)


def test_stacked_layers():
    cells = [CELL, random_cell(D, D)]
    hidden, carries = stacked_rnn(cells, X, [CARRY, CARRY], HOLES)
    below, first = rnn(cells[0], X, CARRY, HOLES)
    above, second = rnn(cells[1], below, CARRY, HOLES)
    assert_close((hidden, carries), (above, (first, second)), 1e-12)
    with pytest.raises(ValueError):
        stacked_rnn(cells, X, [CARRY])


def test_both_directions():
    hidden = birnn(CELL, CELL, X, HOLES)
    assert hidden.shape == (B, T, 2 * D)
    assert_close(hidden[..., :D], rnn(CELL, X, mask=HOLES)[0], 1e-12)
    assert_close(hidden[..., D:], rnn(CELL, X, mask=HOLES, reverse=True)[0], 1e-12)


def test_jacobian_norms_are_those_of_the_true_jacobians():
    hidden, _ = rnn(CELL, X, CARRY)
    norms = jacobian_norms(CELL, hidden, T - 1)
    for lag in range(T):
        sizes = []
        for n in range(B):
            for t in range(lag, T):
                s = np.concatenate([CARRY[n : n + 1], hidden[n]])
                sizes.append(np.linalg.norm(eq.ds_dr(s, CELL.h.T, t, t - lag)) / D**0.5)
        assert_close(norms[lag], np.mean(sizes))
    with pytest.raises(ValueError, match="max_lag"):
        jacobian_norms(CELL, hidden, T)


def test_keeps_its_arguments_and_the_states_only():
    x = draw(4, 50, E)
    carry, mask = np.zeros((4, D)), np.ones((4, 50), bool)
    kept = residual_bytes(rnn, CELL, x, carry)
    states = 4 * 50 * D * 8
    assert kept <= size_in_bytes((CELL, x, carry, carry, mask)) + states + mask.nbytes + 64


def temporary_bytes(steps: int, segment: int | None) -> int:
    x, cell = jax.ShapeDtypeStruct((1, steps, 1), jnp.float64), random_cell(1, 16)
    loss = lambda cell, x: jnp.sum(rnn(cell, x, remat_every=segment)[1])
    memory: Any = jax.jit(jax.grad(loss)).lower(cell, x).compile().memory_analysis()
    return memory.temp_size_in_bytes


def test_segments_bound_the_memory_of_long_sequences():
    states = 100_000 * 16 * 8
    assert (
        temporary_bytes(100_000, 316) < 0.5 * states < 2 * states < temporary_bytes(100_000, None)
    )


def test_100000_steps_train():
    cell = Cell(h=0.9 * np.eye(4), i=draw(1, 4), b=np.zeros(4))
    loss = lambda cell, x: jnp.sum(rnn(cell, x, remat_every=316)[1] ** 2)
    value, gradient = jax.jit(jax.value_and_grad(loss))(cell, draw(1, 100_000, 1))
    assert np.isfinite(value) and all(
        np.isfinite(a).all() and a.any() for a in map(np.asarray, gradient)
    )


def test_half_precision_adds_up_many_steps_in_float32():
    cell = Cell(*(jnp.zeros(shape, jnp.bfloat16) for shape in ((1, 1), (1, 1), (1,))))
    x = jnp.ones((1, 3000, 1), jnp.bfloat16)  # in bfloat16 a sum of ones stops at 256
    gradient = jax.grad(
        lambda cell: rnn(cell, x, activation="identity")[0].astype(jnp.float32).sum()
    )(cell)
    assert gradient.b.dtype == jnp.bfloat16
    np.testing.assert_allclose(gradient.b.astype(float), 3000, rtol=0.01)
    np.testing.assert_allclose(gradient.i.astype(float).ravel(), 3000, rtol=0.01)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: rnn(CELL, X[0]), AssertionError),
        (lambda: rnn(CELL, draw(B, T, E + 1)), AssertionError),
        (lambda: rnn(CELL, X, CARRY[:-1]), AssertionError),
        (lambda: rnn(CELL, X, CARRY, HOLES[:, :-1]), AssertionError),
        (lambda: rnn(CELL, X, CARRY, HOLES.astype(int)), AssertionError),
        (lambda: rnn(CELL, X, recurrent_mask=CARRY[:-1]), AssertionError),
        (lambda: rnn(CELL, X, activation="gelu"), ValueError),
        (lambda: rnn(CELL, X, remat_every=0), ValueError),
    ],
)  # fmt: skip
def test_wrong_arguments(call, error):
    with pytest.raises(error):
        call()
