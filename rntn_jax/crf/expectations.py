"""What all structures answer alike, whatever they sum over (source 004)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rntn_jax.ops import accumulator

__all__ = ["log_prob", "weighted_sum"]


def log_prob(own_score: jax.Array, log_z: jax.Array) -> jax.Array:
    """``s(y) - ln Z``, and ``-inf`` where ``y`` is forbidden, be there another structure or not.

    Args:
        own_score: scores of one structure each, ``-inf`` where it is forbidden.
        log_z: log-partitions, of the same shape.

    Returns:
        Nats, of the shape of both; NaN where ``log_z`` is.
    """
    forbidden = (own_score == -jnp.inf) & ~jnp.isnan(log_z)
    own_score = jnp.where(forbidden, 0, own_score)
    log_z = jnp.where(log_z == -jnp.inf, 0, log_z)
    return jnp.where(forbidden, -jnp.inf, own_score - log_z)


def weighted_sum(p: jax.Array, values: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """``sum p v`` over some axes, in at least float32.

    What has probability 0 counts 0, whatever its value; ``-inf`` of positive probability makes the
    sum ``-inf``; NaN stays NaN.

    Args:
        p: probabilities.
        values: of a shape that broadcasts to that of ``p``.
        axes: to sum over.

    Returns:
        The shape of ``p`` without these axes.
    """
    dtype = accumulator(p, values)
    values = jnp.broadcast_to(values, p.shape).astype(dtype)
    forbidden = values == -jnp.inf
    total = (p * jnp.where(forbidden | (p == 0), 0, values)).sum(axes, dtype=dtype)
    return jnp.where((forbidden & (p > 0)).any(axes), -jnp.inf, total)
