"""Binary trees over sentences: the best, the best few, and draws."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.constituency import inside, top_down
from rntn_jax.crf.constituency.scores import (
    Parse,
    Scores,
    all_spans,
    by_width,
    check_scores,
    readable,
    tree_score,
    without_labels,
)
from rntn_jax.crf.nats import Nats
from rntn_jax.ops.logspace import finite_max

__all__ = ["argmax", "sample", "top_k"]


@jax.jit
def argmax(scores: Scores) -> tuple[Any, jax.Array]:
    """The best tree of each sentence.

    Of `marginals`, that is the tree with the greatest expected number of right spans (and labels),
    which has a better F1 than the most probable one.

    Args:
        scores: of spans.

    Returns:
        ``(tree, score)``: children int32 ``[B, T - 1, 2]``, or `Parse` of labelled spans, and
        ``[B]`` nats, whose gradient is the indicator of the tree. Of equal splits the one with the
        shorter left part wins, of equal labels the first; where every tree is forbidden, some tree
        and ``-inf``. Cost O(B T^2 (T + C)).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> span = jnp.zeros((1, 4, 4)).at[0, 1, 3].set(2.0)
        >>> children, best = argmax(Scores(span, jnp.array([3])))
        >>> children[0].tolist(), best.tolist()
        ([[1, 2], [0, 3]], [2.0])
    """
    tree, best = top_k(scores, 1)
    return jax.tree.map(lambda x: x[:, 0], tree), best[:, 0]


@partial(jax.jit, static_argnames="k")
def top_k(scores: Scores, k: int) -> tuple[Any, jax.Array]:
    """The ``k`` best trees of each sentence, best first.

    Args:
        scores: of spans.
        k: how many; static.

    Returns:
        ``(tree, score)``: children int32 ``[B, k, T - 1, 2]``, or `Parse` of labelled spans, and
        ``[B, k]`` nats, whose gradient is the indicators of the trees. Where there are fewer than
        ``k`` trees, scores at the end are ``-inf`` and their trees mean nothing. Cost O(B T^3 k log
        k).

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
    labelled = span.ndim == 4
    span, length = readable(span, length)
    order, best = _best_labels(lax.stop_gradient(span), k)
    own = Nats(*(jnp.stack(x) for x in zip(*map(by_width, best))))
    trees, ranks, possible = top_down.k_best(own, length, k)
    children = trees[:, :, : max(words - 1, 0)]
    begin, end = jax.vmap(all_spans, (0, None))(trees, length)
    labels = order[jnp.arange(len(length))[None, :, None], begin, end, ranks]
    worth = jax.vmap(lambda *own: tree_score(span, length, *own).value)(trees, labels)
    worth = jnp.where(possible, worth, -jnp.inf)
    worth = jnp.where(jnp.isnan(span.whole).any(axis=(1, 2, 3))[None], jnp.nan, worth).T
    labels = labels[:, :, : max(2 * words - 1, 0)]
    real = jnp.arange(labels.shape[2])[None] < 2 * length[:, None] - 1
    labels = jnp.where(real[None], labels, 0).astype(jnp.int32)
    tree = Parse(children, labels) if labelled else children
    return jax.tree.map(lambda x: x.swapaxes(0, 1), tree), worth


def _best_labels(span: Nats, k: int) -> tuple[jax.Array, list[Nats]]:
    """The best labels of each span, ``[.., L]``, best first, and scores with each of them."""
    near = (span.whole - finite_max(span.whole, axis=3)) + span.fraction
    count = min(k, near.shape[3])
    order = jnp.argmax(near, axis=3)[..., None] if count == 1 else lax.top_k(near, count)[1]
    own = Nats(*(jnp.take_along_axis(x, order, axis=3) for x in span))
    return order, [Nats(*(x[..., rank] for x in own)) for rank in range(count)]


@partial(jax.jit, static_argnames="num_samples")
def sample(key: jax.Array, scores: Scores, num_samples: int) -> Any:
    """Draws trees from the distribution: inside filtering, sampling from the root down.

    Args:
        key: a PRNG key.
        scores: of spans.
        num_samples: trees to draw of each sentence, independently; static.

    Returns:
        Children, int32 ``[num_samples, B, T - 1, 2]``, or `Parse` of labelled spans; where every
        tree is forbidden or a score is NaN, some tree. Cost O(B T^3), and O(B T^2) a sample.

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
    span, length, words = check_scores(scores)
    labelled = span.ndim == 4
    span, length = readable(lax.stop_gradient(span), length)
    of_trees, of_labels = jax.random.split(key) if labelled else (key, key)
    tables = inside.sweep(by_width(without_labels(span)))
    trees = top_down.random_trees(of_trees, tables, length, num_samples)
    children = trees[:, :, : max(words - 1, 0)]
    if not labelled:
        return children
    at = jnp.arange(len(length))[None, :, None], *jax.vmap(all_spans, (0, None))(trees, length)
    own = Nats(*(x[at] for x in span))
    logits = (own.whole - finite_max(own.whole)) + own.fraction
    labels = jax.random.categorical(of_labels, logits)[:, :, : max(2 * words - 1, 0)]
    real = jnp.arange(labels.shape[2])[None] < 2 * length[:, None] - 1
    return Parse(children, jnp.where(real[None], labels, 0).astype(jnp.int32))
