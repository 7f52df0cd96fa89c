"""`rntn_jax.recurrent.lstm`: the gated sweep and its rule."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.recurrent import LSTMCell, LSTMState, bilstm, lstm
from tests.helpers import assert_close, check_rule, residual_bytes, size_in_bytes

B, T, E, D = 3, 5, 2, 4
HOLES = np.array([[1, 1, 1, 1, 1], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0]], bool)


def draw(*shape) -> Any:
    return np.random.default_rng(shape).normal(size=shape)


CELL = LSTMCell(h=draw(D, 4 * D) / 2, i=draw(E, 4 * D), b=draw(4 * D))
X, CARRY, DROP = draw(B, T, E), LSTMState(draw(B, D), draw(D, B).T), 1 + 0.1 * draw(B, D)


def plain(cell, x, carry, mask, drop):
    """Step by step, sequence-major, as anybody would write it."""
    x = jnp.where(mask[..., None], x, 0)
    (h, c), hidden = carry, []
    for t in range(x.shape[1]):
        z = (h * drop) @ cell.h + x[:, t] @ cell.i + cell.b[None]
        i, f, o = (jax.nn.sigmoid(z[:, k * D : (k + 1) * D]) for k in range(3))
        memory = f * c + i * jnp.tanh(z[:, 3 * D :])
        here = mask[:, t, None]
        h, c = jnp.where(here, o * jnp.tanh(memory), h), jnp.where(here, memory, c)
        hidden.append(jnp.where(here, h, 0))
    return jnp.stack(hidden, axis=1), LSTMState(h, c)


def rule(cell, x, carry, mask, drop, **options):
    return lstm(cell, x, carry, mask, recurrent_mask=drop, **options)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def oracle(cotangents, cell, x, carry, mask, drop):
    """The equations of the module, one sequence and one gate after the other."""
    g, g_carry = cotangents
    hidden, last = np.zeros((B, T, D)), LSTMState(np.zeros((B, D)), np.zeros((B, D)))
    d_cell = LSTMCell(*(np.zeros_like(a) for a in cell))
    d_x, d_drop = np.zeros_like(x), np.zeros_like(drop)
    d_carry = LSTMState(np.zeros((B, D)), np.zeros((B, D)))
    for n in range(B):
        steps, kept = np.flatnonzero(mask[n]), []
        h, c = carry.h[n], carry.c[n]
        for t in steps:
            z = (h * drop[n]) @ cell.h + x[n, t] @ cell.i + cell.b
            i, f, o, u = *(sigmoid(z[k * D : (k + 1) * D]) for k in range(3)), np.tanh(z[3 * D :])
            kept.append((t, h, c, i, f, o, u))
            c = f * c + i * u
            h = hidden[n, t] = o * np.tanh(c)
        last.h[n], last.c[n] = h, c
        down, keep, after = g_carry.h[n], g_carry.c[n], c
        for t, h, c, i, f, o, u in reversed(kept):
            dh = g[n, t] + down
            dc = keep + dh * o * (1 - np.tanh(after) ** 2)
            open_in, forget = dc * u * i * (1 - i), dc * c * f * (1 - f)
            show, candidate = dh * np.tanh(after) * o * (1 - o), dc * i * (1 - u**2)
            delta = np.concatenate([open_in, forget, show, candidate])
            d_cell.h[:] += np.outer(h * drop[n], delta)
            d_cell.i[:] += np.outer(x[n, t], delta)
            d_cell.b[:] += delta
            d_x[n, t] = cell.i @ delta
            d_drop[n] += h * (cell.h @ delta)
            down, keep, after = (cell.h @ delta) * drop[n], dc * f, c
        d_carry.h[n], d_carry.c[n] = down, keep
    return (hidden, last), (d_cell, d_x, d_carry, d_drop)


def test_rule():
    check_rule(rule, plain, (CELL, X, CARRY, HOLES, DROP), oracle=oracle, mixed=False)


def gradients(f, *args):
    def total(*args):
        hidden, last = f(*args)
        return jnp.sum(jnp.sin(hidden)) + sum(jnp.sum(jnp.cos(leaf)) for leaf in last)

    return jax.value_and_grad(total, tuple(range(len(args))))(*args)


@pytest.mark.parametrize("every", [1, 2, 5, 9])
def test_pieces_of_time(every):
    mine = lambda cell, x, carry: lstm(cell, x, carry, HOLES, remat_every=every)
    expected = lambda cell, x, carry: plain(cell, x, carry, HOLES, 1.0)
    assert_close(gradients(mine, CELL, X, CARRY), gradients(expected, CELL, X, CARRY))


def test_reverse_is_the_rule_on_turned_sequences():
    turned = lambda a: a[:, ::-1]

    def expected(cell, x):
        hidden, last = lstm(cell, turned(x), CARRY, turned(HOLES))
        return turned(hidden), last

    mine = lambda cell, x: lstm(cell, x, CARRY, HOLES, reverse=True)
    assert_close(gradients(mine, CELL, X), gradients(expected, CELL, X))


def test_what_the_mask_hides_does_nothing_and_has_gradient_zero():
    mine = lambda cell, x: lstm(cell, x, CARRY, HOLES)
    dirty = gradients(mine, CELL, np.where(HOLES[..., None], X, np.nan))
    clean = gradients(mine, CELL, X)
    for left, right in zip(jax.tree.leaves(dirty), jax.tree.leaves(clean), strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.asarray(dirty[1][1])[~HOLES].any()
    assert np.asarray(clean[1][1])[HOLES].all()


def test_an_all_masked_row_keeps_its_carry():
    hidden, last = lstm(CELL, X, CARRY, HOLES)
    np.testing.assert_array_equal(last.h[2], CARRY.h[2])
    np.testing.assert_array_equal(last.c[2], CARRY.c[2])
    assert not np.asarray(hidden[2]).any()


def test_no_steps_at_all():
    empty = jnp.zeros((B, 0, E))
    value = lambda cell, carry: sum(leaf.sum() for leaf in lstm(cell, empty, carry)[1])
    d_cell, d_carry = jax.grad(value, (0, 1))(CELL, jax.tree.map(jnp.asarray, CARRY))
    assert lstm(CELL, empty, CARRY)[0].shape == (B, 0, D)
    assert not any(np.asarray(a).any() for a in d_cell)
    assert_close(d_carry, LSTMState(np.ones((B, D)), np.ones((B, D))))


def test_two_halves_are_the_whole():
    left, carry = lstm(CELL, X[:, :2], CARRY)
    right, last = lstm(CELL, X[:, 2:], carry)
    together = jnp.concatenate([left, right], axis=1), last
    assert_close(together, lstm(CELL, X, CARRY), 1e-12)


def test_both_directions():
    hidden = bilstm(CELL, CELL, X, HOLES)
    assert hidden.shape == (B, T, 2 * D)
    assert_close(hidden[..., :D], lstm(CELL, X, mask=HOLES)[0], 1e-12)
    assert_close(hidden[..., D:], lstm(CELL, X, mask=HOLES, reverse=True)[0], 1e-12)


def test_keeps_its_arguments_states_memories_and_gates_only():
    x = draw(4, 50, E)
    carry, mask = LSTMState(np.zeros((4, D)), np.zeros((4, D))), np.ones((4, 50), bool)
    kept = residual_bytes(lstm, CELL, x, carry)
    found = 4 * 50 * 6 * D * 8
    assert kept <= size_in_bytes((CELL, x, carry, mask)) + found + mask.nbytes + 64


def test_an_error_survives_where_the_gates_let_it():
    """An open memory keeps all of an error over 200 steps."""
    weights = np.zeros((1, 4))
    cell = LSTMCell(h=weights, i=np.array([[0, 0, 0, 1.0]]), b=np.array([40.0, 40, 40, 0]))
    last = lambda x: lstm(cell, x)[1].c.sum()
    gradient = np.asarray(jax.grad(last)(jnp.zeros((1, 200, 1))))
    np.testing.assert_allclose(gradient, 1, rtol=1e-12)


def test_100000_steps_train():
    cell = LSTMCell(h=draw(4, 16) / 4, i=draw(1, 16), b=np.zeros(16))
    loss = lambda cell, x: jnp.sum(lstm(cell, x, remat_every=316)[1].h ** 2)
    value, gradient = jax.jit(jax.value_and_grad(loss))(cell, draw(1, 100_000, 1))
    assert np.isfinite(value) and all(
        np.isfinite(a).all() and a.any() for a in map(np.asarray, gradient)
    )


def test_half_precision_adds_up_many_steps_in_float32():
    """A candidate that only the bias feeds: 3,000 equal terms; in bfloat16 the sum stops early."""
    cell = LSTMCell(*(jnp.zeros(shape, jnp.bfloat16) for shape in ((1, 4), (1, 4), (4,))))
    closed = cell._replace(b=jnp.array([0, -30, 0, 0], jnp.bfloat16))  # it forgets at once
    x = jnp.ones((1, 3000, 1), jnp.bfloat16)
    gradient = jax.grad(lambda cell: lstm(cell, x)[0].astype(jnp.float32).sum())(closed)
    assert gradient.b.dtype == jnp.bfloat16
    np.testing.assert_allclose(gradient.b[3].astype(float), 750, rtol=0.01)  # 3,000 o i (1 - u^2)
    np.testing.assert_allclose(gradient.i[0, 3].astype(float), 750, rtol=0.01)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: lstm(CELL, X[0]), AssertionError),
        (lambda: lstm(CELL, draw(B, T, E + 1)), AssertionError),
        (lambda: lstm(CELL._replace(h=draw(D, D)), X), AssertionError),
        (lambda: lstm(CELL._replace(b=draw(D)), X), AssertionError),
        (lambda: lstm(CELL, X, CARRY._replace(c=draw(B, D + 1))), AssertionError),
        (lambda: lstm(CELL, X, CARRY, HOLES[:, :-1]), AssertionError),
        (lambda: lstm(CELL, X, CARRY, HOLES.astype(int)), AssertionError),
        (lambda: lstm(CELL, X, recurrent_mask=draw(B - 1, D)), AssertionError),
        (lambda: lstm(CELL, X, remat_every=0), ValueError),
        (lambda: partial(bilstm, CELL, CELL)(X[0]), AssertionError),
    ],
)  # fmt: skip
def test_wrong_arguments(call, error):
    with pytest.raises(error):
        call()
