"""Trees flattened into arrays once, so that packing an epoch is array work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rntn_jax.data import Tree
from rntn_jax.shapes import shapes_repr

__all__ = ["Treebank", "encode"]


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

    __repr__ = shapes_repr

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
        TypeError: when ``trees`` is one tree, or holds something else.
        ValueError: when there is no tree, or a tree's arrays do not describe a binary tree.
    """
    if isinstance(trees, Tree):
        raise TypeError("trees must be a sequence of Tree, got one Tree: [tree] is one")
    trees = list(trees)
    for index, tree in enumerate(trees):
        if not hasattr(tree, "tokens"):
            raise TypeError(f"trees[{index}] must be a Tree, got {type(tree).__name__}")
    if not trees:
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
