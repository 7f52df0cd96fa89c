"""`ops.cross_entropy`: softmax with cross-entropy, alone and fused with a linear layer."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax import ops
from tests.helpers import (
    assert_close,
    check_orders,
    check_rule,
    residual_bytes,
    size_in_bytes,
)
from tests.oracles import rntn_numpy as eq

# Any: they take NumPy arrays as well as JAX's.
linear_cross_entropy: Any = ops.linear_cross_entropy
softmax_cross_entropy: Any = ops.softmax_cross_entropy

RNG = np.random.default_rng(0)
ROWS, D, C = 6, 3, 4
LOGITS = 2 * RNG.normal(size=(ROWS, C))
LABELS = np.array([0, 3, 1, 1, 2, 0], np.int32)
WHERE = np.array([True, False, True, True, False, True])
X, KERNEL, BIAS = RNG.normal(size=(ROWS, D)), RNG.normal(size=(D, C)), RNG.normal(size=C)
INF = np.inf


def hide(x):
    """``x`` with NaN in the rows that the mask hides."""
    return np.where(WHERE[:, None], x, np.nan)


HIDDEN_LABELS = np.where(WHERE, LABELS, 10**6)


def plain(logits, labels, where=None):
    """Log-softmax and a pick, with the mask in the order of the book: before and after."""
    if where is not None:
        logits, labels = jnp.where(where[..., None], logits, 0.0), jnp.where(where, labels, 0)
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1)[..., 0]
    return -picked if where is None else jnp.where(where, -picked, 0.0)


def plain_linear(x, kernel, bias, labels, where=None):
    """The unfused head."""
    if where is not None:
        x = jnp.where(where[..., None], x, 0.0)
    logits = x @ kernel
    if bias is not None:
        logits = logits + jnp.broadcast_to(bias, logits.shape)
    return plain(logits, labels, where)


def linear_oracle(g, x, kernel, bias, labels, where):
    """Source 000: (1), (10), (12), node by node."""
    value, dx = np.zeros(len(x)), np.zeros_like(x)
    d_kernel, d_bias = np.zeros_like(kernel), np.zeros_like(bias)
    for n in np.flatnonzero(where):
        y, t = eq.eq9_posterior(kernel.T, bias, x[n]), np.eye(len(bias))[labels[n]]
        value[n] = eq.error(y, t)
        dx[n] = g[n] * eq.eq1_error_at_node(kernel.T, y, t)
        d_kernel += g[n] * eq.eq10_dWs_at_node(y, t, x[n]).T
        d_bias += g[n] * eq.eq12_dbs_at_node(y, t)
    return value, (dx, d_kernel, d_bias)


def oracle(g, logits, labels):
    """Source 000: the last factor of (1)."""
    y = np.array([eq.eq9_posterior(np.eye(C), np.zeros(C), row) for row in logits])
    t = np.eye(C)[labels]
    return np.array([eq.error(*pair) for pair in zip(y, t, strict=True)]), (g[:, None] * (y - t),)


def test_softmax_rule():
    check_rule(softmax_cross_entropy, plain, (LOGITS, LABELS), oracle=oracle)


def test_softmax_rule_with_nan_behind_the_mask():
    check_rule(softmax_cross_entropy, plain, (hide(LOGITS), HIDDEN_LABELS, WHERE))


@pytest.mark.slow
def test_linear_rule_with_nan_behind_the_mask():
    args = (hide(X), KERNEL, BIAS, HIDDEN_LABELS, WHERE)
    check_rule(linear_cross_entropy, plain_linear, args, oracle=linear_oracle)


def test_linear_rule_in_chunks_and_without_bias():
    rule = lambda x, kernel, labels: linear_cross_entropy(x, kernel, None, labels, chunk=4)
    reference = lambda x, kernel, labels: plain_linear(x, kernel, None, labels)
    check_rule(rule, reference, (X, KERNEL, LABELS))


def test_mask_hides_everything_and_its_gradient_is_exactly_zero():
    total = lambda logits, labels: softmax_cross_entropy(logits, labels, WHERE)
    loss = lambda *args: (total(*args) ** 2).sum()
    clean = total(LOGITS, LABELS), jax.grad(loss)(LOGITS, LABELS)
    dirty = total(hide(LOGITS), HIDDEN_LABELS), jax.grad(loss)(hide(LOGITS), HIDDEN_LABELS)
    for left, right in zip(dirty, clean, strict=True):
        np.testing.assert_array_equal(left, right)
        assert not np.asarray(left)[~WHERE].any()
    assert np.asarray(clean[1])[WHERE].all()


def test_linear_mask_hides_everything_and_its_gradient_is_exactly_zero():
    def run(x, labels):
        nats = lambda x, *head: linear_cross_entropy(x, *head, labels, WHERE)
        loss = lambda *args: (nats(*args) ** 2).sum()
        return nats(x, KERNEL, BIAS), *jax.grad(loss, (0, 1, 2))(x, KERNEL, BIAS)

    clean, dirty = run(X, LABELS), run(hide(X), HIDDEN_LABELS)
    for left, right in zip(dirty, clean, strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.asarray(dirty[0])[~WHERE].any() and not np.asarray(dirty[1])[~WHERE].any()


def test_infinite_cotangent_of_a_masked_entry_does_nothing():
    _, pullback = jax.vjp(lambda logits: softmax_cross_entropy(logits, LABELS, WHERE), LOGITS)
    (gradient,) = pullback(jnp.where(WHERE, 1.0, np.nan))
    assert np.isfinite(gradient).all() and not np.asarray(gradient)[~WHERE].any()


def test_everything_masked():
    nothing = np.zeros(ROWS, bool)
    loss = lambda x, *head: linear_cross_entropy(x, *head, LABELS, nothing).sum()
    value, gradients = jax.value_and_grad(loss, (0, 1, 2))(np.full_like(X, np.nan), KERNEL, BIAS)
    assert float(value) == 0
    assert not any(np.asarray(g).any() for g in gradients)
    assert not softmax_cross_entropy(np.full_like(LOGITS, np.nan), LABELS, nothing).any()


def test_no_rows():
    x, labels = jnp.zeros((0, D)), jnp.zeros(0, jnp.int32)
    loss = lambda chunk, kernel: linear_cross_entropy(x, kernel, None, labels, chunk=chunk).sum()
    for chunk in (None, 2):
        assert not jax.grad(partial(loss, chunk))(KERNEL).any()


@pytest.mark.parametrize("chunk", [1, 2, 5, 6, 100])
def test_chunks_change_nothing(chunk):
    x, labels, where = (a.reshape(2, 3, *a.shape[1:]) for a in (hide(X), HIDDEN_LABELS, WHERE))

    def run(chunk):
        def loss(x, kernel, bias):
            nats = linear_cross_entropy(x, kernel, bias, labels, where, chunk)
            return (nats**2).sum(), nats

        return jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(x, KERNEL, BIAS)

    assert_close(run(chunk), run(None), 1e-12)


@pytest.mark.parametrize("chunk", [None, 1])
def test_half_precision_accumulates_in_float32(chunk):
    rows = 2000  # one after the other in bfloat16 they would stop adding up
    x = jnp.ones((rows, 1), jnp.bfloat16)
    kernel, bias = jnp.zeros((1, 2), jnp.bfloat16), jnp.zeros(2, jnp.bfloat16)
    labels = np.zeros(rows, np.int32)
    loss = lambda *head: linear_cross_entropy(x, *head, labels, chunk=chunk).sum()
    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(kernel, bias)
    assert value.dtype == jnp.float32
    for gradient in gradients:
        assert gradient.dtype == jnp.bfloat16
        np.testing.assert_allclose(gradient.astype(np.float32).ravel(), [-1000, 1000], rtol=0.01)


def test_memory():
    rows, classes = 1000, 64
    x, kernel, bias = np.ones((rows, 2)), np.ones((2, classes)), np.ones(classes)
    labels, where = np.zeros(rows, np.int32), np.ones(rows, bool)
    args = (x, kernel, bias, labels, where)
    assert residual_bytes(linear_cross_entropy, *args) <= size_in_bytes(args) + 8  # a zero

    def temporary(chunk):
        loss = lambda *head: linear_cross_entropy(x, *head, labels, where, chunk).sum()
        compiled = jax.jit(jax.grad(loss, (0, 1))).lower(kernel, bias).compile()
        memory: Any = compiled.memory_analysis()
        return memory.temp_size_in_bytes

    all_logits = rows * classes * 8
    assert temporary(10) < all_logits / 4 < all_logits <= temporary(None)


def test_residuals_of_the_softmax_are_the_logits():
    args = (LOGITS, LABELS, WHERE)
    assert residual_bytes(softmax_cross_entropy, *args) <= size_in_bytes(args) + ROWS * 8


EXTREME = np.array(
    [
        [1e4, 1e4 - 3, -1e4, 0.0],
        [-1e4, -1e4 + 1, -1e4 - 2, -1e4],
        [1e4, -1e4, 0, 9990],
        [1e4, -1e4, 0, 9990],
    ]
)
EXTREME_LABELS = np.array([0, 1, 3, 1], np.int32)


@pytest.mark.parametrize("linear", [False, True])
def test_extreme_logits_in_float32(linear):
    def nats(logits):
        if linear:
            eye = jnp.eye(C, dtype=logits.dtype)
            return linear_cross_entropy(logits, eye, None, EXTREME_LABELS)
        return softmax_cross_entropy(logits, EXTREME_LABELS)

    expected = np.asarray(plain(EXTREME, EXTREME_LABELS))
    np.testing.assert_allclose(expected[2:], [10.0000454, 20000.0000454], rtol=1e-8)
    low = jnp.asarray(EXTREME, jnp.float32)
    assert (np.asarray(low, np.float64) == EXTREME).all()
    np.testing.assert_allclose(nats(low), expected, rtol=1e-5)
    gradient = jax.grad(lambda logits: nats(logits).sum())
    np.testing.assert_allclose(gradient(low), gradient(EXTREME), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("linear", [False, True])
def test_forbidden_class(linear):
    """A class of score ``-inf`` might as well not be there."""
    forbidden = np.insert(LOGITS, 2, -INF, axis=1)
    labels = np.where(LABELS >= 2, LABELS + 1, LABELS)
    if linear:
        eye = np.eye(C + 1)
        bias = np.array([0, 0, -INF, 0, 0])
        x = np.where(np.isfinite(forbidden), forbidden, 0)
        nats = lambda x, bias: linear_cross_entropy(x, eye, bias, labels)
        args = (x, bias)
    else:
        nats = lambda logits: softmax_cross_entropy(logits, labels)
        args = (forbidden,)
    loss = lambda *args: (nats(*args) ** 2).sum()
    gradients = jax.jit(jax.grad(loss, tuple(range(len(args)))))(*args)
    assert_close(nats(*args), softmax_cross_entropy(LOGITS, LABELS), 1e-12)
    expected = jax.grad(lambda logits: (plain(logits, LABELS) ** 2).sum())(LOGITS)
    for gradient in gradients:
        assert not np.asarray(gradient)[..., 2].any()
    assert_close(np.delete(gradients[0], 2, axis=1), expected)
    second = jax.jit(jax.grad(lambda *args: (jax.grad(loss)(*args) ** 2).sum()))(*args)
    assert np.isfinite(second).all()


def test_forbidden_label_costs_infinity_and_spoils_nothing_else():
    logits = np.array([[-INF, 1.0, 2.0], [0.5, 1.0, 2.0]])
    labels = np.array([0, 1], np.int32)
    nats, pullback = jax.vjp(lambda logits: softmax_cross_entropy(logits, labels), logits)
    assert nats[0] == INF
    (gradient,) = pullback(jnp.ones(2))
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert_close(gradient, softmax - np.eye(3)[labels], 1e-12)


def test_one_class():
    labels = np.zeros(ROWS, np.int32)
    loss = lambda x, kernel, bias: linear_cross_entropy(x, kernel, bias, labels).sum()
    value, gradients = jax.value_and_grad(loss, (0, 1, 2))(X, KERNEL[:, :1], BIAS[:1])
    assert float(value) == 0
    assert not any(np.asarray(g).any() for g in gradients)
    assert not softmax_cross_entropy(LOGITS[:, :1], labels).any()


@pytest.mark.parametrize(
    "call",
    [
        lambda: softmax_cross_entropy(LOGITS, LABELS[:-1]),
        lambda: softmax_cross_entropy(LOGITS, LABELS.astype(float)),
        lambda: softmax_cross_entropy(LOGITS, LABELS, WHERE[:-1]),
        lambda: softmax_cross_entropy(LOGITS, LABELS, WHERE.astype(int)),
        lambda: softmax_cross_entropy(LOGITS[:, :0], LABELS),
        lambda: linear_cross_entropy(X, KERNEL.T, BIAS, LABELS),
        lambda: linear_cross_entropy(X, KERNEL, BIAS[:-1], LABELS),
        lambda: linear_cross_entropy(X, KERNEL, BIAS, LABELS[:-1]),
    ],
)
def test_wrong_arguments(call):
    with pytest.raises((AssertionError, ValueError)):
        call()


def test_wrong_chunk():
    with pytest.raises(ValueError, match=r"chunk.*0"):
        linear_cross_entropy(X, KERNEL, BIAS, LABELS, chunk=0)


# --- the weighted sum, its gradients formed on the way forward ---

WEIGHTS = np.where(WHERE, RNG.uniform(0.5, 2, ROWS), 0)


def summed(x, kernel, bias, weights, where=WHERE):
    """The weighted sum of the plain rows; a weight of 0 hides its row."""
    return (plain_linear(x, kernel, bias, LABELS, where) * weights).sum()


@pytest.mark.parametrize("chunk", [None, 1, 4, 100])
def test_sum_rule(chunk):
    def rule(x, kernel, bias, weights):
        return ops.linear_cross_entropy_sum(x, kernel, bias, LABELS, weights, chunk)

    check_orders(rule, summed, (hide(X), KERNEL, BIAS, WEIGHTS))
    if chunk == 4:
        args = (X, KERNEL, BIAS, RNG.uniform(0.5, 2, ROWS))
        check_rule(rule, partial(summed, where=None), args, mixed=False)


def test_sum_without_bias_in_leading_axes():
    shape = lambda a: a.reshape(2, 3, *a.shape[1:])
    total = ops.linear_cross_entropy_sum(shape(X), KERNEL, None, shape(LABELS), shape(WEIGHTS))
    assert_close(total, (WEIGHTS * linear_cross_entropy(X, KERNEL, None, LABELS)).sum(), 1e-12)


def test_sum_forms_no_logits_twice():
    """Three products of rows, classes and width in the gradient; four without the sum."""

    def products(f):
        jaxpr = jax.make_jaxpr(jax.grad(f, (0, 1, 2)))(X, KERNEL, BIAS)
        return str(jaxpr).count("dot_general")

    weighted = lambda *args: ops.linear_cross_entropy_sum(*args, LABELS, WEIGHTS)
    rows = lambda *args: (linear_cross_entropy(*args, LABELS) * WEIGHTS).sum()
    assert (products(weighted), products(rows)) == (3, 4)
