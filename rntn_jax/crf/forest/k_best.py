"""The k best labellings of each tree: lists of scores instead of scores.

Nodes send their lists one by one, in the order of the plan, children before parents. What arrives
at a parent is merged into its list at once, ``k`` of the ``k * k`` sums being kept for each label
of the parent, and where they came from; the way down takes the merges back. A root sends to its
tree, which has one label, and so do nodes whose parent is masked.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.forest.plan import Plan
from rntn_jax.crf.forest.sweep import linked
from rntn_jax.ops import accumulator
from rntn_jax.ops.logspace import finite_max
from rntn_jax.ops.masking import append_zeros
from rntn_jax.ops.varying import vary_like

__all__ = ["k_best"]


def k_best(
    node: jax.Array, edge: jax.Array, mask: jax.Array, plan: Plan, k: int
) -> tuple[jax.Array, jax.Array]:
    """The k best labellings of each tree.

    Args:
        node: float ``[N, C]``.
        edge: float ``[C, C]`` or ``[N, C, C]``.
        mask: bool ``[N]``.
        plan: of the forest.
        k: how many.

    Returns:
        ``(labels int32 [k, N], order [T, k])``, labels 0 where masked. ``order`` is their score up
        to a constant of each tree: ``-inf`` where there are fewer, NaN where a score is.
    """
    dtype, (count, classes), trees = accumulator(node, edge), node.shape, len(plan.roots)
    on = append_zeros(linked(plan, mask))
    real = append_zeros(mask)
    # Places of lists: the nodes, then the trees, then one for whatever is not there.
    nowhere = count + trees
    above = jnp.where(on, jnp.append(plan.parent, count), count + jnp.append(plan.tree, trees))
    above = jnp.where(real, above, nowhere)
    u = jnp.where(mask[:, None], node, 0).astype(dtype)
    alone = jnp.where(jnp.arange(classes) == 0, 0, -jnp.inf).astype(dtype)
    u = jnp.concatenate([u, jnp.broadcast_to(alone[None], (trees + 1, classes))])
    first = jnp.arange(k)[None, None] == 0
    lists = jnp.where(first, u[..., None], -jnp.inf)  # [N + T + 1, C, k]
    order = plan.nodes.reshape(-1)

    def up(lists, n):
        b, to = lists[n], above[n]
        into = edge if edge.ndim == 2 else edge[jnp.minimum(n, count - 1)]
        into = jnp.where(on[n], into.astype(dtype), 0)
        z = (into[..., None] + b[None]).reshape(classes, classes * k)
        # Before the lists are cut, so that NaN cannot be left out.
        sent, origin = lax.top_k(z - finite_max(z, (0, 1)), k)
        both = (lists[to][:, :, None] + sent[:, None, :]).reshape(classes, k * k)
        merged, pair = lax.top_k(both, k)
        merged, origin, pair = lax.optimization_barrier((merged, origin, pair))
        merged = jnp.where(real[n], merged, lists[to])
        return lists.at[to].set(merged), (origin, pair)

    lists, (origins, pairs) = lax.scan(up, lists, order)
    best = lists[count : count + trees, 0]  # [T, k]

    def down(carry, inputs):
        labels, ranks = carry  # [N + T + 1, k], of each of the k labellings
        n, origin, pair = inputs
        to = above[n]
        label, rank = labels[to], ranks[to]
        merge = pair[label, rank]
        own = origin[label, merge % k]
        new = jnp.where(real[n], own // k, 0), jnp.where(real[n], own % k, 0)
        rank = jnp.where(real[n], merge // k, rank)
        new, rank = lax.optimization_barrier((new, rank))
        n = jnp.where(real[n], n, nowhere)
        ranks = ranks.at[to].set(rank).at[n].set(new[1])
        return (labels.at[n].set(new[0]), ranks), None

    size = count + trees + 1
    ranks = jnp.broadcast_to(jnp.arange(k, dtype=jnp.int32), (size, k))
    labels, ranks = vary_like((jnp.zeros((size, k), jnp.int32), ranks), origins)
    (labels, _), _ = lax.scan(down, (labels, ranks), (order, origins, pairs), reverse=True)
    labels = jnp.where(mask[:, None], labels[:count], 0)
    return labels.T, best
