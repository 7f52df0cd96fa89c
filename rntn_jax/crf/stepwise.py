"""Chains with edge scores of their own for every step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.recursion import (
    advance,
    edge_posterior,
    ending,
    entered,
    log_sum,
    normalised,
    without_largest,
)
from rntn_jax.ops import accumulator, cast_like, masked

__all__ = ["log_partition", "reference", "row_marginals", "run"]


def run(node, edge, mask):
    """In logarithms, reading the edge scores where they lie."""
    dtype = accumulator(node, edge)
    here, inner = mask.T, entered(mask).T
    u, taken = without_largest(masked(node, mask).astype(dtype).swapaxes(0, 1))

    def step(a, inputs):
        t, u, here, inner = inputs
        now = lax.dynamic_index_in_dim(edge, jnp.maximum(t - 1, 0), axis=1, keepdims=False)
        a, entering, top = advance(a, log_sum(a, now.astype(dtype)), u, here, inner)
        return a, (a, entering, top)

    inputs = jnp.arange(len(u)), u, here, inner
    _, (states, entering, tops) = lax.scan(step, jnp.zeros_like(u[0]), inputs)
    return ending(states, tops + taken, here), states, entering


def reference(node, edge, mask):
    """``ln Z`` by the recursion in logarithms, time-major, as autodiff likes it."""
    dtype = accumulator(node, edge)
    here, inner = mask.T, entered(mask).T
    u, taken = without_largest(masked(node, mask).astype(dtype).swapaxes(0, 1))
    edge = masked(edge.astype(dtype).swapaxes(0, 1), inner[1:])

    def step(a, inputs):
        u, edge, here, inner = inputs
        a, _, top = advance(a, log_sum(a, edge), u, here, inner)
        return a, (a, top)

    _, (states, tops) = lax.scan(step, u[0], (u[1:], edge, here[1:], inner[1:]))
    states = jnp.concatenate([u[:1], states])
    tops = jnp.concatenate([jnp.zeros_like(taken[:1]), tops])
    return ending(states, tops + taken, here)


def _total(node, edge, mask):
    return run(node, edge, mask)[0]


log_partition = jax.custom_vjp(_total)


class _Residuals(NamedTuple):
    node: jax.Array  # [B, T, C]
    edge: jax.Array  # [B, T-1, C, C]
    mask: jax.Array  # [B, T]
    states: jax.Array  # [T, B, C]
    entering: jax.Array  # [T, B, C]


def _fwd(node, edge, mask):
    total, states, entering = run(node, edge, mask)
    return total, _Residuals(node, edge, mask, states, entering)


def _bwd(res: _Residuals, ct):
    d_node, d_edge = _marginals(res, ct)
    return *cast_like((d_node, d_edge), (res.node, res.edge)), None


log_partition.defvjp(_fwd, _bwd)


def _marginals_fast(res: _Residuals, ct):
    """Marginals times ``ct [B]``; every step's edge marginals are written where they belong."""
    dtype = res.states.dtype
    here, inner = res.mask.T, entered(res.mask).T
    ct = ct.astype(dtype)
    last = normalised(jnp.exp(res.states[-1]))

    def step(carry, inputs):
        g, d_edge = carry
        t, before, entering, inner = inputs
        edge = lax.dynamic_index_in_dim(res.edge, t, axis=1, keepdims=False).astype(dtype)
        both = edge_posterior(before, edge, entering, g, inner)
        back = jnp.where(inner[:, None], normalised(both.sum(axis=2)), g)
        now = (both * ct[:, None, None]).astype(d_edge.dtype)
        return (back, lax.dynamic_update_index_in_dim(d_edge, now, t, axis=1)), g

    steps = jnp.arange(res.edge.shape[1]), res.states[:-1], res.entering[1:], inner[1:]
    (first, d_edge), g = lax.scan(step, (last, jnp.zeros_like(res.edge)), steps, reverse=True)
    g = jnp.concatenate([first[None], g])
    return masked(g * ct[None, :, None], here).swapaxes(0, 1), d_edge


_marginals = jax.custom_vjp(_marginals_fast)


def _marginals_fwd(res: _Residuals, ct):
    return _marginals_fast(res, ct), (res, ct)


def _marginals_bwd(res, cotangents) -> Any:
    """Second order: the plain recursion differentiated twice."""
    res, ct = res
    node, edge, mask, states, entering = res

    def gradient(node, edge, ct):
        return jax.vjp(lambda n, e: reference(n, e, mask), node, edge)[1](ct)

    cotangents = cast_like(cotangents, (node, edge))
    d_node, d_edge, d_ct = jax.vjp(gradient, node, edge, ct)[1](cotangents)
    of_states: Any = jnp.zeros_like(states), jnp.zeros_like(entering)
    no_mask: Any = None
    return _Residuals(d_node, d_edge, no_mask, *of_states), d_ct


_marginals.defvjp(_marginals_fwd, _marginals_bwd)


def row_marginals(node: jax.Array, edge: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Marginals of nodes ``[B, T, C]`` and of edges ``[B, T-1, C, C]``."""
    total, pull = jax.vjp(lambda n, e: log_partition(n, e, mask), node, edge)
    return pull(jnp.ones_like(total))
