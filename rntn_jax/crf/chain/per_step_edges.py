"""Chains with edge scores of their own for every step.

The recursion is that of `shared_edges`, with ``E_t = exp(A_t - max A_t)`` for ``E``. Labels must
have been entered by at least `MIN_PROB`, or all is done again in logarithms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.chain._steps import (
    SCALE,
    advance,
    edge_posterior,
    ending,
    has_edge,
    log_sum,
    over_sums,
    weights,
)
from rntn_jax.ops import accumulator, cast_like, masked
from rntn_jax.ops.logspace import MIN_PROB, einsum, normalize, safe_log, subtract_max

__all__ = ["Run", "log_partition", "reference", "row_marginals", "run"]


class Run(NamedTuple):
    """What the way back needs of the way forward."""

    e: jax.Array  # [B, T-1, C, C]: E_t; where masked, anything
    states: jax.Array  # [T, B, C]: n_t, or normalised logarithms; where masked, those before
    entering: jax.Array  # [T, B, C]: w_t, or what logarithms are entered by
    products: jax.Array  # bool []: the states are no logarithms


def _product_steps(w, e, here, inner):
    """States ``n_t [T, B, C]``."""

    def step(before, inputs):
        t, w, here, inner = inputs
        now = lax.dynamic_index_in_dim(e, jnp.maximum(t - 1, 0), axis=1, keepdims=False)
        q = over_sums(einsum("bi,bij->bj", before, now), before)
        n = jnp.where(here[:, None], w * jnp.where(inner[:, None], q, 1), before)
        return n, n

    return lax.scan(step, jnp.ones_like(w[0]), (jnp.arange(len(w)), w, here, inner))[1]


def _log_steps(u, edge, here, inner):
    """The recursion in logarithms, reading the edge scores where they lie."""

    def step(a, inputs):
        t, u, here, inner = inputs
        now = lax.dynamic_index_in_dim(edge, jnp.maximum(t - 1, 0), axis=1, keepdims=False)
        a, entering, top = advance(a, log_sum(a, now.astype(u.dtype)), u, here, inner)
        return a, (a, entering, top)

    return lax.scan(step, jnp.zeros_like(u[0]), (jnp.arange(len(u)), u, here, inner))[1]


def run(node: jax.Array, edge: jax.Array, mask: jax.Array) -> tuple[jax.Array, Run]:
    """``ln Z [B]``, and what the way back needs."""
    dtype = accumulator(node, edge)
    here, inner = mask.T, has_edge(mask).T
    u, taken = subtract_max(masked(node, mask).astype(dtype).swapaxes(0, 1))
    off = edge.max(axis=(2, 3)).astype(dtype)
    off = jnp.where(inner[1:].T & (off > -jnp.inf), off, 0)
    e = jnp.exp(edge.astype(dtype) - off[:, :, None, None])
    w = weights(u)
    states = _product_steps(w, e, here, inner)
    lost = (inner[..., None] & (w > 0) & ~(states >= MIN_PROB * w)).any()

    def products(states):
        parts = safe_log(states.sum(axis=-1) / SCALE) + taken
        nats = jnp.where(here, parts, 0).sum(axis=0) + off.sum(axis=1)
        return nats, states, w

    def logs(_):
        states, entering, tops = _log_steps(u, edge, here, inner)
        return ending(states, tops + taken, here), states, entering

    total, states, entering = lax.cond(lost, logs, products, states)
    return total, Run(e, states, entering, ~lost)


def reference(node, edge, mask):
    """``ln Z`` by the recursion in logarithms, time-major, as autodiff likes it."""
    dtype = accumulator(node, edge)
    here, inner = mask.T, has_edge(mask).T
    u, taken = subtract_max(masked(node, mask).astype(dtype).swapaxes(0, 1))
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
    run: Run


def _fwd(node, edge, mask):
    total, ran = run(node, edge, mask)
    return total, _Residuals(node, edge, mask, ran)


def _bwd(res: _Residuals, ct):
    d_node, d_edge = _marginals(res, ct)
    return *cast_like((d_node, d_edge), (res.node, res.edge)), None


log_partition.defvjp(_fwd, _bwd)


def _by_products(res: _Residuals, ct):
    """Marginals times ``ct [B]``: of nodes, time first, and of edges."""
    e, states, w, _ = res.run
    here, inner = res.mask.T, has_edge(res.mask).T
    r = over_sums(1.0, states)
    x = jnp.where(here[..., None] & (states > 0), w * r, 0)

    def step(b, inputs):
        t, x, inner = inputs
        now = lax.dynamic_index_in_dim(e, jnp.maximum(t - 1, 0), axis=1, keepdims=False)
        return jnp.where(inner[:, None], einsum("bij,bj->bi", now, x * b), b), b

    inputs = jnp.arange(len(x)), x, inner
    _, b = lax.scan(step, jnp.ones_like(x[0]), inputs, reverse=True)
    g = states * b * r
    factor = ct[None] * over_sums(1.0, g)[..., 0]
    v = (x * b)[1:] * jnp.where(inner, factor, 0)[1:, :, None]
    before = (states * r)[:-1].swapaxes(0, 1)[:, :, :, None]
    of_edges = masked(before * e * v.swapaxes(0, 1)[:, :, None, :], inner[1:].T)
    return g * factor[..., None], of_edges.astype(res.edge.dtype)


def _by_logs(res: _Residuals, ct):
    """The same; every step's edge marginals are written where they belong."""
    _, states, entering, _ = res.run
    inner = has_edge(res.mask).T
    last = normalize(jnp.exp(states[-1]))

    def step(carry, inputs):
        g, d_edge = carry
        t, before, entering, inner = inputs
        edge = lax.dynamic_index_in_dim(res.edge, t, axis=1, keepdims=False).astype(g.dtype)
        both = edge_posterior(before, edge, entering, g, inner)
        back = jnp.where(inner[:, None], normalize(both.sum(axis=2)), g)
        now = (both * ct[:, None, None]).astype(d_edge.dtype)
        return (back, lax.dynamic_update_index_in_dim(d_edge, now, t, axis=1)), g

    steps = jnp.arange(res.edge.shape[1]), states[:-1], entering[1:], inner[1:]
    (first, d_edge), g = lax.scan(step, (last, jnp.zeros_like(res.edge)), steps, reverse=True)
    return jnp.concatenate([first[None], g]) * ct[None, :, None], d_edge


def _marginals_fast(res: _Residuals, ct):
    ct = ct.astype(res.run.states.dtype)
    g, d_edge = lax.cond(res.run.products, _by_products, _by_logs, res, ct)
    return masked(g, res.mask.T).swapaxes(0, 1), d_edge


_marginals = jax.custom_vjp(_marginals_fast)


def _marginals_fwd(res: _Residuals, ct):
    return _marginals_fast(res, ct), (res, ct)


def _marginals_bwd(res, cotangents) -> Any:
    """Second order: the plain recursion differentiated twice."""
    res, ct = res
    node, edge, mask, ran = res

    def gradient(node, edge, ct):
        return jax.vjp(lambda n, e: reference(n, e, mask), node, edge)[1](ct)

    cotangents = cast_like(cotangents, (node, edge))
    d_node, d_edge, d_ct = jax.vjp(gradient, node, edge, ct)[1](cotangents)
    nothing: Any = None
    of_run = jax.tree.map(jnp.zeros_like, ran)._replace(products=nothing)
    return _Residuals(d_node, d_edge, nothing, of_run), d_ct


_marginals.defvjp(_marginals_fwd, _marginals_bwd)


def row_marginals(node: jax.Array, edge: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Marginals of nodes ``[B, T, C]`` and of edges ``[B, T-1, C, C]``."""
    total, pull = jax.vjp(lambda n, e: log_partition(n, e, mask), node, edge)
    return pull(jnp.ones_like(total))
