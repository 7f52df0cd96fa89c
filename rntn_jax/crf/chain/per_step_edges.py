"""Chains with edge scores of their own for every step.

The recursion, in logarithms and in probabilities, is that of `shared_edges` with ``A_t`` for ``A``
and ``E_t = exp(A_t - max A_t)`` for ``E``::

    a_t[j] = u_t[j] + ln sum_i exp(a_{t-1}[i] + A_t[i, j]) - m_t
    ln Z   = sum_t m_t + ln sum_j exp(a_T[j])

    q_t = p_{t-1} @ E_t        p_t = q_t * w_t / s_t        s_t = sum_j q_t[j] w_t[j]
    v_t = b_t * w_t / s_t      b_{t-1} = v_t @ E_t.T

with the marginals ``p_t * b_t`` of nodes and ``p_{t-1}[i] E_t[i, j] v_t[j]`` of edges. Labels must
have been entered by at least `MIN_PROB`, or all is done again in logarithms.

Source: 004, P_s, L and the model marginals theorem; the recursion is not in the source.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.chain._steps import (
    SCALE,
    divide_by_sum,
    edge_into,
    edge_posterior,
    forward_step,
    has_edge,
    log_matmul,
    log_z,
    scaled_exp,
)
from rntn_jax.ops import accumulator, cast_like, masked
from rntn_jax.ops.logspace import (
    MIN_PROB,
    einsum,
    finite_max,
    long_sum,
    normalize,
    safe_log,
    subtract_max,
)
from rntn_jax.ops.varying import vary_like

__all__ = ["Run", "log_partition", "reference", "row_marginals", "run"]


def reference(node: jax.Array, edge: jax.Array, mask: jax.Array) -> jax.Array:
    """``ln Z [B]`` by the recursion in logarithms, time-major, as autodiff likes it.

    Args:
        node, edge, mask: as `log_partition` takes them.

    Returns:
        ``[B]`` nats in at least float32; ``-inf`` where every labelling is forbidden, 0 for a row
        without positions.
    """
    dtype = accumulator(node, edge)
    mask, entered = mask.T, has_edge(mask).T
    u, of_nodes = subtract_max(masked(node, mask.T).astype(dtype).swapaxes(0, 1))
    edge = masked(edge.astype(dtype).swapaxes(0, 1), entered[1:])

    def step(a, inputs):
        u, edge, mask, entered = inputs
        a, _, subtracted = forward_step(a, log_matmul(a, edge), u, mask, entered)
        return a, (a, subtracted)

    _, (states, subtracted) = lax.scan(step, u[0], (u[1:], edge, mask[1:], entered[1:]))
    states = jnp.concatenate([u[:1], states])
    subtracted = jnp.concatenate([jnp.zeros_like(of_nodes[:1]), subtracted])
    return log_z(states, subtracted + of_nodes, mask)


class Run(NamedTuple):
    """What the backward pass needs of the forward pass."""

    e: jax.Array  # [B, T-1, C, C]: E_t; where masked, 1
    states: jax.Array  # [T, B, C]: n_t, or normalised logarithms; where masked, those before
    entering: jax.Array  # [T, B, C]: w_t, or what logarithms are entered by
    products: jax.Array  # bool []: the states are no logarithms


def _product_steps(w, e, mask, entered) -> jax.Array:
    """States ``n_t [T, B, C]``."""

    def step(before, inputs):
        t, w, mask, entered = inputs
        q = divide_by_sum(einsum("bi,bij->bj", before, edge_into(e, t)), before)
        n = jnp.where(mask[:, None], w * jnp.where(entered[:, None], q, 1), before)
        return n, n

    return lax.scan(step, jnp.ones_like(w[0]), (jnp.arange(len(w)), w, mask, entered))[1]


def _relative(edge, t, dtype) -> jax.Array:
    """``A_t - max A_t``, read where it lies."""
    now = edge_into(edge, t).astype(dtype)
    return now - finite_max(now, (1, 2))


def _log_steps(u, edge, mask, entered) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The recursion in logarithms: states, what they are entered by, what was subtracted."""

    def step(a, inputs):
        t, *rest = inputs
        entering = log_matmul(a, _relative(edge, t, u.dtype))
        a, entering, subtracted = forward_step(a, entering, *rest)
        return a, (a, entering, subtracted)

    return lax.scan(step, jnp.zeros_like(u[0]), (jnp.arange(len(u)), u, mask, entered))[1]


def run(node: jax.Array, edge: jax.Array, mask: jax.Array) -> tuple[jax.Array, Run]:
    """``ln Z``, and what the backward pass needs.

    Args:
        node, edge, mask: as `log_partition` takes them.

    Returns:
        ``[B]`` nats, and a `Run`.
    """
    dtype = accumulator(node, edge)
    mask, entered = mask.T, has_edge(mask).T
    u, of_nodes = subtract_max(masked(node, mask.T).astype(dtype).swapaxes(0, 1))
    real = masked(edge, entered[1:].T)  # here, and not later: else 0 times NaN in second order
    of_edges = finite_max(real, (2, 3), False).astype(dtype)
    e = jnp.exp(real.astype(dtype) - of_edges[:, :, None, None])
    w = scaled_exp(u)
    states = _product_steps(w, e, mask, entered)
    lost = (entered[..., None] & (w > 0) & ~(states >= MIN_PROB * w)).any()

    def products(states):
        parts = safe_log(states.sum(axis=-1) / SCALE) + of_nodes
        return long_sum(jnp.where(mask, parts, 0)), states, w

    def logs(_):
        states, entering, subtracted = _log_steps(u, edge, mask, entered)
        return log_z(states, subtracted + of_nodes, mask), states, entering

    total, states, entering = lax.cond(lost, logs, products, states)
    return total + long_sum(of_edges.T), Run(e, states, entering, ~lost)


@jax.custom_vjp
def log_partition(node: jax.Array, edge: jax.Array, mask: jax.Array) -> jax.Array:
    """``ln Z [B]``. Gradient: the marginals.

    Residuals: the arguments, twice the size of ``node`` and that of ``edge``.

    Args:
        node: float ``[B, T, C]``, T at least 2.
        edge: float ``[B, T-1, C, C]``.
        mask: bool ``[B, T]``.

    Returns:
        ``[B]`` nats in at least float32; ``-inf`` where every labelling is forbidden, 0 for a row
        without positions.
    """
    return run(node, edge, mask)[0]


class _Residuals(NamedTuple):
    node: jax.Array  # [B, T, C]
    edge: jax.Array  # [B, T-1, C, C]
    mask: jax.Array  # [B, T]
    run: Run


def _fwd(node, edge, mask) -> tuple[jax.Array, _Residuals]:
    total, ran = run(node, edge, mask)
    return total, _Residuals(node, edge, mask, ran)


def _bwd(res: _Residuals, ct) -> tuple[jax.Array, jax.Array, None]:
    d_node, d_edge = _marginals(res, ct)
    return *cast_like((d_node, d_edge), (res.node, res.edge)), None


log_partition.defvjp(_fwd, _bwd)


def row_marginals(node: jax.Array, edge: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Marginals of nodes and edges of each row.

    Args:
        node, edge, mask: as `log_partition` takes them.

    Returns:
        ``[B, T, C]`` and ``[B, T-1, C, C]``, in at least float32; 0 where masked.
    """
    dtype = accumulator(node, edge)
    parts = vary_like((node.astype(dtype), edge.astype(dtype)), mask)
    total, pull = jax.vjp(lambda n, e: log_partition(n, e, mask), *parts)
    return pull(jnp.ones_like(total))


def _by_products(res: _Residuals, ct) -> tuple[jax.Array, jax.Array]:
    """Marginals times ``ct [B]``: of nodes, time first, and of edges."""
    e, states, w, _ = res.run
    mask, entered = res.mask.T, has_edge(res.mask).T
    r = divide_by_sum(1.0, states)
    x = jnp.where(mask[..., None] & (states != 0), w * r, 0)

    def step(b, inputs):
        t, x, entered = inputs
        back = einsum("bij,bj->bi", edge_into(e, t), x * b)
        return jnp.where(entered[:, None], back, b), b

    inputs = jnp.arange(len(x)), x, entered
    _, b = lax.scan(step, jnp.ones_like(x[0]), inputs, reverse=True)
    g = states * b * r
    factor = ct[None] * divide_by_sum(1.0, g)[..., 0]
    v = (x * b)[1:] * jnp.where(entered, factor, 0)[1:, :, None]
    before = (states * r)[:-1].swapaxes(0, 1)[:, :, :, None]
    d_edge = masked(before * e * v.swapaxes(0, 1)[:, :, None, :], entered[1:].T)
    return g * factor[..., None], d_edge.astype(res.edge.dtype)


def _by_logs(res: _Residuals, ct) -> tuple[jax.Array, jax.Array]:
    """The same; every step's edge marginals are written where they belong."""
    _, states, entering, _ = res.run
    entered = has_edge(res.mask).T
    last = normalize(jnp.exp(states[-1]))

    def step(carry, inputs):
        g, d_edge = carry
        t, before, entering, entered = inputs
        both = edge_posterior(before, _relative(res.edge, t + 1, g.dtype), entering, g, entered)
        back = jnp.where(entered[:, None], normalize(both.sum(axis=2)), g)
        now = (both * ct[:, None, None]).astype(d_edge.dtype)
        return (back, lax.dynamic_update_index_in_dim(d_edge, now, t, axis=1)), g

    steps = jnp.arange(res.edge.shape[1]), states[:-1], entering[1:], entered[1:]
    (first, d_edge), g = lax.scan(step, (last, jnp.zeros_like(res.edge)), steps, reverse=True)
    return jnp.concatenate([first[None], g]) * ct[None, :, None], d_edge


def _marginals_fast(res: _Residuals, ct) -> tuple[jax.Array, jax.Array]:
    ct = ct.astype(res.run.states.dtype)
    out = _by_products(res, ct)
    g, d_edge = lax.cond(res.run.products, lambda out: out, lambda _: _by_logs(res, ct), out)
    return masked(g, res.mask.T).swapaxes(0, 1), d_edge


_marginals = jax.custom_vjp(_marginals_fast)


def _marginals_fwd(res: _Residuals, ct) -> tuple[Any, tuple[_Residuals, jax.Array]]:
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
