"""Projective trees from the root down: the best ones, and random ones.

A tree is built span by span, the whole sentence first: a closed span is split into an open one and
a closed one, which gives a word its head, and the open one into two closed ones (`eisner`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.dependency.eisner import (
    LEFT,
    OPEN,
    RIGHT,
    Chart,
    sweep,
    whole_sentences,
)
from rntn_jax.crf.nats import Nats, largest, rank_pairs
from rntn_jax.ops.logspace import finite_max

__all__ = ["k_best", "random_heads"]


class Split(NamedTuple):
    """How spans are split, ``[B]``: where, and which of the best stand on either side."""

    at: jax.Array
    first: jax.Array
    second: jax.Array


class Choices(NamedTuple):
    """What a tree is built by."""

    split: Callable[..., Split]  # (step, kind, begin, end, rank), all but the step [B]
    arc: Callable[..., tuple[jax.Array, jax.Array]]  # (kind, begin, end, rank) -> rank of O, label


def _top_down(
    choose: Choices, rank: jax.Array, length: jax.Array, words: int
) -> tuple[jax.Array, jax.Array]:
    """Heads ``[B, T]`` and ranks of their labels, of the trees that the choices lead to."""
    rows, batch = jnp.arange(len(length)), len(length)
    trash = words + 1  # for what is not pushed, and for heads of no word
    empty = jnp.zeros_like(length, shape=(batch, words + 2))
    stack = [empty, empty, empty.at[:, 0].set(length), empty.at[:, 0].set(rank)]
    stack[0] = stack[0].at[:, 0].set(RIGHT)

    def step(carry, number):
        stack, count, heads, labels = carry
        here = jnp.maximum(count - 1, 0)
        kind, s, t, rank = (x[rows, here] for x in stack)
        real, rightward = count > 0, kind == RIGHT
        closed = choose.split(2 * number, kind, s, t, rank)
        at = jnp.clip(closed.at, s + rightward, jnp.maximum(t - ~rightward, s + rightward))
        begin, end = jnp.where(rightward, s, at), jnp.where(rightward, at, t)
        rank, label = choose.arc(kind, begin, end, jnp.where(rightward, *closed[1:]))
        inner = choose.split(2 * number + 1, jnp.full_like(kind, OPEN), begin, end, rank)
        middle = jnp.clip(inner.at, begin, jnp.maximum(end - 1, begin))
        into = jnp.where(real, jnp.where(rightward, end, begin), trash)
        heads = heads.at[rows, into].set(jnp.where(rightward, begin, end))
        labels = labels.at[rows, into].set(label)
        rest = jnp.where(rightward, at, s), jnp.where(rightward, t, at)
        spans = [
            (kind, *rest, jnp.where(rightward, closed.second, closed.first)),
            (jnp.full_like(kind, RIGHT), begin, middle, inner.first),
            (jnp.full_like(kind, LEFT), middle + 1, end, inner.second),
        ]
        count = here
        for span in spans:
            wide = real & (span[2] > span[1])
            at = jnp.where(wide, count, trash)
            stack = [x.at[rows, at].set(new) for x, new in zip(stack, span)]
            count = count + wide
        return (stack, count, heads, labels), None

    count = (length > 0).astype(length.dtype)
    (_, _, heads, labels), _ = lax.scan(
        step, (stack, count, empty, empty), jnp.arange(words, dtype=jnp.int32)
    )
    return heads[:, 1 : words + 1], labels[:, 1 : words + 1]


def random_heads(
    key: jax.Array, chart: Chart, length: jax.Array, single_root: bool, count: int
) -> jax.Array:
    """Heads ``[count, B, T]`` of independent trees, each drawn with its probability.

    Splits are drawn given their spans; whatever there is where no tree is possible.

    Args:
        key: a PRNG key.
        chart: of `eisner.sweep`.
        length: int ``[B]``, words.
        single_root: whether one word hangs from the root.
        count: how many: targets of each row, or trees to draw.

    Returns:
        int32 ``[count, B, T]``.
    """
    size, rows = chart.first[OPEN].whole.shape[1], jnp.arange(len(length))
    first, second = (jax.tree.map(lambda *x: jnp.stack(x)[:, 0], *part) for part in chart)
    left = jnp.arange(size)[None]

    def split(key, step, kind, s, t, rank):
        kind = kind[:, None]
        total = (t - s)[:, None] - (kind == OPEN)
        at_left = kind, left, rows[:, None], s[:, None]
        at_right = kind, size - 1 - total + left, rows[:, None], t[:, None]
        parts = Nats(*(x[at_left] + y[at_right] for x, y in zip(first, second)))
        logits = (parts.whole - finite_max(parts.whole)) + parts.fraction
        never = (left > 0) & (s == 0)[:, None] & (kind == OPEN) & single_root
        logits = jnp.where(never, -jnp.inf, logits)
        drawn = jax.random.categorical(jax.random.fold_in(key, step), logits)
        return Split(s + drawn.astype(jnp.int32), rank, rank)

    def one(key):
        choose = Choices(partial(split, key), lambda kind, s, t, rank: (rank, rank))
        return _top_down(choose, jnp.zeros_like(length), length, size - 1)[0]

    return jax.vmap(one)(jax.random.split(key, count))


def k_best(
    arc: Nats, length: jax.Array, single_root: bool, k: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The best trees, best first: of equal splits, the one with the shorter first part.

    Args:
        arc: ``[B, T + 1, T + 1, R]``.
        length: int ``[B]``.
        single_root: whether one word hangs from the root.
        k: how many.

    Returns:
        ``(heads [k, B, T], labels [k, B, T], possible bool [k, B])``; a tree that is not there has
        some heads.
    """
    words, kept = arc.whole.shape[1] - 1, min(k, arc.whole.shape[-1])
    near = (arc.whole - finite_max(arc.whole)) + arc.fraction
    _, order = lax.top_k(near, kept)
    own = Nats(*(jnp.moveaxis(jnp.take_along_axis(x, order, axis=3), 3, 0) for x in arc))
    more = ((0, k - kept), *((0, 0),) * 3)
    fills = (-jnp.inf, 0.0)
    own = Nats(*(jnp.pad(x, more, constant_values=fill) for x, fill in zip(own, fills)))
    chart, found = sweep(own, single_root, k, partial(largest, k=k))
    assert found is not None
    rows, pairs = jnp.arange(len(length)), jnp.asarray(rank_pairs(k), jnp.int32)

    def split(_, kind, s, t, rank):
        here = jnp.maximum(t - s - 1, 0), kind, rank, rows, s
        first, second = pairs[found.pairs[here]].T
        return Split(s + found.splits[here], first, second)

    def of_arc(kind, s, t, rank):
        here = jnp.maximum(t - s - 1, 0), kind, rank, rows, s
        return tuple(pairs[found.arcs[here]].T)

    def one(rank):
        return _top_down(Choices(split, of_arc), jnp.full_like(length, rank), length, words)

    if words == 0:
        nothing = jnp.zeros((k, len(length), 0), jnp.int32)
        return nothing, nothing, whole_sentences(chart, length).whole > -jnp.inf
    heads, ranks = jax.vmap(one)(jnp.arange(k, dtype=jnp.int32))
    word = jnp.arange(1, words + 1)[None, None]
    labels = order[rows[None, :, None], heads, word, jnp.minimum(ranks, kept - 1)]
    real = word <= length[None, :, None]
    labels = jnp.where(real, labels.astype(jnp.int32), 0)
    return heads, labels, whole_sentences(chart, length).whole != -jnp.inf
