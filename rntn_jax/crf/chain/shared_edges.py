"""Chains whose steps share their edge scores: the recursion in probabilities, as matrix products.

With node scores ``u_t [C]`` and edge scores ``A [C, C]`` the forward recursion is::

    a_t[j] = u_t[j] + ln sum_i exp(a_{t-1}[i] + A[i, j]) - m_t
    ln Z   = sum_t m_t + ln sum_j exp(a_T[j])

with ``m_t`` such that the largest ``a_t`` is 0 (`reference`). In probabilities, with
``E = exp(A)``, and ``w_t`` proportional to ``exp(u_t)``, it reads::

    q_t = p_{t-1} @ E        p_t = q_t * w_t / s_t        s_t = sum_j q_t[j] w_t[j]
    ln Z = sum_t ln s_t + constant

and, with ``b_T = 1``, the backward pass::

    v_t = b_t * w_t / s_t        b_{t-1} = v_t @ E.T

so that ``p_t * b_t`` are the marginals of nodes and ``p_{t-1}[i] E[i, j] v_t[j]`` those of edges.
States are kept as ``n_t = q_t * w_t``, and divided by their sums ``s_t`` one step later: fewer
operations wait for each other.

A floating point product loses terms below ``exp(-87)``, which matters when some label can be
entered by such terms only. Nothing that counts can get lost, whatever the node scores, when no
column of ``A`` has a range wider than `MAX_LOG_RANGE`. Otherwise labels that cannot be reached are
taken out, and each other label must have been entered by at least `MIN_PROB`; where that fails, all
is done again in logarithms, backward too::

    w_t[i, j]  = P(y_{t-1} = i | y_t = j) = exp(a_{t-1}[i] + A[i, j]) / its sum over i
    g_{t-1}[i] = sum_j w_t[i, j] g_t[j]

the summands being the marginals of edges.

Source: 004, P_s, L and the model marginals theorem; the recursion is not in the source.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.chain._steps import (
    SCALE,
    divide_by_sum,
    edge_posterior,
    forward_step,
    has_edge,
    log_matmul,
    log_z,
    scaled_exp,
)
from rntn_jax.crf.chain.kernel import backward_kernel, forward_kernel
from rntn_jax.ops import accumulator, cast_like, masked
from rntn_jax.ops.logspace import (
    MIN_PROB,
    einsum,
    long_sum,
    matmul,
    normalize,
    safe_log,
    subtract_max,
)

__all__ = ["MAX_LOG_RANGE", "Run", "log_partition", "reference", "row_marginals", "run"]

MAX_LOG_RANGE = 35.0  # nats
FEW_LABELS = 16  # up to which a CPU sums products over rows instead of multiplying matrices


def reference(node: jax.Array, edge: jax.Array, mask: jax.Array) -> jax.Array:
    """``ln Z [B]`` by the recursion in logarithms, as autodiff likes it.

    Args:
        node, edge, mask: as `log_partition` takes them.

    Returns:
        ``[B]`` nats in at least float32; ``-inf`` where every labelling is forbidden, 0 for a row
        without positions.
    """
    dtype = accumulator(node, edge)
    u, edge = masked(node, mask).astype(dtype).swapaxes(0, 1), edge.astype(dtype)

    def step(a, inputs):
        a, _, subtracted = forward_step(a, log_matmul(a, edge[None]), *inputs)
        return a, (a, subtracted)

    initial = jnp.zeros_like(u[0])
    _, (states, subtracted) = lax.scan(step, initial, (u, mask.T, has_edge(mask).T))
    return log_z(states, subtracted, mask.T)


class _Prepared(NamedTuple):
    """Scores without what all labels, and all edges into a label, have in common."""

    u: jax.Array  # [T, B, C], largest 0
    subtracted: jax.Array  # [T, B]
    edge: jax.Array  # [C, C], largest of each column 0
    mask: jax.Array  # bool [T, B]
    has_edge: jax.Array  # bool [T, B]


class Run(NamedTuple):
    """What the backward pass needs of the forward pass."""

    states: jax.Array  # [T, B, C]: n_t, or normalised logarithms; where masked, those before
    w: jax.Array  # [T, B, C]
    products: jax.Array  # bool []: the states are no logarithms


def _prepare(node, edge, mask) -> _Prepared:
    dtype = accumulator(node, edge)
    mask, entered = mask.T, has_edge(mask).T
    # The largest first: a column's largest added to scores of 10,000 would cost four digits.
    u, of_nodes = subtract_max(masked(node, mask.T).astype(dtype).swapaxes(0, 1))
    columns, best = subtract_max(edge.astype(dtype).T)
    best, of_edges = subtract_max(best)
    u, more = subtract_max(u + jnp.where(entered[..., None], best[None, None], 0))
    subtracted = of_nodes + more + jnp.where(entered, of_edges, 0)
    return _Prepared(u, subtracted, columns.T, mask, entered)


def _reachable_only(prepared: _Prepared) -> _Prepared:
    """Labels that cannot be reached forbidden. NaN is no such label."""
    u, subtracted, edge, mask, entered = prepared
    possible = (edge != -jnp.inf).astype(edge.dtype)

    def step(reached, inputs):
        u, mask, entered = inputs
        entering = matmul(reached.astype(edge.dtype), possible) > 0
        now = (entering | ~entered[:, None]) & (u != -jnp.inf)
        reached = jnp.where(mask[:, None], now, reached)
        return reached, reached

    _, reached = lax.scan(step, jnp.ones_like(u[0], bool), (u, mask, entered))
    u, more = subtract_max(jnp.where(reached | jnp.isnan(u), u, -jnp.inf))
    return prepared._replace(u=u, subtracted=subtracted + more)


def _product_steps(e, w, mask, entered) -> jax.Array:
    """States ``n_t [T, B, C]``."""
    if len(e) > FEW_LABELS:
        return _steps_by_rows(e, w, mask, entered)
    return lax.platform_dependent(e, w, mask, entered, cpu=_steps_by_labels, default=_steps_by_rows)


def _steps_by_rows(e, w, mask, entered) -> jax.Array:
    def step(before, inputs):
        w, mask, entered = inputs
        q = divide_by_sum(matmul(before, e), before)
        n = jnp.where(mask[:, None], w * jnp.where(entered[:, None], q, 1), before)
        return n, n

    return lax.scan(step, jnp.ones_like(w[0]), (w, mask, entered))[1]


def _steps_by_labels(e, w, mask, entered) -> jax.Array:
    """The same with rows last: sums of products over them, where matrices are small."""

    def step(before, inputs):
        w, mask, entered = inputs
        total = before.sum(axis=0, keepdims=True)
        q = (before[:, None] * e[..., None]).sum(axis=0) / jnp.where(total == 0, 1, total)
        n = jnp.where(mask[None], w * jnp.where(entered[None], q, 1), before)
        return n, n

    w = w.swapaxes(1, 2)
    return lax.scan(step, jnp.ones_like(w[0]), (w, mask, entered))[1].swapaxes(1, 2)


_product_kernel = forward_kernel(_product_steps)


def _lost(prepared: _Prepared, e, states) -> jax.Array:
    """Whether a label that can be reached was entered by too little."""
    before = jnp.concatenate([jnp.ones_like(states[:1]), states[:-1]])
    q = divide_by_sum(matmul(before, e), before)
    counts = prepared.has_edge[..., None] & (prepared.u > -jnp.inf)
    return (counts & (q < MIN_PROB)).any()


def _log_steps(prepared: _Prepared) -> tuple[jax.Array, jax.Array]:
    """The recursion in logarithms: states and what they were normalised by."""
    u, _, edge, mask, entered = prepared

    def step(a, inputs):
        a, _, subtracted = forward_step(a, log_matmul(a, edge[None]), *inputs)
        return a, (a, subtracted)

    return lax.scan(step, jnp.zeros_like(u[0]), (u, mask, entered))[1]


def run(
    node: jax.Array, edge: jax.Array, mask: jax.Array, kernel: bool = False
) -> tuple[jax.Array, Run]:
    """``ln Z``, and what the backward pass needs.

    Args:
        node, edge, mask, kernel: as `log_partition` takes them.

    Returns:
        ``[B]`` nats, and a `Run`.
    """
    prepared = _prepare(node, edge, mask)
    e = jnp.exp(prepared.edge)

    def products(prepared):
        w = scaled_exp(prepared.u)
        steps = _product_kernel if kernel else _product_steps
        n = steps(e, w, prepared.mask, prepared.has_edge)
        parts = prepared.subtracted + safe_log(n.sum(axis=-1) / SCALE)
        total = long_sum(jnp.where(prepared.mask, parts, 0))
        return total, Run(n, w, jnp.ones((), bool))

    def logs(prepared, other):
        states, subtracted = _log_steps(prepared)
        total = log_z(states, prepared.subtracted + subtracted, prepared.mask)
        return total, Run(states, other[1].w, jnp.zeros((), bool))

    def checked(prepared):
        prepared = _reachable_only(prepared)
        out = products(prepared)
        lost = _lost(prepared, e, out[1].states)
        return lax.cond(lost, logs, lambda _, out: out, prepared, out)

    safe = (prepared.edge >= -MAX_LOG_RANGE).all()
    out = products(prepared)  # not within a branch: there XLA compiles slower loops for CPUs
    return lax.cond(safe, lambda _, out: out, lambda p, _: checked(p), prepared, out)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def log_partition(
    node: jax.Array, edge: jax.Array, mask: jax.Array, kernel: bool = False
) -> jax.Array:
    """``ln Z [B]``. Gradient: the marginals. Residuals: the arguments, and twice ``node``.

    Args:
        node: float ``[B, T, C]``, T at least 1.
        edge: float ``[C, C]``.
        mask: bool ``[B, T]``.
        kernel: whether the two loops run as one kernel each.

    Returns:
        ``[B]`` nats in at least float32; ``-inf`` where every labelling is forbidden, 0 for a row
        without positions.
    """
    return run(node, edge, mask, kernel)[0]


class _Residuals(NamedTuple):
    node: jax.Array  # [B, T, C]
    edge: jax.Array  # [C, C]
    mask: jax.Array  # [B, T]
    run: Run


def _fwd(node, edge, mask, kernel) -> tuple[jax.Array, _Residuals]:
    total, ran = run(node, edge, mask, kernel)
    return total, _Residuals(node, edge, mask, ran)


def _bwd(kernel: bool, res: _Residuals, ct) -> tuple[jax.Array, jax.Array, None]:
    d_node, d_edge = _marginals(res, ct.astype(res.run.w.dtype), kernel)
    return *cast_like((d_node, d_edge), (res.node, res.edge)), None


log_partition.defvjp(_fwd, _bwd)


def row_marginals(node: jax.Array, edge: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Marginals of nodes and of edges, these summed over the time of each row.

    Args:
        node, edge, mask: as `log_partition` takes them.

    Returns:
        ``[B, T, C]`` and ``[B, C, C]``, in at least float32; 0 where masked.
    """
    return _marginals(_Residuals(node, edge, mask, run(node, edge, mask)[1]), None)


def _sum_of_products(x: jax.Array, y: jax.Array) -> jax.Array:
    """``sum over t, b of x[t, b, i] y[t, b, j]``."""
    if jax.device_count() > 1:  # axes are not merged: rows on several devices would be gathered
        return einsum("tbi,tbj->ij", x, y)
    return einsum("ki,kj->ij", *(z.reshape(-1, z.shape[-1]) for z in (x, y)))  # 4 % quicker


def _back_steps(e, x, entered) -> jax.Array:
    """``b [T, B, C]``."""
    if len(e) > FEW_LABELS:
        return _back_by_rows(e, x, entered)
    return lax.platform_dependent(e, x, entered, cpu=_back_by_labels, default=_back_by_rows)


def _back_by_rows(e, x, entered) -> jax.Array:
    def step(b, inputs):
        x, entered = inputs
        return jnp.where(entered[:, None], matmul(x * b, e.T), b), b

    return lax.scan(step, jnp.ones_like(x[0]), (x, entered), reverse=True)[1]


def _back_by_labels(e, x, entered) -> jax.Array:
    def step(b, inputs):
        x, entered = inputs
        return jnp.where(entered[None], ((x * b)[None] * e[..., None]).sum(axis=1), b), b

    x = x.swapaxes(1, 2)
    return lax.scan(step, jnp.ones_like(x[0]), (x, entered), reverse=True)[1].swapaxes(1, 2)


_back_kernel = backward_kernel(_back_steps)


def _marginals(res: _Residuals, ct, kernel: bool = False) -> tuple[jax.Array, jax.Array]:
    """Marginals times ``ct [B]``, those of edges summed ``[C, C]``; without it ``[B, C, C]``."""
    states, w, products = res.run
    mask, entered = res.mask.T, has_edge(res.mask).T
    columns, _ = subtract_max(res.edge.astype(w.dtype).T)
    edge = columns.T
    scale = jnp.ones(len(res.mask), w.dtype) if ct is None else ct

    def by_products(states):
        e, r = jnp.exp(edge), divide_by_sum(1.0, states)
        x = jnp.where(mask[..., None] & (states != 0), w * r, 0)
        b = (_back_kernel if kernel else _back_steps)(e, x, entered)
        g = states * b * r
        # Rounding errors of 100,000 steps add up: what should sum to 1 is divided by its sum.
        total = g.sum(axis=-1)
        factor = scale[None] / jnp.where(total == 0, 1, total)
        v = (x * b)[1:] * jnp.where(entered, factor, 0)[1:, :, None] * r[:-1]
        before = states[:-1]
        if ct is None:
            e, counts = e[None], einsum("tbi,tbj->bij", before, v)
        else:
            counts = _sum_of_products(before, v)
        # Where there is no edge its score may be anything.
        return g * factor[..., None], counts * jnp.where(counts == 0, 0, e)

    def by_logs():
        before = jnp.concatenate([jnp.zeros_like(states[:1]), states[:-1]])

        def step(carry, inputs):
            g, counts = carry
            before, entered = inputs
            entering = log_matmul(before, edge[None])
            both = edge_posterior(before, edge[None], entering, g, entered)
            back = jnp.where(entered[:, None], normalize(both.sum(axis=2)), g)
            return (back, counts + both), g

        last = normalize(jnp.exp(states[-1]))
        # By row, so that rows on several devices are summed over once, and not in every step.
        initial = last, jnp.zeros_like(edge, shape=(len(last), *edge.shape))
        (_, counts), g = lax.scan(step, initial, (before, entered), reverse=True)
        counts = counts if ct is None else einsum("bij,b->ij", counts, ct)
        return g * scale[None, :, None], counts

    # Not within a branch, see `run`; logarithms must not make NaN there.
    out = by_products(jnp.where(products, states, 1))
    g, counts = lax.cond(products, lambda out: out, lambda _: by_logs(), out)
    return masked(g, mask).swapaxes(0, 1), counts
