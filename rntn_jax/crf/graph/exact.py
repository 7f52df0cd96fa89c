"""Exact ln Z with its rule, and what is made of local conditionals: entropy and divergence.

Upward, `rntn_jax.crf.graph.elimination` sums out one variable ``v`` after another, which leaves
tables ``T_v[c, s]`` over its label and those of its separator, and messages ``m_v[s]``. From the
last bag down, ``p`` being the parent of ``v``::

    w_v[c, s] = P(y_v = c | s) = exp(T_v[c, s] - m_v[s] - z_v)
    J_v[c, s] = w_v[c, s] sum_{what is not in s} J_p

the joint marginals of bags, of which those of nodes and edges are sums: the gradient of ``ln Z``.
The upward sweep multiplies probabilities where that is certain to be right, and otherwise (and
wherever something is forbidden or NaN) is repeated in logarithms.

As ``ln P(y) = sum_v ln w_v[y_v, s]``, entropies and divergences are sums of local means, in which
no two large numbers are subtracted::

    H(P)     = -sum_v E_P[ln w_v]
    KL(P, Q) =  sum_v E_P[ln w_v - ln w'_v]      w' of Q, in the same order of elimination

Source: 004, the model marginals theorem; the recursion is not in the source.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf import expectations
from rntn_jax.crf.graph.elimination import (
    LOGS,
    PRODUCTS,
    Steps,
    exponentials,
    from_parent,
    num_in_halves,
    prepare,
    step_up,
    sweep_down,
    sweep_up,
    write,
)
from rntn_jax.crf.graph.plan import Plan
from rntn_jax.crf.graph.scores import Parts
from rntn_jax.ops import accumulator, cast_like
from rntn_jax.ops.logspace import MIN_PROB, finite_max, logsumexp
from rntn_jax.ops.varying import vary_like

__all__ = ["divergence", "divergence_reference", "log_partition", "reference"]


class _Run(NamedTuple):
    """What the downward sweep needs: the messages before each group, and what they are."""

    pools: jax.Array  # [G, L, C^W]
    products: jax.Array  # bool []


def _run(node, edge, node_mask, edge_mask, plan: Plan) -> tuple[jax.Array, _Run]:
    steps = prepare(node, edge, node_mask, edge_mask, plan)
    tables, maxima = exponentials(steps)
    (offsets, least), pools = sweep_up(PRODUCTS, tables, plan)

    def products(_):
        return offsets.sum() + maxima, pools

    def logs(steps):
        (offsets, _), pools = sweep_up(LOGS, steps, plan)
        return offsets.sum(), pools

    good = (least >= MIN_PROB).all()
    total, pools = lax.cond(good, products, logs, steps)
    return total, _Run(pools, good)


def reference(node, edge, node_mask, edge_mask, plan: Plan) -> jax.Array:
    """The plain oracle of `log_partition`: ``ln Z`` in logarithms, as autodiff likes it.

    Args:
        node, edge, node_mask, edge_mask, plan: as `log_partition` takes them.

    Returns:
        Nats in at least float32, a scalar.
    """
    steps = prepare(node, edge, node_mask, edge_mask, plan)
    return sweep_up(LOGS, steps, plan)[0][0].sum()


@jax.custom_vjp
def log_partition(
    node: jax.Array, edge: jax.Array, node_mask: jax.Array, edge_mask: jax.Array, plan: Plan
) -> jax.Array:
    """``ln Z``. Gradient: the marginals. Residuals: the arguments and ``G L C^W`` numbers.

    Args:
        node: float ``[I, C]``.
        edge: float ``[E, C, C]``.
        node_mask: bool ``[I]``.
        edge_mask: bool ``[E]``.
        plan: of elimination.

    Returns:
        Nats in at least float32, a scalar; ``-inf`` where everything is forbidden.
    """
    return _run(node, edge, node_mask, edge_mask, plan)[0]


class _Residuals(NamedTuple):
    node: jax.Array  # [I, C]
    edge: jax.Array  # [E, C, C]
    node_mask: jax.Array  # [I]
    edge_mask: jax.Array  # [E]
    plan: Plan
    run: _Run


def _fwd(node, edge, node_mask, edge_mask, plan) -> tuple[jax.Array, _Residuals]:
    total, ran = _run(node, edge, node_mask, edge_mask, plan)
    return total, _Residuals(node, edge, node_mask, edge_mask, plan, ran)


def _gathered(table: jax.Array, count: int) -> jax.Array:
    """Sums over all registers but one: ``[.., C, C^J] -> [.., J, C, C]``."""
    *rest, classes, _ = table.shape
    parts = [jnp.zeros((*rest, 0, classes, classes), table.dtype)]
    for j in range(count):
        axes = classes**j, classes, classes ** (count - 1 - j)
        parts.append(table.reshape(*rest, classes, *axes).sum((-3, -1))[..., None, :, :])
    return jnp.concatenate(parts, axis=-3)


def _alone(steps: Steps) -> jax.Array:
    """Joint probabilities of no labels at all, for the separators of roots: ``[1, R]``."""
    size = steps.node.shape[-1] * steps.edge.shape[-1]
    return (jnp.arange(size) == 0).astype(steps.node.dtype)[None]


def _of_separator(pool: jax.Array, s: Steps, plan: Plan, alone: jax.Array) -> jax.Array:
    """Joint probabilities of the labels of separators, ``[B, R]``."""
    above = from_parent(pool, s, plan).sum(axis=1)
    return jnp.where((s.up == 1)[:, None], alone, above)


def _bwd(res: _Residuals, ct) -> tuple:
    node, edge, node_mask, edge_mask, plan, ran = res
    steps, (first, second) = prepare(*res[:5]), num_in_halves(plan)

    def down(semiring, steps):
        classes, alone = node.shape[-1], _alone(steps)

        def body(pool, inputs):
            kept, s, _ = inputs
            above = _of_separator(pool, s, plan, alone)
            joint = lax.optimization_barrier(above[:, None] * semiring.conditional(kept))
            halves = joint.reshape(len(s.own), classes, classes**first, classes**second)
            first_sums = halves.sum(axis=3)
            sums = first_sums.sum(axis=2), first_sums, halves.sum(axis=2)
            return write(pool, s.own, joint.reshape(len(s.own), -1)), sums

        pool = jnp.zeros_like(ran.pools[0])
        return sweep_down(semiring, steps, ran.pools, plan, body, pool, None)[1]

    sums = lax.cond(
        ran.products,
        lambda s: down(PRODUCTS, exponentials(s)[0]),
        lambda s: down(LOGS, s),
        steps,
    )
    node_sums, first_sums, second_sums = (x.reshape(-1, *x.shape[2:]) for x in sums)
    parts = _gathered(first_sums, first), _gathered(second_sums, second)
    d_node = jnp.zeros_like(node_sums, shape=(len(node) + 1, node.shape[1]))
    d_node = d_node.at[plan.nodes].set(node_sums.reshape(*plan.nodes.shape, -1))[:-1]
    parts = jnp.concatenate(parts, axis=2)
    d_both = jnp.zeros_like(parts, shape=(2 * len(edge) + 1, *edge.shape[1:]))
    d_both = d_both.at[plan.edges].add(parts)[:-1]
    d_edge = d_both[: len(edge)] + d_both[len(edge) :].swapaxes(1, 2)
    ct = ct.astype(d_node.dtype)
    d_node = jnp.where(node_mask[:, None], d_node * ct, 0)
    d_edge = jnp.where(edge_mask[:, None, None], d_edge * ct, 0)
    return *cast_like((d_node, d_edge), (node, edge)), None, None, None


log_partition.defvjp(_fwd, _bwd)


# Local conditionals -----------------------------------------------------------------------------


def _eliminate_keeping_logs(table) -> tuple[jax.Array, Any]:
    """As `LOGS`; kept is ``ln w``, which reaches lower than ``w`` does."""
    m, (_, out) = LOGS.eliminate(table)
    total = logsumexp(table, 1)[:, None]
    return m, (table - jnp.where(total == -jnp.inf, 0, total), out)


_LOG_CONDITIONALS = LOGS._replace(eliminate=_eliminate_keeping_logs, conditional=lambda w: w)


def _prepare_without_maxima(parts: Parts, plan: Plan) -> Steps:
    """As `prepare`, without what all labels of a node or an edge have in common."""
    dtype = accumulator(parts.node, parts.edge)
    node, edge = parts.node.astype(dtype), parts.edge.astype(dtype)
    node, edge = node - finite_max(node), edge - finite_max(edge, (1, 2))
    return prepare(node, edge, parts.node_mask, parts.edge_mask, plan)


def divergence(p: Parts, q: Parts | None, plan: Plan) -> jax.Array:
    """``sum_v E_P[ln w_v - ln w'_v]``, the Kullback-Leibler divergence of Q from P, a scalar.

    Gradient: by autodiff of the sweeps, of which only the pools of messages are kept.

    Args:
        p: the distribution.
        q: scores on the same edges; None: without the second term, which is minus the entropy.
        plan: of elimination.

    Returns:
        Nats; NaN where P forbids everything, ``inf`` where Q forbids what P does not.
    """
    models = [_prepare_without_maxima(parts, plan) for parts in (p, q) if parts is not None]
    ups = [sweep_up(_LOG_CONDITIONALS, steps, plan) for steps in models]
    up = partial(step_up, _LOG_CONDITIONALS, plan.send)
    alone = _alone(models[0])

    def body(pool, inputs):
        logs, s = inputs
        joint = _of_separator(pool, s, plan, alone)[:, None] * jnp.exp(logs[0])
        possible = joint != 0
        ours, *theirs = (jnp.where(possible, x, 0) for x in logs)
        difference = ours - theirs[0] if theirs else ours
        return write(pool, s.own, joint.reshape(len(joint), -1)), (joint * difference).sum()

    @jax.checkpoint
    def group(carry, inputs):
        pools, models = inputs
        logs = [
            lax.scan(lambda p, s: ((r := up(p, s))[0], r[1][0]), pool, steps)[1]
            for pool, steps in zip(pools, models, strict=True)
        ]
        return lax.scan(body, carry, (logs, models[0]), reverse=True)

    (offsets, _), pools = ups[0]
    inputs = [pools for _, pools in ups], models
    means = lax.scan(group, jnp.zeros_like(pools[0]), inputs, reverse=True)[1]
    return jnp.where(offsets.sum() == -jnp.inf, jnp.nan, means.sum())


def divergence_reference(p: Parts, q: Parts | None, plan: Plan) -> jax.Array:
    """The plain oracle of `divergence`: differences of ``ln Z`` and mean scores.

    Args:
        p: the distribution.
        q: scores on the same edges; None: minus the entropy.
        plan: of elimination.

    Returns:
        Nats.
    """

    p = vary_like(p, q, plan)  # each device's own means

    def total(node: jax.Array, edge: jax.Array, parts: Parts) -> jax.Array:
        return reference(node, edge, *parts[3:], plan)

    def mean(values: Parts) -> Any:
        means = zip(marginals, values[:2], strict=True)
        return sum(expectations.weighted_sum(m, v, tuple(range(v.ndim))) for m, v in means)

    marginals = jax.grad(total, (0, 1))(*p[:2], p)
    value = mean(p) - total(*p[:2], p)
    return value if q is None else value - mean(q) + total(*q[:2], q)
