"""Eisner's recursion in probabilities instead of logarithms, and when it may be trusted.

The recursion is that of `rntn_jax.crf.dependency.eisner`, with products in the place of sums of
logarithms: no exponential a split. Arcs are divided by the sum over all heads of their word, so
that no span's sum is above 1: it counts trees, and the product over its words of all heads counts
more. The spans of one width are then divided by about the largest of them, ``exp(m_w)`` with a
whole ``m_w``, and each split has the factor ``exp(m_a + m_{w-a} - h)``, ``h`` the largest of these
sums: nothing overflows, at any length. With ``v`` the values that are kept, the backward pass
carries ``y = d ln Z / d v``, which each split gives to its parts as the other part's value times
the factor; ``y v`` are the marginals.

What may be lost is what is below the smallest number, and it does not matter where

- every span that a tree can have is at least `LEAST` of the largest of its width: then each sum
  has lost less than a hundred-millionth of itself; or
- ``ln Z`` is above `RARE`: what was lost is below 1e-38 a split, and what completes a span to trees
  has at most the sum 1, so that all that is lost together is far below Z.

One of both holds for flat scores (the first) and for those of a trained parser (the second: words
mostly agree with the tree which head is theirs). Otherwise the logarithms of `eisner` are right.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rntn_jax.crf.constituency.tables import segments
from rntn_jax.crf.nats import Nats, log_sum, to_nats
from rntn_jax.ops.logspace import safe_log
from rntn_jax.ops.varying import vary_like

__all__ = ["Sums", "arc_marginals", "sums"]

LEFT, RIGHT, OPEN = 0, 1, 2  # as in `eisner`
LEAST, RARE = 1e-30, -50.0


class Parts(NamedTuple):
    """Both parts of every pair of spans that meet, by what the pair makes: L, R, O."""

    first: Any  # [T + 1, T + 1, B] each, L, OR, R: of width w from s at [w, s]
    second: Any  # [2 T + 1, 2 T + 1, B] each, OL, R, L: of width w to t at [T - w, t]


class Sums(NamedTuple):
    """What the sweep finds."""

    total: Nats  # ln Z [B]
    sure: jax.Array  # bool [B]
    value: jax.Array  # [B], of the whole sentence's span, as it is kept
    parts: Parts
    weights: tuple[jax.Array, jax.Array]  # [T + 1, T + 1, B], of arcs to the right and left
    scale: jax.Array  # [T + 1, B], m
    shares: tuple[jax.Array, jax.Array]  # [T, B] each: exp(g - m) of arcs, exp(h - m) of closed


def _weights(arc: Nats) -> tuple[tuple[jax.Array, jax.Array], Nats]:
    """Shares of arcs in those to their word, by width and begin; and what they were divided by."""
    every = log_sum(arc, axis=1)
    dead = every.whole == -jnp.inf
    every = Nats(jnp.where(dead, 0, every.whole), jnp.where(dead, 0, every.fraction))
    share = jnp.exp((arc.whole - every.whole[:, None]) + (arc.fraction - every.fraction[:, None]))
    share = jnp.moveaxis(share, 0, 2)  # [h, d, B]
    size = len(share)
    begin = np.arange(size)
    end = begin[:, None] + begin[None]  # [w, s]
    inside, end = jnp.asarray(end < size)[..., None], np.minimum(end, size - 1)
    at = np.broadcast_to(begin[None], end.shape)
    to_right, to_left = (jnp.where(inside, share[h, d], 0) for h, d in ((at, end), (end, at)))
    return (to_right, to_left), Nats(every.whole.sum(axis=1), every.fraction.sum(axis=1))


def _factors(
    scale: jax.Array, total: jax.Array, count: int, inner: bool
) -> tuple[jax.Array, jax.Array]:
    """Factors ``[count, B]`` of the splits into widths a and ``total - a``; their scale ``[B]``.

    Where ``inner``, both parts have width 1 at least.
    """
    rows, batch = scale.shape
    turned = jnp.concatenate([scale[::-1], jnp.full_like(scale, -jnp.inf)])
    rest = lax.dynamic_slice(turned, (rows - 1 - total, 0), (count, batch))
    both = scale[:count] + rest
    if inner:
        at = jnp.arange(count)[:, None]
        both = jnp.where((at > 0) & (at < total), both, -jnp.inf)
    top = both.max(axis=0)
    return jnp.exp(both - jnp.where(top == -jnp.inf, 0, top)[None]), top


def _pair(
    parts: Parts, kind: int, total: jax.Array, width: jax.Array, segment: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
    """First and second parts of the splits of all spans of a width, ``[splits, begin, B]``."""
    _, size, batch = parts.first[0].shape
    lo, hi = segment
    corner = size - 1 - total, width, 0
    second = lax.dynamic_slice(parts.second[kind], corner, (hi, size - lo, batch))
    return parts.first[kind][:hi, : size - lo], second


def _contract(
    parts: Parts,
    kind: int,
    total: jax.Array,
    width: jax.Array,
    segment: tuple[int, int],
    factors: jax.Array,
) -> jax.Array:
    """Sums ``[begin, B]`` over the splits."""
    first, second = _pair(parts, kind, total, width, segment)
    return (first * factors[:, None] * second).sum(axis=0)


def _whole(x: jax.Array) -> jax.Array:
    """A whole number near ``ln x``, ``-inf`` at 0; no derivative."""
    return lax.stop_gradient(jnp.round(safe_log(x)))


def sums(arc: Nats, length: jax.Array, single_root: bool) -> Sums:
    """``ln Z`` of arcs ``[B, T + 1, T + 1]``, and whether it is right.

    Args:
        arc: scores of arcs, as `eisner` has them; ``-inf`` where not read.
        length: int ``[B]``, words.
        single_root: whether one word hangs from the root.

    Returns:
        `Sums`. Cost O(B T^3).
    """
    batch, size, _ = arc.whole.shape
    (to_right, to_left), divided = _weights(arc)
    zeros = partial(jnp.zeros_like, to_right)
    small, large = (
        zeros(shape=(size, size, batch)),
        zeros(shape=(2 * size - 1, 2 * size - 1, batch)),
    )
    one_first, one_second = small.at[0].set(1), large.at[size - 1, :size].set(1)
    parts = Parts((one_first, small, one_first), (large, one_second, one_second))
    scale = jnp.full_like(to_right, -jnp.inf, shape=(size, batch)).at[0].set(0)
    least = jnp.full_like(to_right, jnp.inf, shape=(batch,))
    begin = jnp.arange(size)[:, None]

    def step(segment, carry, inputs):
        parts, scale, least = carry
        width, rightward, leftward = inputs
        columns = size - segment[0]
        f, g = _factors(scale, width - 1, segment[1], False)
        both = _contract(parts, OPEN, width - 1, width, segment, f)
        if single_root:
            last = lax.dynamic_slice(parts.second[OPEN], (size - width, width, 0), (1, 1, batch))
            both = both.at[0].set(f[0] * last[0, 0])
        f, h = _factors(scale, width, segment[1], True)
        left, right = (_contract(parts, k, width, width, segment, f) for k in (LEFT, RIGHT))
        base = jnp.maximum(g, h)
        base = jnp.where(base == -jnp.inf, 0, base)
        of_arcs, of_closed = jnp.exp(g - base), jnp.exp(h - base)
        to_right, to_left = (both * own * of_arcs[None] for own in (rightward, leftward))
        right, left = right * of_closed[None] + to_right, left * of_closed[None] + to_left
        shift = _whole(jnp.maximum(left, right).max(axis=0))
        norm = jnp.where(shift == -jnp.inf, 0, jnp.exp(-shift))
        to_right, to_left, right, left = (x * norm[None] for x in (to_right, to_left, right, left))
        here = begin[:columns] + width <= length[None]
        there = jnp.where(here, jnp.minimum(to_right, right), jnp.inf)
        more = jnp.where(here & (begin[:columns] > 0), jnp.minimum(to_left, left), jnp.inf)
        least = jnp.minimum(least, lax.stop_gradient(jnp.minimum(there, more).min(axis=0)))
        parts = Parts(
            tuple(
                lax.dynamic_update_slice(x, new[None], (width, 0, 0))
                for x, new in zip(parts.first, (left, to_right, right))
            ),
            tuple(
                lax.dynamic_update_slice(x, new[None], (size - 1 - width, width, 0))
                for x, new in zip(parts.second, (to_left, right, left))
            ),
        )
        scale = lax.dynamic_update_slice(scale, (base + shift)[None], (width, 0))
        return (parts, scale, least), (of_arcs * norm, of_closed * norm)

    carry, shares = vary_like((parts, scale, least), to_right), []
    for lo, hi in segments(size, batch, first=1):
        own = (x[lo:hi, : size - lo] for x in (to_right, to_left))
        carry, found = lax.scan(partial(step, (lo, hi)), carry, (jnp.arange(lo, hi), *own))
        shares.append(found)
    parts, scale, least = carry
    rows = jnp.arange(batch)
    value, m = parts.first[OPEN][length, 0, rows], scale[length, rows]
    log_value = safe_log(value)
    total = to_nats(log_value + divided.fraction, divided.whole + m)
    sure = (value > 0) & ((least >= LEAST) | (m + log_value >= RARE))
    arcs, closed = (jnp.concatenate(x) for x in zip(*shares))
    return Sums(total, sure, value, parts, (to_right, to_left), scale, (arcs, closed))


def arc_marginals(found: Sums, length: jax.Array, single_root: bool, g: jax.Array) -> jax.Array:
    """Probabilities of arcs ``[B, T + 1, T + 1]`` times ``g [B]``.

    Args:
        found: of `sums`.
        length: int ``[B]``, words.
        single_root: as there.
        g: cotangents.

    Returns:
        The gradient of ``(g ln Z).sum()``.
    """
    parts, (_, size, batch) = found.parts, found.weights[0].shape
    rows = jnp.arange(batch)
    alive = found.value > 0
    seed = jnp.where(alive, g / jnp.where(alive, found.value, 1), 0)
    y = jax.tree.map(jnp.zeros_like, parts)
    root = y.first[OPEN].at[length, 0, rows].set(seed)
    y = Parts((*y.first[:OPEN], root), y.second)

    def spread(y: Parts, kind, total, width, segment, here, factors) -> Parts:
        """Adds what the spans of a width give to the parts of their splits."""
        columns = size - segment[0]
        first, second = _pair(parts, kind, total, width, segment)
        given = here[None] * factors[:, None]
        corner = size - 1 - total, width, 0
        to_first, to_second = y.first[kind], y.second[kind]
        before = to_first[: len(first), :columns]
        to_first = lax.dynamic_update_slice(to_first, before + given * second, (0, 0, 0))
        before = lax.dynamic_slice(to_second, corner, second.shape)
        to_second = lax.dynamic_update_slice(to_second, before + given * first, corner)
        put = lambda xs, new: tuple(new if k == kind else x for k, x in enumerate(xs))
        return Parts(put(y.first, to_first), put(y.second, to_second))

    def at_first(x, width, columns):
        return lax.dynamic_slice(x, (width, 0, 0), (1, columns, batch))[0]

    def at_second(x, width, columns):
        return lax.dynamic_slice(x, (size - 1 - width, width, 0), (1, columns, batch))[0]

    def closed(y: Parts, width, columns):
        """``y`` of the spans L and R of a width, to which nothing more will be added."""
        at = width, columns
        left = at_first(y.first[LEFT], *at) + at_second(y.second[OPEN], *at)
        return left, at_first(y.first[OPEN], *at) + at_second(y.second[RIGHT], *at)

    def step(segment, carry, inputs):
        y, (left, right) = carry
        width, rightward, leftward, of_arcs, of_closed = inputs
        at = width, size - segment[0]
        f, _ = _factors(found.scale, width, segment[1], True)
        for kind, here in ((LEFT, left), (RIGHT, right)):
            y = spread(y, kind, width, width, segment, here * of_closed[None], f)
        to_right = right + at_first(y.first[RIGHT], *at)
        to_left = left + at_second(y.second[LEFT], *at)
        p = (
            to_right * at_first(parts.first[RIGHT], *at),
            to_left * at_second(parts.second[LEFT], *at),
        )
        both = (to_right * rightward + to_left * leftward) * of_arcs[None]
        f, _ = _factors(found.scale, width - 1, segment[1], False)
        if single_root:
            corner = size - width, width, 0
            own = lax.dynamic_slice(y.second[OPEN], corner, (1, 1, batch))
            own = own + (both[0] * f[0])[None, None]
            last = lax.dynamic_update_slice(y.second[OPEN], own, corner)
            y = Parts(y.first, (*y.second[:OPEN], last))
            both = both.at[0].set(0)
        y = spread(y, OPEN, width - 1, width, segment, both, f)
        # The next row is read here, so that above the tables are only written to: in place.
        return (y, closed(y, width - 1, at[1])), p

    y, probabilities = vary_like(y, found.value), []
    for lo, hi in segments(size, batch, first=1)[::-1]:
        own = (x[lo:hi, : size - lo] for x in found.weights)
        inputs = jnp.arange(lo, hi), *own, *(x[lo - 1 : hi - 1] for x in found.shares)
        carry = y, closed(y, hi - 1, size - lo)
        (y, _), p = lax.scan(partial(step, (lo, hi)), carry, inputs, reverse=True)
        more = ((0, 0), (0, lo), (0, 0))
        probabilities.append(tuple(jnp.pad(x, more) for x in p))
    nothing = jnp.zeros_like(found.value, shape=(1, size, batch))
    to_right, to_left = (jnp.concatenate([nothing, *x[::-1]]) for x in zip(*probabilities))
    i, j = np.indices((size, size))
    width, begin = abs(j - i), np.minimum(i, j)
    both = jnp.where((i < j)[..., None], to_right[width, begin], to_left[width, begin])
    return jnp.moveaxis(both, 2, 0)
