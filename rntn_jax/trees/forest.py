"""The containers of packed trees, and what is read off them on the host."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np

from rntn_jax.shapes import shapes_repr

__all__ = ["Forest", "NaryForest", "Shape", "local_tokens", "unpack"]

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

    __repr__ = shapes_repr

    @property
    def shape(self) -> Shape:
        """The static sizes of this forest."""
        steps, lanes, _ = self.children.shape[-3:]
        return Shape(self.tokens.shape[-1], steps, lanes, self.sizes.shape[-1])


class NaryForest(NamedTuple):
    """Many trees packed for one device call, each node with any number of children. By `pack_nary`.

    Axes: ``S`` steps, ``B`` lanes, ``T`` trees, ``N = 1 + S * B`` slots. The node of step ``s`` and
    lane ``b`` has the slot ``1 + s * B + b``, and slot 0 is nobody's. There is no list of children:
    every node has one parent, and sends it what the parent sums.
    """

    parent: Array  # int32 [S, B], slot of each node's parent; 0 = none
    used: Array  # bool [S, B], whether there is a node
    tokens: Array  # int32 [N], word id of each slot; 0 = no word
    labels: Array  # int32 [N], class of each slot; 0 where there is none
    labelled: Array  # bool [N], whether the slot carries a label
    roots: Array  # int32 [T], slot of each tree's root; 0 = padding
    slots: Array  # int32 [N], the slots of tree 0 in its node order, then of tree 1, ...
    sizes: Array  # int32 [T], number of nodes of each tree; 0 = padding
    num_steps: Array  # int32 [], how many of the S steps hold a node
    num_trees: Array  # int32 [], how many of the T trees are real

    __repr__ = shapes_repr

    @property
    def shape(self) -> Shape:
        """The static sizes of this forest; it has no slots for leaves alone."""
        steps, lanes = self.parent.shape[-2:]
        return Shape(0, steps, lanes, self.sizes.shape[-1])


AnyForest = TypeVar("AnyForest", Forest, NaryForest)


def local_tokens(forest: AnyForest) -> tuple[AnyForest, np.ndarray]:
    """Renumbers the words of a forest to ``0 .. U-1``.

    A minibatch touches few words of a large vocabulary. With the returned ids the model runs on
    the rows ``embedding[words]`` alone, so that neither gradient nor optimiser ever sees the
    whole table.

    Args:
        forest: made by `pack`.

    Returns:
        ``(forest, words)``: the forest with local ids, and int32 ``words [L]`` (as many as there
        are leaf slots; row 0 is the padding word 0, the rest of the rows repeat it).
    """
    words, inverse = np.unique(np.append(0, forest.tokens), return_inverse=True)
    padded = np.zeros(len(forest.tokens) + 1, np.int32)
    padded[: len(words)] = words
    return forest._replace(tokens=inverse[1:].astype(np.int32).reshape(-1)), padded


def unpack(forest: Forest | NaryForest, values: Array) -> list[np.ndarray]:
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
