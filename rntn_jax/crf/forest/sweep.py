"""The upward sweep over a forest, and the downward sweep that is its gradient.

With the score ``u_n [C]`` of a node and ``A_n [C, C]`` of the edge from its parent::

    b_n[j] = u_n[j] + sum_{children k} m_k[j]
    m_n[i] = ln sum_j exp(A_n[i, j] + b_n[j]) - z_n           z_n such that the largest is 0
    ln Z   = sum_n z_n                                        (`reference`)

A root has an edge of score 0 to a parent that is not there. Then from the root down::

    w_n[i, j] = P(y_n = j | y_parent = i) = exp(A_n[i, j] + b_n[j] - m_n[i] - z_n)
    g_n[j]    = sum_i g_parent[i] w_n[i, j]

the summands being the marginals of edges. Without ``z_n`` the messages would grow like ln Z, and
a tree of 100,000 nodes would cost two digits; for the same reason the largest of ``u_n`` and of
``A_n`` are part of ``z_n`` from the start.

Source: 004, the model marginals theorem; the sweeps are not in the source.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.forest.plan import Plan
from rntn_jax.ops import accumulator, cast_like
from rntn_jax.ops.logspace import (
    einsum,
    entropy_terms,
    finite_max,
    kl_terms,
    log_normalize,
    logsumexp,
    subtract_max,
)
from rntn_jax.ops.masking import append_zeros

__all__ = [
    "best_labels",
    "conditionals",
    "entropy",
    "kl",
    "linked",
    "log_partition",
    "reference",
    "sums_by_tree",
    "walk_down",
]


def linked(plan: Plan, mask: jax.Array) -> jax.Array:
    """Nodes with an edge to their parent, both of them real.

    Args:
        plan: of the trees.
        mask: bool ``[N]``.

    Returns:
        bool ``[N]``.
    """
    return mask & append_zeros(mask)[plan.parent]


class _Prepared(NamedTuple):
    """Scores where the sweep reads them; without a node or an edge, such as change nothing."""

    u: jax.Array  # [S, B, C], largest 0
    edge: jax.Array  # [S, B, C, C], or [C, C] with largest 0
    largest: jax.Array | None  # [S, B], of an edge's own scores, subtracted where they are read
    subtracted: jax.Array  # [S, B]
    linked: jax.Array  # bool [S, B]
    up: jax.Array  # int32 [S, B], S * B without an edge


def _prepare(node, edge, mask, plan: Plan) -> _Prepared:
    dtype, classes = accumulator(node, edge), node.shape[-1]
    on = append_zeros(linked(plan, mask))[plan.nodes]
    real = append_zeros(mask)[plan.nodes]
    alone = jnp.where(jnp.arange(classes) == 0, 0, -jnp.inf).astype(dtype)
    u = jnp.where(real[..., None], append_zeros(node)[plan.nodes].astype(dtype), alone[None, None])
    u, subtracted = subtract_max(u)
    if edge.ndim == 3:
        edge = jnp.where(on[..., None, None], append_zeros(edge)[plan.nodes], 0).astype(dtype)
        of_edges = largest = finite_max(edge, (2, 3), keepdims=False)
    else:
        edge, largest = edge.astype(dtype), None
        of_edges = jnp.where(on, finite_max(edge, (0, 1)), 0)
        edge = edge - finite_max(edge, (0, 1))
    up = jnp.where(on, plan.up, plan.nodes.size)
    return _Prepared(u, edge, largest, subtracted + of_edges, on, up)


def _sweep_up(prepared: _Prepared, message) -> Any:
    """Outputs of ``message(A_n + b_n) -> (m_n, output)`` of all steps."""
    steps, lanes, classes = prepared.u.shape

    def step(sums, inputs):
        s, u, edge, largest, on, up = inputs
        b = u + lax.dynamic_slice_in_dim(sums, s * lanes, lanes)
        if edge is None:
            edge = jnp.where(on[:, None, None], prepared.edge[None], 0)
        else:
            edge = edge - largest[:, None, None]
        m, out = message(edge + b[:, None, :])
        return sums.at[up].add(m, mode="promise_in_bounds"), out

    u, edge, largest, _, on, up = prepared
    inputs = jnp.arange(steps), u, None if edge.ndim == 2 else edge, largest, on, up
    sums = jnp.zeros_like(prepared.u, shape=(steps * lanes + 1, classes))
    return lax.scan(step, sums, inputs)[1]


def _summed(z) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Message, what was subtracted, and conditionals, of ``z[b, i, j] = A[i, j] + b[j]``."""
    top = finite_max(z, 2)
    p = jnp.exp(z - top)
    total = p.sum(axis=2)
    divisor = jnp.where(total == 0, 1, total)
    m = jnp.where(total == 0, -jnp.inf, jnp.log(divisor)) + top[..., 0]
    return m - finite_max(m), (m.max(axis=1, initial=-jnp.inf), p / divisor[..., None])


def conditionals(node, edge, mask, plan: Plan) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The upward sweep: what was subtracted, and each label's probability given the parent's.

    Args:
        node, edge, mask, plan: as `log_partition` takes them.

    Returns:
        ``z_n [S, B]``, ``w_n [S, B, C, C]``, and int32 ``[S, B]``, slots of parents as the mask
        leaves them.
    """
    prepared = _prepare(node, edge, mask, plan)
    off, w = _sweep_up(prepared, _summed)
    return off + prepared.subtracted, w, prepared.up


def sums_by_tree(values: jax.Array, plan: Plan) -> jax.Array:
    """Sums over the nodes of each tree.

    In two parts, the first of so few digits that sums of it are exact: 100,000 equal numbers added
    one by one lose up to three digits in float32.

    Args:
        values: float ``[N]``.
        plan: of the trees.

    Returns:
        ``[T]``.
    """
    finite = jnp.isfinite(values)
    largest = jnp.where(finite, abs(values), 0).max(initial=0)
    digits = jnp.finfo(values.dtype).nmant + 1
    unit = jnp.ldexp(jnp.ones_like(largest), jnp.frexp(largest * len(values))[1] - digits)
    coarse = lax.stop_gradient(jnp.where(finite, jnp.round(values / unit) * unit, values))
    parts = jnp.stack([coarse, jnp.where(finite, values - coarse, 0)], axis=1)
    total = jnp.zeros((len(plan.roots) + 1, 2), values.dtype)
    return total.at[plan.tree].add(parts)[:-1].sum(axis=1)


def by_node(of_slots: jax.Array, plan: Plan) -> jax.Array:
    """Values of nodes ``[N]`` of those of slots ``[S, B]``; 0 where a node has none."""
    return jnp.append(of_slots.reshape(-1), 0)[plan.slot]


def reference(node: jax.Array, edge: jax.Array, mask: jax.Array, plan: Plan) -> jax.Array:
    """``ln Z`` of each tree by the upward sweep, which autodiff can differentiate.

    Args:
        node, edge, mask, plan: as `log_partition` takes them.

    Returns:
        ``[T]`` nats in at least float32.
    """
    return sums_by_tree(by_node(conditionals(node, edge, mask, plan)[0], plan), plan)


@jax.custom_vjp
def log_partition(node: jax.Array, edge: jax.Array, mask: jax.Array, plan: Plan) -> jax.Array:
    """``ln Z`` of each tree. Gradient: the marginals. Residuals: the arguments and ``w``.

    Args:
        node: float ``[N, C]``.
        edge: float ``[C, C]``, or ``[N, C, C]`` of the edge to each node from its parent.
        mask: bool ``[N]``.
        plan: of the trees.

    Returns:
        ``[T]`` nats in at least float32. Cost O(N C^2).
    """
    return reference(node, edge, mask, plan)


class _Residuals(NamedTuple):
    node: jax.Array  # [N, C]
    edge: jax.Array  # [N, C, C] or [C, C]
    mask: jax.Array  # [N]
    plan: Plan
    w: jax.Array  # [S, B, C, C]
    up: jax.Array  # [S, B]


def _fwd(node, edge, mask, plan) -> tuple[jax.Array, _Residuals]:
    off, w, up = conditionals(node, edge, mask, plan)
    total = sums_by_tree(by_node(off, plan), plan)
    return total, _Residuals(node, edge, mask, plan, w, up)


def _sweep_down(w, up) -> tuple[jax.Array, jax.Array]:
    """Marginals of slots ``[S * B + 1, C]``, and those of their parents ``[S, B, C]``."""
    steps, lanes, classes, _ = w.shape
    first = (jnp.arange(classes) == 0).astype(w.dtype)[None]  # of the parent that is not there

    def step(g, inputs):
        s, w, up = inputs
        above = g[jnp.append(up, 0)][:-1]  # a gather of one row would make XLA copy `g`, too
        here = einsum("bi,bij->bj", above, w)
        # Read before `g` is written: without the barrier XLA copies `g` in every step.
        above, here = lax.optimization_barrier((above, here))
        return lax.dynamic_update_slice_in_dim(g, here, s * lanes, axis=0), above

    g = jnp.concatenate([jnp.zeros_like(w, shape=(steps * lanes, classes)), first])
    return lax.scan(step, g, (jnp.arange(steps), w, up), reverse=True)


def _bwd(res: _Residuals, ct) -> tuple[jax.Array, jax.Array, None, None]:
    node, edge, mask, plan, w, up = res
    classes = w.shape[-1]
    g, above = _sweep_down(w, up)
    ct = jnp.append(ct.astype(w.dtype), 0)[plan.tree]
    d_node = jnp.where(mask[:, None], g[plan.slot] * ct[:, None], 0)
    on = append_zeros(linked(plan, mask))[plan.nodes][..., None]
    above = jnp.where(on, above * append_zeros(ct)[plan.nodes][..., None], 0)
    w = jnp.where(on[..., None], w, 0)  # of a root it may be NaN
    if edge.ndim == 2:
        rows = lambda x: x.reshape(-1, *x.shape[2:])
        d_edge = einsum("ki,kij->ij", rows(above), rows(w))
    else:
        both = above[..., None] * w
        d_edge = append_zeros(both.reshape(-1, classes, classes))[plan.slot]
    return *cast_like((d_node, d_edge), (node, edge)), None, None


log_partition.defvjp(_fwd, _bwd)


def _log_conditionals(node, edge, mask, plan: Plan) -> tuple[jax.Array, jax.Array]:
    """``ln w_n [S, B, C, C]``, and slots of parents."""

    def message(z):
        m = logsumexp(z)
        return m - finite_max(m), log_normalize(z)

    prepared = _prepare(node, edge, mask, plan)
    return _sweep_up(prepared, message), prepared.up


def entropy(node: jax.Array, edge: jax.Array, mask: jax.Array, plan: Plan) -> jax.Array:
    """Entropy of each tree, by the chain rule, a node's label being drawn given that of its parent.

    ``H = sum_n sum_i g_parent[i] sum_j -w_n[i, j] ln w_n[i, j]``: all terms are at least 0, while
    ``ln Z - E[score]`` is a difference of sums as large as the scores. NaN where everything is
    forbidden.

    Args:
        node, edge, mask, plan: as `log_partition` takes them.

    Returns:
        ``[T]`` nats in at least float32.
    """
    log_w, up = _log_conditionals(node, edge, mask, plan)
    _, above = _sweep_down(jnp.exp(log_w), up)
    terms = (above[..., None] * entropy_terms(log_w)).sum(axis=(2, 3))
    total = sums_by_tree(by_node(terms, plan), plan)
    return jnp.where(_impossible(log_w, plan), jnp.nan, total)


def kl(
    p: tuple[jax.Array, jax.Array], q: tuple[jax.Array, jax.Array], mask: jax.Array, plan: Plan
) -> jax.Array:
    """``KL(p || q)`` of each tree, see `entropy`; ``inf`` where ``q`` forbids more.

    Args:
        p: node and edge scores as `entropy` has them.
        q: those of the other CRF, of the same shapes.
        mask: bool ``[N]``.
        plan: of the trees.

    Returns:
        ``[T]`` nats in at least float32; NaN where ``p`` forbids everything.
    """
    log_w, up = _log_conditionals(*p, mask, plan)
    log_v, _ = _log_conditionals(*q, mask, plan)
    _, above = _sweep_down(jnp.exp(log_w), up)
    terms = (above[..., None] * kl_terms(log_w, log_v)).sum(axis=(2, 3))
    total = sums_by_tree(by_node(terms, plan), plan)
    outside = (above > 0)[..., None] & (log_w > -jnp.inf) & (log_v == -jnp.inf)
    outside = _any_in_tree(outside.any(axis=(2, 3)), plan)
    total = jnp.where(outside & ~jnp.isnan(total), jnp.inf, total)
    return jnp.where(_impossible(log_w, plan), jnp.nan, total)


def _any_in_tree(of_slots, plan: Plan) -> jax.Array:
    return sums_by_tree(by_node(of_slots.astype(jnp.float32), plan), plan) > 0


def _impossible(log_w, plan: Plan) -> jax.Array:
    """Trees with a node that no label of its parent allows any label."""
    return _any_in_tree((log_w == -jnp.inf).all(axis=(2, 3)), plan)


def best_labels(
    node: jax.Array, edge: jax.Array, mask: jax.Array, plan: Plan
) -> tuple[jax.Array, jax.Array]:
    """The best labelling of each tree, and its score but for rounding.

    Args:
        node, edge, mask, plan: as `log_partition` takes them.

    Returns:
        int32 ``[N]``, 0 where masked; ``[T]`` nats.
    """

    def best(z):
        m = z.max(axis=2)
        choice = jnp.argmax(z, axis=2).astype(jnp.int32)
        return m - finite_max(m), (m.max(axis=1), choice)

    prepared = _prepare(node, edge, mask, plan)
    off, choices = _sweep_up(prepared, best)
    total = sums_by_tree(by_node(off + prepared.subtracted, plan), plan)
    return walk_down(choices, prepared.up, plan, mask), total


def walk_down(choices: jax.Array, up: jax.Array, plan: Plan, mask: jax.Array) -> jax.Array:
    """Labels that the choices make, from the roots down, given the label of the parent.

    Args:
        choices: int32 ``[S, B, C]``, of each slot, for each label of the parent.
        up: int32 ``[S, B]``, slots of parents.
        plan: of the trees.
        mask: bool ``[N]``.

    Returns:
        int32 ``[N]``, 0 where masked.
    """
    steps, lanes, _ = choices.shape

    def step(labels, inputs):
        s, choice, up = inputs
        here = jnp.take_along_axis(choice, labels[up][:, None], axis=1)[:, 0]
        here = lax.optimization_barrier(here)
        return lax.dynamic_update_slice_in_dim(labels, here, s * lanes, axis=0), None

    labels = jnp.zeros_like(choices, shape=steps * lanes + 1)
    labels, _ = lax.scan(step, labels, (jnp.arange(steps), choices, up), reverse=True)
    return jnp.where(mask, labels[plan.slot], 0)
