"""The upward sweep over a forest, and the downward sweep that is its gradient.

With the score ``u_n [C]`` of a node and ``A_n [C, C]`` of the edge from its parent::

    b_n[j] = u_n[j] + sum_{children k} m_k[j]
    m_n[i] = ln sum_j exp(A_n[i, j] + b_n[j]) - z_n           z_n such that the largest is 0
    ln Z   = sum_n z_n

A root has an edge of score 0 to a parent that is not there. Then from the root down::

    w_n[i, j] = P(y_n = j | y_parent = i) = exp(A_n[i, j] + b_n[j] - m_n[i] - z_n)
    g_n[j]    = sum_i g_parent[i] w_n[i, j]

the summands being the marginals of edges. Without ``z_n`` the messages would grow like ln Z, and
a tree of 100,000 nodes would cost two digits.

Source: 004, the model marginals theorem; the sweeps are not in the source.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.forest.plan import Plan
from rntn_jax.ops import accumulator, cast_like
from rntn_jax.ops.logspace import einsum, safe_log

__all__ = [
    "best_labels",
    "conditionals",
    "linked",
    "log_partition",
    "padded",
    "sums_by_tree",
    "walk_down",
]


def linked(plan: Plan, mask: jax.Array) -> jax.Array:
    """``[N]``: nodes with an edge to their parent, both of them real."""
    return mask & padded(mask)[plan.parent]


def padded(x: jax.Array) -> jax.Array:
    """``x`` with a row of zeros at the end."""
    return jnp.concatenate([x, jnp.zeros_like(x, shape=(1, *x.shape[1:]))])


class _Prepared(NamedTuple):
    """Scores where the sweep reads them; without a node or an edge, such as change nothing."""

    u: jax.Array  # [S, B, C]
    edge: jax.Array  # [S, B, C, C] or [C, C]
    linked: jax.Array  # bool [S, B]
    up: jax.Array  # int32 [S, B], S * B without an edge


def _prepare(node, edge, mask, plan: Plan) -> _Prepared:
    dtype, classes = accumulator(node, edge), node.shape[-1]
    on = padded(linked(plan, mask))[plan.nodes]
    here = padded(mask)[plan.nodes]
    alone = jnp.where(jnp.arange(classes) == 0, 0, -jnp.inf).astype(dtype)
    u = jnp.where(here[..., None], padded(node)[plan.nodes].astype(dtype), alone[None, None])
    if edge.ndim == 3:
        edge = jnp.where(on[..., None, None], padded(edge)[plan.nodes].astype(dtype), 0)
    return _Prepared(u, edge.astype(dtype), on, jnp.where(on, plan.up, plan.nodes.size))


def _sweep_up(prepared: _Prepared, message):
    """Outputs of ``message(A_n + b_n) -> (m_n, output)`` of all steps."""
    steps, lanes, classes = prepared.u.shape

    def step(sums, inputs):
        s, u, edge, on, up = inputs
        b = u + lax.dynamic_slice_in_dim(sums, s * lanes, lanes)
        if edge is None:
            edge = jnp.where(on[:, None, None], prepared.edge[None], 0)
        m, out = message(edge + b[:, None, :])
        return sums.at[up].add(m, mode="promise_in_bounds"), out

    of_steps = None if prepared.edge.ndim == 2 else prepared.edge
    inputs = jnp.arange(steps), prepared.u, of_steps, prepared.linked, prepared.up
    sums = jnp.zeros((steps * lanes + 1, classes), prepared.u.dtype)
    return lax.scan(step, sums, inputs)[1]


def _summed(z):
    """Message, what was taken off it, and conditionals, of ``z[b, i, j] = A[i, j] + b[j]``."""
    top = z.max(axis=2, keepdims=True)
    p = jnp.exp(z - jnp.where(top == -jnp.inf, 0, top))
    total = p.sum(axis=2)
    m = safe_log(total) + top[..., 0]
    off = m.max(axis=1)
    m = m - jnp.where(off == -jnp.inf, 0, off)[:, None]
    return m, (off, p / jnp.where(total == 0, 1, total)[..., None])


def conditionals(node, edge, mask, plan: Plan) -> tuple[jax.Array, jax.Array, jax.Array]:
    """``z_n [S, B]``, ``w_n [S, B, C, C]``, and slots of parents as the mask leaves them."""
    prepared = _prepare(node, edge, mask, plan)
    return *_sweep_up(prepared, _summed), prepared.up


def sums_by_tree(values: jax.Array, plan: Plan) -> jax.Array:
    """Sums over the nodes of each tree, ``[N, ..] -> [T, ..]``."""
    total = jnp.zeros((len(plan.roots) + 1, *values.shape[1:]), values.dtype)
    return total.at[plan.tree].add(values)[:-1]


def _log_partition_reference(node, edge, mask, plan: Plan):
    off, _, _ = conditionals(node, edge, mask, plan)
    return sums_by_tree(jnp.append(off.reshape(-1), 0)[plan.slot], plan)


@jax.custom_vjp
def log_partition(node: jax.Array, edge: jax.Array, mask: jax.Array, plan: Plan) -> jax.Array:
    """``ln Z [T]``. Gradient: the marginals. Residuals: the arguments and ``w``."""
    return _log_partition_reference(node, edge, mask, plan)


class _Residuals(NamedTuple):
    node: jax.Array  # [N, C]
    edge: jax.Array  # [N, C, C] or [C, C]
    mask: jax.Array  # [N]
    plan: Plan
    w: jax.Array  # [S, B, C, C]
    up: jax.Array  # [S, B]


def _fwd(node, edge, mask, plan):
    off, w, up = conditionals(node, edge, mask, plan)
    total = sums_by_tree(jnp.append(off.reshape(-1), 0)[plan.slot], plan)
    return total, _Residuals(node, edge, mask, plan, w, up)


def _bwd(res: _Residuals, ct):
    node, edge, mask, plan, w, up = res
    steps, lanes, classes, _ = w.shape
    first = (jnp.arange(classes) == 0).astype(w.dtype)[None]  # of the parent that is not there

    def step(g, inputs):
        s, w, up = inputs
        above = g[jnp.append(up, 0)][:-1]  # a gather of one row would make XLA copy `g`, too
        here = einsum("bi,bij->bj", above, w)
        # Read before `g` is written: without the barrier XLA copies `g` in every step.
        above, here = lax.optimization_barrier((above, here))
        return lax.dynamic_update_slice_in_dim(g, here, s * lanes, axis=0), above

    g = jnp.concatenate([jnp.zeros((steps * lanes, classes), w.dtype), first])
    g, above = lax.scan(step, g, (jnp.arange(steps), w, up), reverse=True)
    by_node = jnp.append(ct.astype(w.dtype), 0)[plan.tree]
    d_node = jnp.where(mask[:, None], g[plan.slot] * by_node[:, None], 0)
    by_slot = padded(jnp.where(linked(plan, mask), by_node, 0))[plan.nodes]
    above = above * by_slot[..., None]
    if edge.ndim == 2:
        rows = lambda x: x.reshape(-1, *x.shape[2:])
        d_edge = einsum("ki,kij->ij", rows(above), rows(w))
    else:
        both = above[..., None] * w
        d_edge = padded(both.reshape(-1, classes, classes))[plan.slot]
    return *cast_like((d_node, d_edge), (node, edge)), None, None


log_partition.defvjp(_fwd, _bwd)


def best_labels(node, edge, mask, plan: Plan) -> jax.Array:
    """The best labelling, int32 ``[N]``, 0 where masked."""

    def best(z):
        m = z.max(axis=2)
        off = m.max(axis=1, keepdims=True)
        return m - jnp.where(off == -jnp.inf, 0, off), jnp.argmax(z, axis=2).astype(jnp.int32)

    prepared = _prepare(node, edge, mask, plan)
    choices = _sweep_up(prepared, best)
    return walk_down(choices, prepared.up, plan, mask)


def walk_down(choices: jax.Array, up: jax.Array, plan: Plan, mask: jax.Array) -> jax.Array:
    """Labels ``[N]``: those that ``choices [S, B, C]`` make, given the label of the parent."""
    steps, lanes, _ = choices.shape

    def step(labels, inputs):
        s, choice, up = inputs
        here = jnp.take_along_axis(choice, labels[up][:, None], axis=1)[:, 0]
        here = lax.optimization_barrier(here)
        return lax.dynamic_update_slice_in_dim(labels, here, s * lanes, axis=0), None

    labels = jnp.zeros(steps * lanes + 1, jnp.int32)
    labels, _ = lax.scan(step, labels, (jnp.arange(steps), choices, up), reverse=True)
    return jnp.where(mask, labels[plan.slot], 0)
