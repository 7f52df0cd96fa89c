"""Chains with edge scores of their own for every step.

The recursion, in logarithms and in probabilities, is that of `shared_edges` with ``A_t`` for ``A``
and ``E_t = exp(A_t - max A_t)`` for ``E``::

    a_t[j] = u_t[j] + ln sum_i exp(a_{t-1}[i] + A_t[i, j]) - m_t
    ln Z   = sum_t m_t + ln sum_j exp(a_T[j])

    q_t = p_{t-1} @ E_t        p_t = q_t * w_t / s_t        s_t = sum_j q_t[j] w_t[j]
    v_t = b_t * w_t / s_t      b_{t-1} = v_t @ E_t.T

with the marginals ``p_t * b_t`` of nodes and ``p_{t-1}[i] E_t[i, j] v_t[j]`` of edges. Labels must
have been entered by at least `MIN_PROB`, or all is done again in logarithms.

The exponentials are made of some steps at a time, as many as stay in a processor's cache, and made
again on the way back: nothing of the size of the edge scores is kept but the gradient.

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

_BLOCK = 2**19  # exponentials at a time: 2 MB in float32


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
    """What the backward pass needs of the forward pass, beside the arguments."""

    states: jax.Array  # [T, B, C]: n_t, or normalised logarithms; where masked, those before
    entering: jax.Array  # [T, B, C]: w_t, or what logarithms are entered by
    products: jax.Array  # bool []: the states are no logarithms


def _in_blocks(block, carry, edge: jax.Array, reverse: bool = False) -> tuple[Any, Any]:
    """``carry, out = block(carry, start, count)`` over all steps of an edge, in blocks.

    What comes out of a block has an axis of its steps first, and is joined along it.
    """
    rows, steps, classes, _ = edge.shape
    if steps * rows * classes**2 <= 2 * _BLOCK:
        return block(carry, 0, steps)
    size = max(1, _BLOCK // (rows * classes**2))
    whole, rest = divmod(steps, size)
    body = lambda carry, i: block(carry, i * size, size)
    outs = []
    if rest and reverse:
        carry, out = block(carry, whole * size, rest)
        outs.append(out)
    carry, out = lax.scan(body, carry, jnp.arange(whole), reverse=reverse)
    outs.append(jax.tree.map(lambda x: x.reshape(whole * size, *x.shape[2:]), out))
    if rest and not reverse:
        carry, out = block(carry, whole * size, rest)
        outs.append(out)
    return carry, jax.tree.map(
        lambda *parts: jnp.concatenate(parts), *outs[:: -1 if reverse else 1]
    )


def _exponentials(edge, entered, start, count: int, dtype) -> tuple[jax.Array, jax.Array]:
    """``E_t [B, count, C, C]``, where masked 1, and the maxima ``[count, B]``."""
    now = lax.dynamic_slice_in_dim(edge, start, count, axis=1)
    # Masked here, and not later: else 0 times NaN in second order.
    real = masked(now, _after(entered, start, count).T).astype(dtype)
    largest = finite_max(real, (2, 3))
    return jnp.exp(real - largest), largest[:, :, 0, 0].T


def _after(x: jax.Array, start, count: int) -> jax.Array:
    """Of ``[T, ..]`` what the edges of a block lead to."""
    return lax.dynamic_slice_in_dim(x, start + 1, count, axis=0)


def _product_steps(w, edge, mask, entered) -> tuple[jax.Array, jax.Array]:
    """States ``n_t [T, B, C]``, and the maxima of the edges ``[T-1, B]``."""

    def block(before, start, count):
        e, largest = _exponentials(edge, entered, start, count, w.dtype)

        def step(before, inputs):
            i, w, mask, entered = inputs
            now = lax.dynamic_index_in_dim(e, i, axis=1, keepdims=False)
            q = divide_by_sum(einsum("bi,bij->bj", before, now), before)
            n = jnp.where(mask[:, None], w * jnp.where(entered[:, None], q, 1), before)
            return n, n

        inputs = (_after(x, start, count) for x in (w, mask, entered))
        before, n = lax.scan(step, before, (jnp.arange(count), *inputs))
        return before, (n, largest)

    first = jnp.where(mask[0][:, None], w[0], 1)
    _, (states, largest) = _in_blocks(block, first, edge)
    return jnp.concatenate([first[None], states]), largest


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
    w = scaled_exp(u)
    states, of_edges = _product_steps(w, edge, mask, entered)
    lost = (entered[..., None] & (w > 0) & ~(states >= MIN_PROB * w)).any()

    def products(states):
        parts = safe_log(states.sum(axis=-1) / SCALE) + of_nodes
        return long_sum(jnp.where(mask, parts, 0)), states, w

    def logs(_):
        states, entering, subtracted = _log_steps(u, edge, mask, entered)
        return log_z(states, subtracted + of_nodes, mask), states, entering

    total, states, entering = lax.cond(lost, logs, products, states)
    return total + long_sum(of_edges), Run(states, entering, ~lost)


@jax.custom_vjp
def log_partition(node: jax.Array, edge: jax.Array, mask: jax.Array) -> jax.Array:
    """``ln Z [B]``. Gradient: the marginals.

    Residuals: the arguments, and twice the size of ``node``.

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


class _Backward(NamedTuple):
    """What every block of the backward pass reads; time first."""

    ct: jax.Array  # [B]
    states: jax.Array  # [T, B, C]
    r: jax.Array  # [T, B, 1], 1 / the sums of states
    x: jax.Array  # [T, B, C], w_t / s_t
    entering: jax.Array  # [T, B, C]
    entered: jax.Array  # [T, B]


def _of_nodes(states, b, r, ct) -> tuple[jax.Array, jax.Array]:
    """Marginals by products times ``ct``, and the factor that makes them so."""
    g = states * b * r
    factor = ct[None] * divide_by_sum(1.0, g)[..., 0]
    return g * factor[..., None], factor


def _by_products(edge, read: _Backward, b, start, count: int) -> tuple[jax.Array, ...]:
    """Of a block: ``b`` before it, marginals of its edges, and of the nodes these lead to."""
    e, _ = _exponentials(edge, read.entered, start, count, b.dtype)
    states, r, x, entered = (
        _after(a, start, count) for a in (read.states, read.r, read.x, read.entered)
    )

    def step(b, inputs):
        i, x, entered = inputs
        now = lax.dynamic_index_in_dim(e, i, axis=1, keepdims=False)
        back = einsum("bij,bj->bi", now, x * b)
        return jnp.where(entered[:, None], back, b), b

    b, after = lax.scan(step, b, (jnp.arange(count), x, entered), reverse=True)
    g, factor = _of_nodes(states, after, r, read.ct)
    v = x * after * jnp.where(entered, factor, 0)[..., None]
    before = lax.dynamic_slice_in_dim(read.states, start, count, axis=0)
    before = before * lax.dynamic_slice_in_dim(read.r, start, count, axis=0)
    d_edge = before.swapaxes(0, 1)[..., None] * e * v.swapaxes(0, 1)[:, :, None, :]
    return b, masked(d_edge, entered.T).astype(edge.dtype), g


def _by_logs(edge, read: _Backward, g, start, count: int) -> tuple[jax.Array, ...]:
    """The same from logarithms; in place of ``b`` the marginals ``g``."""
    before = lax.dynamic_slice_in_dim(read.states, start, count, axis=0)
    entering, entered = (_after(a, start, count) for a in (read.entering, read.entered))

    def step(g, inputs):
        i, before, entering, entered = inputs
        relative = _relative(edge, start + i + 1, g.dtype)
        both = edge_posterior(before, relative, entering, g, entered)
        back = jnp.where(entered[:, None], normalize(both.sum(axis=2)), g)
        return back, ((both * read.ct[:, None, None]).astype(edge.dtype), g)

    inputs = jnp.arange(count), before, entering, entered
    g, (d_edge, after) = lax.scan(step, g, inputs, reverse=True)
    return g, d_edge.swapaxes(0, 1), after * read.ct[None, :, None]


def _marginals_fast(res: _Residuals, ct) -> tuple[jax.Array, jax.Array]:
    """Marginals times ``ct [B]``, of nodes and of edges."""
    edge, (states, entering, products) = res.edge, res.run
    mask, entered = res.mask.T, has_edge(res.mask).T
    r = divide_by_sum(1.0, states)
    x = jnp.where(mask[..., None] & (states != 0), entering * r, 0)
    read = _Backward(ct.astype(states.dtype), states, r, x, entering, entered)

    def block(carry, start, count):
        last, d_edge = carry
        out = _by_products(edge, read, last, start, count)
        logs = lambda _: vary_like(_by_logs(edge, read, last, start, count), out)
        # Of a block alone: `cond` copies what it leaves as it is.
        last, d, g = lax.cond(products, lambda out: out, logs, out)
        return (last, lax.dynamic_update_slice_in_dim(d_edge, d, start, axis=1)), g

    last = jnp.where(products, 1, normalize(jnp.exp(jnp.where(products, 0, states[-1]))))
    carry = vary_like((last, jnp.zeros_like(edge)), res, read.ct)
    (last, d_edge), g = _in_blocks(block, carry, edge, reverse=True)
    first = _of_nodes(states[:1], last[None], r[:1], read.ct)[0]
    first = jnp.where(products, first, last[None] * read.ct[None, :, None])
    g = jnp.concatenate([first, g])
    return masked(g, mask).swapaxes(0, 1), d_edge


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
