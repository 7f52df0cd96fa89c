"""Packing of trees whose nodes have any number of children, and words at any of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rntn_jax.schedule import depths, schedule
from rntn_jax.trees.forest import NaryForest, Shape
from rntn_jax.trees.packing import required_steps, round_up

__all__ = ["pack_nary"]


def pack_nary(
    words: Sequence[Sequence[str | None]],
    parents: Sequence[Any],
    vocabulary: Any,
    *,
    labels: Sequence[Any] | None = None,
    lanes: int | None = None,
    shape: Shape | None = None,
) -> NaryForest:
    """Packs trees whose nodes have any number of children, such as dependency trees.

    Args:
        words: of each tree the word of every node, in any order of the nodes; None: it has none.
        parents: of each tree the parent of every node, counted from 0, and -1 at the root:
            ``sentence.heads - 1`` of a `rntn_jax.data.ConlluSentence`.
        vocabulary: anything with ``encode(tokens) -> int32 array``.
        labels: of each tree the class of every node; -1: none.
        lanes: nodes a step; by default as many as the trees' shape can fill.
        shape: static sizes ``Shape(0, steps, lanes, trees)``; by default the sizes needed, rounded
            up a little so that minibatches of like size share a compiled program.

    Returns:
        A `NaryForest` of NumPy arrays; `rntn_jax.trees.unpack` sorts values by tree and node. Host
        code, O(nodes log nodes).

    Raises:
        ValueError: when there is no tree; naming the tree and the node where parents are no tree;
            where lengths differ, or the trees do not fit into ``shape``.

    Example:
        >>> from rntn_jax import data
        >>> words = ["the", "dog", "barks", "loudly"]
        >>> vocabulary = data.Vocabulary.build(words)
        >>> forest = pack_nary([words], [[1, 2, -1, 2]], vocabulary)
        >>> forest.parent.tolist(), forest.roots.tolist()
        ([[3, 5], [5, 0], [0, 0]], [5])
    """
    if not len(words):
        raise ValueError("there is no tree to pack")
    for name, other in {"parents": parents, "labels": labels}.items():
        if other is not None and len(other) != len(words):
            raise ValueError(f"{len(words)} trees have words, and {len(other)} have {name}")
    above, deep = zip(*(_tree(t, words[t], parents[t]) for t in range(len(words))))
    sizes = np.array([len(own) for own in above])
    starts = np.cumsum(sizes) - sizes
    of_node = np.repeat(starts, sizes)
    parent, depth = np.concatenate(above), np.concatenate(deep)
    is_root = parent < 0
    parent = np.where(is_root, -1, parent + of_node)

    if shape is not None:
        lanes = shape.lanes
    elif lanes is None:
        lanes = required_steps(len(parent), int(depth.max()) + 1)[1]
    step, lane = schedule(parent, depth, lanes)
    need = Shape(0, int(step.max()) + 1, lanes, len(sizes))
    if shape is None:
        shape = Shape(0, round_up(need.steps), lanes, need.trees)
    elif any(n > s for n, s in zip(need, shape)):
        raise ValueError(f"the trees need {need}, which does not fit into {shape}")

    slot = (1 + step.astype(np.int64) * lanes + lane).astype(np.int32)
    up = np.zeros(shape.slots, np.int32)
    up[slot] = np.where(is_root, 0, slot[parent])
    used, labelled = np.zeros((2, shape.slots), bool)
    used[slot] = True
    tokens, classes, order = np.zeros((3, shape.slots), np.int32)
    order[: len(slot)] = slot
    flat = [word for own in words for word in own]
    has_word = np.array([word is not None for word in flat])
    tokens[slot[has_word]] = vocabulary.encode([word for word in flat if word is not None])
    if labels is not None:
        value = np.concatenate([_classes(t, own, sizes[t]) for t, own in enumerate(labels)])
        classes[slot], labelled[slot] = np.maximum(value, 0), value >= 0
    roots, padded_sizes = np.zeros((2, shape.trees), np.int32)
    roots[: len(sizes)], padded_sizes[: len(sizes)] = slot[is_root], sizes
    return NaryForest(
        up[1:].reshape(shape.steps, lanes),
        used[1:].reshape(shape.steps, lanes),
        tokens,
        classes,
        labelled,
        roots,
        order,
        padded_sizes,
        np.int32(need.steps),
        np.int32(len(sizes)),
    )


def _tree(t: int, words: Sequence[str | None], parents: Any) -> tuple[np.ndarray, np.ndarray]:
    """Checked parents of tree ``t``, and the depth of its nodes."""
    parent = np.asarray(parents)
    n = len(words)
    if parent.shape != (n,) or parent.dtype.kind not in "iu" or n == 0:
        raise ValueError(
            f"tree {t}: {n} words need as many integer parents (at least one), got "
            f"{parent.dtype} {list(parent.shape)}"
        )
    parent = parent.astype(np.int64)
    wrong = np.flatnonzero((parent < -1) | (parent >= n))
    if len(wrong):
        node = wrong[0]
        raise ValueError(f"tree {t}: node {node} has parent {parent[node]}, of {n} nodes")
    roots = np.flatnonzero(parent < 0)
    if len(roots) != 1:
        raise ValueError(f"tree {t}: one node must be the root (-1), got {roots.tolist()}")
    try:
        return parent, depths(parent)[0]
    except ValueError as error:
        raise ValueError(f"tree {t}: {error}") from None


def _classes(t: int, labels: Any, size: int) -> np.ndarray:
    value = np.asarray(labels)
    if value.shape != (size,) or value.dtype.kind not in "iu":
        raise ValueError(
            f"tree {t}: {size} nodes need as many integer labels, got "
            f"{value.dtype} {list(value.shape)}"
        )
    return value
