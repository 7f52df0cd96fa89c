"""Pieces of the recursions on chains, in logarithms (``a``, the largest 0) and in products.

Products are good when every label that can be reached is entered by at least `MIN_PROB`, of
states that sum to 1, the exponentials of edge scores being at most 1. For states are held `SCALE`
times as large: what is below ``exp(-87)`` and gets lost is 1e-38 of that mass at most before the
next step, and 1e-8 after it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops.logspace import finite_max, logsumexp, long_sum

__all__ = [
    "SCALE",
    "divide_by_sum",
    "edge_into",
    "edge_posterior",
    "forward_step",
    "has_edge",
    "log_matmul",
    "log_z",
    "scaled_exp",
]

SCALE = 2.0**100


def has_edge(mask: jax.Array) -> jax.Array:
    """``[B, T]``: real positions but the first of each row: those that an edge leads to."""
    at = jnp.arange(mask.shape[1])[None]
    first = jnp.where(mask, at, mask.shape[1]).min(axis=1, keepdims=True, initial=mask.shape[1])
    return mask & (at > first)


def edge_into(edge: jax.Array, t: jax.Array) -> jax.Array:
    """Scores ``[B or 1, C, C]`` of the edges into position ``t``; at 0, where none is, any.

    Args:
        edge: ``[C, C]``, of all steps, or ``[B, T-1, C, C]``.
        t: a position, int ``[]``.

    Returns:
        ``[1, C, C]`` or ``[B, C, C]``, in the dtype of ``edge``.
    """
    if edge.ndim == 2:
        return edge[None]
    return lax.dynamic_index_in_dim(edge, jnp.maximum(t - 1, 0), axis=1, keepdims=False)


def log_matmul(a: jax.Array, edge: jax.Array) -> jax.Array:
    """``ln sum_i exp(a[.., i] + edge[.., i, j])`` over ``[B, C, C]``, whatever their range.

    Args:
        a: ``[B, C]``, logarithms.
        edge: ``[B or 1, C, C]`` nats.

    Returns:
        ``[B, C]`` nats.
    """
    return logsumexp(a[:, :, None] + edge, axis=1)


def forward_step(
    a: jax.Array, entering: jax.Array, u: jax.Array, mask: jax.Array, has_edge: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The next state, what it is entered by, and what was subtracted from it (``-inf`` as it is).

    Args:
        a: ``[B, C]``, the state before.
        entering: ``[B, C]``, what the edges bring: `log_matmul`.
        u: ``[B, C]``, node scores.
        mask: ``[B]``; elsewhere the state stays.
        has_edge: ``[B]``; elsewhere nothing is brought.

    Returns:
        The state ``[B, C]``, its largest entry 0; what entered ``[B, C]``; what was subtracted
        ``[B]``, 0 where masked.
    """
    entering = jnp.where(has_edge[:, None], entering, 0)
    n = entering + u
    new = n - finite_max(n)
    return jnp.where(mask[:, None], new, a), entering, jnp.where(mask, n.max(axis=-1), 0)


def log_z(states: jax.Array, subtracted: jax.Array, mask: jax.Array) -> jax.Array:
    """``ln Z [B]``: the parts subtracted ``[T, B]``, and what the last state sums to.

    Args:
        states: ``[T, B, C]``, logarithms; where masked, the state before.
        subtracted: ``[T, B]`` nats.
        mask: bool ``[T, B]``.

    Returns:
        ``[B]`` nats; 0 for a row without positions.
    """
    rest = jnp.where(mask.any(axis=0), logsumexp(states[-1]), 0)
    return long_sum(jnp.where(mask, subtracted, 0)) + rest


def scaled_exp(u: jax.Array) -> jax.Array:
    """``w = SCALE exp(u)``, of scores of at most 0, down to ``exp(-174)``."""
    root = jnp.exp(u / 2)
    return root * SCALE * root


@jax.custom_jvp
def _quotient(x, y) -> jax.Array:
    """``x / y``; its derivative divides twice: the square of a small ``y`` would be 0."""
    return x / y


@_quotient.defjvp
def _quotient_jvp(primals, tangents) -> tuple[jax.Array, jax.Array]:
    (x, y), (dx, dy) = primals, tangents
    ratio = _quotient(x, y)
    return ratio, _quotient(dx - ratio * dy, y)


def divide_by_sum(x: jax.Array | float, states: jax.Array) -> jax.Array:
    """``x [.., 1 or C]`` divided by the sums of states ``[.., C]``, 0 counting 1.

    Args:
        x: ``[.., 1 or C]`` or a number.
        states: ``[.., C]``, not negative.

    Returns:
        The quotients, ``[.., 1 or C]``.
    """
    total = states.sum(axis=-1, keepdims=True)
    return _quotient(x, jnp.where(total == 0, 1, total))


def edge_posterior(
    before: jax.Array, edge: jax.Array, entering: jax.Array, g: jax.Array, has_edge: jax.Array
) -> jax.Array:
    """``w[i, j] g[j]``, ``[B, C, C]``: the probability of the labels i before and j here.

    Args:
        before: ``[B, C]``, logarithms: the state at the position before.
        edge: ``[B or 1, C, C]``, scores of the edges between.
        entering: ``[B, C]``, what the edges bring here: `log_matmul`.
        g: ``[B, C]``, marginals here.
        has_edge: bool ``[B]``; elsewhere 0.

    Returns:
        Joint probabilities ``[B, C, C]``.
    """
    entering = jnp.where(entering == -jnp.inf, 0, entering)  # of labels whose posterior is 0
    w = jnp.exp(before[:, :, None] + edge - entering[:, None, :])
    return jnp.where(has_edge[:, None, None], w * g[:, None, :], 0)
