"""Chains whose steps share their edge scores: the recursion in probabilities, as matrix products.

With ``E = exp(A)``, and ``w_t`` proportional to ``exp(u_t)``, the recursion of
`rntn_jax.crf.chain.forward` reads::

    q_t = p_{t-1} @ E        p_t = q_t * w_t / s_t        s_t = sum_j q_t[j] w_t[j]
    ln Z = sum_t ln s_t + constant

and, with ``b_T = 1``, the way back::

    v_t = b_t * w_t / s_t        b_{t-1} = v_t @ E.T

so that ``p_t * b_t`` are the marginals of nodes and ``p_{t-1}[i] E[i, j] v_t[j]`` those of edges.
States are kept as ``n_t = q_t * w_t``, and divided by their sums ``s_t`` one step later: fewer
operations wait for each other.

A floating point product loses terms below ``exp(-87)``, which matters when some label can be
entered by such terms only. Nothing that counts can get lost, whatever the node scores, when no
column of ``A`` has a range wider than `MAX_LOG_RANGE`. Otherwise labels that cannot be reached are
taken out, and each other label must have been entered by at least `MIN_PROB`; where that
fails, all is done again in logarithms.
"""

from __future__ import annotations

from typing import NamedTuple

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
from rntn_jax.ops.logspace import MIN_PROB, einsum, matmul, normalize, safe_log, subtract_max

__all__ = ["MAX_LOG_RANGE", "Run", "log_partition", "row_marginals", "run"]

MAX_LOG_RANGE = 35.0  # nats


class _Prepared(NamedTuple):
    """Scores without what all labels, and all ways into a label, have in common."""

    u: jax.Array  # [T, B, C], largest 0
    taken: jax.Array  # [T, B], what was taken off
    edge: jax.Array  # [C, C], largest of each column 0
    here: jax.Array  # bool [T, B]
    inner: jax.Array  # bool [T, B]: an edge leads here


class Run(NamedTuple):
    """What the way back needs of the way forward."""

    states: jax.Array  # [T, B, C]: n_t, or normalised logarithms; where masked, those before
    w: jax.Array  # [T, B, C]
    products: jax.Array  # bool []: the states are no logarithms


def _prepare(node, edge, mask) -> _Prepared:
    dtype = accumulator(node, edge)
    here, inner = mask.T, has_edge(mask).T
    # The largest first: a column's largest added to scores of 10,000 would cost four digits.
    u, taken = subtract_max(masked(node, mask).astype(dtype).swapaxes(0, 1))
    columns, best = subtract_max(edge.astype(dtype).T)
    u, more = subtract_max(u + jnp.where(inner[..., None], best[None, None], 0))
    return _Prepared(u, taken + more, columns.T, here, inner)


def _reachable_only(prepared: _Prepared) -> _Prepared:
    """Labels that cannot be reached forbidden."""
    u, taken, edge, here, inner = prepared
    possible = (edge > -jnp.inf).astype(edge.dtype)

    def step(reached, inputs):
        u, here, inner = inputs
        entering = matmul(reached.astype(edge.dtype), possible) > 0
        now = (entering | ~inner[:, None]) & (u > -jnp.inf)
        reached = jnp.where(here[:, None], now, reached)
        return reached, reached

    _, reached = lax.scan(step, jnp.ones(u.shape[1:], bool), (u, here, inner))
    u, more = subtract_max(jnp.where(reached, u, -jnp.inf))
    return prepared._replace(u=u, taken=taken + more)


def _product_steps(w, e, here, inner):
    """States ``n_t [T, B, C]``."""

    def step(before, inputs):
        w, here, inner = inputs
        q = over_sums(matmul(before, e), before)
        n = jnp.where(here[:, None], w * jnp.where(inner[:, None], q, 1), before)
        return n, n

    return lax.scan(step, jnp.ones_like(w[0]), (w, here, inner))[1]


def _lost(prepared: _Prepared, e, states):
    """Whether a label that can be reached was entered by too little."""
    before = jnp.concatenate([jnp.ones_like(states[:1]), states[:-1]])
    q = over_sums(matmul(before, e), before)
    counts = prepared.inner[..., None] & (prepared.u > -jnp.inf)
    return (counts & (q < MIN_PROB)).any()


def _log_steps(prepared: _Prepared):
    """The recursion in logarithms: states and what they were normalised by."""
    u, _, edge, here, inner = prepared

    def step(a, inputs):
        a, _, top = advance(a, log_sum(a, edge[None]), *inputs)
        return a, (a, top)

    return lax.scan(step, jnp.zeros(u.shape[1:], u.dtype), (u, here, inner))[1]


def run(node: jax.Array, edge: jax.Array, mask: jax.Array) -> tuple[jax.Array, Run]:
    """``ln Z [B]``, and what the way back needs."""
    prepared = _prepare(node, edge, mask)
    here, e = prepared.here, jnp.exp(prepared.edge)

    def total(parts):
        return jnp.where(here, parts, 0).sum(axis=0)

    def products(prepared):
        w = weights(prepared.u)
        n = _product_steps(w, e, here, prepared.inner)
        return total(prepared.taken + safe_log(n.sum(axis=-1) / SCALE)), Run(
            n, w, jnp.ones((), bool)
        )

    def logs(prepared, other):
        states, tops = _log_steps(prepared)
        nats = ending(states, prepared.taken + tops, here)
        return nats, Run(states, other[1].w, jnp.zeros((), bool))

    def checked(prepared):
        prepared = _reachable_only(prepared)
        out = products(prepared)
        lost = _lost(prepared, e, out[1].states)
        return lax.cond(lost, logs, lambda _, out: out, prepared, out)

    safe = (prepared.edge >= -MAX_LOG_RANGE).all()
    return lax.cond(safe, products, checked, prepared)


@jax.custom_vjp
def log_partition(node: jax.Array, edge: jax.Array, mask: jax.Array) -> jax.Array:
    """``ln Z [B]``. Gradient: the marginals; arguments as in `forward.log_partition`."""
    return run(node, edge, mask)[0]


class _Residuals(NamedTuple):
    node: jax.Array  # [B, T, C]
    edge: jax.Array  # [C, C]
    mask: jax.Array  # [B, T]
    run: Run


def _fwd(node, edge, mask):
    total, ran = run(node, edge, mask)
    return total, _Residuals(node, edge, mask, ran)


def _bwd(res: _Residuals, ct):
    d_node, d_edge = _marginals(res, ct.astype(res.run.w.dtype))
    return *cast_like((d_node, d_edge), (res.node, res.edge)), None


log_partition.defvjp(_fwd, _bwd)


def row_marginals(node: jax.Array, edge: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Marginals of nodes ``[B, T, C]``, and of edges, summed over time ``[B, C, C]``."""
    return _marginals(_Residuals(node, edge, mask, run(node, edge, mask)[1]), None)


def _marginals(res: _Residuals, ct):
    """Marginals times ``ct [B]``, those of edges summed ``[C, C]``; without it ``[B, C, C]``."""
    states, w, products = res.run
    here, inner = res.mask.T, has_edge(res.mask).T
    columns, _ = subtract_max(res.edge.astype(w.dtype).T)
    edge = columns.T
    scale = jnp.ones(len(res.mask), w.dtype) if ct is None else ct

    def by_products():
        e, r = jnp.exp(edge), over_sums(1.0, states)
        x = jnp.where(here[..., None] & (states > 0), w * r, 0)

        def step(b, inputs):
            x, inner = inputs
            return jnp.where(inner[:, None], matmul(x * b, e.T), b), b

        _, b = lax.scan(step, jnp.ones_like(x[0]), (x, inner), reverse=True)
        g = states * b * r
        # Rounding errors of 100,000 steps add up: what should sum to 1 is divided by its sum.
        total = g.sum(axis=-1)
        factor = scale[None] / jnp.where(total == 0, 1, total)
        v = (x * b)[1:] * jnp.where(inner, factor, 0)[1:, :, None] * r[:-1]
        before = states[:-1]
        if ct is None:
            counts = e[None] * einsum("tbi,tbj->bij", before, v)
        else:  # as one product: quicker than a sum over two axes
            counts = e * einsum("ki,kj->ij", *(z.reshape(-1, len(e)) for z in (before, v)))
        return g * factor[..., None], counts

    def by_logs():
        before = jnp.concatenate([jnp.zeros_like(states[:1]), states[:-1]])

        def step(carry, inputs):
            g, counts = carry
            before, inner = inputs
            both = edge_posterior(before, edge[None], log_sum(before, edge[None]), g, inner)
            back = jnp.where(inner[:, None], normalize(both.sum(axis=2)), g)
            counts += both if ct is None else einsum("bij,b->ij", both, ct)
            return (back, counts), g

        last = normalize(jnp.exp(states[-1]))
        rows = () if ct is not None else (last.shape[0],)
        initial = last, jnp.zeros((*rows, *edge.shape), w.dtype)
        (_, counts), g = lax.scan(step, initial, (before, inner), reverse=True)
        return g * scale[None, :, None], counts

    g, counts = lax.cond(products, by_products, by_logs)
    return masked(g, here).swapaxes(0, 1), counts
