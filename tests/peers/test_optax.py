"""optax's tests of its softmax losses (losses/_classification_test.py), of ours in their place.

The inputs and the values that they expect; and optax's own functions on the same inputs.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.test_util import check_grads

from rntn_jax import ops

LOGITS = np.array([[10.0, 1.0, -2.0], [1.0, 4.0, 0.2]])
LABELS = np.array([1, 0])
EXPECTED = np.array([9.00013, 3.0696733])
MASK = np.array([True, False])


def test_scalar_and_batch():
    np.testing.assert_allclose(
        ops.softmax_cross_entropy(jnp.asarray(LOGITS[0]), jnp.array(1)), EXPECTED[0], atol=1e-4
    )
    found = ops.softmax_cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABELS))
    np.testing.assert_allclose(found, EXPECTED, atol=1e-4)
    theirs = optax.softmax_cross_entropy_with_integer_labels(LOGITS, LABELS)
    np.testing.assert_allclose(found, theirs, rtol=1e-12)
    one_hot = optax.softmax_cross_entropy(LOGITS, jax.nn.one_hot(LABELS, 3))
    np.testing.assert_allclose(found, one_hot, rtol=1e-6)


def test_gradients_with_and_without_mask():
    labels = jnp.asarray(LABELS)
    check_grads(lambda x: ops.softmax_cross_entropy(x, labels), (LOGITS,), order=2, modes=["rev"])
    ours = jax.grad(lambda x: ops.softmax_cross_entropy(x, labels, where=MASK).sum())
    theirs = jax.grad(
        lambda x: jnp.where(
            MASK, optax.softmax_cross_entropy_with_integer_labels(x, LABELS), 0
        ).sum()
    )
    np.testing.assert_allclose(ours(LOGITS), theirs(LOGITS), atol=1e-12)
    assert np.isfinite(ours(np.where(MASK[:, None], LOGITS, np.nan))).all()


def test_forbidden_classes():
    """As `optax.safe_softmax_cross_entropy`: -inf in logits, no NaN in value or gradient."""
    inf = np.inf
    logits = np.array([*LOGITS, [-inf, 0, 0], [-inf, 0, 0], [-inf, 0, -inf]])
    labels = np.array([1, 0, 1, 0, 1])
    expected = [*EXPECTED, 0.693147, inf, 0.0]
    found = ops.softmax_cross_entropy(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    theirs = optax.safe_softmax_cross_entropy(logits, jax.nn.one_hot(labels, 3))
    np.testing.assert_allclose(found, theirs, atol=1e-12)
    possible = np.isfinite(expected)
    grads = jax.grad(lambda x: ops.softmax_cross_entropy(x, jnp.asarray(labels[possible])).sum())(
        jnp.asarray(logits[possible])
    )
    assert np.isfinite(grads).all()


def test_any_leading_axes():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(4, 5, 6)), rng.integers(0, 6, (4, 5))
    found = ops.softmax_cross_entropy(jnp.asarray(logits), jnp.asarray(labels))
    theirs = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    np.testing.assert_allclose(found, theirs, rtol=1e-12)


def test_the_fused_head():
    """`linear_cross_entropy` is the head and the loss in one."""
    rng = np.random.default_rng(1)
    x, kernel, bias = (jnp.asarray(rng.normal(size=s)) for s in ((7, 4), (4, 6), (6,)))
    labels = jnp.asarray(rng.integers(0, 6, 7))
    theirs = lambda *head: optax.softmax_cross_entropy_with_integer_labels(
        head[0] @ head[1] + head[2][None], labels
    )
    ours = lambda *head: ops.linear_cross_entropy(*head, labels)
    np.testing.assert_allclose(ours(x, kernel, bias), theirs(x, kernel, bias), rtol=1e-12)
    gradients = [
        jax.grad(loss, argnums=(0, 1, 2))(x, kernel, bias)
        for loss in (lambda *head: ours(*head).sum(), lambda *head: theirs(*head).sum())
    ]
    for found, expected in zip(*gradients):
        np.testing.assert_allclose(found, expected, atol=1e-12)
