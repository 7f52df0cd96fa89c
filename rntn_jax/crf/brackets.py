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

from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops import cast_like

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


LARGE = 1 << 22  # splits of a batch, from which on its sweep is compiled in pieces


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
    return _log_partition(_by_width(span), length)


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
    tables, splits = _inside(_by_width(span), _best)
    best = tables.by_begin[jnp.maximum(length, 1), jnp.arange(len(length)), 0]
    return _children(splits, length), best


# --- the recursion ---


class _Tables(NamedTuple):
    """``I`` of all spans, found by width and begin, and by width and end."""

    by_begin: jax.Array  # [T + 1, B, T + 1]: of width w from i, at [w, :, i]
    by_end: jax.Array  # [2 T + 1, B, 2 T + 1]: of width w to j, at [T - w, :, j]


def _by_width(span: jax.Array) -> jax.Array:
    """``[T + 1, B, T + 1]``: score of the span of width w from i, at ``[w, :, i]``."""
    begin = jnp.arange(span.shape[1])
    end = begin[:, None] + begin[None]  # [w, i]
    inside = end < len(begin)
    found = span[:, begin[None], jnp.where(inside, end, 0)]
    return jnp.where(inside[None], found, -jnp.inf).swapaxes(0, 1)


def _segments(size: int, batch: int) -> list[tuple[int, int]]:
    """Ranges of widths ``lo .. hi - 1``, for each of which a sweep is compiled.

    Spans of these widths begin below ``size - lo``, and their parts have widths below ``hi``: with
    four ranges a third of the whole tables is worked on. That is twice as quick, but takes three
    times as long to compile, and small tables are not worth it.
    """
    if batch * size**3 < LARGE:
        return [(2, size)]
    bounds = [2, *(size * k // 4 for k in (1, 2, 3)), size]
    return list(pairwise(bounds))


def _parts(tables: _Tables, width: jax.Array, segment: tuple[int, int]) -> jax.Array:
    """``I(i, i + a) + I(i + a, i + width)`` at ``[a, :, i]``; ``-inf`` where there is no split."""
    size, batch, _ = tables.by_begin.shape
    lo, hi = segment
    corner = size - 1 - width, 0, width
    rest = lax.dynamic_slice(tables.by_end, corner, (hi, batch, size - lo))
    return tables.by_begin[:hi, :, : size - lo] + rest


def _widen(values: jax.Array, size: int) -> jax.Array:
    """Zeros for the places where no span of these widths begins."""
    return jnp.pad(values, ((0, 0), (0, 0), (0, size - values.shape[2])))


def _sum(parts: jax.Array) -> tuple[jax.Array, None]:
    top = parts.max(axis=0)
    top = jnp.where(top == -jnp.inf, 0, top)
    total = jnp.exp(parts - top[None]).sum(axis=0)
    return jnp.where(total > 0, jnp.log(jnp.where(total > 0, total, 1)) + top, -jnp.inf), None


def _best(parts: jax.Array) -> tuple[jax.Array, jax.Array]:
    return parts.max(axis=0), jnp.maximum(jnp.argmax(parts, axis=0), 1)  # 0: all forbidden


def _inside(s: jax.Array, combine) -> tuple[_Tables, Any]:
    """``I`` of all spans, from those of two words up, and what ``combine`` says of each width."""
    size, batch, _ = s.shape
    begin, forbidden = jnp.arange(size), jnp.full((), -jnp.inf, s.dtype)
    words = jnp.broadcast_to(jnp.where(begin < size - 1, 0, forbidden)[None], (batch, size))
    by_begin = jnp.full((size, batch, size), forbidden).at[1].set(words)
    by_end = jnp.full((2 * size - 1, batch, 2 * size - 1), forbidden)
    by_end = by_end.at[size - 2, :, 1 : size + 1].set(words)

    def step(segment, tables, inputs):
        width, own = inputs
        value, note = combine(_parts(tables, width, segment))
        value = jnp.where((own == -jnp.inf) | (value == -jnp.inf), forbidden, value + own)[None]
        at_end = lax.dynamic_update_slice(tables.by_end, value, (size - 1 - width, 0, width))
        at_begin = lax.dynamic_update_slice(tables.by_begin, value, (width, 0, 0))
        return _Tables(at_begin, at_end), note

    tables, notes = _Tables(by_begin, by_end), []
    for lo, hi in _segments(size, batch):
        inputs = jnp.arange(lo, hi), s[lo:hi, :, : size - lo]
        tables, note = lax.scan(partial(step, (lo, hi)), tables, inputs)
        notes.append(None if note is None else _widen(note, size))
    return tables, None if notes[0] is None else jnp.concatenate(notes)


@jax.custom_vjp
def _log_partition(s: jax.Array, length: jax.Array) -> jax.Array:
    tables, _ = _inside(s, _sum)
    return tables.by_begin[jnp.maximum(length, 1), jnp.arange(len(length)), 0]


class _LogPartitionResiduals(NamedTuple):
    s: jax.Array  # [T + 1, B, T + 1]
    length: jax.Array  # [B]
    tables: _Tables


def _log_partition_fwd(s, length):
    tables, _ = _inside(s, _sum)
    value = tables.by_begin[jnp.maximum(length, 1), jnp.arange(len(length)), 0]
    return value, _LogPartitionResiduals(s, length, tables)


def _log_partition_bwd(res: _LogPartitionResiduals, g):
    s, length, tables = res
    size, batch, _ = s.shape
    whole = jnp.maximum(length, 1), jnp.arange(batch), 0
    possible = tables.by_begin[whole] > -jnp.inf
    at_begin = jnp.zeros_like(tables.by_begin).at[whole].set(jnp.where(possible, g, 0))
    at_end = jnp.zeros_like(tables.by_end)

    def reached(reaching, width, columns):
        """``g`` of the spans of this width, to which nothing more will be added."""
        begin = lax.dynamic_slice(reaching.by_begin, (width, 0, 0), (1, batch, columns))
        corner = size - 1 - width, 0, width
        return (begin + lax.dynamic_slice(reaching.by_end, corner, begin.shape))[0]

    def step(segment, carry, inputs):
        (at_begin, at_end), here = carry
        width, own, value = inputs
        parts = _parts(tables, width, segment)
        alive = value > -jnp.inf
        rest = jnp.where(alive, value, 0) - jnp.where(alive, own, 0)
        share = jnp.where(alive[None], jnp.exp(parts - rest[None]), 0) * here[None]
        corner = size - 1 - width, 0, width
        before = lax.dynamic_slice(at_end, corner, share.shape)
        at_end = lax.dynamic_update_slice(at_end, before + share, corner)
        before = at_begin[: len(share), :, : here.shape[1]]
        at_begin = lax.dynamic_update_slice(at_begin, before + share, (0, 0, 0))
        reaching = _Tables(at_begin, at_end)
        # The next row is read here, so that the tables are only written to above: in place.
        return (reaching, reached(reaching, width - 1, here.shape[1])), here

    reaching, found = _Tables(at_begin, at_end), []
    for lo, hi in _segments(size, batch)[::-1]:
        own, value = (t[lo:hi, :, : size - lo] for t in (s, tables.by_begin))
        inputs = jnp.arange(lo, hi), own, value
        carry = reaching, reached(reaching, hi - 1, size - lo)
        (reaching, _), here = lax.scan(partial(step, (lo, hi)), carry, inputs, reverse=True)
        found.append(_widen(here, size))
    grad = jnp.concatenate([jnp.zeros_like(s[:2]), *found[::-1]])
    return cast_like(grad, s), None


_log_partition.defvjp(_log_partition_fwd, _log_partition_bwd)


@partial(jax.jit, inline=True)
def _children(splits: jax.Array, length: jax.Array) -> jax.Array:
    """Children of each join from the best splits ``[T - 1, B, T + 1]`` of widths 2 .. T.

    Joins are numbered in post-order, so the right part of a join has the number before its own,
    and the left part, as many numbers less as the right one has words.
    """
    rows, joins = jnp.arange(len(length)), splits.shape[0]
    begin = jnp.zeros((len(length), joins + 1), jnp.int32)
    end = begin.at[rows, jnp.maximum(length - 2, 0)].set(length.astype(jnp.int32))

    def step(spans, row):
        begin, end = spans
        i, j = begin[:, row], end[:, row]
        real = row < length - 1
        k = i + splits[jnp.where(real, j - i - 2, 0), rows, i].astype(jnp.int32)
        right, left = row - 1, row - (j - k)
        for part, b, e in ((right, k, j), (left, i, k)):
            at = jnp.where(real & (e - b > 1), part, joins)
            begin, end = begin.at[rows, at].set(b), end.at[rows, at].set(e)
        nodes = [jnp.where(e - b > 1, length + p, b) for p, b, e in ((left, i, k), (right, k, j))]
        pair = jnp.where(real[:, None], jnp.stack(nodes, axis=1), 0)
        return (begin, end), pair.astype(jnp.int32)

    _, pairs = lax.scan(step, (begin, end), jnp.arange(joins), reverse=True)
    return pairs.swapaxes(0, 1)
