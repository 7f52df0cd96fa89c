"""Sources 001 and 003, equation by equation, against autodiff and against the library."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.models import rnn_lm
from rntn_jax.ops import linear_cross_entropy
from rntn_jax.recurrent import Cell, rnn
from rntn_jax.sequences import SequenceBatch
from tests.helpers import assert_close
from tests.oracles import rnn_numpy as eq

RNG = np.random.default_rng(0)
V, E, D, T = 6, 3, 4, 6


def draw(*shape) -> Any:
    return RNG.normal(size=shape)


# Source 001, rows.
H, I, U, B1, B2, H0 = draw(D, D), draw(E, D), draw(D, V), draw(D), draw(V), draw(D)
X, LABELS = draw(T, E), RNG.integers(0, V, T)
Y = np.eye(V)[LABELS]

# Source 003, columns.
U3, W3, V3 = draw(D, V), draw(D, D), draw(V, D)
WORDS = RNG.integers(2, V, T)
ONE_HOT = np.eye(V)[WORDS]
S, Y_HAT = eq.eq1_forward(U3, W3, V3, ONE_HOT)


def library_loss(H, I, U, b1, b2, x, h0):
    """Sum of source 001's J over time, by the library."""
    hidden, _ = rnn(Cell(H, I, b1), x[None], h0[None], activation="sigmoid")
    return linear_cross_entropy(hidden[0], U, b2, jnp.asarray(LABELS)).sum()


def test_001_forward_and_value():
    h, y_hat = eq.s001_forward(H, I, U, B1, B2, X, H0)
    hidden, carry = rnn(Cell(H, I, B1), X[None], H0[None], activation="sigmoid")
    assert_close(hidden[0], h[1:], 1e-12)
    assert_close(carry[0], h[-1], 1e-12)
    expected = sum(eq.s001_J(*pair) for pair in zip(y_hat, Y, strict=True))
    assert_close(library_loss(H, I, U, B1, B2, X, H0), expected, 1e-12)


def test_001_all_gradients_and_the_parts_the_answer_leaves_out():
    names = ("H", "I", "U", "b1", "b2", "e", "h0")
    expected = eq.s001_gradients(H, I, U, B1, B2, X, H0, Y)
    actual = jax.grad(library_loss, tuple(range(7)))(H, I, U, B1, B2, X, H0)
    assert_close(dict(zip(names, actual, strict=True)), expected)


@pytest.mark.parametrize("log_likelihood", [False, True])
def test_001_both_signs_of_dJ_dz2(log_likelihood):
    z = draw(V)
    sign = 1 if log_likelihood else -1
    J = lambda z, y: sign * jnp.sum(y * jax.nn.log_softmax(z))
    for y in (Y[0], np.zeros(V), np.full(V, 1 / V), 0.3 * Y[1]):  # masked, smoothed, weighted
        expected = eq.s001_dJ_dz2(eq.softmax(z), y, log_likelihood)
        assert_close(jax.grad(J)(z, y), expected)


@pytest.mark.parametrize("log_likelihood", [False, True])
def test_001_dJ_dH_at_t_is_the_immediate_term_and_not_the_whole(log_likelihood):
    h, y_hat = eq.s001_forward(H, I, U, B1, B2, X, H0)

    def J(H, t, immediate):
        state = jnp.asarray(H0)
        for k in range(t):
            before = jax.lax.stop_gradient(state) if immediate else state
            state = jax.nn.sigmoid(before @ H + X[k] @ I + B1)
        nats = -jax.nn.log_softmax(state @ U + B2)[LABELS[t - 1]]
        return -nats if log_likelihood else nats

    t = T
    at_t = eq.s001_dJ_dH_at_t(H, U, h[t - 1], h[t], y_hat[t - 1], Y[t - 1], log_likelihood)
    assert_close(jax.grad(J)(H, t, True), at_t)
    whole = np.asarray(jax.grad(J)(H, t, False))
    assert np.abs(whole - at_t).max() > 0.01 * np.abs(whole).max()


def test_003_equation_1_and_the_mapping_between_the_sources():
    params = rnn_lm.from_source_003(jnp.asarray(U3), jnp.asarray(W3), jnp.asarray(V3))
    batch = SequenceBatch(WORDS[None], WORDS[None], np.ones((1, T), bool))
    hidden, _ = rnn_lm.states(params, batch)
    logits, _ = rnn_lm.apply(params, batch)
    assert_close(hidden[0], S[1:], 1e-12)
    assert_close(jax.nn.softmax(logits[0]), Y_HAT, 1e-12)


def test_003_equations_8_to_11():
    q, y = V3 @ S[3], Y[3]
    y_hat = eq.softmax(q)
    assert_close(jax.jacobian(jax.nn.softmax)(q), eq.eq9_dyhat_dq(y_hat))
    chain = eq.eq8_dE_dyhat(y_hat, y) @ eq.eq9_dyhat_dq(y_hat)
    assert_close(chain, eq.eq10_dE_dq(y_hat, y))
    assert_close(chain, y_hat - y)  # (11)
    half = 0.5 * y  # (10b) where the sum is not 1
    expected = jax.grad(lambda q: -jnp.sum(half * jax.nn.log_softmax(q)))(q)
    assert_close(expected, eq.eq10_dE_dq(y_hat, half))


def steps_003(U, W):
    """s_t, t = 0 .. T-1, plainly."""
    s, out = jnp.zeros(D), []
    for x in ONE_HOT:
        s = jnp.tanh(U @ x + W @ s)
        out.append(s)
    return jnp.stack(out)


def test_003_equations_19_to_24_sum_over_all_r_up_to_t():
    by_U, by_W = jax.jacobian(steps_003, (0, 1))(U3, W3)
    for t in range(T):
        assert_close(by_W[t], eq.eq20_ds_dW(S, W3, t))
        assert_close(by_U[t], eq.eq23_ds_dU(S, W3, ONE_HOT, t))
    # Without r = t, as the text under (19) has it, most is lost.
    t = T - 1
    short = eq.eq20_ds_dW(S, W3, t) - eq.immediate(S, S[t], t)
    assert np.abs(short - by_W[t]).max() > 0.1 * np.abs(by_W[t]).max()


def test_003_total_gradient_with_the_1_over_N_is_the_library_s():
    params = rnn_lm.from_source_003(jnp.asarray(U3), jnp.asarray(W3), jnp.asarray(V3))
    batch = SequenceBatch(WORDS[None], LABELS[None], np.ones((1, T), bool))
    (value, aux), grads = jax.value_and_grad(rnn_lm.loss, has_aux=True)(params, batch)
    assert_close(value, eq.eq2_loss(Y_HAT, Y))
    assert int(aux.tokens) == T
    each = range(T)
    dV = sum(eq.eq14_dE_dV(Y_HAT[t], Y[t], S[t + 1]) for t in each) / T
    dW = sum(eq.eq21_dE_dW(S, W3, V3, Y_HAT, Y, t) for t in each) / T
    dU = sum(eq.eq24_dE_dU(S, W3, V3, ONE_HOT, Y_HAT, Y, t) for t in each) / T
    assert_close(grads.head.w, dV.T)
    assert_close(grads.cell.h, dW.T)
    assert_close(grads.embedding, dU.T)


def test_003_ds_t_by_ds_r():
    def last(s, k):
        for x in ONE_HOT[k:]:
            s = jnp.tanh(U3 @ x + W3 @ s)
        return s

    for r in range(T):
        assert_close(jax.jacobian(last)(S[r + 1], r + 1), eq.ds_dr(S, W3, T - 1, r))
