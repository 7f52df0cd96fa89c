"""Numbers of any size as a whole number of nats and a fraction: what sums over trees are kept as.

In the logarithms of sums over trees the scores of all parts add up, up to a million nats where
scores are of 1e4, and float32 would leave nothing of the differences that decide a choice. So every
number is held as `Nats`: a whole number, whose sums and differences are exact, and a fraction of at
most a half. A difference of such sums is as right as if the sums were small.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rntn_jax.ops.logspace import finite_max, safe_log

__all__ = ["Nats", "largest", "log_sum", "log_sum_and_shares", "rank_pairs", "to_nats"]


class Nats(NamedTuple):
    """A score as ``whole + fraction``: ``whole`` is exact up to 1.6e7 nats in float32."""

    whole: jax.Array  # integral, -inf where forbidden; its derivative is 0
    fraction: jax.Array  # within +-0.5, 0 where forbidden; carries the derivative

    @property
    def value(self) -> jax.Array:
        """Both together."""
        return self.whole + self.fraction


def to_nats(x: jax.Array, whole: jax.Array | float = 0.0) -> Nats:
    """``whole + x`` as `Nats`; NaN stays NaN.

    Args:
        x: nats.
        whole: a whole number of nats besides.

    Returns:
        `Nats` of the shape of both.
    """
    nearest = jnp.round(x)
    total = whole + nearest
    return Nats(total, jnp.where(total == -jnp.inf, 0, x - nearest))


def log_sum(x: Nats, axis: int = 0) -> Nats:
    """``ln sum exp(x)`` along an axis; ``-inf`` where everything is, there without a gradient.

    Args:
        x: the summands.
        axis: that goes.

    Returns:
        `Nats` without that axis.
    """
    return log_sum_and_shares(x, axis)[0]


def log_sum_and_shares(x: Nats, axis: int = 0) -> tuple[Nats, jax.Array]:
    """`log_sum`, and the share of each summand in the sum.

    Args:
        x: the summands.
        axis: along which they are.

    Returns:
        `Nats` without that axis, and shares of the shape of the summands; 0 where there is none.
    """
    top = finite_max(x.whole, axis)
    near = jnp.exp((x.whole - top) + x.fraction)
    total = near.sum(axis=axis, keepdims=True)
    found = to_nats(safe_log(total), top)
    shares = near / jnp.where(total == 0, 1, total)
    return Nats(*(part.squeeze(axis) for part in found)), shares


def largest(x: Nats, k: int, axis: int = 0) -> tuple[Nats, jax.Array]:
    """The ``k`` largest along an axis, largest first; of equal ones the first.

    Args:
        x: summands, at least one.
        k: how many; what is missing is ``-inf``.
        axis: along which they are; it has the size ``k`` then.

    Returns:
        `Nats`, and where they stood, int32.
    """
    top, count = finite_max(x.whole, axis), x.whole.shape[axis]
    near = (x.whole - top) + x.fraction
    if k == 1:  # two reductions that XLA vectorizes, which it does not with argmax
        value = near.max(axis=axis, keepdims=True)
        place = lax.broadcasted_iota(jnp.int32, near.shape, axis % near.ndim)
        at = jnp.where(near == value, place, count - 1).min(axis=axis, keepdims=True)
        return to_nats(value, top), at
    missing = max(k - count, 0)
    near = jnp.moveaxis(near, axis, -1)
    if missing:
        near = jnp.pad(near, (*((0, 0),) * (near.ndim - 1), (0, missing)), constant_values=-jnp.inf)
    at = jnp.moveaxis(lax.top_k(near, k)[1].astype(jnp.int32), -1, axis)
    at = jnp.minimum(at, count - 1)
    whole, fraction = (jnp.take_along_axis(y, at, axis=axis) for y in x)
    if missing:
        there = lax.broadcasted_iota(jnp.int32, at.shape, axis % at.ndim) < k - missing
        whole = jnp.where(there, whole, -jnp.inf)
    return to_nats(fraction, whole), at


def rank_pairs(k: int, second: int | None = None) -> np.ndarray:
    """Ranks in two sorted lists, of which the sums can be among the ``k`` largest.

    Args:
        k: how many sums are asked for, and how long the first list is.
        second: how long the second one is; ``k`` by default.

    Returns:
        ``[pairs, 2]``, about ``k ln k`` of them.

    Example:
        >>> rank_pairs(3).tolist()
        [[0, 0], [0, 1], [0, 2], [1, 0], [2, 0]]
    """
    second = k if second is None else second
    return np.array([(a, b) for a in range(k) for b in range(second) if (a + 1) * (b + 1) <= k])
