"""CRFs on trees and forests: an exponential softmax over the labellings of all their nodes.

A labelling ``y`` scores ``sum_n node[n, y_n] + sum_n edge[n, y_parent(n), y_n]`` (source 004, the
edges being those from each node's parent to it). Trees have any shape and root, nodes any number
of children and any order; many trees make one forest, and every query has one value a tree.
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rntn_jax.crf.forest import sweep
from rntn_jax.crf.forest.plan import Plan, plan
from rntn_jax.ops import accumulator, masked

__all__ = [
    "Scores",
    "argmax",
    "entropy",
    "expected_score",
    "kl",
    "log_partition",
    "log_prob",
    "marginals",
    "sample",
    "score",
]


class Scores(NamedTuple):
    """Scores of the parts of a labelling, in nats; `marginals` come in the same container.

    ``-inf`` forbids a label or a pair. Masked nodes drop out, with all their edges, and may hold
    anything, as may the edges of roots. A tree without real nodes has one labelling, of score 0.
    """

    node: jax.Array  # [N, C]
    edge: jax.Array  # [C, C] or [N, C, C]: [n, i, j] for label i of n's parent and j of n
    parent: jax.Array | Plan  # int [N], -1 at roots; within jit the `plan` made of it
    mask: jax.Array | None = None  # bool [N]


def log_partition(scores: Scores, allowed: jax.Array | None = None) -> jax.Array:
    """``ln Z`` of each tree: the logarithm of the summed ``exp(score)`` of all labellings.

    Gradient: the marginals (model marginals theorem, 004), by one sweep from the roots down.

    Args:
        scores: the CRF, of ``T`` trees.
        allowed: bool ``[N, C]``; only labellings of allowed labels are summed.

    Returns:
        ``[T]`` nats, in at least float32, trees in the order of their roots; ``-inf`` where every
        labelling is forbidden. Cost O(N C^2), in as many steps as the plan has. Residuals: the
        arguments, and ``C^2`` numbers a slot of the plan.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``parent`` is no forest, or traced.

    Example:
        >>> scores = Scores(jnp.zeros((4, 2)), jnp.zeros((2, 2)), jnp.array([-1, 0, 0, -1]))
        >>> jnp.exp(log_partition(scores)).round(4).tolist()
        [8.0, 2.0]
    """
    return sweep.log_partition(*_complete(scores, allowed))


def score(scores: Scores, labels: jax.Array) -> jax.Array:
    """Score of one labelling of each tree, ``[T]``.

    Computes ``s(y)`` of source 004. Labels of masked nodes may be anything; another label outside
    ``0 .. C-1`` makes the result NaN.

    Args:
        scores: the CRF.
        labels: integer ``[N]``.

    Example:
        >>> scores = Scores(jnp.ones((2, 2)), jnp.array([[0.0, 5.0], [0.0, 0.0]]), [-1, 0])
        >>> score(scores, jnp.array([0, 1])).tolist()
        [7.0]
    """
    node, edge, mask, plan = _complete(scores, None)
    labels = jnp.asarray(labels)
    chex.assert_shape(labels, mask.shape)
    chex.assert_type(labels, int)
    dtype, (count, classes) = accumulator(node, edge), node.shape
    legal = ~mask | ((labels >= 0) & (labels < classes))
    labels = jnp.where(mask, jnp.clip(labels, 0, classes - 1), 0)
    chosen = labels[:, None] == jnp.arange(classes)[None]
    of_nodes = jnp.where(chosen & mask[:, None], node, 0).sum(axis=1, dtype=dtype)
    before = sweep.padded(labels)[plan.parent]
    of_edges = edge[before, labels] if edge.ndim == 2 else edge[jnp.arange(count), before, labels]
    of_edges = jnp.where(sweep.linked(plan, mask), of_edges, 0).astype(dtype)
    return sweep.sums_by_tree(jnp.where(legal, of_nodes + of_edges, jnp.nan), plan)


def log_prob(scores: Scores, labels: jax.Array) -> jax.Array:
    """Log-probability of one labelling of each tree, ``[T]`` nats.

    Gradient: indicators of the labelling minus marginals.

    Source: 004, L and the model marginals theorem (of ``-log_prob``).

    Example:
        >>> scores = Scores(jnp.zeros((3, 2)), jnp.zeros((2, 2)), jnp.array([1, -1, 1]))
        >>> jnp.exp(log_prob(scores, jnp.array([0, 1, 1]))).round(4).tolist()
        [0.125]
    """
    of_labels = score(scores, labels)
    return jnp.where(of_labels == -jnp.inf, -jnp.inf, of_labels - log_partition(scores))


def marginals(scores: Scores) -> Scores:
    """Probabilities of all labels and pairs, in the container of the scores.

    The gradient of ``log_partition(scores).sum()``: ``node[n, c] = P(y_n = c)``; ``edge[n, i, j]``
    is the probability of label ``i`` of n's parent and ``j`` of n, 0 at roots, and summed over the
    forest where the scores are shared. Integers and the mask pass through.

    Source: 004, ``P(y[i] = c)`` and ``P(y[i] = c and y[j] = c')`` of the model marginals theorem.

    Example:
        >>> scores = Scores(jnp.log(jnp.array([[1.0, 3.0]])), jnp.zeros((2, 2)), jnp.array([-1]))
        >>> marginals(scores).node.round(4).tolist()
        [[0.25, 0.75]]
    """
    rest = scores._replace(parent=_planned(scores))

    def total(node: jax.Array, edge: jax.Array) -> jax.Array:
        return log_partition(rest._replace(node=node, edge=edge)).sum()

    node, edge = jax.grad(total, (0, 1))(jnp.asarray(scores.node), jnp.asarray(scores.edge))
    return scores._replace(node=node, edge=edge)


def argmax(scores: Scores) -> tuple[jax.Array, jax.Array]:
    """The best labelling of each tree, and its score.

    Returns:
        ``(labels int32 [N], score [T])``, labels 0 where masked. The score's gradient is the
        indicator of the labelling. Cost O(N C^2).

    Example:
        >>> scores = Scores(jnp.array([[0.0, 1.0], [2.0, 0.0]]), jnp.zeros((2, 2)), [-1, 0])
        >>> labels, best = argmax(scores)
        >>> labels.tolist(), best.tolist()
        ([1, 0], [3.0])
    """
    scores = scores._replace(parent=_planned(scores))
    labels = sweep.best_labels(*lax.stop_gradient(_complete(scores, None)))
    return labels, score(scores, labels)


def sample(key: jax.Array, scores: Scores, num_samples: int) -> jax.Array:
    """Draws labellings from the distribution: upward filtering, downward sampling.

    Args:
        key: a PRNG key.
        scores: the CRF.
        num_samples: labellings to draw, independently; static.

    Returns:
        int32 ``[num_samples, N]``, 0 where masked.

    Example:
        >>> node = jnp.array([[0.0, -jnp.inf], [-jnp.inf, 0.0]])
        >>> sample(jax.random.key(0), Scores(node, jnp.zeros((2, 2)), [-1, 0]), 2).tolist()
        [[0, 1], [0, 1]]
    """
    node, edge, mask, plan = lax.stop_gradient(_complete(scores, None))
    _, w, up = sweep.conditionals(node, edge, mask, plan)
    logits = jnp.log(w)

    def one(key):
        choices = jax.random.categorical(key, logits).astype(jnp.int32)
        return sweep.walk_down(choices, up, plan, mask)

    return lax.map(one, jax.random.split(key, num_samples))


def expected_score(scores: Scores, values: Scores) -> jax.Array:
    """Mean of another score under the distribution, ``[T]``.

    Computes ``sum_y P(y) v(y)``, ``v(y)`` being ``score(values, y)``. What has probability 0
    counts 0, whatever its value; ``-inf`` of positive probability makes the mean ``-inf``.

    Args:
        scores: the distribution.
        values: parts of the other score, of the same shapes; its mask and parents are not read.

    Example:
        >>> fair = Scores(jnp.zeros((3, 2)), jnp.zeros((2, 2)), jnp.array([-1, 0, 0]))
        >>> ones = fair._replace(node=jnp.tile(jnp.array([0.0, 1.0]), (3, 1)))
        >>> expected_score(fair, ones).tolist()
        [1.5]
    """
    node, edge, mask, plan = _complete(scores, None)
    v_node, v_edge = jnp.asarray(values.node), jnp.asarray(values.edge)
    chex.assert_equal_shape([node, v_node])
    chex.assert_equal_shape([edge, v_edge])
    if edge.ndim == 2:  # one a node, to be told apart
        edge, v_edge = (jnp.broadcast_to(x[None], (len(node), *x.shape)) for x in (edge, v_edge))
    of_trees = lambda n, e: sweep.log_partition(n, e, mask, plan)
    total, pull = jax.vjp(of_trees, node, edge)
    p_node, p_edge = pull(jnp.ones_like(total))
    on = sweep.linked(plan, mask)
    means = _means(p_node, masked(v_node, mask)) + _means(p_edge, masked(v_edge, on))
    return sweep.sums_by_tree(means, plan)


def _means(p, values):
    """``sum p v [N]`` over all axes but the first, with ``0 times -inf = 0``."""
    dtype, axes = accumulator(p, values), tuple(range(1, p.ndim))
    forbidden = values == -jnp.inf
    total = (p * jnp.where(forbidden, 0, values)).sum(axes, dtype=dtype)
    return jnp.where((forbidden & (p > 0)).any(axes), -jnp.inf, total)


def entropy(scores: Scores) -> jax.Array:
    """Entropy of the distribution over labellings of each tree, ``[T]`` nats.

    Computes ``ln Z - E[score]``. Where every labelling is forbidden: NaN, there being none.

    Example:
        >>> scores = Scores(jnp.zeros((3, 2)), jnp.zeros((2, 2)), jnp.array([-1, 0, 0]))
        >>> (entropy(scores) / jnp.log(2)).round(4).tolist()
        [3.0]
    """
    scores = scores._replace(parent=_planned(scores))
    # Entropy does not know what all labels have in common; digits do.
    node = jnp.asarray(scores.node)
    top = masked(node, scores.mask).max(axis=-1, keepdims=True, initial=-jnp.inf)
    common = scores._replace(node=node - jnp.where(jnp.isfinite(top), top, 0))
    return log_partition(common) - expected_score(common, common)


def kl(p: Scores, q: Scores) -> jax.Array:
    """Kullback-Leibler divergence of ``q`` from ``p``, ``[T]`` nats.

    Computes ``sum_y P(y) ln (P(y) / Q(y))``: ``inf`` where ``q`` forbids what ``p`` does not. Both
    have the trees and the mask of ``p``.

    Example:
        >>> p = Scores(jnp.log(jnp.array([[0.5, 0.5]])), jnp.zeros((2, 2)), jnp.array([-1]))
        >>> q = p._replace(node=jnp.log(jnp.array([[0.25, 0.75]])))
        >>> round(float(kl(p, q)[0]), 4)
        0.1438
    """
    p = p._replace(parent=_planned(p))
    q = q._replace(parent=p.parent, mask=p.mask)
    return expected_score(p, p) - log_partition(p) - expected_score(p, q) + log_partition(q)


def _planned(scores: Scores) -> Plan:
    """The plan, made here where it is not given."""
    if isinstance(scores.parent, Plan):
        return scores.parent
    try:
        parent = np.asarray(scores.parent)
    except jax.errors.TracerArrayConversionError:
        problem = "parent is traced: give Scores the plan(parent), made outside of jit"
        raise ValueError(problem) from None
    return plan(parent)


def _complete(scores: Scores, allowed: jax.Array | None):
    """Node scores of what is allowed, edge scores, mask and plan. Checked."""
    node, edge = jnp.asarray(scores.node), jnp.asarray(scores.edge)
    chex.assert_rank(node, 2)
    chex.assert_type([node, edge], float)
    count, classes = node.shape
    chex.assert_shape(edge, (classes, classes) if edge.ndim == 2 else (count, classes, classes))
    tree = jax.tree.map(jnp.asarray, _planned(scores))
    chex.assert_shape(tree.slot, (count,))
    mask = tree.tree < len(tree.roots)
    if scores.mask is not None:
        given = jnp.asarray(scores.mask)
        chex.assert_shape(given, (count,))
        chex.assert_type(given, bool)
        mask = mask & given
    if allowed is not None:
        allowed = jnp.asarray(allowed)
        chex.assert_shape(allowed, node.shape)
        chex.assert_type(allowed, bool)
        node = jnp.where(allowed, node, -jnp.inf)
    return node, edge, mask, tree
