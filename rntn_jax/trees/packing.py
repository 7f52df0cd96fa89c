"""Packing: which tree, node and word goes to which slot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from rntn_jax.schedule import schedule
from rntn_jax.trees.forest import Forest, Shape
from rntn_jax.trees.treebank import Treebank, encode

__all__ = ["pack", "pack_batches", "required_shape"]


def pack(
    trees: Sequence[Any], vocabulary: Any, *, lanes: int | None = None, shape: Shape | None = None
) -> Forest:
    """Packs trees into one `Forest`.

    Args:
        trees: `rntn_jax.data.Tree` objects, at least one.
        vocabulary: anything with ``encode(tokens) -> int32 array``.
        lanes: internal nodes a step; by default as many as the trees' shape can fill.
        shape: static sizes; by default the sizes needed, rounded up a little so that minibatches
            of like size share a compiled program. With ``shape``, ``lanes`` is taken from it.

    Returns:
        A `Forest` of NumPy arrays.

    Raises:
        ValueError: when there is no tree, or the trees do not fit into ``shape``.

    Example:
        >>> from rntn_jax import data
        >>> tree = data.parse_tree("(3 (2 not) (4 (2 very) (0 bad)))")
        >>> vocabulary = data.Vocabulary.build(tree.tokens)
        >>> forest = pack([tree], vocabulary, lanes=1)
        >>> forest.children.tolist()
        [[[2, 3]], [[1, 4]]]
    """
    bank = encode(trees, vocabulary)
    batches = [np.arange(len(bank))]
    return next(iter(pack_batches(bank, batches, lanes=lanes, shapes=shape and [shape])))


def pack_batches(
    bank: Treebank,
    batches: Sequence[np.ndarray],
    *,
    lanes: int | None = None,
    shapes: Iterable[Shape] | None = None,
) -> Iterator[Forest]:
    """Packs many minibatches, by array work over all of them at once.

    Args:
        bank: the encoded trees.
        batches: integer arrays of tree indices, one a minibatch.
        lanes: internal nodes a step; by default what the first minibatch can fill.
        shapes: allowed shapes, all of the same lanes; each minibatch takes the first it fits.
            By default each minibatch gets the sizes it needs, rounded up.

    Yields:
        One `Forest` a minibatch.

    Raises:
        ValueError: when a minibatch is empty or fits into none of ``shapes``.
    """
    shapes = list(shapes) if shapes is not None else None
    for i, batch in enumerate(batches):
        if not len(batch):
            raise ValueError(f"minibatch {i} is empty")
    sizes = np.array([len(b) for b in batches])
    tree = np.concatenate(batches)
    leaves = bank.num_leaves[tree]
    if shapes is not None:
        lanes = shapes[0].lanes
    elif lanes is None:
        lanes = required_shape(leaves[: sizes[0]], bank.height[tree[: sizes[0]]]).lanes

    # Gather the chosen trees' nodes. Suffixes: _l leaves, _n nodes, _i internal nodes.
    tree_ends = np.cumsum(sizes)
    leaf_start = np.cumsum(leaves) - leaves
    batch_of_tree = np.repeat(np.arange(len(batches)), sizes)
    inner_start = leaf_start - np.arange(len(tree))
    node_start = leaf_start + inner_start
    source_l = _expand(bank.leaf_offsets[tree], leaves)
    source_n = _expand(2 * bank.leaf_offsets[tree] - tree, 2 * leaves - 1)
    source_i = _expand(bank.leaf_offsets[tree] - tree, leaves - 1)
    node_tree = np.repeat(np.arange(len(tree)), 2 * leaves - 1)
    local = np.arange(len(source_n)) - node_start[node_tree]  # node id within its tree
    is_leaf = local < leaves[node_tree]
    inner_tree = np.repeat(np.arange(len(tree)), leaves - 1)

    # Schedule, one minibatch at a time. Index of an internal node: inner_start[tree] + local -
    # leaves[tree].
    parent_local = bank.parent[source_n]
    parent_i = np.where(
        parent_local >= 0, inner_start[node_tree] + parent_local - leaves[node_tree], -1
    )
    kids = bank.children[source_i]
    of_inner, depth = parent_i[~is_leaf], bank.depth[source_n][~is_leaf]
    step, lane = np.zeros((2, len(depth)), np.int32)
    ends = np.cumsum(np.bincount(batch_of_tree[inner_tree], minlength=len(batches)))
    for begin, end in zip(np.append(0, ends[:-1]), ends):
        own = of_inner[begin:end]
        own = np.where(own >= 0, own - begin, -1)
        step[begin:end], lane[begin:end] = schedule(own, depth[begin:end], lanes)

    leaf_ends = np.cumsum(leaves)[tree_ends - 1]
    leaf_begins = np.concatenate([[0], leaf_ends[:-1]])
    tree_begins = tree_ends - sizes
    node_begins = node_start[tree_begins]
    node_ends = np.append(node_begins[1:], len(source_n))
    inner_begins = node_begins - leaf_begins
    inner_ends = node_ends - leaf_ends
    row = step.astype(np.int64) * lanes + lane

    for b in range(len(batches)):
        nodes = slice(node_begins[b], node_ends[b])
        inner = slice(inner_begins[b], inner_ends[b])
        num_leaves = int(leaf_ends[b] - leaf_begins[b])
        num_steps = int(step[inner].max(initial=-1)) + 1
        need = Shape(num_leaves, num_steps, lanes, int(sizes[b]))
        shape = _choose_shape(need, shapes, b)

        first = shape.first
        slot = np.empty(need.leaves + inner.stop - inner.start, np.int64)
        leaf_mask = is_leaf[nodes]
        slot[leaf_mask] = 1 + np.arange(num_leaves)
        slot[~leaf_mask] = first + row[inner]

        tokens = np.zeros(shape.leaves, np.int32)
        tokens[:num_leaves] = bank.tokens[source_l[leaf_begins[b] : leaf_ends[b]]]
        children = np.zeros((shape.steps * lanes, 2), np.int32)
        offset = node_start[inner_tree[inner]] - node_begins[b]
        children[row[inner]] = slot[kids[inner] + offset[:, None]]
        up = parent_i[nodes]
        parent = np.zeros(shape.slots, np.int32)
        parent[slot] = 0
        has = up >= 0
        parent[slot[has]] = 2 * row[up[has]] + bank.side[source_n[nodes]][has] + 2
        value = bank.labels[source_n[nodes]]
        labels = np.zeros(shape.slots, np.int32)
        labels[slot] = np.maximum(value, 0)
        labelled = np.zeros(shape.slots, bool)
        labelled[slot] = value >= 0
        order = np.zeros(shape.slots, np.int32)
        order[: len(slot)] = slot
        tree_sizes = np.zeros(shape.trees, np.int32)
        tree_sizes[: sizes[b]] = 2 * leaves[tree_begins[b] : tree_ends[b]] - 1
        roots = np.zeros(shape.trees, np.int32)
        roots[: sizes[b]] = slot[np.cumsum(tree_sizes[: sizes[b]]) - 1]
        yield Forest(
            tokens,
            children.reshape(shape.steps, lanes, 2),
            parent,
            labels,
            labelled,
            roots,
            order,
            tree_sizes,
            np.int32(num_steps),
            np.int32(sizes[b]),
        )


def required_shape(num_leaves: np.ndarray, height: np.ndarray, lanes: int | None = None) -> Shape:
    """The least `Shape` that surely holds these trees, before scheduling.

    Hu's schedule of ``n`` nodes of greatest height ``h`` is rarely longer than
    ``max(h, ceil(n / lanes))``; the exact number of steps is known only after scheduling, so
    `pack` with ``shape=None`` uses that.

    Args:
        num_leaves: int ``[T]``, of each tree.
        height: int ``[T]``, longest path from root to leaf, in edges.
        lanes: nodes a step; by default what the trees can fill.

    Returns:
        The shape: leaves, steps, lanes and trees.
    """
    nodes = int(num_leaves.sum()) - len(num_leaves)
    steps, lanes = required_steps(nodes, max(int(height.max(initial=0)), 1), lanes)
    return Shape(int(num_leaves.sum()), steps, lanes, len(num_leaves))


def required_steps(nodes: int, tallest: int, lanes: int | None = None) -> tuple[int, int]:
    """Steps, before scheduling, and lanes that nodes of trees of that height need."""
    if lanes is None:
        # The widest power of two that keeps the schedule bound by work and not by height.
        # At least two: gathers of a single row make XLA copy whole arrays in every step.
        lanes = 2
        while lanes * 2 * tallest <= nodes and lanes < 4096:
            lanes *= 2
    return max(tallest, -(-nodes // lanes)), lanes


def _choose_shape(need: Shape, shapes: list[Shape] | None, batch: int) -> Shape:
    if shapes is None:
        return Shape(round_up(need.leaves), round_up(max(need.steps, 1)), need.lanes, need.trees)
    for shape in shapes:
        if all(n <= s for n, s in zip(need, shape, strict=True)):
            return shape
    raise ValueError(f"minibatch {batch} needs {need}, which fits into none of {shapes}")


def round_up(n: int) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, 16, 24, ...: shapes at most half again too large."""
    power = 1
    while power < n:
        power *= 2
    return power * 3 // 4 if power >= 4 and power * 3 // 4 >= n else power


def _expand(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Concatenation of ``arange(start, start + count)`` for each pair."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)
