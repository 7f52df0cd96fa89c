"""Binary trees over sentences as a distribution: exponential softmax of scores of spans.

A tree over ``n`` words is the set of its ``n - 1`` spans of two words and more; its score is the
sum of theirs. For all trees over the words ``i .. j - 1``::

    I(i, j) = s(i, j) + ln sum_k exp(I(i, k) + I(k, j)),   I(i, i + 1) = 0,   ln Z = I(0, n)

from short spans to long ones. The way back carries what reaches each span from those around it,
``g(0, n) = 1``, and from a span to the two parts of each of its splits::

    g(i, k), g(k, j) += g(i, j) exp(I(i, k) + I(k, j) + s(i, j) - I(i, j))

These are the marginals, ``g(i, j) = P(i .. j - 1 is a span)``, and the gradient of ``ln Z`` (source
004, the model marginals theorem). Tables are stored by width; nothing is kept of single splits, so
memory is O(T^2) a sentence where autodiff of the recursion takes O(T^3).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from rntn_jax.crf.constituency import inside as recursion

__all__ = [
    "Scores",
    "argmax",
    "constrain",
    "entropy",
    "log_partition",
    "log_prob",
    "marginals",
    "score",
]


class Scores(NamedTuple):
    """Scores of spans."""

    span: Any  # [B, T + 1, T + 1], of the words i .. j - 1; read where j > i + 1
    length: Any  # int [B], words; the rest of the row may hold anything


def _checked(scores: Scores) -> Scores:
    span, length = jnp.asarray(scores.span), jnp.asarray(scores.length)
    chex.assert_rank([span, length], [3, 1])
    chex.assert_shape(span, (len(length), span.shape[1], span.shape[1]))
    chex.assert_type([span, length], [float, int])
    if span.shape[1] < 2:
        raise ValueError(f"there must be room for a word: span has shape {span.shape}")
    return Scores(span, length)


def log_partition(scores: Scores) -> jax.Array:
    """``ln`` of the sum over all binary trees of ``exp s(tree)``, in nats.

    Gradient: the marginals.

    Source: 004, Z(s) and the model marginals theorem.

    Args:
        scores: of spans; ``-inf`` forbids one.

    Returns:
        ``[B]``; 0 for sentences of no or one word, ``-inf`` where every tree is forbidden. Cost
        O(B T^3) both ways; residuals: two tables O(B T^2).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.zeros((1, 5, 5)), jnp.array([4]))
        >>> round(float(jnp.exp(log_partition(scores)[0])), 3)  # trees over four words
        5.0
    """
    span, length = _checked(scores)
    return recursion.log_partition(recursion.by_width(span), length)


def score(scores: Scores, spans: jax.Array) -> jax.Array:
    """Scores of trees.

    Args:
        scores: of spans.
        spans: int ``[B, T - 1, 2]``, begin and end of each, 0 and 0 after the last.

    Returns:
        ``[B]``.

    Example:
        >>> scores = Scores(jnp.ones((1, 4, 4)), jnp.array([3]))
        >>> score(scores, jnp.array([[[0, 2], [0, 3]]])).tolist()
        [2.0]
    """
    span, _ = _checked(scores)
    spans = jnp.asarray(spans)
    chex.assert_shape(spans, (len(span), span.shape[1] - 2, 2))
    chex.assert_type(spans, int)
    begin, end = spans[..., 0], spans[..., 1]
    found = span[jnp.arange(len(span))[:, None], begin, end]
    return jnp.where(end > begin, found, 0).sum(axis=1)


def log_prob(scores: Scores, spans: jax.Array) -> jax.Array:
    """``ln P(tree)``, ``[B]``; arguments as in `score`.

    Source: 004, L, whose gradient is marginals minus indicators.

    Example:
        >>> scores = Scores(jnp.ones((1, 4, 4)), jnp.array([3]))
        >>> round(float(jnp.exp(log_prob(scores, jnp.array([[[0, 2], [0, 3]]]))[0])), 3)
        0.5
    """
    total, own = log_partition(scores), score(scores, spans)
    return jnp.where(own == -jnp.inf, -jnp.inf, own - jnp.where(total == -jnp.inf, 0, total))


def constrain(scores: Scores, allowed: jax.Array) -> Scores:
    """Forbids spans, by ``-inf``.

    So one learns from a tree of which only some spans are known: forbid those that cross them, and
    ``log_partition(constrain(scores, allowed)) - log_partition(scores)`` is ``ln P`` of all trees
    that it may be; the gradient is a difference of marginals.

    Args:
        scores: of spans.
        allowed: bool, of the shape of the scores.

    Example:
        >>> allowed = jnp.ones((1, 5, 5), bool).at[0, 1, 3].set(False)
        >>> scores = constrain(Scores(jnp.zeros((1, 5, 5)), jnp.array([4])), allowed)
        >>> round(float(jnp.exp(log_partition(scores)[0])), 3)  # without [a [b c] d]
        3.0
    """
    span, length = _checked(scores)
    chex.assert_equal_shape([span, allowed])
    return Scores(jnp.where(allowed, span, -jnp.inf), length)


def marginals(scores: Scores) -> Scores:
    """Probabilities of spans, in the container of the scores: the gradient of `log_partition`.

    Spans that are not read, and all of a sentence without any tree, have 0.

    Example:
        >>> scores = Scores(jnp.zeros((1, 4, 4)), jnp.array([3]))
        >>> found = marginals(scores).span[0]
        >>> [round(float(found[i, j]), 3) for i, j in ((0, 2), (1, 3), (0, 3))]
        [0.5, 0.5, 1.0]
    """
    scores = _checked(scores)
    found = jax.grad(lambda span: log_partition(scores._replace(span=span)).sum())(scores.span)
    return scores._replace(span=found)


def entropy(scores: Scores) -> jax.Array:
    """``-sum P ln P`` over the trees, in nats, ``[B]``.

    Example:
        >>> scores = Scores(jnp.zeros((1, 5, 5)), jnp.array([4]))
        >>> round(float(jnp.exp(entropy(scores)[0])), 3)
        5.0
    """
    scores = _checked(scores)
    p = marginals(scores).span
    expected = jnp.where(p > 0, p * jnp.where(p > 0, scores.span, 0), 0).sum(axis=(1, 2))
    total = log_partition(scores)
    return jnp.where(total == -jnp.inf, 0, total) - expected


def argmax(scores: Scores) -> tuple[jax.Array, jax.Array]:
    """The best tree.

    Of `marginals`, that is the tree with the greatest expected number of right spans, which has a
    better F1 than the most probable one.

    Returns:
        ``(children, score)``: int ``[B, T - 1, 2]``, nodes as in `rntn_jax.data.Tree` (words, then
        joins in post-order; rows from ``length - 1`` on are 0), and ``[B]``. Of equal splits the
        one with the shorter left part wins; where every tree is forbidden, some tree.

    Example:
        >>> span = jnp.zeros((1, 4, 4)).at[0, 1, 3].set(2.0)
        >>> children, best = argmax(Scores(span, jnp.array([3])))
        >>> children[0].tolist(), best.tolist()
        ([[1, 2], [0, 3]], [2.0])
    """
    span, length = _checked(scores)
    tables, splits = recursion.inside(recursion.by_width(span), recursion.best)
    best = tables.by_begin[jnp.maximum(length, 1), jnp.arange(len(length)), 0]
    return recursion.children(splits, length), best
