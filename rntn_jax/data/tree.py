"""`Tree`: one labelled binary tree over a sentence, as plain numpy arrays."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rntn_jax.data.errors import DataError, shown

__all__ = ["Tree"]

_IntArray = npt.NDArray[np.int32]
_NOT_A_TOKEN = re.compile(r"[\s()]|\A\Z", re.ASCII)  # empty, or a blank or a bracket inside


@dataclasses.dataclass(frozen=True, init=False, eq=False, repr=False)
class Tree:
    """A labelled binary tree over a sentence of `L` words.

    Node ids: the leaves are `0 .. L-1` in sentence order, then come the `L-1` internal nodes in
    post-order (left subtree, right subtree, node). So children always have smaller ids than
    their parent, and the root is the last id. The numbering is canonical: two trees are equal
    exactly when their brackets are.

    The arrays are read-only copies. The constructor checks everything (some 40 microseconds a
    tree); the readers, which cannot produce an invalid tree, pass it by.

    Attributes:
        tokens: the `L` words; none is empty or holds a bracket or an ASCII blank.
        children: int32 `[L-1, 2]`, row `k` holds the ids of the left and right child of node `L+k`.
        labels: int32 `[2L-1]`, one label per node; -1 means unlabelled.

    Raises:
        DataError: when the arrays are not such a tree.

    Example:
        >>> tree = Tree(("not", "bad", "."), [[0, 1], [3, 2]], [2, 1, 2, 3, 3])
        >>> tree.to_brackets()
        '(3 (3 (2 not) (1 bad)) (2 .))'
        >>> len(tree), tree.num_leaves, tree.text
        (5, 3, 'not bad .')
    """

    tokens: tuple[str, ...]
    children: _IntArray
    labels: _IntArray

    def __init__(
        self, tokens: Sequence[str], children: npt.ArrayLike, labels: npt.ArrayLike
    ) -> None:
        if isinstance(tokens, str):
            raise DataError("tokens must be a tuple of words, not one string", value=tokens)
        child_ids = _frozen_int32("children", children)
        if child_ids.size == 0:
            child_ids = _frozen_int32("children", np.zeros((0, 2), np.int32))
        self.__dict__.update(  # the dataclass is frozen
            tokens=tuple(tokens), children=child_ids, labels=_frozen_int32("labels", labels)
        )
        _check(self)

    @classmethod
    def _trusted(cls, tokens: tuple[str, ...], children: _IntArray, labels: _IntArray) -> Tree:
        """A tree without copies and checks, for the readers (0.5 microseconds)."""
        tree = object.__new__(cls)
        tree.__dict__.update(tokens=tokens, children=children, labels=labels)
        return tree

    @property
    def num_leaves(self) -> int:
        """Number of words, `L`."""
        return len(self.tokens)

    @property
    def num_nodes(self) -> int:
        """Number of nodes, `2L-1`."""
        return len(self.labels)

    @property
    def text(self) -> str:
        """The words with one space between them."""
        return " ".join(self.tokens)

    def __len__(self) -> int:
        """The number of nodes: the length of every array with one entry per node."""
        return len(self.labels)

    def spans(self) -> _IntArray:
        """The words under each node.

        Returns:
            int32 `[2L-1, 2]`: node `n` covers `tokens[spans[n, 0]:spans[n, 1]]`. O(L) time.

        Example:
            >>> Tree(("not", "bad", "."), [[0, 1], [3, 2]], [-1] * 5).spans().tolist()
            [[0, 1], [1, 2], [2, 3], [0, 2], [0, 3]]
        """
        starts = list(range(self.num_leaves))
        ends = list(range(1, self.num_leaves + 1))
        for left, right in self.children.tolist():
            starts.append(starts[left])
            ends.append(ends[right])
        return np.array([starts, ends], np.int32).T

    def heights(self) -> _IntArray:
        """The height of each node: 0 for a leaf, else 1 + that of the higher child.

        Returns:
            int32 `[2L-1]`. O(L) time.

        Example:
            >>> Tree(("not", "bad", "."), [[0, 1], [3, 2]], [-1] * 5).heights().tolist()
            [0, 0, 0, 1, 2]
        """
        heights = [0] * self.num_leaves
        for left, right in self.children.tolist():
            heights.append(1 + max(heights[left], heights[right]))
        return np.array(heights, np.int32)

    def parents(self) -> _IntArray:
        """The parent of each node.

        Returns:
            int32 `[2L-1]`; the root, which is last, has parent -1. O(L) time.

        Example:
            >>> Tree(("not", "bad", "."), [[0, 1], [3, 2]], [-1] * 5).parents().tolist()
            [3, 3, 4, 4, -1]
        """
        parents = np.full(self.num_nodes, -1, np.int32)
        parents[self.children] = np.arange(self.num_leaves, self.num_nodes, dtype=np.int32)[:, None]
        return parents

    def to_brackets(self) -> str:
        """The tree in Penn Treebank brackets on one line; `parse_tree` reads it back equal.

        Returns:
            Text such as `(3 (3 (2 not) (1 bad)) (2 .))`. O(L) time and no recursion.

        Example:
            >>> Tree(("not", "bad"), [[0, 1]], [2, 1, 3]).to_brackets()
            '(3 (2 not) (1 bad))'
        """
        num_leaves = self.num_leaves
        labels = self.labels.tolist()
        spans = self.spans().tolist()
        opened: list[list[str]] = [[] for _ in self.tokens]  # the internal nodes beginning here
        closed = [1] * num_leaves  # the number of nodes ending here, the leaf among them
        for node in range(self.num_nodes - 1, num_leaves - 1, -1):  # outer nodes first
            start, end = spans[node]
            opened[start].append(f"({labels[node]} ")
            closed[end - 1] += 1
        return " ".join(
            f"{''.join(opened[i])}({labels[i]} {token}{')' * closed[i]}"
            for i, token in enumerate(self.tokens)
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tree):
            return NotImplemented
        return (
            self.tokens == other.tokens
            and np.array_equal(self.labels, other.labels)
            and np.array_equal(self.children, other.children)
        )

    def __hash__(self) -> int:
        return hash((self.tokens, self.labels.tobytes(), self.children.tobytes()))

    def __repr__(self) -> str:
        text = self.to_brackets()
        return f"Tree({text!r})" if len(text) <= 80 else f"Tree({text[:77]!r}...)"

    def __reduce__(self) -> tuple[object, ...]:
        return Tree, (self.tokens, self.children, self.labels)  # copies are checked and read-only


def _frozen_int32(name: str, values: npt.ArrayLike) -> _IntArray:
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise DataError(f"{name} must hold integers, not {array.dtype}", value=array.dtype)
    limit = np.iinfo(np.int32).max
    if array.size and (array.max() > limit or array.min() < -limit):
        raise DataError(f"{name} must fit into int32", value=array)
    array = array.astype(np.int32)
    array.flags.writeable = False
    return array


def _check(tree: Tree) -> None:
    """Raises DataError unless the three fields are a tree in canonical numbering."""
    num_leaves = len(tree.tokens)
    if num_leaves == 0:
        raise DataError("empty tree: there are no tokens", value=())
    for token in tree.tokens:
        if not isinstance(token, str) or _NOT_A_TOKEN.search(token):
            raise DataError(
                f"token {shown(token)} is not a non-empty string without blanks and brackets",
                value=token,
            )
    if tree.children.shape != (num_leaves - 1, 2):
        raise DataError(
            f"a binary tree over {num_leaves} tokens has children [{num_leaves - 1}, 2], not"
            f" {list(tree.children.shape)}",
            value=tree.children.shape,
        )
    if tree.labels.shape != (2 * num_leaves - 1,):
        raise DataError(
            f"a binary tree over {num_leaves} tokens has {2 * num_leaves - 1} labels, not an array"
            f" of shape {list(tree.labels.shape)}",
            value=tree.labels.shape,
        )
    if tree.labels.min() < -1:
        raise DataError(
            f"label {tree.labels.min()} is negative (only -1, for unlabelled, may be)",
            value=int(tree.labels.min()),
        )
    _check_numbering(num_leaves, tree.children.tolist())


def _check_numbering(num_leaves: int, children: list[list[int]]) -> None:
    """Replays the post-order: each node joins the two finished neighbours on top of a stack."""
    stack: list[int] = []  # finished subtrees
    shifted = 0  # leaves that went onto the stack
    for node, (left, right) in enumerate(children, num_leaves):
        # Post-order: words are taken until the two operands are on top, never earlier words.
        while shifted < num_leaves and stack[-2:] != [left, right]:
            stack.append(shifted)
            shifted += 1
        if stack[-2:] != [left, right]:
            raise DataError(
                f"node {node} cannot have children {left} and {right}: leaves are numbered in"
                " sentence order, internal nodes in post-order",
                value=(left, right),
            )
        stack[-2:] = [node]
