"""Sums of exponentials without overflow, and products in full precision: what every sweep needs.

``-inf`` stands for what is forbidden: it is taken off as 0, so that nothing becomes NaN that was
not NaN before; NaN stays NaN.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

__all__ = [
    "MIN_PROB",
    "einsum",
    "finite_max",
    "logsumexp",
    "matmul",
    "normalize",
    "safe_log",
    "subtract_max",
]

MIN_PROB = 1e-30  # what float32 products of probabilities may go down to and still be right

Axes = int | tuple[int, ...] | None


def finite_max(x: jax.Array, axis: Axes = -1, keepdims: bool = True) -> jax.Array:
    """The largest entry along some axes, 0 where all are ``-inf`` or there are none.

    Example:
        >>> finite_max(jnp.array([[1.0, 2.0], [-jnp.inf, -jnp.inf]])).tolist()
        [[2.0], [0.0]]
    """
    top = x.max(axis=axis, keepdims=keepdims, initial=-jnp.inf)
    return jnp.where(top == -jnp.inf, 0, top)


def subtract_max(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``x`` minus its largest entry along the last axis, and that entry (0 where it is ``-inf``).

    Example:
        >>> [y.tolist() for y in subtract_max(jnp.array([[1.0, 3.0]]))]
        [[[-2.0, 0.0]], [3.0]]
    """
    top = finite_max(x)
    return x - top, top[..., 0]


def safe_log(x: jax.Array) -> jax.Array:
    """``ln x``, and ``-inf`` at 0, there without a gradient."""
    return jnp.where(x == 0, -jnp.inf, jnp.log(jnp.where(x == 0, 1, x)))


def logsumexp(x: jax.Array, axis: Axes = -1) -> jax.Array:
    """``ln sum exp(x)`` along some axes, ``-inf`` where everything is, there without a gradient.

    Example:
        >>> logsumexp(jnp.array([[0.0, 0.0], [-jnp.inf, -jnp.inf]])).round(4).tolist()
        [0.6930999755859375, -inf]
    """
    top = finite_max(x, axis)
    return safe_log(jnp.exp(x - top).sum(axis=axis)) + top.squeeze(axis)


def normalize(p: jax.Array) -> jax.Array:
    """``p`` divided by its sum along the last axis; zeros stay."""
    total = p.sum(axis=-1, keepdims=True)
    return p / jnp.where(total == 0, 1, total)


def matmul(x: jax.Array, y: jax.Array) -> jax.Array:
    """The product in full precision, which TPUs and GPUs do not give unasked."""
    return jnp.matmul(x, y, precision=lax.Precision.HIGHEST)


def einsum(subscripts: str, *operands: Any) -> jax.Array:
    """`jax.numpy.einsum` in full precision."""
    return jnp.einsum(subscripts, *operands, precision=lax.Precision.HIGHEST)
