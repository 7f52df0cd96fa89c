"""Trees from the root down: the best ones, and random ones.

A tree is built by choosing a split for each span, the whole sentence first. The k best trees of a
span are found from short spans to long ones: at each split, of the a-th best tree on the left and
the b-th best on the right only those with ``a b <= k`` can be among them, k ln k pairs (Huang and
Chiang 2005, the cube of two sorted lists).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rntn_jax.crf.constituency.tables import (
    Tables,
    initial_tables,
    of_widths,
    segments,
)
from rntn_jax.crf.nats import Nats, to_nats
from rntn_jax.ops.logspace import finite_max

__all__ = ["k_best", "random_trees"]


class Split(NamedTuple):
    """How spans are split, ``[B]``: where, and which of the best trees stand on either side."""

    at: jax.Array
    left: jax.Array
    right: jax.Array


Choose = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], Split]


def _top_down(choose: Choose, rank: jax.Array, length: jax.Array, nodes: int) -> jax.Array:
    """Children ``[B, T - 1, 2]`` of the trees that ``choose(node, begin, end, rank)`` leads to.

    Internal nodes are numbered in post-order, so the right part of a node has the number before
    its own, and the left part, that number minus the words of the right one.
    """
    rows, length = jnp.arange(len(length)), length.astype(jnp.int32)
    empty = jnp.zeros_like(length, shape=(len(length), nodes + 1))  # the last: what is not there
    root = rows, jnp.maximum(length - 2, 0)
    spans = empty, empty.at[root].set(length), empty.at[root].set(rank.astype(jnp.int32))

    def step(spans, node):
        i, j, rank = (x[:, node] for x in spans)
        real = node < length - 1
        k, *ranks = choose(node, i, j, rank)
        k = jnp.clip(k, i + 1, jnp.maximum(j - 1, i + 1))  # whatever was chosen
        left, right = (node - (j - k), i, k, ranks[0]), (node - 1, k, j, ranks[1])
        pair = []
        for at, begin, end, rank in (left, right):
            inner = end - begin > 1
            pair.append(jnp.where(real, jnp.where(inner, length + at, begin), 0))
            at = jnp.where(real & inner, at, nodes)
            spans = [x.at[rows, at].set(new) for x, new in zip(spans, (begin, end, rank))]
        return tuple(spans), jnp.stack(pair, axis=1)

    _, pairs = lax.scan(step, spans, jnp.arange(nodes, dtype=jnp.int32), reverse=True)
    return pairs.swapaxes(0, 1)


def random_trees(key: jax.Array, tables: Tables, length: jax.Array, count: int) -> jax.Array:
    """Independent trees, each drawn with its probability.

    Splits are drawn from ``P(k | i, j)``; whatever there is where no tree is possible.

    Args:
        key: PRNG key.
        tables: of `rntn_jax.crf.constituency.inside.sweep`.
        length: int ``[B]``, words.
        count: trees of each sentence.

    Returns:
        Children int32 ``[count, B, T - 1, 2]``. Cost O(T^2) a tree.
    """
    size, rows = len(tables.by_begin.whole), jnp.arange(len(length))
    left = jnp.arange(size)[None]

    def choose(key, node, i, j, rank):
        at_left = left, rows[:, None], i[:, None]
        at_right = size - 1 - (j - i)[:, None] + left, rows[:, None], j[:, None]
        parts = Nats(*(x[at_left] + y[at_right] for x, y in zip(*tables)))
        logits = (parts.whole - finite_max(parts.whole)) + parts.fraction
        drawn = jax.random.categorical(jax.random.fold_in(key, node), logits)
        return Split(i + drawn.astype(jnp.int32), rank, rank)

    def one(key):
        return _top_down(partial(choose, key), jnp.zeros_like(length), length, size - 2)

    return jax.vmap(one)(jax.random.split(key, count))


def k_best(s: jax.Array, length: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """Children ``[k, B, T - 1, 2]`` of the best trees, best first, and whether they are possible.

    Of equal splits, the one with the shorter left part comes first.

    Args:
        s: ``[T + 1, B, T + 1]``, of the span of width w from i at ``[w, :, i]``.
        length: int ``[B]``.
        k: how many.

    Returns:
        ``(children, possible bool [k, B])``; a tree that is not there has some children.
    """
    size, batch, _ = s.shape
    every = range(k)
    pairs = np.array([(a, b) for a in every for b in every if (a + 1) * (b + 1) <= k])

    def parts(x, y, width, segment):
        """``[pairs, splits, B, I]``, as the two parts of `inside` are put together."""
        lo, hi = segment
        corner, shape = (0, size - 1 - width, 0, width), (k, hi, batch, size - lo)
        lefts, rights = x[:, :hi, :, : size - lo], lax.dynamic_slice(y, corner, shape)
        both = lefts[pairs[:, 0]] + rights[pairs[:, 1]] if k > 1 else lefts + rights
        return both.reshape(both.shape[0] * both.shape[1], *both.shape[2:])

    def step(segment, tables: Tables, inputs):
        width, own = inputs
        found = Nats(*(parts(x, y, width, segment) for x, y in zip(*tables)))
        near = (found.whole - finite_max(found.whole, axis=0)) + found.fraction
        if k > 1:
            at = jnp.moveaxis(lax.top_k(jnp.moveaxis(near, 0, -1), k)[1], -1, 0)
        else:
            at = jnp.argmax(near, axis=0)[None]
        whole, fraction = (jnp.take_along_axis(x, at, axis=0) for x in found)
        value = to_nats(fraction + own.fraction[None], whole + own.whole[None])

        def put(corner, table, new):
            return lax.dynamic_update_slice(table, new[:, None], corner)

        by_begin = map(partial(put, (0, width, 0, 0)), tables.by_begin, value)
        by_end = map(partial(put, (0, size - 1 - width, 0, width)), tables.by_end, value)
        return Tables(Nats(*by_begin), Nats(*by_end)), (at % segment[1], at // segment[1])

    def first_of(x: Nats) -> Nats:
        """Of a word there is one tree."""
        fill = jnp.full_like(x.whole, -jnp.inf, shape=(k - 1, *x.whole.shape))
        whole = jnp.concatenate([x.whole[None], fill])
        return Nats(whole, jnp.zeros_like(whole))

    tables, own, splits = Tables(*map(first_of, initial_tables(s))), to_nats(s), []
    for lo, hi in segments(size, batch):
        inputs = jnp.arange(lo, hi), of_widths(own, (lo, hi))
        tables, found = lax.scan(partial(step, (lo, hi)), tables, inputs)
        wide = ((0, 0),) * 3 + ((0, size - found[0].shape[-1]),)
        splits.append([jnp.pad(x.astype(jnp.int32), wide) for x in found])
    at, pair = map(jnp.concatenate, zip(*splits))  # [T - 1, k, B, T + 1]
    rows = jnp.arange(batch)

    def choose(_, i, j, rank):
        here = jnp.maximum(j - i - 2, 0), rank, rows, i
        left, right = jnp.asarray(pairs, jnp.int32).T
        return Split(i + at[here], left[pair[here]], right[pair[here]])

    def one(rank):
        return _top_down(choose, jnp.full_like(length, rank), length, size - 2)

    whole = tables.by_begin.whole[:, jnp.maximum(length, 1), rows, 0]
    return jax.vmap(one)(jnp.arange(k)), whole != -jnp.inf
