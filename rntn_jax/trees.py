"""Packed forests: many binary trees in a few integer arrays of static shape.

A recursive network visits the nodes of a tree from the leaves to the root. On a device one
wants to visit many nodes at once, of many trees at once, with shapes that do not change from one
minibatch to the next. `pack` does that:

* Every node gets a *slot*. Slot 0 is the null node (its state is zero; all padding points to
  it), slots ``1 .. L`` are the leaves, then follow ``steps x lanes`` slots for internal nodes.
* Each step computes one row of ``lanes`` internal nodes whose children lie in earlier rows. A
  step therefore writes one contiguous block and reads its children by gather.
* Every node has exactly one parent, so the reverse sweep reads too: ``parent`` says which half of
  which internal node's downward error belongs to a slot (source 000, equations 13 to 15).

The steps are filled highest-level-first (T. C. Hu, 1961): of all nodes that are ready, those
farthest from their root go first. For in-trees of unit tasks that is the least number of steps
for a given width, so padding costs single lanes and not whole levels.

The packer is plain NumPy and works on all minibatches of an epoch at once (`pack_batches`); its
cost is a few array operations a step, whatever the number of minibatches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "Forest",
    "Shape",
    "Treebank",
    "encode",
    "local_tokens",
    "pack",
    "pack_batches",
    "required_shape",
    "unpack",
]

Array = Any  # numpy on the host, jax on the device


class Shape(NamedTuple):
    """Static sizes of a `Forest`: one compiled program serves all forests of one shape."""

    leaves: int
    steps: int
    lanes: int
    trees: int

    @property
    def slots(self) -> int:
        """Number of slots ``N = 1 + leaves + steps * lanes``."""
        return self.first + self.steps * self.lanes

    @property
    def first(self) -> int:
        """The first internal node's slot, ``1 + leaves``."""
        return 1 + self.leaves


class Forest(NamedTuple):
    """Many trees packed for one device call. Made by `pack`.

    Axes: ``L`` leaf slots, ``S`` steps, ``B`` lanes, ``T`` trees, ``N = 1 + L + S * B`` slots.
    """

    tokens: Array  # int32 [L], word id of each leaf; 0 = padding
    children: Array  # int32 [S, B, 2], slots of the left and right child; 0 = padding
    parent: Array  # int32 [N], 2 * (row of the parent in children) + side + 2; 0 = none
    labels: Array  # int32 [N], class of each slot; 0 where there is none
    labelled: Array  # bool [N], whether the slot carries a label
    roots: Array  # int32 [T], slot of each tree's root; 0 = padding
    slots: Array  # int32 [N], the slots of tree 0 in its node order, then of tree 1, ...
    sizes: Array  # int32 [T], number of nodes of each tree; 0 = padding
    num_steps: Array  # int32 [], how many of the S steps hold a node
    num_trees: Array  # int32 [], how many of the T trees are real

    @property
    def shape(self) -> Shape:
        """The static sizes of this forest."""
        steps, lanes, _ = self.children.shape[-3:]
        return Shape(self.tokens.shape[-1], steps, lanes, self.sizes.shape[-1])


class Treebank(NamedTuple):
    """Trees flattened into arrays once, so that packing an epoch is array work only.

    Node ids are global: tree ``t`` owns ``node_offsets[t] .. node_offsets[t + 1]``, leaves first,
    as in `rntn_jax.data.Tree`.
    """

    tokens: np.ndarray  # int32 [sum L], word ids
    children: np.ndarray  # int32 [sum (L-1), 2], node ids within the tree
    labels: np.ndarray  # int32 [sum (2L-1)]
    parent: np.ndarray  # int32 [sum (2L-1)], node id of the parent within the tree, -1 at roots
    side: np.ndarray  # int32 [sum (2L-1)], 0 for a left child, 1 for a right child
    depth: np.ndarray  # int32 [sum (2L-1)], distance to the root
    leaf_offsets: np.ndarray  # int64 [T+1]; node offsets are 2 * leaf_offsets - arange
    height: np.ndarray  # int32 [T], longest path from root to leaf, in edges

    def __len__(self) -> int:  # number of trees
        return len(self.leaf_offsets) - 1

    @property
    def num_leaves(self) -> np.ndarray:
        """Leaves of each tree, int64 [T]."""
        return np.diff(self.leaf_offsets)


def encode(trees: Sequence[Any], vocabulary: Any) -> Treebank:
    """Flattens trees into one `Treebank`.

    Args:
        trees: `rntn_jax.data.Tree` objects, at least one.
        vocabulary: anything with ``encode(tokens) -> int32 array``.

    Returns:
        The treebank; cost O(total nodes), vectorised over all trees.

    Raises:
        ValueError: when there is no tree, or a tree's arrays do not describe a binary tree.
    """
    if not len(trees):
        raise ValueError("cannot encode an empty list of trees")
    leaves = np.array([len(t.tokens) for t in trees], np.int64)
    for index, tree in enumerate(trees):
        n = len(tree.tokens)
        if n < 1 or tree.children.shape != (n - 1, 2) or tree.labels.shape != (2 * n - 1,):
            raise ValueError(
                f"tree {index}: {n} tokens need children [{max(n - 1, 0)}, 2] and labels "
                f"[{2 * n - 1}], got {tree.children.shape} and {tree.labels.shape}"
            )
    leaf_offsets = np.concatenate([[0], np.cumsum(leaves)])
    num_trees = len(trees)
    node_offsets = 2 * leaf_offsets - np.arange(num_trees + 1)
    tokens = np.asarray(vocabulary.encode([w for t in trees for w in t.tokens]), np.int32)
    if (tokens <= 0).any():
        raise ValueError(f"word {int(np.argmax(tokens <= 0))} has id {tokens.min()}: 0 is padding")
    children = np.concatenate([t.children for t in trees]).astype(np.int32).reshape(-1, 2)
    labels = np.concatenate([t.labels for t in trees]).astype(np.int32)
    tree_of_internal = np.repeat(np.arange(num_trees), leaves - 1)
    internal_node = (
        np.arange(len(children)) - (leaf_offsets - np.arange(num_trees + 1))[tree_of_internal]
    ) + leaves[tree_of_internal]
    if len(children) and not ((children >= 0).all() and (children < internal_node[:, None]).all()):
        bad = tree_of_internal[
            np.argmax(((children < 0) | (children >= internal_node[:, None])).any(1))
        ]
        raise ValueError(f"tree {bad}: a child must come before its parent")

    parent = np.full(node_offsets[-1], -1, np.int32)
    side = np.zeros(node_offsets[-1], np.int32)
    base = node_offsets[tree_of_internal]
    for s in (0, 1):
        parent[base + children[:, s]] = internal_node
        side[base + children[:, s]] = s
    roots = node_offsets[1:] - 1
    if np.count_nonzero(parent < 0) != num_trees or (parent[roots] >= 0).any():
        raise ValueError("every node but the root must be the child of exactly one node")

    # Depths, one level of all trees at a time.
    depth = np.zeros(node_offsets[-1], np.int32)
    height = np.zeros(num_trees, np.int32)
    tree_of_node = np.repeat(np.arange(num_trees), 2 * leaves - 1)
    frontier, level = roots, 0
    while len(frontier):
        depth[frontier] = level
        height[tree_of_node[frontier]] = level
        tree = tree_of_node[frontier]
        row = frontier - node_offsets[tree] - leaves[tree]
        inner = row >= 0
        tree = tree[inner]
        row = row[inner] + leaf_offsets[tree] - tree
        frontier = (children[row] + node_offsets[tree][:, None]).reshape(-1)
        level += 1
    return Treebank(tokens, children, labels, parent, side, depth, leaf_offsets, height)


def _schedule(
    batch: np.ndarray, depth: np.ndarray, parent: np.ndarray, waiting: np.ndarray, lanes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Highest-level-first list scheduling of many batches at once.

    Args:
        batch: int [n], batch of each internal node, non-decreasing.
        depth: int [n], distance to the root.
        parent: int [n], index (0 .. n-1) of the parent, -1 at roots.
        waiting: int [n], number of children that are internal nodes.
        lanes: nodes a step.

    Returns:
        ``(step, lane)`` of each node. Every step of a batch takes the ``lanes`` deepest ready
        nodes; among equals, those ready longest.
    """
    n = len(batch)
    step, lane = np.zeros(n, np.int32), np.zeros(n, np.int32)
    if not n:
        return step, lane
    waiting = waiting.copy()
    # One queue for each (batch, depth), deepest first: a stretch of `queue` as long as the group.
    top = int(depth.max()) + 1
    group = batch.astype(np.int64) * top + (top - 1 - depth)
    groups, group = np.unique(group, return_inverse=True)
    group_batch = groups // top
    start = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=len(groups)))])[:-1]
    first_group = np.searchsorted(group_batch, np.arange(int(batch[-1]) + 1))
    head, tail = start.copy(), start.copy()
    queue = np.zeros(n, np.int64)

    def push(nodes: np.ndarray) -> None:
        nodes = nodes[np.argsort(group[nodes], kind="stable")]
        g = group[nodes]
        new = np.concatenate([[True], g[1:] != g[:-1]])
        begin = np.flatnonzero(new)
        count = np.diff(np.append(begin, len(nodes)))
        rank = np.arange(len(nodes)) - np.repeat(begin, count)
        queue[tail[g] + rank] = nodes
        tail[g[begin]] += count

    push(np.flatnonzero(waiting == 0))
    done, t = 0, 0
    while done < n:
        available = tail - head
        before = np.cumsum(available) - available
        before -= before[first_group][group_batch]  # nodes of deeper groups in the same batch
        take = np.clip(lanes - before, 0, available)
        g = np.flatnonzero(take)
        count = take[g]
        rank = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        nodes = queue[np.repeat(head[g], count) + rank]
        head[g] += count
        step[nodes] = t
        lane[nodes] = np.repeat(before[g], count) + rank
        up = parent[nodes]
        up = up[up >= 0]
        np.subtract.at(waiting, up, 1)
        ready = np.unique(up[waiting[up] == 0])
        if len(ready):
            push(ready)
        done += len(nodes)
        t += 1
    return step, lane


def _expand(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Concatenation of ``arange(start, start + count)`` for each pair."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)


def required_shape(num_leaves: np.ndarray, height: np.ndarray, lanes: int | None = None) -> Shape:
    """The least `Shape` that surely holds these trees, before scheduling.

    Hu's schedule of ``n`` nodes of greatest height ``h`` is rarely longer than
    ``max(h, ceil(n / lanes))``; the exact number of steps is known only after scheduling, so
    `pack` with ``shape=None`` uses that.
    """
    nodes = int(num_leaves.sum()) - len(num_leaves)
    tallest = max(int(height.max(initial=0)), 1)
    if lanes is None:
        # The widest power of two that keeps the schedule bound by work and not by height.
        # At least two: gathers of a single row make XLA copy whole arrays in every step.
        lanes = 2
        while lanes * 2 * tallest <= nodes and lanes < 4096:
            lanes *= 2
    return Shape(int(num_leaves.sum()), max(tallest, -(-nodes // lanes)), lanes, len(num_leaves))


def _round_up(n: int) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, 16, 24, ...: shapes at most half again too large."""
    power = 1
    while power < n:
        power *= 2
    return power * 3 // 4 if power >= 4 and power * 3 // 4 >= n else power


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
    """Packs many minibatches, scheduling all of them in one go.

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

    # Schedule. Index of an internal node: inner_start[tree] + local - leaves[tree].
    parent_local = bank.parent[source_n]
    parent_i = np.where(
        parent_local >= 0, inner_start[node_tree] + parent_local - leaves[node_tree], -1
    )
    kids = bank.children[source_i]
    step, lane = _schedule(
        batch_of_tree[inner_tree],
        bank.depth[source_n][~is_leaf],
        parent_i[~is_leaf],
        (kids >= leaves[inner_tree][:, None]).sum(1),
        lanes,
    )

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
        here = node_tree[nodes]

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
        del here
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


def _choose_shape(need: Shape, shapes: list[Shape] | None, batch: int) -> Shape:
    if shapes is None:
        return Shape(_round_up(need.leaves), _round_up(max(need.steps, 1)), need.lanes, need.trees)
    for shape in shapes:
        if all(n <= s for n, s in zip(need, shape, strict=True)):
            return shape
    raise ValueError(f"minibatch {batch} needs {need}, which fits into none of {shapes}")


def local_tokens(forest: Forest) -> tuple[Forest, np.ndarray]:
    """Renumbers the words of a forest to ``0 .. U-1``.

    A minibatch touches few words of a large vocabulary. With the returned ids the model runs on
    the rows ``embedding[words]`` alone, so that neither gradient nor optimiser ever sees the
    whole table.

    Returns:
        ``(forest, words)``: the forest with local ids, and int32 ``words [L]`` (as many as there
        are leaf slots; row 0 is the padding word 0, the rest of the rows repeat it).
    """
    words, inverse = np.unique(np.append(0, forest.tokens), return_inverse=True)
    padded = np.zeros(len(forest.tokens) + 1, np.int32)
    padded[: len(words)] = words
    return forest._replace(tokens=inverse[1:].astype(np.int32).reshape(-1)), padded


def unpack(forest: Forest, values: Array) -> list[np.ndarray]:
    """Splits per-slot values into one array a tree, in `rntn_jax.data.Tree` node order.

    Args:
        forest: the forest the values were computed on.
        values: ``[N, ...]``, one entry a slot.

    Returns:
        A list of ``num_trees`` arrays ``[2L-1, ...]``.

    Raises:
        ValueError: when ``values`` does not have one entry a slot.
    """
    values = np.asarray(values)
    if values.shape[:1] != np.shape(forest.slots):
        raise ValueError(
            f"values has {values.shape[:1]} entries, the forest {np.shape(forest.slots)} slots"
        )
    sizes = np.asarray(forest.sizes)[: int(forest.num_trees)]
    nodes = values[np.asarray(forest.slots)[: sizes.sum()]]
    return np.split(nodes, np.cumsum(sizes)[:-1])
