"""CRFs on trees and forests: an exponential softmax over the labellings of all their nodes.

A labelling ``y`` scores ``sum_n node[n, y_n] + sum_n edge[n, y_parent(n), y_n]`` (source 004, the
edges being those from each node's parent to it). Trees have any shape and root, nodes any number
of children and any order; many trees make one forest, and every query has one value a tree.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf import expectations
from rntn_jax.crf.forest import sweep
from rntn_jax.crf.forest.k_best import k_best
from rntn_jax.crf.forest.scores import Parts, Scores, compiled, complete
from rntn_jax.ops import accumulator, masked
from rntn_jax.ops.checks import check
from rntn_jax.ops.logspace import safe_log
from rntn_jax.ops.masking import append_zeros
from rntn_jax.ops.varying import vary_like

__all__ = [
    "argmax",
    "entropy",
    "expected_score",
    "kl",
    "log_partition",
    "log_prob",
    "marginals",
    "sample",
    "score",
    "top_k",
]


@compiled()
def log_partition(scores: Scores, allowed: jax.Array | None = None) -> jax.Array:
    """``ln Z`` of each tree: the logarithm of the summed ``exp(score)`` of all labellings.

    Gradient: the marginals (model marginals theorem, 004), by one sweep from the roots down.

    Args:
        scores: the CRF, of ``T`` trees.
        allowed: bool ``[N, C]``; only labellings of allowed labels are summed.

    Returns:
        ``[T]`` nats, in at least float32, trees in the order of their roots; ``-inf`` where every
        labelling is forbidden.

    Cost:
        O(N C^2), in as many steps as the plan has. Residuals: the arguments, and ``C^2`` numbers a
        slot of the plan.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``parent`` is no forest, or traced.

    Example:
        >>> scores = Scores(jnp.zeros((4, 2)), jnp.zeros((2, 2)), jnp.array([-1, 0, 0, -1]))
        >>> jnp.exp(log_partition(scores)).round(4).tolist()
        [8.0, 2.0]
    """
    parts = complete(scores, allowed)
    return _impossible(parts) if no_choice(parts) else sweep.log_partition(*parts)


def no_choice(parts: Parts) -> bool:
    """Whether there is no node, or no label to choose: 0 labellings a tree or 1."""
    return 0 in parts.node.shape


def _impossible(parts: Parts, value: float = -jnp.inf) -> jax.Array:
    """``value`` for trees with a node, 0 for others."""
    node, edge, mask, plan = parts
    sizes = sweep.sums_by_tree(mask.astype(jnp.float32), plan)
    return jnp.where(sizes > 0, value, 0).astype(accumulator(node, edge))


@compiled()
def score(scores: Scores, labels: jax.Array) -> jax.Array:
    """Score of one labelling of each tree, ``[T]``.

    Computes ``s(y)`` of source 004. Labels of masked nodes may be anything; another label outside
    ``0 .. C-1`` makes the result NaN.

    Args:
        scores: the CRF.
        labels: integer ``[N]``.

    Returns:
        ``[T]`` nats, in at least float32. Cost O(N C).

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``parent`` is no forest, or traced.

    Example:
        >>> scores = Scores(jnp.ones((2, 2)), jnp.array([[0.0, 5.0], [0.0, 0.0]]), [-1, 0])
        >>> score(scores, jnp.array([0, 1])).tolist()
        [7.0]
    """
    parts = complete(scores)
    node, edge, mask, plan = parts
    labels = check("labels", labels, "int", "N", {"N": len(mask)})
    if no_choice(parts):
        return _impossible(parts, jnp.nan)
    dtype, (count, classes) = accumulator(node, edge), node.shape
    legal = ~mask | ((labels >= 0) & (labels < classes))
    labels = jnp.where(mask, jnp.clip(labels, 0, classes - 1), 0)
    chosen = labels[:, None] == jnp.arange(classes)[None]
    node_score = jnp.where(chosen & mask[:, None], node, 0).sum(axis=1, dtype=dtype)
    before = append_zeros(labels)[plan.parent]
    edge_score = edge[before, labels] if edge.ndim == 2 else edge[jnp.arange(count), before, labels]
    edge_score = jnp.where(sweep.linked(plan, mask), edge_score, 0).astype(dtype)
    return sweep.sums_by_tree(jnp.where(legal, node_score + edge_score, jnp.nan), plan)


@compiled()
def log_prob(scores: Scores, labels: jax.Array) -> jax.Array:
    """Log-probability of one labelling of each tree, ``[T]`` nats; its negative is the loss.

    Gradient: indicators of the labelling minus marginals.

    Source: 004, L and the model marginals theorem (of ``-log_prob``).

    Args:
        scores: the CRF.
        labels: integer ``[N]``, as `score` takes them.

    Returns:
        ``[T]``, ``-inf`` where the labelling is forbidden. Cost and residuals: of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``parent`` is no forest, or traced.

    Example:
        >>> scores = Scores(jnp.zeros((3, 2)), jnp.zeros((2, 2)), jnp.array([1, -1, 1]))
        >>> jnp.exp(log_prob(scores, jnp.array([0, 1, 1]))).round(4).tolist()
        [0.125]
    """
    return expectations.log_prob(score(scores, labels), log_partition(scores))


def marginals(scores: Scores) -> Scores:
    """Probabilities of all labels and pairs, in the container of the scores.

    The gradient of ``log_partition(scores).sum()``: ``node[n, c] = P(y_n = c)``; ``edge[n, i, j]``
    is the probability of label ``i`` of n's parent and ``j`` of n, 0 at roots, and summed over the
    forest where the scores are shared. Integers and the mask pass through.

    Source: 004, ``P(y[i] = c)`` and ``P(y[i] = c and y[j] = c')`` of the model marginals theorem.

    Args:
        scores: the CRF.

    Returns:
        The container of the scores, shapes and dtypes too; 0 where masked, and in trees where every
        labelling is forbidden. Cost: about three times that of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``parent`` is no forest, or traced.

    Example:
        >>> scores = Scores(jnp.log(jnp.array([[1.0, 3.0]])), jnp.zeros((2, 2)), jnp.array([-1]))
        >>> marginals(scores).node.round(4).tolist()
        [[0.25, 0.75]]
    """
    node, edge = _marginals(scores._replace(mask=None), scores.mask)
    return scores._replace(node=node, edge=edge)


@compiled()
def _marginals(scores: Scores, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Of nodes and edges."""

    def total(node: jax.Array, edge: jax.Array) -> jax.Array:
        return log_partition(scores._replace(node=node, edge=edge, mask=mask)).sum()

    parts = jnp.asarray(scores.node), jnp.asarray(scores.edge)
    return jax.grad(total, (0, 1))(*vary_like(parts, scores, mask))


@compiled()
def argmax(scores: Scores) -> tuple[jax.Array, jax.Array]:
    """The best labelling of each tree, and its score.

    Args:
        scores: the CRF.

    Returns:
        ``(labels int32 [N], score [T])``, labels 0 where masked. The score's gradient is the
        indicator of the labelling. Where every labelling is forbidden the score is ``-inf``, where
        a score is NaN it is NaN, and the labels mean nothing. Cost O(N C^2).

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``parent`` is no forest, or traced.

    Example:
        >>> scores = Scores(jnp.array([[0.0, 1.0], [2.0, 0.0]]), jnp.zeros((2, 2)), [-1, 0])
        >>> labels, best = argmax(scores)
        >>> labels.tolist(), best.tolist()
        ([1, 0], [3.0])
    """
    parts = complete(lax.stop_gradient(scores))
    if no_choice(parts):
        return jnp.zeros(parts.mask.shape, jnp.int32), _impossible(parts)
    labels, best = sweep.best_labels(*parts)
    return labels, jnp.where(jnp.isfinite(best), score(scores, labels), best)


@compiled("k")
def top_k(scores: Scores, k: int) -> tuple[jax.Array, jax.Array]:
    """The ``k`` best labellings of each tree, best first.

    Args:
        scores: the CRF.
        k: how many; static.

    Returns:
        ``(labels int32 [k, N], score [T, k])``: ``labels[i]`` holds the i-th best labelling of
        every tree, 0 where masked. Where there are fewer than ``k``, the scores at the end are
        ``-inf`` and their labels mean nothing; where a score of the tree is NaN, all of them are.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``k`` is not positive, ``parent`` no forest, or traced.

    Cost:
        O(N C (C k + k^2) log k) operations, in N steps, which wait for each other.

    Example:
        >>> scores = Scores(jnp.array([[0.0, 1.0], [3.0, 0.0]]), jnp.zeros((2, 2)), [-1, 0])
        >>> labels, best = top_k(scores, 2)
        >>> labels.tolist(), best.tolist()
        ([[1, 0], [0, 0]], [[4.0, 3.0]])
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    parts = complete(lax.stop_gradient(scores))
    if no_choice(parts):
        best = _impossible(parts)
        rest = jnp.full((len(best), k - 1), -jnp.inf, best.dtype)
        labels = jnp.zeros((k, len(parts.mask)), jnp.int32)
        return labels, jnp.concatenate([best[:, None], rest], axis=1)
    labels, order = k_best(*parts, k)
    own = jax.vmap(lambda y: score(scores, y), out_axes=1)(labels)
    return labels, jnp.where(jnp.isfinite(order), own, order)


@compiled("num_samples")
def sample(key: jax.Array, scores: Scores, num_samples: int) -> jax.Array:
    """Draws labellings from the distribution: upward filtering, downward sampling.

    Args:
        key: a PRNG key.
        scores: the CRF.
        num_samples: labellings to draw, independently; static.

    Returns:
        int32 ``[num_samples, N]``, 0 where masked; of trees where every labelling is forbidden, or
        a score is NaN, they mean nothing. Cost O(N C^2), and O(N C) for each sample.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``parent`` is no forest, or traced.

    Example:
        >>> node = jnp.array([[0.0, -jnp.inf], [-jnp.inf, 0.0]])
        >>> sample(jax.random.key(0), Scores(node, jnp.zeros((2, 2)), [-1, 0]), 2).tolist()
        [[0, 1], [0, 1]]
    """
    parts = complete(lax.stop_gradient(scores))
    node, edge, mask, plan = parts
    if no_choice(parts) or num_samples == 0:
        return jnp.zeros((num_samples, len(mask)), jnp.int32)
    _, w, up = sweep.conditionals(node, edge, mask, plan)
    logits = safe_log(w)

    def one(key):
        choices = jax.random.categorical(key, logits).astype(jnp.int32)
        return sweep.walk_down(choices, up, plan, mask)

    return lax.map(one, jax.random.split(key, num_samples))


@compiled()
def expected_score(scores: Scores, values: Scores) -> jax.Array:
    """Mean of another score under the distribution, ``[T]``.

    Computes ``sum_y P(y) v(y)``, ``v(y)`` being ``score(values, y)``. What has probability 0
    counts 0, whatever its value; ``-inf`` of positive probability makes the mean ``-inf``.

    Args:
        scores: the distribution.
        values: parts of the other score, of the same shapes; its mask and parents are not read.

    Returns:
        ``[T]`` in at least float32; NaN where every labelling is forbidden, there being no
        distribution. Cost: of `marginals`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``parent`` is no forest, or traced.

    Example:
        >>> fair = Scores(jnp.zeros((3, 2)), jnp.zeros((2, 2)), jnp.array([-1, 0, 0]))
        >>> ones = fair._replace(node=jnp.tile(jnp.array([0.0, 1.0]), (3, 1)))
        >>> expected_score(fair, ones).tolist()
        [1.5]
    """
    parts = complete(scores)
    v_node, v_edge = _alike(values, "values", parts)
    node, edge, mask, plan = parts
    if no_choice(parts):
        return _impossible(parts, jnp.nan)
    dtype = accumulator(node, edge)
    node, edge = node.astype(dtype), edge.astype(dtype)
    if edge.ndim == 2:  # one a node, to be told apart
        edge, v_edge = (jnp.broadcast_to(x[None], (len(node), *x.shape)) for x in (edge, v_edge))
    node, edge = vary_like((node, edge), mask, plan)  # each device's own
    total, pull = jax.vjp(lambda n, e: sweep.log_partition(n, e, mask, plan), node, edge)
    p_node, p_edge = pull(jnp.ones_like(total))
    over = expectations.weighted_sum
    by_node = over(p_node, masked(v_node, mask), (1,))
    by_node += over(p_edge, masked(v_edge, sweep.linked(plan, mask)), (1, 2))
    return jnp.where(total == -jnp.inf, jnp.nan, sweep.sums_by_tree(by_node, plan))


def _alike(scores: Scores, name: str, parts: Parts) -> tuple[jax.Array, jax.Array]:
    """Node and edge scores on the same trees, of the same shapes."""
    other = complete(scores._replace(parent=parts.plan, mask=None), name=name)
    sizes = dict(zip("NC", parts.node.shape))
    check(f"{name}.node", other.node, "float", "N C", sizes)
    check(f"{name}.edge", other.edge, "float", "C C" if parts.edge.ndim == 2 else "N C C", sizes)
    return other.node, other.edge


@compiled()
def entropy(scores: Scores) -> jax.Array:
    """Entropy of the distribution over labellings of each tree, ``[T]`` nats.

    Computes ``-sum_y P(y) ln P(y)``, by the chain rule from conditional distributions, whose terms
    are of the size of the result. Where every labelling is forbidden: NaN, there being none.

    Args:
        scores: the CRF.

    Returns:
        ``[T]`` in at least float32. Cost: of `marginals`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``parent`` is no forest, or traced.

    Example:
        >>> scores = Scores(jnp.zeros((3, 2)), jnp.zeros((2, 2)), jnp.array([-1, 0, 0]))
        >>> (entropy(scores) / jnp.log(2)).round(4).tolist()
        [3.0]
    """
    parts = complete(scores)
    return _impossible(parts, jnp.nan) if no_choice(parts) else sweep.entropy(*parts)


@compiled()
def kl(p: Scores, q: Scores) -> jax.Array:
    """Kullback-Leibler divergence of ``q`` from ``p``, ``[T]`` nats.

    Computes ``sum_y P(y) ln (P(y) / Q(y))``, from conditional distributions as `entropy` does:
    ``inf`` where ``q`` forbids what ``p`` does not, NaN where ``p`` forbids everything. Both have
    the trees and the mask of ``p``.

    Args:
        p: a CRF.
        q: another, of the same shapes; its mask and parents are not read.

    Returns:
        ``[T]`` in at least float32, never negative but for rounding. Cost as that of `entropy`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``parent`` is no forest, or traced.

    Example:
        >>> p = Scores(jnp.log(jnp.array([[0.5, 0.5]])), jnp.zeros((2, 2)), jnp.array([-1]))
        >>> q = p._replace(node=jnp.log(jnp.array([[0.25, 0.75]])))
        >>> round(float(kl(p, q)[0]), 4)
        0.1438
    """
    parts = complete(p, name="p")
    other = _alike(q, "q", parts)
    if no_choice(parts):
        return _impossible(parts, jnp.nan)
    return sweep.kl((parts.node, parts.edge), other, parts.mask, parts.plan)
