"""Scores of spans, trees over them, and both as the recursion takes them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.nats import Nats, log_sum, to_nats
from rntn_jax.ops import accumulator
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like
from rntn_jax.shapes import shapes_repr

__all__ = [
    "Parse",
    "Scores",
    "alike",
    "all_spans",
    "by_width",
    "check_scores",
    "check_tree",
    "constrain",
    "readable",
    "to_spans",
    "tree_score",
    "without_labels",
]


class Scores(NamedTuple):
    """Scores of spans, in nats; `marginals` come in the same container.

    ``-inf`` forbids a span. What is not read may hold anything: what lies behind a sentence's end,
    ``j <= i``, and words on their own where spans have no labels. A sentence of no word has one
    tree, of score 0, and so has one of one word without labels. A length that is not in ``0 .. T``
    makes everything of its row NaN.
    """

    span: Any  # [B, T + 1, T + 1], of the words i .. j - 1, read where i + 1 < j <= length;
    # or [B, T + 1, T + 1, C], labelled, read where i < j <= length: words have labels, too
    length: Any  # int [B], words

    __repr__ = shapes_repr


class Parse(NamedTuple):
    """Trees with labels, of one row each; nodes as in `rntn_jax.data.Tree`."""

    children: Any  # int [B, T - 1, 2], of internal nodes in post-order; 0 after the last
    labels: (
        Any  # int [B, 2 T - 1], of a sentence's words, then of its internal nodes; 0 after these
    )

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
    axes = "B T+1 T+1 C" if jnp.ndim(scores.span) == 4 else "B T+1 T+1"
    span = check(f"{name}.span", scores.span, "float", axes, sizes)
    return span, check(f"{name}.length", scores.length, "int", "B", sizes), sizes["T"]


def alike(name: str, x: Any, span: jax.Array, kind: str = "float") -> jax.Array:
    """An array of the shape of other scores of spans.

    Args:
        name: of the argument, for messages.
        x: what came.
        span: the scores.
        kind: of its dtype.

    Returns:
        The array.

    Raises:
        AssertionError: when shape or dtype do not match.
    """
    sizes = dict(zip("BTC", (len(span), span.shape[1] - 1, *span.shape[3:])))
    return check(name, x, kind, "B T+1 T+1 C" if span.ndim == 4 else "B T+1 T+1", sizes)


@jax.jit
def constrain(scores: Scores, allowed: jax.Array) -> Scores:
    """Forbids spans, by ``-inf``.

    So one learns from a tree of which only some spans are known: forbid those that cross them, and
    ``log_partition(constrain(scores, allowed)) - log_partition(scores)`` is ``ln P`` of all trees
    that it may be; the gradient is a difference of marginals.

    Args:
        scores: of spans.
        allowed: bool, of the shape of ``scores.span``: spans, or spans with labels, that a tree may
            have.

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
    span, length, _ = check_scores(scores)
    return Scores(jnp.where(alike("allowed", allowed, span, "bool"), span, -jnp.inf), length)


def readable(span: jax.Array, length: jax.Array, whole_row: bool = True) -> tuple[Nats, jax.Array]:
    """Scores ``[B, T + 1, T + 1, C]`` in at least float32; room for two words at least.

    Those that are not read are ``-inf``, but a word's that is not read 0 for its first label. NaN
    where it is read, like a length that cannot be, makes the whole row NaN: it is never taken for a
    low score, and no maximum or ``-inf`` hides it. Where ``whole_row`` is false, NaN stays where it
    is, as in the score of a tree that does not have the span.

    Args:
        span: float ``[B, T + 1, T + 1]``, or with labels.
        length: int ``[B]``.
        whole_row: whether NaN anywhere makes the whole row NaN.

    Returns:
        ``(span, length)``, lengths within ``0 .. T``.
    """
    span, length = vary_like((span, length))
    narrowest = 1 if span.ndim == 4 else 2
    span = span if span.ndim == 4 else span[..., None]
    room, extra = span.shape[1] - 1, max(3 - span.shape[1], 0)
    span = span.astype(accumulator(span))
    span = jnp.pad(span, ((0, 0), (0, extra), (0, extra), (0, 0)))
    possible = (length >= 0) & (length <= room)
    length = jnp.where(possible, length, room).astype(jnp.int32)
    at = jnp.arange(span.shape[1])
    read = (at[None] >= at[:, None] + narrowest)[None] & (at[None] <= length[:, None])[:, None]
    lost = ((jnp.isnan(span) & read[..., None]).any(axis=(1, 2, 3)) & whole_row) | ~possible
    # An addition, so that the gradient is NaN too.
    span = span + jnp.where(lost, jnp.nan, jnp.zeros((), span.dtype))[:, None, None, None]
    word = (at[None] == at[:, None] + 1)[..., None] & (jnp.arange(span.shape[3]) == 0)[None, None]
    unread = jnp.where(word, 0, -jnp.inf).astype(span.dtype)[None]
    unread = unread + jnp.where(possible, 0, jnp.nan).astype(span.dtype)[:, None, None, None]
    return to_nats(jnp.where(read[..., None], span, unread)), length


def without_labels(span: Nats) -> Nats:
    """Labels summed out: ``ln sum_c exp span[.., c]``, ``[B, T + 1, T + 1]``."""
    if span.whole.shape[3] == 1:
        return Nats(span.whole[..., 0], span.fraction[..., 0])
    return log_sum(span, axis=3)


def by_width(span: Nats) -> Nats:
    """``[T + 1, B, T + 1]``: score of the span of width w from i, at ``[w, :, i]``."""
    begin = jnp.arange(span.whole.shape[1])
    end = begin[:, None] + begin[None]  # [w, i]
    inside = (end < len(begin))[:, None]
    at = begin[None], jnp.where(end < len(begin), end, 0)
    whole, fraction = (x[:, at[0], at[1]].swapaxes(0, 1) for x in span)
    return Nats(jnp.where(inside, whole, -jnp.inf), jnp.where(inside, fraction, 0))


def check_tree(tree: Any, span: jax.Array, words: int) -> tuple[jax.Array, jax.Array | None]:
    """Spans or children, and labels if there are any, as arrays.

    Args:
        tree: int ``[B, T - 1, 2]``, or `Parse`.
        span: scores as they came.
        words: ``T``.

    Returns:
        ``(trees, labels or None)``.

    Raises:
        AssertionError: when a shape or dtype does not match, or labels came for what has none.
    """
    sizes = {"B": len(span), "T": words, "N": max(2 * words - 1, 0)}
    if not isinstance(tree, Parse):
        return check("spans", tree, "int", "B T-1 2", sizes), None
    if span.ndim < 4:
        raise AssertionError("spans must be int [B, T-1, 2] where they have no labels, got Parse")
    children = check("tree.children", tree.children, "int", "B T-1 2", sizes)
    return children, check("tree.labels", tree.labels, "int", "B N", sizes)


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


def all_spans(trees: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Begins and ends of all nodes of trees, words first, 0 after the last.

    Some node always joins two words ``i`` and ``i + 1``, and no span of these has one word, so
    children and spans are never confused.

    Args:
        trees: int ``[B, T - 1, 2]``, spans or children.
        length: int ``[B]``.

    Returns:
        int32 ``[B, 2 T - 1]`` twice.
    """
    by_children = (trees[..., 1] - trees[..., 0] == 1).any(axis=1)
    trees = jnp.where(by_children[:, None, None], to_spans(trees, length), trees)
    nodes = trees.shape[1]
    at = jnp.arange(2 * nodes + 1, dtype=jnp.int32)[None] - length[:, None].astype(jnp.int32)
    found = []
    for side in range(2):
        inner = jnp.pad(trees[..., side].astype(jnp.int32), ((0, 0), (0, 1)))
        inner = jnp.take_along_axis(inner, jnp.clip(at, 0, nodes), axis=1)
        word = at + length[:, None].astype(jnp.int32) + side
        found.append(jnp.where(at < 0, word, jnp.where(at < nodes, inner, 0)))
    return found[0], found[1]


def tree_score(span: Nats, length: jax.Array, trees: jax.Array, labels: jax.Array | None) -> Nats:
    """Scores ``[B]`` of trees given by spans or children; NaN where a span or label cannot be.

    Args:
        span: ``[B, T + 1, T + 1, C]``, of `readable`.
        length: int ``[B]``.
        trees: int ``[B, T - 1, 2]``, spans or children.
        labels: int ``[B, 2 T - 1]``; without them labels are summed out.

    Returns:
        `Nats` ``[B]``, ``-inf`` where a span is forbidden.
    """
    if trees.shape[1] == 0:  # one word at most: there is room for one label, if any
        size = min(labels.shape[1], 1) if labels is not None else 1
        begin = jnp.zeros_like(length, shape=(len(length), size))
        end = jnp.minimum(length, 1)[:, None] + begin
    else:
        begin, end = all_spans(trees, length)
    none = (begin == 0) & (end == 0)
    is_word = jnp.arange(begin.shape[1])[None] < length[:, None]
    legal = none | ((begin >= 0) & (end - begin > jnp.where(is_word, 0, 1)))
    legal &= end <= length[:, None]
    last = span.whole.shape[1] - 1
    at = jnp.arange(len(begin))[:, None], jnp.clip(begin, 0, last), jnp.clip(end, 0, last)
    if labels is None:
        own = jax.tree.map(lambda x: x[at], without_labels(span))
    else:
        count = span.whole.shape[3]
        legal &= none | ((labels >= 0) & (labels < count))
        own = jax.tree.map(lambda x: x[(*at, jnp.clip(labels, 0, count - 1))], span)
    whole = jnp.where(none, 0, own.whole).sum(axis=1)
    fraction = jnp.where(none, 0, own.fraction).sum(axis=1)
    # Sentences of which nothing is read may still be NaN all.
    whole = whole + jnp.where(jnp.isnan(span.whole[:, 0, 0, 0]), jnp.nan, 0)
    whole = jnp.where(legal.all(axis=1), whole, jnp.nan)
    return Nats(whole, jnp.where(whole == -jnp.inf, 0, fraction))
