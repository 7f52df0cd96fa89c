"""Binary trees over sentences as a distribution: exponential softmax of scores of spans.

A tree over ``n`` words is the set of its ``n - 1`` spans of two words and more; its score is the
sum of theirs, and its probability ``exp(score - ln Z)`` (source 004). Or spans have labels, words
on their own too: then the sum is over all ``2 n - 1`` nodes, each with its label, and labels are
independent of each other given the tree. Every question about that distribution is a function of
`Scores`; rows are sentences.

Trees come as children, int ``[B, T - 1, 2]``: nodes as in `rntn_jax.data.Tree`, words first, then
internal nodes in post-order, of which one row each; rows from ``length - 1`` on are 0. Those of
labelled spans come as `Parse`, children and labels.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from rntn_jax.crf import expectations
from rntn_jax.crf.constituency import inside
from rntn_jax.crf.constituency.scores import (
    Scores,
    alike,
    by_width,
    check_scores,
    check_tree,
    readable,
    tree_score,
    without_labels,
)
from rntn_jax.crf.nats import Nats
from rntn_jax.ops.varying import vary_like

__all__ = ["expected_score", "log_partition", "log_prob", "marginals", "score"]


@jax.jit
def log_partition(scores: Scores) -> jax.Array:
    """``ln`` of the sum over all binary trees of ``exp s(tree)``.

    Gradient: the marginals.

    Source: 004, Z(s) and the model marginals theorem.

    Args:
        scores: of spans; ``-inf`` forbids one.

    Returns:
        ``[B]`` nats, in at least float32; 0 for sentences of no word (and, without labels, of one),
        ``-inf`` where every tree is forbidden. Cost O(B T^2 (T + C)) both ways; residuals: four
        tables O(B T^2).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.zeros((1, 5, 5)), jnp.array([4]))
        >>> round(float(jnp.exp(log_partition(scores)[0])), 3)  # trees over four words
        5.0
        >>> scores = Scores(jnp.zeros((1, 3, 3, 2)), jnp.array([2]))
        >>> round(float(jnp.exp(log_partition(scores)[0])), 3)  # two labels of each of three nodes
        8.0
    """
    return inside.log_partition(*tabled(scores)).value


def tabled(scores: Scores) -> tuple[Nats, jax.Array]:
    """Scores by width, labels summed out, and lengths, as `inside` takes them."""
    span, length = readable(*check_scores(scores)[:2])
    return by_width(without_labels(span)), length


@jax.jit
def score(scores: Scores, spans: Any) -> jax.Array:
    """Scores of trees: ``s(tree)`` of source 004.

    Args:
        scores: of spans.
        spans: int ``[B, T - 1, 2]``, begin and end of each of a tree's spans, in any order, 0 and 0
            after the last; or children, as `argmax`, `top_k` and `sample` return them; or `Parse`
            of labelled spans, with either. Where spans have labels and none are given, all
            labellings of the tree count, summed.

    Returns:
        ``[B]`` nats, in at least float32; NaN where a span or label is none of the sentence's.
        That the spans are a tree is not looked at. Cost O(B T log T).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.ones((1, 4, 4)), jnp.array([3]))
        >>> score(scores, jnp.array([[[0, 2], [0, 3]]])).tolist()
        [2.0]
    """
    span, length, words = check_scores(scores)
    trees, labels = check_tree(spans, span, words)
    return tree_score(*readable(span, length, False), trees, labels).value


@jax.jit
def log_prob(scores: Scores, spans: Any) -> jax.Array:
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
    trees, labels = check_tree(spans, span, words)
    span, length = readable(span, length)
    own = tree_score(span, length, trees, labels)
    total = inside.log_partition(by_width(without_labels(span)), length)
    whole = own.whole - jnp.where(total.whole == -jnp.inf, 0, total.whole)
    return expectations.log_prob(whole + own.fraction, total.fraction)


@jax.jit
def marginals(scores: Scores) -> Scores:
    """Probabilities of spans, in the container of the scores: the gradient of `log_partition`.

    Source: 004, the model marginals theorem.

    Args:
        scores: of spans.

    Returns:
        ``span[b, i, j] = P(the words i .. j - 1 are a span)``, with labels ``[b, i, j, c]``, in the
        dtype of the scores; 0 where not read, and in all of a sentence whose every tree is
        forbidden. Lengths pass through. Cost as of `log_partition`.

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
    span, length, _ = check_scores(scores)
    v = alike("values.span", values.span, span)
    wide = span.astype(jnp.promote_types(span.dtype, jnp.float32))
    total, pull = jax.vjp(lambda span: log_partition(Scores(span, length)), vary_like(wide, length))
    (p,) = pull(jnp.ones_like(total))
    mean = expectations.weighted_sum(p, v, tuple(range(1, span.ndim)))
    return jnp.where(total == -jnp.inf, jnp.nan, mean)
