"""Entropy and divergence of chains, carried along with the forward recursion.

A labelling is drawn from the last label back, so by the chain rule of entropy::

    w_t[i, j] = P(y_{t-1} = i | y_t = j)                     (see `shared_edges`)
    h_t[j]    = H(y_1 .. y_{t-1} | y_t = j) = sum_i w_t[i, j] (h_{t-1}[i] - ln w_t[i, j])
    H         = sum_j p_T[j] (h_T[j] - ln p_T[j])

and likewise with ``ln w_t - ln w'_t`` for ``-ln w_t``, the divergence from another chain. All
terms are at least 0 and of the size of the result, whatever that of the scores: ``ln Z - E[score]``
would be a difference of large sums. Of ``h_t`` its mean is subtracted at every step and summed
apart, as ``m_t`` is of ``a_t``. The gradient is autodiff's; steps are computed again for it.

Cost O(B T C^2); memory O(B T C) with the gradient, the edge scores aside.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.chain._steps import edge_into, forward_step, has_edge
from rntn_jax.ops import accumulator, masked
from rntn_jax.ops.logspace import (
    entropy_terms,
    finite_max,
    kl_terms,
    log_normalize,
    logsumexp,
    long_sum,
    subtract_max,
)

__all__ = ["entropy", "kl"]


def entropy(node: jax.Array, edge: jax.Array, mask: jax.Array) -> jax.Array:
    """Entropy of the labellings of each row, NaN where all are forbidden.

    Args:
        node: float ``[B, T, C]``, T at least 1.
        edge: float ``[C, C]`` or ``[B, T-1, C, C]``.
        mask: bool ``[B, T]``.

    Returns:
        ``[B]`` nats in at least float32.
    """
    u = _relative(node, mask, accumulator(node, edge))

    def step(carry, inputs):
        a, h = carry
        t, *rest = inputs
        log_w, a = _conditional(a, edge_into(edge, t), *rest)
        new = (jnp.exp(log_w) * h[:, :, None] + entropy_terms(log_w)).sum(axis=1)
        h, subtracted = _centred(a, jnp.where(rest[-1][:, None], new, h))
        return (a, h), subtracted

    (a, h), subtracted = _scan(step, (jnp.zeros_like(u[0]), jnp.zeros_like(u[0])), (u,), mask)
    log_p = log_normalize(a)
    total = (jnp.exp(log_p) * h + entropy_terms(log_p)).sum(axis=-1) + subtracted
    total = jnp.where(mask.any(axis=1), total, 0)
    return jnp.where(_impossible(a) & mask.any(axis=1), jnp.nan, total)


def kl(
    p: tuple[jax.Array, jax.Array], q: tuple[jax.Array, jax.Array], mask: jax.Array
) -> jax.Array:
    """``KL(p || q) [B]``, NaN where ``p`` forbids every labelling; ``inf`` where ``q`` forbids one
    that ``p`` does not.

    Args:
        p: node and edge scores as `entropy` has them.
        q: those of the other chain, of the same shapes.
        mask: bool ``[B, T]``.

    Returns:
        ``[B]`` nats in at least float32.
    """
    dtype = accumulator(*p, *q)
    u, v = (_relative(node, mask, dtype) for node, _ in (p, q))

    def step(carry, inputs):
        a, b, k, outside = carry
        t, u, v, *rest = inputs
        log_w, a = _conditional(a, edge_into(p[1], t), u, *rest)
        log_v, b = _conditional(b, edge_into(q[1], t), v, *rest)
        new = (jnp.exp(log_w) * k[:, :, None] + kl_terms(log_w, log_v)).sum(axis=1)
        possible = log_w > -jnp.inf
        now = (possible & (outside[:, :, None] | (log_v == -jnp.inf))).any(axis=1)
        entered = rest[-1][:, None]
        k, subtracted = _centred(a, jnp.where(entered, new, k))
        return (a, b, k, jnp.where(entered, now, outside)), subtracted

    nothing = jnp.zeros_like(u[0])
    initial = nothing, nothing, nothing, jnp.zeros_like(nothing, bool)
    (a, b, k, outside), subtracted = _scan(step, initial, (u, v), mask)
    log_p, log_q = log_normalize(a), log_normalize(b)
    total = (jnp.exp(log_p) * k + kl_terms(log_p, log_q)).sum(axis=-1) + subtracted
    outside = ((log_p > -jnp.inf) & (outside | (log_q == -jnp.inf))).any(axis=-1)
    total = jnp.where(outside & ~jnp.isnan(total), jnp.inf, total)
    total = jnp.where(mask.any(axis=1), total, 0)
    return jnp.where(_impossible(a) & mask.any(axis=1), jnp.nan, total)


def _relative(node, mask, dtype) -> jax.Array:
    """Node scores ``[T, B, C]``, the largest of each position 0."""
    return subtract_max(masked(node, mask).astype(dtype).swapaxes(0, 1))[0]


def _scan(step, initial, inputs, mask) -> tuple[Any, jax.Array]:
    """The last carry, and the sum of what was subtracted."""
    mask, entered = mask.T, has_edge(mask).T
    step = jax.checkpoint(step, prevent_cse=False)
    inputs = jnp.arange(len(mask)), *inputs, mask, entered
    carry, subtracted = lax.scan(step, initial, inputs)
    return carry, long_sum(subtracted)


def _conditional(a, edge, u, mask, entered) -> tuple[jax.Array, jax.Array]:
    """``ln w [B, C, C]`` and the next state; as much as possible is subtracted before sums."""
    edge = jnp.where(entered[:, None, None], edge.astype(a.dtype), 0)
    best = finite_max(edge, axis=1)
    z = a[:, :, None] + (edge - best)
    entering = logsumexp(z, axis=1)
    log_w = z - jnp.where(entering == -jnp.inf, 0, entering)[:, None]
    best, _ = subtract_max(best[:, 0])
    return log_w, forward_step(a, entering, subtract_max(u + best)[0], mask, entered)[0]


def _centred(a, h) -> tuple[jax.Array, jax.Array]:
    """``h`` minus its mean, and that mean: a constant, whatever it is the result is the same."""
    mean = lax.stop_gradient((jnp.exp(log_normalize(a)) * h).sum(axis=-1))
    return h - mean[:, None], mean


def _impossible(a) -> jax.Array:
    """Rows whose last state has no label."""
    return (a == -jnp.inf).all(axis=-1)
