"""Exact inference: variables summed out one after another, and the way back.

With ``T_v`` the table of the bag of ``v``, over the labels of ``v`` and of its separator ``s``::

    T_v[c, s] = node[v, c] + sum_{u in s} A_vu[c, s_u] + sum_{children k} m_k
    m_v[s]    = ln sum_c exp T_v[c, s] - z_v            z_v a normaliser
    ln Z      = sum_v z_v

and from the last bag back, ``p`` being the parent of ``v``::

    w_v[c, s] = P(y_v = c | s) = exp(T_v[c, s] - m_v[s] - z_v)
    J_v[c, s] = w_v[c, s] sum_{what is not in s} J_p

the joint marginals of bags, of which those of nodes and edges are sums.

Tables have ``C`` rows and ``R = C^(W-1)`` columns, whatever the bag. Scores of edges are added in
two halves, over ``R = R1 x R2``; each half is prepared for all steps at once.

Sums and products of probabilities are many times quicker than exponentials and logarithms of
each entry. They are right as long as no entry of a message is below `MIN_PROB`, factors being
at most 1; otherwise (and wherever something is forbidden) all is done again in logarithms. The
tables of all bags would fill memory: a sweep keeps its messages every few steps, and the way back
does these steps again.

Source: 004, the model marginals theorem; the recursion is not in the source.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.graph.plan import Plan
from rntn_jax.ops import accumulator, cast_like
from rntn_jax.ops.logspace import MIN_PROB, safe_log

__all__ = ["best_labels", "log_partition", "reference", "sample_labels"]


class _Steps(NamedTuple):
    """What the steps of a sweep read; ``G`` groups of ``K`` steps."""

    of_node: jax.Array  # [G, K, B, C, R1], with the first half of the edges
    of_edges: jax.Array  # [G, K, B, C, R2], the second half
    own: jax.Array  # int32 [G, K, B]
    up: jax.Array  # int32 [G, K, B]
    pattern: jax.Array  # int32 [G, K, B]


def _padded(x):
    """``x`` with a row of zeros at the end."""
    return jnp.concatenate([x, jnp.zeros_like(x, shape=(1, *x.shape[1:]))])


def _spread(parts):
    """``sum_j parts[.., j, c, d_j]`` over all ``d``: ``[.., J, C, C] -> [.., C, C^J]``."""
    *rest, count, classes, _ = parts.shape
    total = jnp.zeros((*rest, classes, 1), parts.dtype)
    for j in range(count):
        total = total[..., None] + parts[..., j, :, None, :]
        total = total.reshape(*rest, classes, classes ** (j + 1))
    return total


def _gathered(table, count):
    """The transposed of `_spread`: ``[.., C, C^J] -> [.., J, C, C]``."""
    *rest, classes, _ = table.shape
    parts = [jnp.zeros((*rest, 0, classes, classes), table.dtype)]
    for j in range(count):
        axes = classes**j, classes, classes ** (count - 1 - j)
        parts.append(table.reshape(*rest, classes, *axes).sum((-3, -1))[..., None, :, :])
    return jnp.concatenate(parts, axis=-3)


def _halves(plan: Plan) -> tuple[int, int]:
    """How many registers each half of the edges has."""
    first = (plan.width - 1) // 3
    return first, plan.width - 1 - first


def _grouped(x, plan: Plan):
    """``[S, ..] -> [G, K, ..]``, K about the root of S: `plan` made S a multiple of it."""
    return x.reshape(-1, plan.group, *x.shape[1:])


def _prepare(node, edge, node_mask, edge_mask, plan: Plan) -> _Steps:
    dtype, classes = accumulator(node, edge), node.shape[-1]
    here = _padded(node_mask)[plan.nodes]
    alone = jnp.where(jnp.arange(classes) == 0, 0, -jnp.inf).astype(dtype)
    u = jnp.where(here[..., None], _padded(node)[plan.nodes].astype(dtype), alone[None, None])
    edge = jnp.where(edge_mask[:, None, None], edge, 0).astype(dtype)
    parts = _padded(jnp.concatenate([edge, edge.swapaxes(1, 2)]))[plan.edges]
    split, _ = _halves(plan)
    first, second = _spread(parts[:, :, :split]), _spread(parts[:, :, split:])
    steps = first + u[..., None], second, plan.own, plan.up, plan.pattern
    return _Steps(*(_grouped(x, plan) for x in steps))


def _exponentials(steps: _Steps) -> tuple[_Steps, jax.Array]:
    """Scores as probabilities, and what was taken off."""
    out, taken = [], jnp.zeros((), steps.of_node.dtype)
    for x in steps[:2]:
        top = x.max(axis=(3, 4), keepdims=True)
        top = jnp.where(top == -jnp.inf, 0, top)
        out.append(jnp.exp(x - top))
        taken = taken + top.sum()
    return steps._replace(of_node=out[0], of_edges=out[1]), taken


def _read(pool, at):
    """Rows of the pool; of a single one a slice, which XLA does not copy the pool for."""
    if len(at) == 1:
        return lax.dynamic_index_in_dim(pool, at[0], axis=0)
    return pool.at[at].get(mode="promise_in_bounds")


def _write(pool, at, rows):
    if len(at) == 1:
        return lax.dynamic_update_slice_in_dim(pool, rows, at[0], axis=0)
    return pool.at[at].set(rows, mode="promise_in_bounds")


def _fold(op, x):
    """``op`` over the last axis, in two stages, the first of which is a vector operation."""
    *rest, size = x.shape
    part = next(p for p in (64, 27, 25, 16, 9, 8, 7, 5, 4, 3, 2, 1) if size % p == 0)
    if part in (1, size):
        return op(x, axis=-1)
    return op(lax.optimization_barrier(op(x.reshape(*rest, -1, part), axis=-2)), axis=-1)


class _Algebra(NamedTuple):
    """How tables are made and summed: by products, in logarithms, or by maxima."""

    one: float
    times: Callable[[Any, Any], Any]
    put: Callable[[Any, Any, Any], Any]  # messages that arrived with one more, at some places
    message: Callable[[Any], Any]  # T [B, C, R] -> m [B, R], outputs; the first for the way back


def _by_products(table):
    table = lax.optimization_barrier(table)
    m = table.sum(axis=1)
    top, least = _fold(jnp.max, m), _fold(jnp.min, m)
    scaled = lax.optimization_barrier(m / jnp.where(top > 0, top, 1)[:, None])
    return scaled, ((table, m), (safe_log(top), least))


def _conditional_by_products(kept):
    table, m = kept
    return table / jnp.where(m > 0, m, 1)[:, None]


def _by_logs(table):
    top = table.max(axis=1, keepdims=True)
    p = jnp.exp(table - jnp.where(top == -jnp.inf, 0, top))
    total = p.sum(axis=1, keepdims=True)
    m = (safe_log(total) + top)[:, 0]
    off = m.max(axis=1)
    m = m - jnp.where(off == -jnp.inf, 0, off)[:, None]
    return m, ((p, total), (off, jnp.ones_like(off)))


def _conditional_by_logs(kept):
    p, total = kept
    return p / jnp.where(total == 0, 1, total)


def _by_maxima(table):
    m = table.max(axis=1)
    off = m.max(axis=1, keepdims=True)
    return m - jnp.where(off == -jnp.inf, 0, off), (table, ())


def _multiply(pool, at, rows):
    if len(at) == 1:
        return _write(pool, at, _read(pool, at) * rows)
    return pool.at[at].multiply(rows, mode="promise_in_bounds")


def _add(pool, at, rows):
    if len(at) == 1:
        return _write(pool, at, _read(pool, at) + rows)
    return pool.at[at].add(rows, mode="promise_in_bounds")


_PRODUCTS = _Algebra(1.0, jnp.multiply, _multiply, _by_products)
_LOGS = _Algebra(0.0, jnp.add, _add, _by_logs)
_MAXIMA = _Algebra(0.0, jnp.add, _add, _by_maxima)


def _step_up(algebra: _Algebra, send, pool, s: _Steps):
    """One step: the pool after it, and outputs."""
    lanes, classes, first = s.of_node.shape
    arrived = _read(pool, s.own)
    table = algebra.times(
        algebra.times(arrived.reshape(lanes, classes, first, -1), s.of_node[..., None]),
        s.of_edges[:, :, None],
    )
    m, out = algebra.message(table.reshape(lanes, classes, -1))
    if lanes == 1:
        sent = m.at[:, send[s.pattern[0]]].get(mode="promise_in_bounds")
    else:
        sent = jnp.take_along_axis(m, send[s.pattern], axis=1, mode="promise_in_bounds")
    pool = _write(pool, s.own, jnp.full_like(arrived, algebra.one))
    return algebra.put(pool, s.up, sent), out


def _sweep_up(algebra: _Algebra, steps: _Steps, plan: Plan):
    """The second outputs of all steps, and the pool before each group."""
    step = partial(_step_up, algebra, plan.send)

    def group(pool, steps):
        after, out = lax.scan(lambda p, s: ((r := step(p, s))[0], r[1][1]), pool, steps)
        return after, (out, pool)

    shape = len(plan.places), plan.send.shape[1]
    return lax.scan(group, jnp.full(shape, algebra.one, steps.of_node.dtype), steps)[1]


def _sweep_back(algebra: _Algebra, steps: _Steps, pools, plan: Plan, body, carry, more):
    """``body(carry, (first output, step, more))`` from the last step to the first."""
    up = partial(_step_up, algebra, plan.send)

    def group(carry, inputs):
        pool, steps, more = inputs
        _, kept = lax.scan(lambda p, s: ((r := up(p, s))[0], r[1][0]), pool, steps)
        return lax.scan(body, carry, (kept, steps, more), reverse=True)

    return lax.scan(group, carry, (pools, steps, more), reverse=True)


class _Run(NamedTuple):
    """What the way back needs: the messages before each group, and what they are."""

    pools: jax.Array  # [G, L, C^W]
    products: jax.Array  # bool []


def _run(node, edge, node_mask, edge_mask, plan: Plan) -> tuple[jax.Array, _Run]:
    steps = _prepare(node, edge, node_mask, edge_mask, plan)
    tables, taken = _exponentials(steps)
    (offs, least), pools = _sweep_up(_PRODUCTS, tables, plan)

    def products(_):
        return offs.sum() + taken, pools

    def logs(steps):
        (offs, _), pools = _sweep_up(_LOGS, steps, plan)
        return offs.sum(), pools

    good = (least >= MIN_PROB).all()
    total, pools = lax.cond(good, products, logs, steps)
    return total, _Run(pools, good)


def reference(node, edge, node_mask, edge_mask, plan: Plan) -> jax.Array:
    """``ln Z`` in logarithms, as autodiff likes it."""
    steps = _prepare(node, edge, node_mask, edge_mask, plan)
    return _sweep_up(_LOGS, steps, plan)[0][0].sum()


@jax.custom_vjp
def log_partition(
    node: jax.Array, edge: jax.Array, node_mask: jax.Array, edge_mask: jax.Array, plan: Plan
) -> jax.Array:
    """``ln Z``. Gradient: the marginals. Residuals: the arguments and ``G L C^W`` numbers."""
    return _run(node, edge, node_mask, edge_mask, plan)[0]


class _Residuals(NamedTuple):
    node: jax.Array  # [I, C]
    edge: jax.Array  # [E, C, C]
    node_mask: jax.Array  # [I]
    edge_mask: jax.Array  # [E]
    plan: Plan
    run: _Run


def _fwd(node, edge, node_mask, edge_mask, plan):
    total, ran = _run(node, edge, node_mask, edge_mask, plan)
    return total, _Residuals(node, edge, node_mask, edge_mask, plan, ran)


def _bwd(res: _Residuals, ct):
    node, edge, node_mask, edge_mask, plan, ran = res
    steps, (first, second) = _prepare(*res[:5]), _halves(plan)

    def down(algebra, conditional, steps):
        classes, (first, second) = node.shape[-1], (node.shape[-1] ** n for n in _halves(plan))
        alone = (jnp.arange(first * second) == 0).astype(steps.of_node.dtype)[None]

        def step(pool, inputs):
            kept, s, _ = inputs
            lanes = len(s.own)
            above = _read(pool, s.up)
            if lanes == 1:
                above = above.at[:, plan.back[s.pattern[0]]].get(mode="promise_in_bounds")
            else:
                rows = plan.back[s.pattern]
                above = jnp.take_along_axis(above, rows, axis=1, mode="promise_in_bounds")
            above = above.reshape(lanes, classes, -1).sum(axis=1)
            above = jnp.where((s.up == 1)[:, None], alone, above)
            joint = lax.optimization_barrier(above[:, None] * conditional(kept))
            halves = joint.reshape(lanes, classes, first, second)
            of_first = halves.sum(axis=3)
            sums = of_first.sum(axis=2), of_first, halves.sum(axis=2)
            return _write(pool, s.own, joint.reshape(lanes, -1)), sums

        pool = jnp.zeros_like(ran.pools[0])
        return _sweep_back(algebra, steps, ran.pools, plan, step, pool, None)[1]

    sums = lax.cond(
        ran.products,
        lambda s: down(_PRODUCTS, _conditional_by_products, _exponentials(s)[0]),
        lambda s: down(_LOGS, _conditional_by_logs, s),
        steps,
    )
    of_node, of_first, of_second = (x.reshape(-1, *x.shape[2:]) * ct.astype(x.dtype) for x in sums)
    parts = jnp.concatenate([_gathered(of_first, first), _gathered(of_second, second)], axis=2)
    d_node = jnp.zeros_like(of_node, shape=(len(node) + 1, node.shape[1]))
    d_node = d_node.at[plan.nodes].set(of_node)[:-1]
    d_both = jnp.zeros_like(parts, shape=(2 * len(edge) + 1, *edge.shape[1:]))
    d_both = d_both.at[plan.edges].add(parts)[:-1]
    d_edge = d_both[: len(edge)] + d_both[len(edge) :].swapaxes(1, 2)
    d_node = jnp.where(node_mask[:, None], d_node, 0)
    d_edge = jnp.where(edge_mask[:, None, None], d_edge, 0)
    return *cast_like((d_node, d_edge), (node, edge)), None, None, None


log_partition.defvjp(_fwd, _bwd)


def best_labels(node, edge, node_mask, edge_mask, plan: Plan) -> jax.Array:
    """The best labelling, int32 ``[I]``, 0 where masked."""
    steps = _prepare(node, edge, node_mask, edge_mask, plan)
    _, pools = _sweep_up(_MAXIMA, steps, plan)
    choose = lambda column, _: jnp.argmax(column, axis=1)
    return _walk_back(_MAXIMA, steps, pools, plan, choose, lambda t: t, None, node_mask)


def sample_labels(key, node, edge, node_mask, edge_mask, plan: Plan, num: int) -> jax.Array:
    """Labellings drawn from the distribution, int32 ``[num, I]``, 0 where masked."""
    steps = _prepare(node, edge, node_mask, edge_mask, plan)
    _, pools = _sweep_up(_LOGS, steps, plan)
    keys = jax.random.split(key, (num, *steps.own.shape[:2]))

    def choose(columns, key):
        return jax.random.categorical(key, jnp.log(columns), axis=-1)

    def one(keys):
        args = plan, choose, _conditional_by_logs, keys, node_mask
        return _walk_back(_LOGS, steps, pools, *args)

    return jax.vmap(one)(keys)


def _walk_back(algebra, steps, pools, plan: Plan, choose, conditional, keys, node_mask):
    classes = steps.of_node.shape[3]
    weight = classes ** jnp.arange(plan.width - 1, dtype=jnp.int32)[::-1]

    def step(labels, inputs):
        kept, _, (nodes, others, key) = inputs
        column = (labels[others] * weight[None]).sum(axis=1)
        table = conditional(kept)
        here = jnp.take_along_axis(table, column[:, None, None], axis=2)[..., 0]
        return labels.at[nodes].set(choose(here, key).astype(jnp.int32)), None

    more = _grouped(plan.nodes, plan), _grouped(plan.others, plan), keys
    labels = jnp.zeros(len(node_mask) + 1, jnp.int32)
    labels, _ = _sweep_back(algebra, steps, pools, plan, step, labels, more)
    return jnp.where(node_mask, labels[:-1], 0)
