"""Elimination: variables summed out one after another, in any of three semirings, and backward.

With ``T_v`` the table of the bag of ``v``, over the labels of ``v`` and of its separator ``s``::

    T_v[c, s] = node[v, c] + sum_{u in s} A_vu[c, s_u] + sum_{children k} m_k
    m_v[s]    = ln sum_c exp T_v[c, s] - z_v            z_v a normaliser
    ln Z      = sum_v z_v

Tables have ``C`` rows and ``R = C^(W-1)`` columns, whatever the bag. Scores of edges are added in
two halves, over ``R = R1 x R2``; each half is prepared for all steps at once.

A semiring says how tables are made and a variable is summed out: by products and sums of
probabilities, many times quicker than exponentials and logarithms of each entry, and right as long
as no entry of a message is below `MIN_PROB`, factors being at most 1; in logarithms; or by sums
and maxima.

The tables of all bags would fill memory: the upward sweep keeps its messages every few steps, and
the downward sweep does these steps again.

Source: 004 asks for ``Z`` alone; the recursion is not in the source.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.graph.plan import Plan
from rntn_jax.ops import accumulator
from rntn_jax.ops.logspace import finite_max, safe_log
from rntn_jax.ops.masking import append_zeros
from rntn_jax.ops.varying import vary_like

__all__ = [
    "LOGS",
    "MAXIMA",
    "PRODUCTS",
    "Semiring",
    "Steps",
    "exponentials",
    "from_parent",
    "grouped",
    "num_in_halves",
    "prepare",
    "read",
    "step_up",
    "sweep_down",
    "sweep_up",
    "write",
]


class Steps(NamedTuple):
    """What the steps of a sweep read; ``G`` groups of ``K`` steps."""

    node: jax.Array  # [G, K, B, C, R1], node scores with the first half of the edges
    edge: jax.Array  # [G, K, B, C, R2], the second half
    own: jax.Array  # int32 [G, K, B], where messages for the bag lie in the pool
    up: jax.Array  # int32 [G, K, B], where those for its parent lie
    pattern: jax.Array  # int32 [G, K, B]


def _spread(parts: jax.Array) -> jax.Array:
    """``sum_j parts[.., j, c, d_j]`` over all ``d``: ``[.., J, C, C] -> [.., C, C^J]``."""
    *rest, count, classes, _ = parts.shape
    total = jnp.zeros((*rest, classes, 1), parts.dtype)
    for j in range(count):
        total = total[..., None] + parts[..., j, :, None, :]
        total = total.reshape(*rest, classes, classes ** (j + 1))
    return total


def num_in_halves(plan: Plan) -> tuple[int, int]:
    """How many registers each half of the edges has."""
    first = (plan.width - 1) // 3
    return first, plan.width - 1 - first


def grouped(x: jax.Array, plan: Plan) -> jax.Array:
    """``[S, ..] -> [G, K, ..]``, K about the root of S: `plan` made S a multiple of it.

    Args:
        x: ``[S, ..]``.
        plan: of elimination.

    Returns:
        ``[G, K, ..]``.
    """
    return x.reshape(len(x) // plan.group, plan.group, *x.shape[1:])


def prepare(
    node: jax.Array, edge: jax.Array, node_mask: jax.Array, edge_mask: jax.Array, plan: Plan
) -> Steps:
    """Scores in the order of the steps.

    Args:
        node, edge, node_mask, edge_mask, plan: as `exact.log_partition` takes them.

    Returns:
        `Steps` in at least float32, in nats.
    """
    dtype, classes = accumulator(node, edge), node.shape[-1]
    real = append_zeros(node_mask)[plan.nodes]
    alone = jnp.where(jnp.arange(classes) == 0, 0, -jnp.inf).astype(dtype)
    u = jnp.where(real[..., None], append_zeros(node)[plan.nodes].astype(dtype), alone[None, None])
    edge = jnp.where(edge_mask[:, None, None], edge, 0).astype(dtype)
    parts = append_zeros(jnp.concatenate([edge, edge.swapaxes(1, 2)]))[plan.edges]
    split, _ = num_in_halves(plan)
    first, second = _spread(parts[:, :, :split]), _spread(parts[:, :, split:])
    steps = first + u[..., None], second, plan.own, plan.up, plan.pattern
    return vary_like(Steps(*(grouped(x, plan) for x in steps)), plan)


def exponentials(steps: Steps) -> tuple[Steps, jax.Array]:
    """Scores as probabilities, and the sum of the maxima that were subtracted."""
    node_max, edge_max = (finite_max(x, (3, 4)) for x in steps[:2])
    tables = steps._replace(
        node=jnp.exp(steps.node - node_max), edge=jnp.exp(steps.edge - edge_max)
    )
    return tables, node_max.sum() + edge_max.sum()


def read(pool: jax.Array, at: jax.Array) -> jax.Array:
    """Rows of the pool; of a single one a slice, which XLA does not copy the pool for.

    Args:
        pool: ``[L, ..]``.
        at: int32 ``[B]``, places.

    Returns:
        ``[B, ..]``.
    """
    if len(at) == 1:
        return lax.dynamic_index_in_dim(pool, at[0], axis=0)
    return pool.at[at].get(mode="promise_in_bounds")


def write(pool: jax.Array, at: jax.Array, rows: jax.Array) -> jax.Array:
    """The pool with other rows at these places.

    Args:
        pool: ``[L, ..]``.
        at: int32 ``[B]``, places.
        rows: ``[B, ..]``.

    Returns:
        ``[L, ..]``.
    """
    if len(at) == 1:
        return lax.dynamic_update_slice_in_dim(pool, rows, at[0], axis=0)
    return pool.at[at].set(rows, mode="promise_in_bounds")


# Semirings --------------------------------------------------------------------------------------


class Semiring(NamedTuple):
    """How tables are made and summed."""

    one: float
    times: Callable[[Any, Any], Any]
    put: Callable[[Any, Any, Any], Any]  # messages that arrived with one more, at some places
    eliminate: Callable[[Any], Any]  # T [B, C, R] -> m [B, R], (kept for the way down, outputs)
    conditional: Callable[[Any], Any]  # what was kept -> T [B, C, R] divided by m


def _fold(op: Callable[..., jax.Array], x: jax.Array) -> jax.Array:
    """``op`` over the last axis, in two stages, the first of which is a vector operation."""
    *rest, size = x.shape
    part = next(p for p in (64, 27, 25, 16, 9, 8, 7, 5, 4, 3, 2, 1) if size % p == 0)
    if part in (1, size):
        return op(x, axis=-1)
    return op(lax.optimization_barrier(op(x.reshape(*rest, size // part, part), axis=-2)), axis=-1)


def _eliminate_products(table) -> tuple[jax.Array, Any]:
    table = lax.optimization_barrier(table)
    m = table.sum(axis=1)
    top, least = _fold(jnp.max, m), _fold(jnp.min, m)
    scaled = lax.optimization_barrier(m / jnp.where(top > 0, top, 1)[:, None])
    return scaled, ((table, m), (safe_log(top), least))


def _conditional_products(kept) -> jax.Array:
    table, m = kept
    return table / jnp.where(m > 0, m, 1)[:, None]


def _eliminate_logs(table) -> tuple[jax.Array, Any]:
    top = finite_max(table, 1)
    p = jnp.exp(table - top)
    total = p.sum(axis=1, keepdims=True)
    m = (safe_log(total) + top)[:, 0]
    z = m.max(axis=1)
    return m - finite_max(m), ((p, total), (z, jnp.ones_like(z)))


def _conditional_logs(kept) -> jax.Array:
    p, total = kept
    return p / jnp.where(total == 0, 1, total)


def _eliminate_maxima(table) -> tuple[jax.Array, Any]:
    m = table.max(axis=1)
    return m - finite_max(m), ((table, m), ())


def _conditional_maxima(kept) -> jax.Array:
    table, m = kept
    return table - jnp.where(m == -jnp.inf, 0, m)[:, None]


def _multiply(pool, at, rows) -> jax.Array:
    if len(at) == 1:
        return write(pool, at, read(pool, at) * rows)
    return pool.at[at].multiply(_made(rows), mode="promise_in_bounds")


def _add(pool, at, rows) -> jax.Array:
    if len(at) == 1:
        return write(pool, at, read(pool, at) + rows)
    return pool.at[at].add(_made(rows), mode="promise_in_bounds")


def _made(rows: jax.Array) -> jax.Array:
    """Rows that are not gathered within the scatter: there the compiler for TPUs stops."""
    return lax.optimization_barrier(rows)


PRODUCTS = Semiring(1.0, jnp.multiply, _multiply, _eliminate_products, _conditional_products)
LOGS = Semiring(0.0, jnp.add, _add, _eliminate_logs, _conditional_logs)
MAXIMA = Semiring(0.0, jnp.add, _add, _eliminate_maxima, _conditional_maxima)


# Sweeps -----------------------------------------------------------------------------------------


def step_up(semiring: Semiring, send: jax.Array, pool: jax.Array, s: Steps) -> tuple[Any, Any]:
    """One step: the pool after it, and outputs.

    Args:
        semiring: how tables are made and summed.
        send: int32 ``[P, C^W]``, that of the plan.
        pool: ``[L, C^W]``, messages by place.
        s: one step, without the axes G and K.

    Returns:
        The pool after it; what the semiring keeps for the way down, and its outputs.
    """
    lanes, classes, first = s.node.shape
    arrived = read(pool, s.own)
    table = semiring.times(
        semiring.times(arrived.reshape(lanes, classes, first, -1), s.node[..., None]),
        s.edge[:, :, None],
    )
    m, out = semiring.eliminate(table.reshape(lanes, classes, -1))
    if lanes == 1:
        sent = m.at[:, send[s.pattern[0]]].get(mode="promise_in_bounds")
    else:
        sent = jnp.take_along_axis(m, send[s.pattern], axis=1, mode="promise_in_bounds")
    pool = write(pool, s.own, jnp.full_like(arrived, semiring.one))
    return semiring.put(pool, s.up, sent), out


def sweep_up(semiring: Semiring, steps: Steps, plan: Plan) -> tuple[Any, jax.Array]:
    """All steps, from the first to the last.

    Args:
        semiring: how tables are made and summed.
        steps: of `prepare`, or its `exponentials` where the semiring is that of products.
        plan: of elimination.

    Returns:
        The outputs of all steps ``[G, K, ..]``, and the pool before each group ``[G, L, C^W]``.
    """
    step = partial(step_up, semiring, plan.send)

    @jax.checkpoint  # whoever differentiates this keeps the pools alone
    def group(pool, steps):
        after, out = lax.scan(lambda p, s: ((r := step(p, s))[0], r[1][1]), pool, steps)
        return after, (out, pool)

    shape = len(plan.places), plan.send.shape[1]
    return lax.scan(group, jnp.full_like(steps.node, semiring.one, shape=shape), steps)[1]


def sweep_down(
    semiring: Semiring,
    steps: Steps,
    pools: jax.Array,
    plan: Plan,
    body: Callable[[Any, Any], Any],
    carry: Any,
    more: Any,
) -> tuple[Any, Any]:
    """``body(carry, (kept, step, more))`` from the last step to the first.

    Args:
        semiring: that of `sweep_up`.
        steps: likewise.
        pools: what `sweep_up` returned.
        plan: likewise.
        body: as `jax.lax.scan` takes it.
        carry: what the last step begins with.
        more: ``[G, K, ..]``, what the body reads besides.

    Returns:
        The carry after the first step, and what the body returned of each, ``[G, K, ..]``.
    """
    up = partial(step_up, semiring, plan.send)

    def group(carry, inputs):
        pool, steps, more = inputs
        _, kept = lax.scan(lambda p, s: ((r := up(p, s))[0], r[1][0]), pool, steps)
        return lax.scan(body, carry, (kept, steps, more), reverse=True)

    return lax.scan(group, carry, (pools, steps, more), reverse=True)


def from_parent(pool: jax.Array, s: Steps, plan: Plan) -> jax.Array:
    """Tables of the parents' bags, such that summing rows leaves the separator.

    Args:
        pool: ``[L, C^W]``, tables by place.
        s: one step, without the axes G and K.
        plan: of elimination.

    Returns:
        ``[B, C, C^(W-1)]``.
    """
    above = read(pool, s.up)
    if len(s.own) == 1:
        above = above.at[:, plan.back[s.pattern[0]]].get(mode="promise_in_bounds")
    else:
        rows = plan.back[s.pattern]
        above = jnp.take_along_axis(above, rows, axis=1, mode="promise_in_bounds")
    lanes, classes = s.node.shape[:2]
    return above.reshape(lanes, classes, above.shape[1] // classes)
