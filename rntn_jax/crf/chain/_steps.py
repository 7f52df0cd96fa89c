"""Pieces of the recursions on chains, in logarithms (``a``, the largest 0) and in products.

Products are good when every label that can be reached is entered by at least `MIN_PROB`, of
states that sum to 1, the ways from label to label being at most 1. For states are held `SCALE`
times as large: what is below ``exp(-87)`` and gets lost is 1e-38 of that mass at most before the
next step, and 1e-8 after it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rntn_jax.ops.logspace import finite_max, logsumexp, safe_log

__all__ = [
    "SCALE",
    "advance",
    "edge_posterior",
    "ending",
    "has_edge",
    "log_sum",
    "log_total",
    "over_sums",
    "weights",
]

SCALE = 2.0**100


def has_edge(mask: jax.Array) -> jax.Array:
    """``[B, T]``: real positions but the first of each row: those that an edge leads to."""
    at = jnp.arange(mask.shape[1])[None]
    first = jnp.where(mask, at, mask.shape[1]).min(axis=1, keepdims=True, initial=mask.shape[1])
    return mask & (at > first)


def log_sum(a: jax.Array, edge: jax.Array) -> jax.Array:
    """``ln sum_i exp(a[.., i] + edge[.., i, j])`` over ``[B, C, C]``, without a range."""
    return logsumexp(a[:, :, None] + edge, axis=1)


def advance(a, entering, u, here, inner):
    """The next state, its entering mass, and what the normalisation took off, ``-inf`` included."""
    entering = jnp.where(inner[:, None], entering, 0)
    n = entering + u
    top = n.max(axis=-1)
    new = n - finite_max(n)
    return jnp.where(here[:, None], new, a), entering, jnp.where(here, top, 0)


def log_total(state: jax.Array) -> jax.Array:
    """``ln`` of what a state, normalised to at most 0, sums to."""
    return safe_log(jnp.exp(state).sum(axis=-1))


def ending(states, taken, here):
    """``ln Z``: the parts taken off, and what the last state sums to."""
    rest = jnp.where(here.any(axis=0), log_total(states[-1]), 0)
    return jnp.where(here, taken, 0).sum(axis=0) + rest


def weights(u: jax.Array) -> jax.Array:
    """``w = SCALE exp(u)``, of scores of at most 0, down to ``exp(-174)``."""
    root = jnp.exp(u / 2)
    return root * SCALE * root


@jax.custom_jvp
def _quotient(x, y):
    """``x / y``; its derivative divides twice: the square of a small ``y`` would be 0."""
    return x / y


@_quotient.defjvp
def _quotient_jvp(primals, tangents):
    (x, y), (dx, dy) = primals, tangents
    ratio = _quotient(x, y)
    return ratio, _quotient(dx - ratio * dy, y)


def over_sums(x: jax.Array | float, states: jax.Array) -> jax.Array:
    """``x [.., 1 or C]`` over the sums of states ``[.., C]``, 0 counting 1."""
    total = states.sum(axis=-1, keepdims=True)
    return _quotient(x, jnp.where(total == 0, 1, total))


def edge_posterior(before, edge, entering, g, inner):
    """``w[i, j] g[j]``, ``[B, C, C]``: the probability of the labels i before and j here."""
    entering = jnp.where(entering == -jnp.inf, 0, entering)  # of labels whose posterior is 0
    w = jnp.exp(before[:, :, None] + edge - entering[:, None, :])
    return jnp.where(inner[:, None, None], w * g[:, None, :], 0)
