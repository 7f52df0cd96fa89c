"""Scores of spans, trees over them, and both as the recursion takes them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.nats import Nats, to_nats
from rntn_jax.ops import accumulator
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like
from rntn_jax.shapes import shapes_repr

__all__ = [
    "Scores",
    "by_width",
    "check_scores",
    "check_trees",
    "readable",
    "to_spans",
    "tree_score",
]


class Scores(NamedTuple):
    """Scores of spans, in nats; `marginals` come in the same container.

    ``-inf`` forbids a span. What is not read may hold anything: words on their own, what lies
    behind a sentence's end, and ``j <= i``. A sentence of no or one word has one tree, of score 0.
    A length that is not in ``0 .. T`` makes everything of its row NaN.
    """

    span: Any  # [B, T + 1, T + 1], of the words i .. j - 1; read where i + 1 < j <= length
    length: Any  # int [B], words

    __repr__ = shapes_repr


def check_scores(scores: Scores, name: str = "scores") -> tuple[jax.Array, jax.Array, int]:
    """Scores of spans and lengths as they came, and ``T``.

    Args:
        scores: of spans.
        name: of the scores, for messages.

    Returns:
        ``(span, length, T)``.

    Raises:
        AssertionError: when shapes or dtypes do not match.
    """
    sizes: dict[str, int] = {}
    span = check(f"{name}.span", scores.span, "float", "B T+1 T+1", sizes)
    return span, check(f"{name}.length", scores.length, "int", "B", sizes), sizes["T"]


@jax.jit
def constrain(scores: Scores, allowed: jax.Array) -> Scores:
    """Forbids spans, by ``-inf``.

    So one learns from a tree of which only some spans are known: forbid those that cross them, and
    ``log_partition(constrain(scores, allowed)) - log_partition(scores)`` is ``ln P`` of all trees
    that it may be; the gradient is a difference of marginals.

    Args:
        scores: of spans.
        allowed: bool ``[B, T + 1, T + 1]``, spans that a tree may have.

    Returns:
        The scores, ``-inf`` where not allowed.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> from rntn_jax.crf.constituency import log_partition
        >>> allowed = jnp.ones((1, 5, 5), bool).at[0, 1, 3].set(False)
        >>> scores = constrain(Scores(jnp.zeros((1, 5, 5)), jnp.array([4])), allowed)
        >>> round(float(jnp.exp(log_partition(scores)[0])), 3)  # without [a [b c] d]
        3.0
    """
    span, length, words = check_scores(scores)
    allowed = check("allowed", allowed, "bool", "B T+1 T+1", {"B": len(span), "T": words})
    return Scores(jnp.where(allowed, span, -jnp.inf), length)


def readable(span: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scores in at least float32, ``-inf`` where not read; room for two words at least.

    NaN where it is read, like a length that cannot be, makes the whole row NaN: it is never taken
    for a low score, and no maximum or ``-inf`` hides it.

    Args:
        span: float ``[B, T + 1, T + 1]``.
        length: int ``[B]``.

    Returns:
        ``(span, length)``, lengths within ``0 .. T``.
    """
    span, length = vary_like((span, length))
    room, extra = span.shape[1] - 1, max(3 - span.shape[1], 0)
    span = span.astype(accumulator(span))
    span = jnp.pad(span, ((0, 0), (0, extra), (0, extra)))
    possible = (length >= 0) & (length <= room)
    length = jnp.where(possible, length, span.shape[1] - 1).astype(jnp.int32)
    at = jnp.arange(span.shape[1])
    read = (at[None] > at[:, None] + 1)[None] & (at[None, None] <= length[:, None, None])
    lost = (jnp.isnan(span) & read).any(axis=(1, 2)) | ~possible
    # An addition, so that the gradient is NaN too.
    span = span + jnp.where(lost, jnp.nan, jnp.zeros((), span.dtype))[:, None, None]
    return jnp.where(read, span, -jnp.inf), length


def by_width(span: jax.Array) -> jax.Array:
    """``[T + 1, B, T + 1]``: score of the span of width w from i, at ``[w, :, i]``."""
    begin = jnp.arange(span.shape[1])
    end = begin[:, None] + begin[None]  # [w, i]
    inside = end < len(begin)
    found = span[:, begin[None], jnp.where(inside, end, 0)]
    return jnp.where(inside[None], found, -jnp.inf).swapaxes(0, 1)


def check_trees(trees: Any, sentences: int, words: int) -> jax.Array:
    """Trees as an array.

    Args:
        trees: int ``[B, T - 1, 2]``.
        sentences: ``B``.
        words: ``T``.

    Returns:
        int ``[B, T - 1, 2]``.

    Raises:
        AssertionError: when shape or dtype do not match.
    """
    return check("spans", trees, "int", "B T-1 2", {"B": sentences, "T": words})


@jax.jit
def to_spans(children: jax.Array, length: jax.Array) -> jax.Array:
    """Spans of the internal nodes of trees, in their order.

    Args:
        children: int ``[B, T - 1, 2]`` as `argmax` returns them: nodes in post-order, 0 after the
            last.
        length: int ``[B]``, words of each sentence.

    Returns:
        int32 ``[B, T - 1, 2]``, begin and end of each node, 0 after the last. Cost O(B T log T).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> to_spans(jnp.array([[[1, 2], [0, 3], [0, 0]]]), jnp.array([3])).tolist()
        [[[1, 3], [0, 3], [0, 0]]]
    """
    sizes: dict[str, int] = {}
    children = check("children", children, "int", "B N 2", sizes).astype(jnp.int32)
    length = check("length", length, "int", "B", sizes)[:, None].astype(jnp.int32)
    nodes = sizes["N"]
    if nodes == 0:
        return children
    # In post-order, the words under the nodes so far are those up to the end of the last.
    leaf = jnp.where(children < length[..., None], children, -1)
    end = lax.cummax(leaf.max(axis=2), axis=1) + 1
    # The first word is found along left children, in strides that double.
    first = children[..., 0]
    for _ in range(nodes.bit_length()):
        below = jnp.clip(first - length, 0, nodes - 1)
        first = jnp.where(first < length, first, jnp.take_along_axis(first, below, axis=1))
    real = jnp.arange(nodes)[None] < length - 1
    return jnp.where(real[..., None], jnp.stack([first, end], axis=2), 0)


def tree_score(span: jax.Array, length: jax.Array, trees: jax.Array) -> Nats:
    """Scores ``[B]`` of trees given by spans or children; NaN where a span cannot be.

    Some node always joins two words ``i`` and ``i + 1``, and no span has one word, so the two are
    never confused.

    Args:
        span: float ``[B, T + 1, T + 1]``.
        length: int ``[B]``.
        trees: int ``[B, T - 1, 2]``, spans or children.

    Returns:
        `Nats` ``[B]``, ``-inf`` where a span is forbidden.
    """
    begin, end = trees[..., 0], trees[..., 1]
    by_children = (end - begin == 1).any(axis=1)
    trees = jnp.where(by_children[:, None, None], to_spans(trees, length), trees)
    begin, end = trees[..., 0], trees[..., 1]
    none = (begin == 0) & (end == 0)
    legal = (none | ((begin >= 0) & (end - begin > 1) & (end <= length[:, None]))).all(axis=1)
    rows, last = jnp.arange(len(span))[:, None], span.shape[1] - 1
    found = span[rows, jnp.clip(begin, 0, last), jnp.clip(end, 0, last)]
    own = to_nats(jnp.where(none, 0, found))
    fraction = jnp.where(legal, own.fraction.sum(axis=1), jnp.nan)
    return Nats(own.whole.sum(axis=1), fraction)
