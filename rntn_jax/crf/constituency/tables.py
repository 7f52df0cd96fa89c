"""Tables of all spans of sentences, by width; the numbers in them are `Nats`."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.nats import Nats

__all__ = [
    "Tables",
    "initial_tables",
    "of_widths",
    "segments",
    "sums_of_parts",
    "whole_sentences",
    "widen",
]

SMALL, LARGE = 1 << 20, 1 << 22  # splits of a batch, from which on its sweep is compiled in pieces


class Tables(NamedTuple):
    """``I`` of all spans, found by width and begin, and by width and end."""

    by_begin: Nats  # [T + 1, B, T + 1]: of width w from i, at [w, :, i]
    by_end: Nats  # [2 T + 1, B, 2 T + 1]: of width w to j, at [T - w, :, j]


def segments(size: int, batch: int, first: int = 2) -> list[tuple[int, int]]:
    """Ranges of widths ``lo .. hi - 1``, for each of which a sweep is compiled.

    Spans of these widths begin below ``size - lo``, and their parts have widths below ``hi``: with
    two ranges half of the whole tables is worked on, with four a third, but each takes its time to
    compile, which small tables are not worth.

    Args:
        size: ``T + 1``.
        batch: sentences.
        first: the narrowest width.

    Returns:
        ``(lo, hi)`` of one, two or four ranges, from ``first`` to ``size``.
    """
    work = batch * size**3
    count = 1 if work < SMALL else 2 if work < LARGE else 4
    return list(pairwise([first, *(size * k // count for k in range(1, count)), size]))


def of_widths(values: Any, segment: tuple[int, int]) -> Any:
    """Values ``[T + 1, B, T + 1]`` of the spans of some widths, of a pytree of them.

    Args:
        values: a pytree of ``[T + 1, B, T + 1]``, by width and begin.
        segment: widths ``lo .. hi - 1``, as ``(lo, hi)``.

    Returns:
        The same of ``[hi - lo, B, T + 1 - lo]``.
    """
    lo, hi = segment
    return jax.tree.map(lambda x: x[lo:hi, :, : len(x) - lo], values)


def initial_tables(s: Nats) -> Tables:
    """Tables that know spans of one word only: their scores, ``s[1]``."""
    size, batch, _ = s.whole.shape
    begin, forbidden = jnp.arange(size), jnp.full_like(s.whole, -jnp.inf, shape=())
    words = Nats(jnp.where(begin < size - 1, s.whole[1], forbidden), s.fraction[1])
    tables = []
    for x, nothing in zip(words, (forbidden, jnp.zeros_like(forbidden)), strict=True):
        by_begin = jnp.full((size, batch, size), nothing).at[1].set(x)
        by_end = jnp.full((2 * size - 1, batch, 2 * size - 1), nothing)
        tables.append((by_begin, by_end.at[size - 2, :, 1 : size + 1].set(x)))
    return Tables(*(Nats(*parts) for parts in zip(*tables, strict=True)))


def sums_of_parts(tables: Tables, width: jax.Array, segment: tuple[int, int]) -> Nats:
    """``I(i, i + a) + I(i + a, i + width)`` at ``[a, :, i]``; ``-inf`` where there is no split.

    Args:
        tables: that know all shorter spans.
        width: int ``[]``, one of the segment.
        segment: widths ``(lo, hi)``.

    Returns:
        `Nats` ``[hi, B, T + 1 - lo]``.
    """
    size, batch, _ = tables.by_begin.whole.shape[-3:]
    lo, hi = segment

    def add(by_begin: jax.Array, by_end: jax.Array) -> jax.Array:
        rest = lax.dynamic_slice(by_end, (size - 1 - width, 0, width), (hi, batch, size - lo))
        return by_begin[:hi, :, : size - lo] + rest

    return Nats(*map(add, tables.by_begin, tables.by_end))


def widen(values: jax.Array, size: int) -> jax.Array:
    """`of_widths` undone: zeros for the places where no span of these widths begins.

    Args:
        values: ``[widths, B, n]``.
        size: ``T + 1``, at least n.

    Returns:
        ``[widths, B, T + 1]``.
    """
    return jnp.pad(values, ((0, 0), (0, 0), (0, size - values.shape[2])))


def whole_sentences(tables: Tables, length: jax.Array) -> Nats:
    """``I`` of each sentence's span of all its words.

    Args:
        tables: of all spans.
        length: int ``[B]``, words.

    Returns:
        `Nats` ``[B]``: ``ln Z``; 0 of a sentence of no or one word.
    """
    at = jnp.maximum(length, 1), jnp.arange(len(length)), 0
    return Nats(*(x[at] for x in tables.by_begin))
