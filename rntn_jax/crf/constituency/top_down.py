"""Trees from the root down: the best ones, and random ones.

A tree is built by choosing a split for each span, the whole sentence first. The k best trees of a
span are found from short spans to long ones: at each split, of the a-th best tree on the left and
the b-th best on the right only those with ``a b <= k`` can be among them, k ln k pairs (Huang and
Chiang 2005, the cube of two sorted lists); of these and the span's best labels likewise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.constituency.tables import Tables, initial_tables, segments
from rntn_jax.crf.nats import Nats, largest, rank_pairs, to_nats
from rntn_jax.ops.logspace import finite_max

__all__ = ["k_best", "random_trees"]


class Split(NamedTuple):
    """How spans are split, ``[B]``: where, and which of the best trees stand on either side."""

    at: jax.Array
    left: jax.Array
    right: jax.Array
    label: jax.Array  # which of the best labels the span has


Choose = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], Split]


def _top_down(
    choose: Choose, rank: jax.Array, length: jax.Array, nodes: int
) -> tuple[jax.Array, jax.Array]:
    """Children ``[B, T - 1, 2]`` of the trees that ``choose(node, begin, end, rank)`` leads to.

    Internal nodes are numbered in post-order, so the right part of a node has the number before
    its own, and the left part, that number minus the words of the right one. Beside the children
    the ranks of labels of all nodes, words first, ``[B, 2 T - 1]``.
    """
    rows, length = jnp.arange(len(length)), length.astype(jnp.int32)
    every = 2 * nodes + 1
    empty = jnp.zeros_like(length, shape=(len(length), every + 1))  # the last: what is not there
    root = jnp.where(length > 1, 2 * length - 2, 0)
    at_root = lambda x: empty.at[rows, root].set(x.astype(jnp.int32))
    spans = empty, at_root(length), at_root(rank)

    def step(carry, node):
        *spans, labels = carry
        real = node < length - 1
        own = jnp.where(real, length + node, every)
        i, j, rank = (x[rows, own] for x in spans)
        k, *ranks, label = choose(node, i, j, rank)
        k = jnp.clip(k, i + 1, jnp.maximum(j - 1, i + 1))  # whatever was chosen
        left, right = (own - (j - k), i, k, ranks[0]), (own - 1, k, j, ranks[1])
        pair = []
        for at, begin, end, rank in (left, right):
            at = jnp.where(end - begin > 1, at, begin)
            pair.append(jnp.where(real, at, 0))
            at = jnp.where(real, at, every)
            spans = [x.at[rows, at].set(new) for x, new in zip(spans, (begin, end, rank))]
        labels = labels.at[rows, own].set(label.astype(jnp.int32))
        return (*spans, labels), jnp.stack(pair, axis=1)

    order = jnp.arange(nodes, dtype=jnp.int32)
    (_, _, ranks, labels), pairs = lax.scan(step, (*spans, empty), order, reverse=True)
    labels = jnp.where(jnp.arange(every + 1)[None] < length[:, None], ranks, labels)
    return pairs.swapaxes(0, 1), labels[:, :every]


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
        return Split(i + drawn.astype(jnp.int32), rank, rank, rank)

    def one(key):
        return _top_down(partial(choose, key), jnp.zeros_like(length), length, size - 2)[0]

    return jax.vmap(one)(jax.random.split(key, count))


def k_best(own: Nats, length: jax.Array, k: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The best trees, best first.

    Of equal splits, the one with the shorter left part comes first.

    Args:
        own: ``[L, T + 1, B, T + 1]``, of the span of width w from i at ``[l, w, :, i]``, with its
            l-th best label; ``L <= k``.
        length: int ``[B]``.
        k: how many.

    Returns:
        Children ``[k, B, T - 1, 2]``, some where there is no such tree; of all nodes which of the
        best labels they have, ``[k, B, 2 T - 1]``; and whether trees are possible, bool ``[k, B]``.
    """
    count, size, batch, _ = own.whole.shape
    pairs, with_labels = rank_pairs(k), rank_pairs(k, count)

    def parts(x, y, width, segment):
        """``[pairs, splits, B, I]``, as the two parts of `inside` are put together."""
        lo, hi = segment
        corner, shape = (0, size - 1 - width, 0, width), (k, hi, batch, size - lo)
        lefts, rights = x[:, :hi, :, : size - lo], lax.dynamic_slice(y, corner, shape)
        both = lefts[pairs[:, 0]] + rights[pairs[:, 1]] if k > 1 else lefts + rights
        return both.reshape(both.shape[0] * both.shape[1], *both.shape[2:])

    def step(segment, tables: Tables, inputs):
        width, own = inputs
        own = Nats(*own)
        found, at = largest(Nats(*(parts(x, y, width, segment) for x, y in zip(*tables))), k)
        label = jnp.zeros_like(at)
        if count > 1:
            first, second = with_labels.T
            summed = Nats(*(x[first] + y[second] for x, y in zip(found, own)))
            found, chosen = largest(summed, k)
            at = jnp.take_along_axis(at, jnp.asarray(first)[chosen], axis=0)
            label = jnp.asarray(second)[chosen]
        else:
            found = Nats(*(x + y for x, y in zip(found, own)))
        value = to_nats(found.fraction, found.whole)

        def put(corner, table, new):
            return lax.dynamic_update_slice(table, new[:, None], corner)

        by_begin = map(partial(put, (0, width, 0, 0)), tables.by_begin, value)
        by_end = map(partial(put, (0, size - 1 - width, 0, width)), tables.by_end, value)
        found = at % segment[1], at // segment[1], label
        return Tables(Nats(*by_begin), Nats(*by_end)), found

    missing = ((0, k - count), *((0, 0),) * 3)
    every = Nats(*(jnp.pad(x, missing, constant_values=y) for x, y in zip(own, (-jnp.inf, 0.0))))
    tables, splits = jax.vmap(initial_tables)(every), []
    own = Nats(*(jnp.moveaxis(x, 0, 1) for x in own))  # by width first
    for lo, hi in segments(size, batch):
        inputs = jnp.arange(lo, hi), Nats(*(x[lo:hi, ..., : size - lo] for x in own))
        tables, found = lax.scan(partial(step, (lo, hi)), tables, inputs)
        wide = ((0, 0),) * 3 + ((0, size - found[0].shape[-1]),)
        splits.append([jnp.pad(x.astype(jnp.int32), wide) for x in found])
    at, pair, label = map(jnp.concatenate, zip(*splits))  # [T - 1, k, B, T + 1]
    rows = jnp.arange(batch)

    def choose(_, i, j, rank):
        here = jnp.maximum(j - i - 2, 0), rank, rows, i
        left, right = jnp.asarray(pairs, jnp.int32).T
        return Split(i + at[here], left[pair[here]], right[pair[here]], label[here])

    def one(rank):
        return _top_down(choose, jnp.full_like(length, rank), length, size - 2)

    value = tables.by_begin.whole[:, jnp.maximum(length, 1), rows, 0]
    children, ranks = jax.vmap(one)(jnp.arange(k))
    return children, ranks, value != -jnp.inf
