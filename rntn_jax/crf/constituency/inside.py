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

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops import cast_like

__all__ = ["best", "by_width", "children", "inside", "log_partition", "summed"]

LARGE = 1 << 22  # splits of a batch, from which on its sweep is compiled in pieces


class _Tables(NamedTuple):
    """``I`` of all spans, found by width and begin, and by width and end."""

    by_begin: jax.Array  # [T + 1, B, T + 1]: of width w from i, at [w, :, i]
    by_end: jax.Array  # [2 T + 1, B, 2 T + 1]: of width w to j, at [T - w, :, j]


def by_width(span: jax.Array) -> jax.Array:
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


def summed(parts: jax.Array) -> tuple[jax.Array, None]:
    top = parts.max(axis=0)
    top = jnp.where(top == -jnp.inf, 0, top)
    total = jnp.exp(parts - top[None]).sum(axis=0)
    return jnp.where(total > 0, jnp.log(jnp.where(total > 0, total, 1)) + top, -jnp.inf), None


def best(parts: jax.Array) -> tuple[jax.Array, jax.Array]:
    return parts.max(axis=0), jnp.maximum(jnp.argmax(parts, axis=0), 1)  # 0: all forbidden


def inside(s: jax.Array, combine) -> tuple[_Tables, Any]:
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
def log_partition(s: jax.Array, length: jax.Array) -> jax.Array:
    tables, _ = inside(s, summed)
    return tables.by_begin[jnp.maximum(length, 1), jnp.arange(len(length)), 0]


class _LogPartitionResiduals(NamedTuple):
    s: jax.Array  # [T + 1, B, T + 1]
    length: jax.Array  # [B]
    tables: _Tables


def _log_partition_fwd(s, length):
    tables, _ = inside(s, summed)
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


log_partition.defvjp(_log_partition_fwd, _log_partition_bwd)


@partial(jax.jit, inline=True)
def children(splits: jax.Array, length: jax.Array) -> jax.Array:
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
