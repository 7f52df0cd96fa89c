"""Packed forests: many trees in a few integer arrays of static shape.

A recursive network visits the nodes of a tree from the leaves to the root. On a device one
wants to visit many nodes at once, of many trees at once, with shapes that do not change from one
minibatch to the next. `pack` does that:

* Every node gets a *slot*. Slot 0 is the null node (its state is zero; all padding points to
  it), slots ``1 .. L`` are the leaves, then follow ``steps x lanes`` slots for internal nodes.
* Each step computes one row of ``lanes`` internal nodes whose children lie in earlier rows. A
  step therefore writes one contiguous block and reads its children by gather.
* Every node has exactly one parent, so the reverse sweep reads too: ``parent`` says which half of
  which internal node's downward error belongs to a slot (source 000, equations 13 to 15).

Trees of nodes with any number of children, dependency trees among them, are packed by `pack_nary`.

The steps are filled highest-level-first (`rntn_jax.schedule`), so padding costs single lanes and
not whole levels. Everything here is host code and returns NumPy arrays; trees are flattened into a
`Treebank` once, and all minibatches of an epoch packed in one go (`pack_batches`).
"""

from rntn_jax.trees.forest import Forest, NaryForest, Shape, local_tokens, unpack
from rntn_jax.trees.nary import pack_nary
from rntn_jax.trees.packing import pack, pack_batches, required_shape
from rntn_jax.trees.treebank import Treebank, encode

__all__ = [
    "Forest",
    "NaryForest",
    "Shape",
    "Treebank",
    "encode",
    "local_tokens",
    "pack",
    "pack_batches",
    "pack_nary",
    "required_shape",
    "unpack",
]


def __dir__() -> list[str]:
    return sorted(__all__)
