"""The inside recursion over all binary trees of a sentence, and its backward pass.

A tree over ``n`` words is the set of its ``n - 1`` spans of two words and more; its score is the
sum of theirs. For all trees over the words ``i .. j - 1``::

    I(i, j) = s(i, j) + ln sum_k exp(I(i, k) + I(k, j)),   I(i, i + 1) = 0,   ln Z = I(0, n)

from short spans to long ones. The backward pass goes from long to short, ``g(0, n) = 1``, and adds
to both parts of each split the probability of the span times that of the split given the span::

    P(k | i, j) = exp(I(i, k) + I(k, j) + s(i, j) - I(i, j))
    g(i, k), g(k, j) += g(i, j) P(k | i, j)

These are the marginals, ``g(i, j) = P(i .. j - 1 is a span)``, and the gradient of ``ln Z`` (source
004, the model marginals theorem).

``I`` grows with the number of words, up to a million nats where scores are of 1e4, and float32
would leave nothing of the differences that decide a split. So every score is held as `Nats`: a
whole number, whose sums and differences are exact, and the fraction of at most a half. Tables are
stored by width; nothing is kept of single splits, so memory is O(T^2) a sentence where autodiff of
the recursion takes O(T^3).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops import cast_like
from rntn_jax.ops.logspace import finite_max, logsumexp, safe_log

__all__ = [
    "Nats",
    "Tables",
    "initial_tables",
    "log_conditionals",
    "log_partition",
    "reference",
    "segments",
    "sum_over_splits",
    "sweep",
    "to_nats",
    "whole_sentences",
]

SMALL, LARGE = 1 << 20, 1 << 22  # splits of a batch, from which on its sweep is compiled in pieces


class Nats(NamedTuple):
    """A score as ``whole + fraction``: ``whole`` is exact up to 1.6e7 nats in float32."""

    whole: jax.Array  # integral, -inf where forbidden; its derivative is 0
    fraction: jax.Array  # within +-0.5, 0 where forbidden; carries the derivative

    @property
    def value(self) -> jax.Array:
        """Both together."""
        return self.whole + self.fraction


class Tables(NamedTuple):
    """``I`` of all spans, found by width and begin, and by width and end."""

    by_begin: Nats  # [T + 1, B, T + 1]: of width w from i, at [w, :, i]
    by_end: Nats  # [2 T + 1, B, 2 T + 1]: of width w to j, at [T - w, :, j]


def to_nats(x: jax.Array, whole: jax.Array | float = 0.0) -> Nats:
    """``whole + x`` as `Nats`; NaN stays NaN."""
    nearest = jnp.round(x)
    total = whole + nearest
    return Nats(total, jnp.where(total == -jnp.inf, 0, x - nearest))


def reference(s: jax.Array, length: jax.Array) -> jax.Array:
    """``ln Z [B]`` by the equation as it stands: the oracle of the rule.

    Args:
        s: ``[T + 1, B, T + 1]``, of the span of width w from i at ``[w, :, i]``.
        length: int ``[B]``.
    """
    size = len(s)
    table = {(i, i + 1): jnp.zeros_like(s[0, :, 0]) for i in range(size - 1)}
    for width in range(2, size):
        for i in range(size - width):
            splits = [table[i, k] + table[k, i + width] for k in range(i + 1, i + width)]
            table[i, i + width] = s[width, :, i] + logsumexp(jnp.stack(splits), axis=0)
    wholes = jnp.stack([table[0, max(width, 1)] for width in range(size)])
    return wholes[length, jnp.arange(len(length))]


def segments(size: int, batch: int) -> list[tuple[int, int]]:
    """Ranges of widths ``lo .. hi - 1``, for each of which a sweep is compiled.

    Spans of these widths begin below ``size - lo``, and their parts have widths below ``hi``: with
    two ranges half of the whole tables is worked on, with four a third, but each takes its time to
    compile, which small tables are not worth.
    """
    work = batch * size**3
    count = 1 if work < SMALL else 2 if work < LARGE else 4
    return list(pairwise([2, *(size * k // count for k in range(1, count)), size]))


def _parts(tables: Tables, width: jax.Array, segment: tuple[int, int]) -> Nats:
    """``I(i, i + a) + I(i + a, i + width)`` at ``[a, :, i]``; ``-inf`` where there is no split."""
    size, batch, _ = tables.by_begin.whole.shape[-3:]
    lo, hi = segment

    def add(by_begin: jax.Array, by_end: jax.Array) -> jax.Array:
        rest = lax.dynamic_slice(by_end, (size - 1 - width, 0, width), (hi, batch, size - lo))
        return by_begin[:hi, :, : size - lo] + rest

    return Nats(*map(add, tables.by_begin, tables.by_end))


def _widen(values: jax.Array, size: int) -> jax.Array:
    """Zeros for the places where no span of these widths begins."""
    return jnp.pad(values, ((0, 0), (0, 0), (0, size - values.shape[2])))


def _sum_splits(parts: Nats, own: Nats) -> Nats:
    """``I`` of the spans of one width."""
    top = finite_max(parts.whole, axis=0)
    total = jnp.exp((parts.whole - top) + parts.fraction).sum(axis=0)
    return to_nats(safe_log(total) + own.fraction, top[0] + own.whole)


def initial_tables(s: jax.Array) -> Tables:
    """Tables that know spans of one word only."""
    size, batch, _ = s.shape
    begin, forbidden = jnp.arange(size), jnp.full((), -jnp.inf, s.dtype)
    words = jnp.broadcast_to(jnp.where(begin < size - 1, 0, forbidden)[None], (batch, size))
    by_begin = jnp.full((size, batch, size), forbidden).at[1].set(words)
    by_end = jnp.full((2 * size - 1, batch, 2 * size - 1), forbidden)
    by_end = by_end.at[size - 2, :, 1 : size + 1].set(words)
    return Tables(*(Nats(whole, jnp.zeros_like(whole)) for whole in (by_begin, by_end)))


def sweep(s: jax.Array) -> Tables:
    """``I`` of all spans, from those of two words up."""
    size, batch, _ = s.shape

    def step(segment, tables: Tables, inputs):
        width, own = inputs
        value = _sum_splits(_parts(tables, width, segment), own)

        def put(at, table, value):
            return lax.dynamic_update_slice(table, value[None], at)

        by_begin = map(partial(put, (width, 0, 0)), tables.by_begin, value)
        by_end = map(partial(put, (size - 1 - width, 0, width)), tables.by_end, value)
        return Tables(Nats(*by_begin), Nats(*by_end)), None

    tables, own = initial_tables(s), to_nats(s)
    for lo, hi in segments(size, batch):
        inputs = jnp.arange(lo, hi), Nats(*(x[lo:hi, :, : size - lo] for x in own))
        tables, _ = lax.scan(partial(step, (lo, hi)), tables, inputs)
    return tables


def log_conditionals(parts: Nats, value: Nats, own: Nats) -> jax.Array:
    """``ln P(k | i, j)`` of the splits of spans, ``-inf`` where there is no split or no tree.

    Args:
        parts: of each split the sum of both parts, ``[splits, ...]``.
        value: ``I`` of the spans, ``[...]``.
        own: their scores, ``[...]``.
    """
    alive = value.whole != -jnp.inf
    whole = jnp.where(alive, value.whole - jnp.where(alive, own.whole, 0), jnp.inf)
    return (parts.whole - whole[None]) + (parts.fraction - (value.fraction - own.fraction)[None])


@jax.custom_vjp
def log_partition(s: jax.Array, length: jax.Array) -> Nats:
    """``ln Z [B]``; arguments as in `reference`. The cotangent is that of the fraction."""
    return whole_sentences(sweep(s), length)


def whole_sentences(tables: Tables, length: jax.Array) -> Nats:
    """``I`` of each sentence's span of all its words."""
    at = jnp.maximum(length, 1), jnp.arange(len(length)), 0
    return Nats(*(x[at] for x in tables.by_begin))


class _LogPartitionResiduals(NamedTuple):
    s: jax.Array  # [T + 1, B, T + 1]
    length: jax.Array  # [B]
    tables: Tables


def _log_partition_fwd(s: jax.Array, length: jax.Array) -> tuple[Nats, _LogPartitionResiduals]:
    tables = sweep(s)
    return whole_sentences(tables, length), _LogPartitionResiduals(s, length, tables)


def _log_partition_bwd(res: _LogPartitionResiduals, cotangent: Nats) -> tuple[jax.Array, None]:
    s, length, tables = res
    size, batch, _ = s.shape
    whole = jnp.maximum(length, 1), jnp.arange(batch), 0
    value = tables.by_begin.whole[whole]
    # 0 where every tree is forbidden, NaN where a score is.
    g = jnp.where(value == -jnp.inf, 0, cotangent.fraction + (value - value))
    at_begin = jnp.zeros_like(tables.by_begin.whole).at[whole].set(g)
    at_end = jnp.zeros_like(tables.by_end.whole)

    def reached(at_begin, at_end, width, columns):
        """``g`` of the spans of this width, to which nothing more will be added."""
        begin = lax.dynamic_slice(at_begin, (width, 0, 0), (1, batch, columns))
        corner = size - 1 - width, 0, width
        return (begin + lax.dynamic_slice(at_end, corner, begin.shape))[0]

    def step(segment, carry, inputs):
        at_begin, at_end, here = carry
        width, own, value = inputs
        parts = _parts(tables, width, segment)
        share = jnp.exp(log_conditionals(parts, value, own)) * here[None]
        corner = size - 1 - width, 0, width
        before = lax.dynamic_slice(at_end, corner, share.shape)
        at_end = lax.dynamic_update_slice(at_end, before + share, corner)
        before = at_begin[: len(share), :, : here.shape[1]]
        at_begin = lax.dynamic_update_slice(at_begin, before + share, (0, 0, 0))
        # The next row is read here, so that the tables are only written to above: in place.
        below = reached(at_begin, at_end, width - 1, here.shape[1])
        return (at_begin, at_end, below), here

    own, found = to_nats(s), []
    for lo, hi in segments(size, batch)[::-1]:
        inputs = (
            jnp.arange(lo, hi),
            Nats(*(x[lo:hi, :, : size - lo] for x in own)),
            Nats(*(x[lo:hi, :, : size - lo] for x in tables.by_begin)),
        )
        carry = at_begin, at_end, reached(at_begin, at_end, hi - 1, size - lo)
        (at_begin, at_end, _), here = lax.scan(partial(step, (lo, hi)), carry, inputs, reverse=True)
        found.append(_widen(here, size))
    grad = jnp.concatenate([jnp.zeros_like(s[:2]), *found[::-1]])
    return cast_like(grad, s), None


log_partition.defvjp(_log_partition_fwd, _log_partition_bwd)


def _near_one(log_p: jax.Array) -> jax.Array:
    """``ln p`` of splits, of one above a half by what the others leave: right to all digits."""
    likely = log_p > -0.69
    others = jnp.where(likely, 0, jnp.exp(log_p)).sum(axis=0)
    return jnp.where(likely, jnp.log1p(-jnp.minimum(others, 0.75))[None], log_p)


def sum_over_splits(
    f: Callable[..., jax.Array], *distributions: tuple[jax.Array, Tables]
) -> jax.Array:
    """Something of the splits of each span, ``[T + 1, B, T + 1]`` by width and begin.

    Args:
        f: gets ``ln P(k | i, j)`` of one width under each of the distributions, ``[splits, B, I]``,
            and returns ``[B, I]``.
        distributions: ``s`` as in `reference`, and its `sweep`.

    Returns:
        0 for widths below two. Cost O(B T^3); its gradient keeps one width's splits at a time.
    """
    size, batch, _ = distributions[0][0].shape

    @partial(jax.checkpoint, static_argnums=0)
    def step(segment, inputs, tables):
        width, spans = inputs
        logs = [
            _near_one(log_conditionals(_parts(own, width, segment), value, score))
            for own, (value, score) in zip(tables, spans)
        ]
        return f(*logs)

    found, tables = [jnp.zeros_like(distributions[0][0][:2])], [own for _, own in distributions]
    for lo, hi in segments(size, batch):
        spans = jax.tree.map(
            lambda x: x[lo:hi, :, : size - lo],
            [(own.by_begin, to_nats(s)) for s, own in distributions],
        )
        one = lambda inputs: step((lo, hi), inputs, tables)
        found.append(_widen(lax.map(one, (jnp.arange(lo, hi), spans)), size))
    return jnp.concatenate(found)
