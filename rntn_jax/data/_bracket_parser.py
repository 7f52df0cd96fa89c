"""The careful parser of brackets: nodes of any arity, and an exact place for every fault."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from rntn_jax.data.errors import DataError, shown
from rntn_jax.data.text import place
from rntn_jax.data.tree import Tree

__all__ = ["NaryTree", "check_num_classes", "parse_label", "scan_trees", "to_binary"]

_INTEGER = re.compile(r"-?[0-9]+", re.ASCII)
_LARGEST_LABEL = 2**31 - 1  # labels are stored as int32
_PIECE = re.compile(r"[()]|[^\s()]+", re.ASCII)


class NaryTree(NamedTuple):
    """A tree with nodes of any arity; the nodes stand in post-order, the root is the last.

    Attributes:
        labels: one label per node.
        words: the word of each leaf, None for the other nodes.
        children: the child ids of each node, none for a leaf.
    """

    labels: list[int]
    words: list[str | None]
    children: list[list[int]]


class _Open:
    """A node whose closing bracket has not come yet."""

    __slots__ = ("at", "children", "label", "word")

    def __init__(self, at: int):
        self.at = at  # offset of the opening bracket
        self.label: int | None = None
        self.word: str | None = None
        self.children: list[int] = []


def check_num_classes(num_classes: int | None) -> None:
    """Checks a number of classes.

    Args:
        num_classes: None, or a positive integer.

    Raises:
        ValueError: for anything else.
    """
    if num_classes is not None and (not isinstance(num_classes, int) or num_classes < 1):
        raise ValueError(f"num_classes must be a positive integer or None, not {num_classes!r}")


def parse_label(text: str, num_classes: int | None) -> int:
    """The label written as `text`.

    Args:
        text: the digits, with a minus for -1.
        num_classes: labels must be less than this; None: no upper limit but that of int32.

    Returns:
        The label.

    Raises:
        DataError: without a place; when it is no integer, or not -1, 0, .. num_classes-1.
    """
    if not _INTEGER.fullmatch(text):
        raise DataError(
            f"label {shown(text)} is not an integer (every bracket begins with its label, as in"
            " `(2 film)`)",
            value=text,
        )
    largest = _LARGEST_LABEL if num_classes is None else min(num_classes - 1, _LARGEST_LABEL)
    # Thousands of digits are not worth converting (and Python would refuse to).
    label = int(text) if len(text) <= 20 else None
    if label is None or not -1 <= label <= largest:
        written = f"{text[:20]}..." if label is None else text
        raise DataError(
            f"label {written} is not in 0..{largest} (or -1 for unlabelled)",
            value=text if label is None else label,
        )
    return label


def scan_trees(
    text: str, *, file: str | None, num_classes: int | None, binary: bool, single: bool
) -> list[NaryTree]:
    """Reads trees with nodes of any arity; O(length), no recursion.

    Args:
        text: the trees.
        file: the name for errors, or None.
        num_classes: the range of labels, None for no upper limit.
        binary: refuse nodes with one child, or with more than two.
        single: refuse anything after the first tree.

    Returns:
        The trees, at least one.

    Raises:
        DataError: with file, line, column and value, for the first fault.
    """

    def fault(message: str, at: int, value: object) -> DataError:
        line, column = place(text, at)
        return DataError(message, file=file, line=line, column=column, value=value)

    trees: list[NaryTree] = []
    stack: list[_Open] = []
    tree = NaryTree([], [], [])
    for match in _PIECE.finditer(text):
        piece, at = match.group(), match.start()
        if single and trees:
            raise fault(f"text after the end of the tree, from {shown(piece, 20)}", at, piece)
        node = stack[-1] if stack else None
        if piece == "(":
            if node is not None and node.label is None:
                raise fault("a bracket without a label", node.at, "(")
            if node is not None and node.word is not None:
                raise fault(
                    f"a leaf holds a word and no subtree: {shown(node.word)} (", at, node.word
                )
            stack.append(_Open(at))
        elif piece == ")":
            if node is None:
                raise fault("unbalanced brackets: `)` closes nothing", at, ")")
            _check_complete(node, binary, fault)
            stack.pop()
            tree.labels.append(-1 if node.label is None else node.label)
            tree.words.append(node.word)
            tree.children.append(node.children)
            if stack:
                stack[-1].children.append(len(tree.labels) - 1)
            else:
                trees.append(tree)
                tree = NaryTree([], [], [])
        elif node is None:
            raise fault(f"text outside of the brackets: {shown(piece)}", at, piece)
        elif node.label is None:
            try:
                node.label = parse_label(piece, num_classes)
            except DataError as error:
                raise fault(error.message, at, error.value) from None
        elif node.word is not None:
            raise fault(f"a leaf holds one word, here is a second: {shown(piece)}", at, piece)
        elif node.children:
            raise fault(f"a word beside subtrees: {shown(piece)} needs its own bracket", at, piece)
        else:
            node.word = piece
    if stack:
        message = f"unbalanced brackets: {len(stack)} never closed, the first is here"
        raise fault(message, stack[0].at, len(stack))
    if not trees:
        raise fault("no tree: the text is empty", 0, text)
    return trees


def _check_complete(
    node: _Open, binary: bool, fault: Callable[[str, int, object], DataError]
) -> None:
    """Checks a node at its closing bracket."""
    if node.label is None:
        raise fault("empty tree: `()`", node.at, "()")
    arity = len(node.children)
    if node.word is None and arity == 0:
        raise fault(f"node without word and children: `({node.label})`", node.at, node.label)
    if binary and arity not in (0, 2):
        raise fault(
            f"node has {arity} {'child' if arity == 1 else 'children'}, not 2 (binarize makes"
            " binary trees of such)",
            node.at,
            arity,
        )


def to_binary(tree: NaryTree, direction: Literal["left", "right"]) -> Tree:
    """The binary tree as `rntn_jax.data.binarize` defines it; O(nodes), no recursion.

    Args:
        tree: a tree of nodes of any arity.
        direction: the side to which chains of new nodes lean.

    Returns:
        The binary tree; new nodes are unlabelled.
    """
    labels = list(tree.labels)
    links: list[tuple[int, int] | None] = [None] * len(labels)  # the two children of a node
    top = list(range(len(labels)))  # the node that stands for a node: itself, or its only child
    for node, children in enumerate(tree.children):
        parts = [top[child] for child in children]
        if len(parts) == 1:
            top[node] = parts[0]
            labels[parts[0]] = labels[parts[0]] if labels[node] == -1 else labels[node]
        if len(parts) >= 2:
            links[node] = _chain(parts, direction, links, labels)

    order, stack = [], [top[-1]]  # node, right subtree, left subtree: post-order backwards
    while stack:
        node = stack.pop()
        order.append(node)
        stack += links[node] or ()
    order.reverse()
    order.sort(key=lambda node: links[node] is not None)  # stable: leaves first
    place = {node: i for i, node in enumerate(order)}
    pairs = [(place[pair[0]], place[pair[1]]) for node in order if (pair := links[node])]
    return Tree(
        tuple(word for node in order if links[node] is None and (word := tree.words[node])),
        np.array(pairs, np.int32).reshape(-1, 2),
        np.array([labels[node] for node in order], np.int32),
    )


def _chain(
    parts: list[int],
    direction: Literal["left", "right"],
    links: list[tuple[int, int] | None],
    labels: list[int],
) -> tuple[int, int]:
    """Appends the unlabelled nodes between a node and its `parts`; returns its two children."""
    inner = parts[1:-1]
    joined = parts[0] if direction == "left" else parts[-1]
    for part in inner if direction == "left" else reversed(inner):
        links.append((joined, part) if direction == "left" else (part, joined))
        labels.append(-1)
        joined = len(links) - 1
    return (joined, parts[-1]) if direction == "left" else (parts[0], joined)
