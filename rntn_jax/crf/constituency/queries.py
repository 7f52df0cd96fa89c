"""Binary trees over sentences as a distribution: exponential softmax of scores of spans.

A tree over ``n`` words is the set of its ``n - 1`` spans of two words and more; its score is the
sum of theirs, and its probability ``exp(score - ln Z)`` (source 004). Every question about that
distribution is a function of `Scores`; rows are sentences.

Trees come as children, int ``[B, T - 1, 2]``: nodes as in `rntn_jax.data.Tree`, words first, then
internal nodes in post-order, of which one row each; rows from ``length - 1`` on are 0.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf import expectations
from rntn_jax.crf.constituency import decode, inside
from rntn_jax.crf.constituency.scores import (
    Scores,
    by_width,
    check_scores,
    check_trees,
    readable,
    tree_score,
)
from rntn_jax.ops.checks import check
from rntn_jax.ops.logspace import kl_terms
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


@jax.jit
def log_partition(scores: Scores) -> jax.Array:
    """``ln`` of the sum over all binary trees of ``exp s(tree)``.

    Gradient: the marginals.

    Source: 004, Z(s) and the model marginals theorem.

    Args:
        scores: of spans; ``-inf`` forbids one.

    Returns:
        ``[B]`` nats, in at least float32; 0 for sentences of no or one word, ``-inf`` where every
        tree is forbidden. Cost O(B T^3) both ways; residuals: four tables O(B T^2).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.zeros((1, 5, 5)), jnp.array([4]))
        >>> round(float(jnp.exp(log_partition(scores)[0])), 3)  # trees over four words
        5.0
    """
    return inside.log_partition(*_tabled(scores)).value


@jax.jit
def score(scores: Scores, spans: jax.Array) -> jax.Array:
    """Scores of trees: ``s(tree)`` of source 004.

    Args:
        scores: of spans.
        spans: int ``[B, T - 1, 2]``, begin and end of each of a tree's spans, in any order, 0 and 0
            after the last; or children, as `argmax`, `top_k` and `sample` return them.

    Returns:
        ``[B]`` nats, in at least float32; NaN where a span is none of the sentence's. That the
        spans are a tree is not looked at. Cost O(B T log T).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.ones((1, 4, 4)), jnp.array([3]))
        >>> score(scores, jnp.array([[[0, 2], [0, 3]]])).tolist()
        [2.0]
    """
    span, length, words = check_scores(scores)
    trees = check_trees(spans, len(span), words)
    span = span.astype(jnp.promote_types(span.dtype, jnp.float32))
    return tree_score(span, length, trees).value


@jax.jit
def log_prob(scores: Scores, spans: jax.Array) -> jax.Array:
    """Log-probability of trees; its negative is the training loss.

    Gradient: indicators of the tree's spans minus marginals.

    Source: 004, L (of which this is the negative) and the model marginals theorem.

    Args:
        scores: of spans.
        spans: trees, as in `score`.

    Returns:
        ``[B]`` nats, in at least float32; ``-inf`` where the tree is forbidden. Whole nats of score
        and log-partition are subtracted exactly, however large. Cost as of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.ones((1, 4, 4)), jnp.array([3]))
        >>> round(float(jnp.exp(log_prob(scores, jnp.array([[[0, 2], [0, 3]]]))[0])), 3)
        0.5
    """
    span, length, words = check_scores(scores)
    trees = check_trees(spans, len(span), words)
    span, length = readable(span, length)
    own = tree_score(span, length, trees)
    total = inside.log_partition(by_width(span), length)
    whole = own.whole - jnp.where(total.whole == -jnp.inf, 0, total.whole)
    return expectations.log_prob(whole + own.fraction, total.fraction)


@jax.jit
def marginals(scores: Scores) -> Scores:
    """Probabilities of spans, in the container of the scores: the gradient of `log_partition`.

    Source: 004, the model marginals theorem.

    Args:
        scores: of spans.

    Returns:
        ``span[b, i, j] = P(the words i .. j - 1 are a span)``, in the dtype of the scores; 0 where
        not read, and in all of a sentence whose every tree is forbidden. Lengths pass through. Cost
        as of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.zeros((1, 4, 4)), jnp.array([3]))
        >>> found = marginals(scores).span[0]
        >>> [round(float(found[i, j]), 3) for i, j in ((0, 2), (1, 3), (0, 3))]
        [0.5, 0.5, 1.0]
    """
    span, length, _ = check_scores(scores)
    total = lambda span: log_partition(Scores(span, length)).sum()
    return Scores(jax.grad(total)(vary_like(span, length)), length)


@jax.jit
def argmax(scores: Scores) -> tuple[jax.Array, jax.Array]:
    """The best tree of each sentence.

    Of `marginals`, that is the tree with the greatest expected number of right spans, which has a
    better F1 than the most probable one.

    Args:
        scores: of spans.

    Returns:
        ``(children, score)``: int32 ``[B, T - 1, 2]``, and ``[B]`` nats, whose gradient is the
        indicator of the tree. Of equal splits the one with the shorter left part wins; where every
        tree is forbidden, some tree and ``-inf``. Cost O(B T^3).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> span = jnp.zeros((1, 4, 4)).at[0, 1, 3].set(2.0)
        >>> children, best = argmax(Scores(span, jnp.array([3])))
        >>> children[0].tolist(), best.tolist()
        ([[1, 2], [0, 3]], [2.0])
    """
    children, best = top_k(scores, 1)
    return children[:, 0], best[:, 0]


@partial(jax.jit, static_argnames="k")
def top_k(scores: Scores, k: int) -> tuple[jax.Array, jax.Array]:
    """The ``k`` best trees of each sentence, best first.

    Args:
        scores: of spans.
        k: how many; static.

    Returns:
        ``(children, score)``: int32 ``[B, k, T - 1, 2]`` and ``[B, k]`` nats, whose gradient is the
        indicators of the trees. Where there are fewer than ``k`` trees, scores at the end are
        ``-inf`` and their trees mean nothing. Cost O(B T^3 k log k).

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``k`` is not positive.

    Example:
        >>> span = jnp.zeros((1, 4, 4)).at[0, 1, 3].set(2.0)
        >>> children, best = top_k(Scores(span, jnp.array([3])), 2)
        >>> children[0].tolist(), best.tolist()
        ([[[1, 2], [0, 3]], [[0, 1], [3, 2]]], [[2.0, 0.0]])
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    span, length, words = check_scores(scores)
    span, length = readable(span, length)
    children, possible = decode.k_best(lax.stop_gradient(by_width(span)), length, k)
    worth = jax.vmap(lambda trees: tree_score(span, length, trees).value)(children)
    worth = jnp.where(possible, worth, -jnp.inf)
    return children[:, :, : max(words - 1, 0)].swapaxes(0, 1), worth.T


@partial(jax.jit, static_argnames="num_samples")
def sample(key: jax.Array, scores: Scores, num_samples: int) -> jax.Array:
    """Draws trees from the distribution: inside filtering, sampling from the root down.

    Args:
        key: a PRNG key.
        scores: of spans.
        num_samples: trees to draw of each sentence, independently; static.

    Returns:
        Children, int32 ``[num_samples, B, T - 1, 2]``; where every tree is forbidden or a score is
        NaN, some tree. Cost O(B T^3), and O(B T^2) a sample.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``num_samples`` is negative.

    Example:
        >>> span = jnp.zeros((1, 4, 4)).at[0, 1, 3].set(-jnp.inf)
        >>> sample(jax.random.key(0), Scores(span, jnp.array([3])), 2).tolist()
        [[[[0, 1], [3, 2]]], [[[0, 1], [3, 2]]]]
    """
    if num_samples < 0:
        raise ValueError(f"num_samples must not be negative, got {num_samples}")
    words = check_scores(scores)[2]
    s, length = lax.stop_gradient(_tabled(scores))
    children = decode.random_trees(key, inside.sweep(s), length, num_samples)
    return children[:, :, : max(words - 1, 0)]


@jax.jit
def expected_score(scores: Scores, values: Scores) -> jax.Array:
    """Mean of another score under the distribution: expected costs, features, risks.

    Computes ``sum_tree P(tree) v(tree)``, ``v(tree)`` being ``score(values, tree)``. What has
    probability 0 counts 0, whatever its value; ``-inf`` of positive probability makes the mean
    ``-inf``.

    Source: 004, the model marginals theorem.

    Args:
        scores: the distribution.
        values: the other score, of the same shape; its lengths are not read.

    Returns:
        ``[B]``, in at least float32; NaN where every tree is forbidden, there being no
        distribution. Cost as of `marginals`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.zeros((1, 4, 4)), jnp.array([3]))
        >>> values = scores._replace(span=jnp.zeros((1, 4, 4)).at[0, 1, 3].set(3.0))
        >>> round(float(expected_score(scores, values)[0]), 3)
        1.5
    """
    span, length, words = check_scores(scores)
    sizes = {"B": len(span), "T": words}
    v = check("values.span", values.span, "float", "B T+1 T+1", sizes)
    wide = span.astype(jnp.promote_types(span.dtype, jnp.float32))
    total, pull = jax.vjp(lambda span: log_partition(Scores(span, length)), vary_like(wide, length))
    (p,) = pull(jnp.ones_like(total))
    return jnp.where(total == -jnp.inf, jnp.nan, expectations.weighted_sum(p, v, (1, 2)))


@jax.jit
def entropy(scores: Scores) -> jax.Array:
    """Entropy ``-sum P ln P`` of the distribution over trees.

    Computes ``sum_ij P(i .. j - 1 is a span) H(k | i, j)``, the entropies of the choices of splits
    from the root down: sums of what is positive, however large the scores.

    Source: 004, the model marginals theorem, and the chain rule of entropy.

    Args:
        scores: of spans.

    Returns:
        ``[B]`` nats, in at least float32; NaN where every tree is forbidden, there being no
        distribution. Cost O(B T^3).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.zeros((1, 5, 5)), jnp.array([4]))
        >>> round(float(jnp.exp(entropy(scores)[0])), 3)
        5.0
    """

    def of_splits(log_p: jax.Array) -> jax.Array:
        p = jnp.exp(log_p)
        return -(p * jnp.where(p == 0, 0, log_p)).sum(axis=0)

    s, length = _tabled(scores)
    total, p = _span_probabilities(s, length)
    mean = _mean(p, inside.sum_over_splits(of_splits, (s, inside.sweep(s))))
    return jnp.where(total == -jnp.inf, jnp.nan, mean)


@jax.jit
def kl(p: Scores, q: Scores) -> jax.Array:
    """Kullback-Leibler divergence ``sum P ln(P / Q)`` of ``q`` from ``p``.

    Computes ``sum_ij P(i .. j - 1 is a span) KL(k | i, j)``, by the choices of splits as `entropy`
    does.

    Source: 004, the model marginals theorem, and the chain rule of relative entropy.

    Args:
        p: the distribution that the mean is over.
        q: the other one, of the same shape; it is over the sentences of ``p``, and its lengths are
            not read.

    Returns:
        ``[B]`` nats, in at least float32; ``inf`` where ``q`` forbids what ``p`` does not, NaN
        where ``p`` forbids every tree. Cost O(B T^3).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> p = Scores(jnp.zeros((1, 4, 4)), jnp.array([3]))
        >>> q = p._replace(span=jnp.zeros((1, 4, 4)).at[0, 0, 2].set(jnp.log(3.0)))
        >>> round(float(kl(p, q)[0]), 4)
        0.1438
    """

    def of_splits(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
        lost = ((log_q == -jnp.inf) & (log_p != -jnp.inf)).any(axis=0)
        return jnp.where(lost, jnp.inf, kl_terms(log_p, log_q).sum(axis=0))

    span, _, words = check_scores(p)
    sizes = {"B": len(span), "T": words}
    q = Scores(check("q.span", q.span, "float", "B T+1 T+1", sizes), p.length)
    (s_p, length), (s_q, _) = _tabled(p, "p"), _tabled(q, "q")
    total, probabilities = _span_probabilities(s_p, length)
    both = (s_p, inside.sweep(s_p)), (s_q, inside.sweep(s_q))
    mean = _mean(probabilities, inside.sum_over_splits(of_splits, *both))
    return jnp.where(total == -jnp.inf, jnp.nan, mean)


def _tabled(scores: Scores, name: str = "scores") -> tuple[jax.Array, jax.Array]:
    """Scores by width and lengths, as `inside` takes them."""
    span, length = readable(*check_scores(scores, name)[:2])
    return by_width(span), length


def _span_probabilities(s: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``ln Z [B]`` in whole nats, and marginals by width and begin."""
    total, pull = jax.vjp(lambda s: inside.log_partition(s, length), vary_like(s, length))
    return total.whole, pull(jax.tree.map(jnp.ones_like, total))[0]


def _mean(p: jax.Array, values: jax.Array) -> jax.Array:
    """``sum p v [B]`` of what is not negative; infinite values of probability 0 count 0."""
    return -expectations.weighted_sum(p, -values, (0, 2))
