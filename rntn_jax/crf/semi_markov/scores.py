"""Scores of segments, segmentations, and both as the recursion takes them."""

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
    "Parts",
    "Scores",
    "Segments",
    "by_end",
    "check_scores",
    "check_segments",
    "complete",
    "constrain",
    "segments_score",
]


class Scores(NamedTuple):
    """Scores of the parts of a segmentation, in nats; `marginals` come in the same container.

    ``-inf`` forbids a segment or a transition. Segments that do not end within the sentence may
    hold anything. A sentence of no token has one segmentation, of score 0. A length that is not in
    ``0 .. T`` makes everything of its row NaN.
    """

    span: Any  # [B, T, K, C], of the tokens t .. t + k as one segment
    edge: Any = None  # [C, C], from a segment's label (row) to the next one's; None: 0
    start: Any = None  # [C], of the first segment's label; None: 0
    end: Any = None  # [C], of the last one's
    length: Any = None  # int [B], tokens; None: all of them

    __repr__ = shapes_repr


class Segments(NamedTuple):
    """A segmentation of each row: where segments begin, and the label of each token's segment."""

    begins: Any  # bool [B, T]
    labels: Any  # int [B, T]

    __repr__ = shapes_repr


class Parts(NamedTuple):
    """Scores, checked: what the rule takes. Those that rows share stand in each of them."""

    span: Nats  # [T, K, B, C], by the last token: of t - k .. t at [t, k]; -inf where not read
    edge: Nats  # [B, C, C]
    start: Nats  # [B, C]
    end: Nats  # [B, C]
    length: jax.Array  # int32 [B], within 0 .. T


def check_scores(scores: Scores, name: str = "scores") -> Scores:
    """The scores as arrays, zeros and full lengths where there was None.

    Args:
        scores: the container.
        name: of the argument, for messages.

    Returns:
        What the first line says.

    Raises:
        AssertionError: when shapes or dtypes do not match.
    """
    sizes: dict[str, int] = {}
    span = check(f"{name}.span", scores.span, "float", "B T K C", sizes)
    rows, tokens, _, classes = span.shape

    def given(field: str, axes: str, shape: tuple[int, ...]) -> jax.Array:
        value = getattr(scores, field)
        if value is None:
            return jnp.zeros(shape, span.dtype)
        return check(f"{name}.{field}", value, "float", axes, sizes)

    edge = given("edge", "C C", (classes, classes))
    start, end = given("start", "C", (classes,)), given("end", "C", (classes,))
    if scores.length is None:
        length = jnp.full(rows, tokens, jnp.int32)
    else:
        length = check(f"{name}.length", scores.length, "int", "B", sizes)
    return Scores(span, edge, start, end, length)


@jax.jit
def constrain(scores: Scores, allowed: jax.Array) -> Scores:
    """Forbids segments, by ``-inf``.

    So one learns from partly known segmentations: forbid what contradicts them, and
    ``log_partition(constrain(scores, allowed)) - log_partition(scores)`` is ``ln P`` of all that
    are left.

    Args:
        scores: of segments.
        allowed: bool ``[B, T, K, C]``.

    Returns:
        The scores, ``-inf`` where not allowed.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> from rntn_jax.crf.semi_markov import log_partition
        >>> scores = Scores(jnp.zeros((1, 3, 3, 1)))
        >>> never_alone = jnp.arange(3)[None, None, :, None] > jnp.zeros((1, 3, 1, 1))
        >>> round(float(jnp.exp(log_partition(constrain(scores, never_alone))[0])), 3)
        1.0
    """
    span = check("scores.span", scores.span, "float", "B T K C")
    allowed = check("allowed", allowed, "bool", "B T K C", dict(zip("BTKC", span.shape)))
    return scores._replace(span=jnp.where(allowed, span, -jnp.inf))


def by_end(span: jax.Array) -> jax.Array:
    """``[T, K, B, C]`` of ``[B, T, K, C]``: of the tokens ``t - k .. t`` at ``[t, k]``."""
    tokens, widest = span.shape[1:3]
    begin = jnp.arange(tokens)[:, None] - jnp.arange(widest)[None]
    found = span[:, jnp.maximum(begin, 0), jnp.arange(widest)[None]]
    return jnp.moveaxis(jnp.where((begin >= 0)[None, :, :, None], found, -jnp.inf), 0, 2)


def complete(scores: Scores, whole_row: bool = True) -> Parts:
    """The parts of scores that `check_scores` returns, in at least float32.

    NaN where it is read, like a length that cannot be, makes the whole row NaN: it is never taken
    for a low score, and no maximum or ``-inf`` hides it. Where ``whole_row`` is false, NaN stays
    where it is, as in the score of a segmentation that does not have the segment.

    Args:
        scores: the container.
        whole_row: whether NaN anywhere makes the whole row NaN.

    Returns:
        The same scores, as said above.
    """
    span, edge, start, end, length = vary_like(tuple(scores))
    rows, tokens, widest, _ = span.shape
    dtype = accumulator(span, edge, start, end)
    possible = (length >= 0) & (length <= tokens)
    length = jnp.where(possible, length, tokens).astype(jnp.int32)
    last = jnp.arange(tokens)[:, None] + jnp.arange(widest)[None]
    read = (last[None] < length[:, None, None])[..., None]
    some, more = (length > 0)[:, None], (length > 1)[:, None, None]

    def rowwise(x: jax.Array, where: jax.Array) -> jax.Array:
        return jnp.where(where, jnp.broadcast_to(x.astype(dtype)[None], (rows, *x.shape)), 0)

    span = span.astype(dtype)
    edge, start, end = rowwise(edge, more), rowwise(start, some), rowwise(end, some)
    lost = (jnp.isnan(span) & read).any(axis=(1, 2, 3)) | jnp.isnan(edge).any(axis=(1, 2))
    lost |= jnp.isnan(start).any(axis=1) | jnp.isnan(end).any(axis=1)
    lost = (lost & whole_row) | ~possible
    # An addition, so that the gradient is NaN too.
    bad = jnp.where(lost, jnp.nan, jnp.zeros((), dtype))
    span = jnp.where(read, span + bad[:, None, None, None], -jnp.inf)
    edge = jnp.where(more, edge + bad[:, None, None], 0)
    start, end = (jnp.where(some, x + bad[:, None], 0) for x in (start, end))
    return Parts(to_nats(by_end(span)), to_nats(edge), to_nats(start), to_nats(end), length)


def check_segments(segments: Segments, span: jax.Array) -> Segments:
    """The segmentation as arrays.

    Args:
        segments: one segmentation a row.
        span: ``[B, T, K, C]``.

    Returns:
        `Segments` of arrays.

    Raises:
        AssertionError: when shapes or dtypes do not match.
    """
    sizes = dict(zip("BT", span.shape))
    begins = check("segments.begins", segments.begins, "bool", "B T", sizes)
    return Segments(begins, check("segments.labels", segments.labels, "int", "B T", sizes))


def segments_score(parts: Parts, segments: Segments) -> Nats:
    """Scores ``[B]``; NaN where a label cannot be or the first token begins no segment.

    A segment longer than K is none: ``-inf``.

    Args:
        parts: scores, checked.
        segments: one segmentation a row.

    Returns:
        `Nats` ``[B]``.
    """
    span, edge, start, end, length = parts
    tokens, widest, rows, classes = span.whole.shape
    if tokens == 0:
        nothing = jnp.where(jnp.isnan(start.whole.sum(axis=1)), jnp.nan, 0)
        return Nats(nothing, jnp.zeros_like(nothing))
    at = jnp.arange(tokens)[None]
    real = at < length[:, None]
    begins = segments.begins & real
    first = lax.cummax(jnp.where(begins, at, -1), axis=1)
    legal = (first >= 0) | ~real
    first = jnp.maximum(first, 0)
    labels = jnp.take_along_axis(segments.labels, first, axis=1)
    legal &= ((labels >= 0) & (labels < classes)) | ~real
    labels = jnp.clip(labels, 0, max(classes - 1, 0))
    final = at == length[:, None] - 1
    after = jnp.concatenate([begins[:, 1:], jnp.zeros_like(begins[:, :1])], axis=1)
    last = real & (after | final)
    before = jnp.concatenate([labels[:, :1], labels[:, :-1]], axis=1)
    row = jnp.arange(rows)[:, None]
    width = at - first
    chosen = [
        (last, jax.tree.map(lambda x: x[at, jnp.minimum(width, widest - 1), row, labels], span)),
        (begins & (at > 0), jax.tree.map(lambda x: x[row, before, labels], edge)),
        (begins & (at == 0), jax.tree.map(lambda x: x[row, labels], start)),
        (final, jax.tree.map(lambda x: x[row, labels], end)),
    ]
    whole = sum(jnp.where(where, x.whole, 0).sum(axis=1) for where, x in chosen)
    fraction = sum(jnp.where(where, x.fraction, 0).sum(axis=1) for where, x in chosen)
    whole = jnp.where((last & (width >= widest)).any(axis=1) & ~jnp.isnan(whole), -jnp.inf, whole)
    whole = jnp.where(legal.all(axis=1), whole, jnp.nan)
    return Nats(whole, jnp.where(whole > -jnp.inf, fraction, 0))
