"""Labellings by elimination: the best, the k best, and draws from the distribution.

The best and the draws are one walk from the last bag to the first, each variable taking its label
given those of its separator. The ``k`` best come from max-marginals, by elimination with maxima::

    M_i[c] = max_{y: y_i = c} s(y) - max_y s(y)

which is 0 at the best labelling. The second best of a set of labellings has a label ``c != y_i``
somewhere, and is the best of those that have it; where ``M_i[c]`` is largest. So the set falls in
two: the labellings with ``y_i = c``, whose best that is, and the others, whose best stays (Nilsson
1998; Yanover and Weiss 2004). Each further labelling comes from the set with the best second best,
for two computations of max-marginals.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.graph.elimination import (
    LOGS,
    MAXIMA,
    Semiring,
    Steps,
    from_parent,
    grouped,
    prepare,
    sweep_down,
    sweep_up,
    write,
)
from rntn_jax.crf.graph.plan import Plan
from rntn_jax.crf.graph.scores import Parts, score_of
from rntn_jax.ops.varying import vary_like

__all__ = ["best_labels", "max_marginals", "sample_labels", "top_k_labels"]


def best_labels(parts: Parts, plan: Plan) -> jax.Array:
    """The best labelling; of equal ones, any.

    Args:
        parts: checked scores.
        plan: of elimination.

    Returns:
        int32 ``[I]``, 0 where masked.
    """
    steps = prepare(parts.node, parts.edge, parts.node_mask, parts.edge_mask, plan)
    _, pools = sweep_up(MAXIMA, steps, plan)
    choose = lambda column, _: jnp.argmax(column, axis=1)
    return _walk_down(MAXIMA, steps, pools, plan, choose, None, parts.node_mask)


def sample_labels(key: jax.Array, parts: Parts, plan: Plan, num: int) -> jax.Array:
    """Labellings drawn from the distribution, independently.

    Args:
        key: PRNG key.
        parts: checked scores.
        plan: of elimination.
        num: how many.

    Returns:
        int32 ``[num, I]``, 0 where masked.
    """
    steps = prepare(parts.node, parts.edge, parts.node_mask, parts.edge_mask, plan)
    _, pools = sweep_up(LOGS, steps, plan)
    keys = jax.random.split(key, (num, *steps.own.shape[:2]))

    def choose(columns, key):
        return jax.random.categorical(key, jnp.log(columns), axis=-1)

    def one(keys):
        return _walk_down(LOGS, steps, pools, plan, choose, keys, parts.node_mask)

    return jax.vmap(one)(keys)


def _walk_down(
    semiring: Semiring, steps: Steps, pools, plan: Plan, choose, keys, node_mask
) -> jax.Array:
    weight = steps.node.shape[3] ** jnp.arange(plan.width - 1, dtype=jnp.int32)[::-1]

    def body(labels, inputs):
        kept, _, (nodes, others, key) = inputs
        column = (labels[others] * weight[None]).sum(axis=1)
        table = semiring.conditional(kept)
        column = jnp.take_along_axis(table, column[:, None, None], axis=2)[..., 0]
        return labels.at[nodes].set(choose(column, key).astype(jnp.int32)), None

    more = grouped(plan.nodes, plan), grouped(plan.others, plan), keys
    labels = vary_like(jnp.zeros(len(node_mask) + 1, jnp.int32), steps, keys)
    labels, _ = sweep_down(semiring, steps, pools, plan, body, labels, more)
    return jnp.where(node_mask, labels[:-1], 0)


def max_marginals(parts: Parts, plan: Plan) -> jax.Array:
    """Scores of the best labelling with each label of each node, minus that of the best of all.

    Args:
        parts: checked scores.
        plan: of elimination.

    Returns:
        ``[I, C]`` nats, at most 0 but for rounding.
    """
    steps = prepare(parts.node, parts.edge, parts.node_mask, parts.edge_mask, plan)
    _, pools = sweep_up(MAXIMA, steps, plan)

    def body(pool, inputs):
        kept, s, _ = inputs
        above = from_parent(pool, s, plan).max(axis=1)
        alone = jnp.where(jnp.arange(above.shape[1]) == 0, 0, -jnp.inf).astype(above.dtype)
        above = jnp.where((s.up == 1)[:, None], alone[None], above)
        joint = above[:, None] + MAXIMA.conditional(kept)
        return write(pool, s.own, joint.reshape(len(joint), -1)), joint.max(axis=2)

    pool = jnp.zeros_like(pools[0])
    found = sweep_down(MAXIMA, steps, pools, plan, body, pool, None)[1]
    count, classes = parts.node.shape
    everything = jnp.zeros((count + 1, classes), found.dtype)
    return everything.at[plan.nodes].set(found.reshape(*plan.nodes.shape, classes))[:-1]


def top_k_labels(parts: Parts, plan: Plan, k: int) -> tuple[jax.Array, jax.Array]:
    """The ``k`` best labellings, best first.

    Args:
        parts: checked scores.
        plan: of elimination.
        k: how many.

    Returns:
        int32 ``[k, I]``, and which of them there are, bool ``[k]``. Cost O(k) sweeps.
    """
    count, classes = parts.node.shape
    if count == 0:
        return jnp.zeros((k, 0), jnp.int32), jnp.arange(k) == 0

    def within(allowed: jax.Array) -> Parts:
        return parts._replace(node=jnp.where(allowed, parts.node, -jnp.inf))

    def second_best(labels: jax.Array, allowed: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Score of the best labelling but this one, and entry ``i C + c`` of a label it has."""
        found = max_marginals(within(allowed), plan)
        others = jnp.where(labels[:, None] == jnp.arange(classes)[None], -jnp.inf, found)
        others = jnp.where(parts.node_mask[:, None], others, -jnp.inf).reshape(-1)
        return score_of(parts, labels) + others.max(), others.argmax()

    def split(state, t):
        labels, allowed, seconds, entries = state
        chosen = seconds.argmax()
        there = seconds[chosen] > -jnp.inf
        entry = jnp.arange(count * classes).reshape(count, classes) == entries[chosen]
        of_node = entry.any(axis=1, keepdims=True)
        inside = allowed[chosen] & (entry | ~of_node)
        outside = allowed[chosen] & ~entry
        best = best_labels(within(inside), plan)
        pair = jnp.stack([best, labels[chosen]]), jnp.stack([inside, outside])
        second, entry = lax.map(lambda both: second_best(*both), pair)
        at = jnp.stack([t, chosen])
        return (
            labels.at[t].set(best),
            allowed.at[at].set(pair[1]),
            seconds.at[at].set(jnp.where(there, second, -jnp.inf)),
            entries.at[at].set(entry),
        ), there

    best, everything = best_labels(parts, plan), jnp.ones((count, classes), bool)
    second, entry = second_best(best, everything)
    state = (
        jnp.zeros((k, count), jnp.int32).at[0].set(best),
        jnp.ones((k, count, classes), bool),
        jnp.full(k, -jnp.inf, second.dtype).at[0].set(second),
        jnp.zeros(k, entry.dtype).at[0].set(entry),
    )
    (labels, *_), there = lax.scan(split, vary_like(state), jnp.arange(1, k))
    return labels, jnp.append(True, there)
