"""Trees as Penn Treebank brackets: `parse_tree`, `read_trees`, `binarize`, `write_trees`.

A tree is `(label word)` or `(label tree tree)`, as in `(3 (2 It) (4 (2 's) (4 good)))`. Labels are
integers; -1 means unlabelled. A word is any run of characters without brackets and ASCII blanks
(space, tab, line ends), kept as it stands: escapes such as `-LRB-` and `\\/` are not resolved, and
a no-break space is part of its word (there are such words in the Stanford Sentiment Treebank).
Blanks between brackets mean nothing, so a tree may span lines and a line may hold several.

Two parsers read this format. The fast one knows only binary trees without a fault and gives up at
anything else; the careful one (`rntn_jax.data._bracket_parser`) then finds the place and the
words for the error, or reads the nodes of any arity for `binarize`.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Iterable
from typing import IO, Literal

import numpy as np

from rntn_jax.data._bracket_parser import check_num_classes, parse_label, scan_trees, to_binary
from rntn_jax.data.errors import DataError
from rntn_jax.data.text import read_text, write_text
from rntn_jax.data.tree import Tree

__all__ = ["binarize", "parse_tree", "read_trees", "write_trees"]

Direction = Literal["left", "right"]


def parse_tree(text: str, *, num_classes: int | None = 5) -> Tree:
    """Reads one binary tree from brackets.

    Args:
        text: exactly one tree, such as `(3 (2 It) (4 (2 's) (4 good)))`, of any depth.
        num_classes: labels must be in `0 .. num_classes-1`, or -1 for unlabelled; None: no upper
            limit.

    Returns:
        The tree, with int32 arrays. O(length) time, no recursion.

    Raises:
        DataError: with line, column and value, when the text is not exactly one such tree:
            unbalanced brackets, text before or after the tree, a node with one child or with three
            or more (see `binarize`), a label that is missing, no integer or out of range, a node
            without word or children, a leaf with more than one word, no tree at all.
        ValueError: for a bad `num_classes`.

    Example:
        >>> tree = parse_tree("(3 (2 It) (4 (2 's) (4 good)))")
        >>> tree.tokens
        ('It', "'s", 'good')
        >>> tree.children.tolist(), tree.labels.tolist()
        ([[1, 2], [0, 3]], [2, 2, 4, 4, 3])
    """
    return _parse_all(text, None, num_classes, None, single=True)[0]


def binarize(text: str, *, direction: Direction = "right", num_classes: int | None = 5) -> Tree:
    """Reads one tree with nodes of any arity and makes it binary.

    - A unary node over a subtree is merged with it; the upper label is kept, the lower one only
      when the upper node is unlabelled (-1). So a unary node over a word becomes the leaf.
    - A node with children `a b c d` becomes a chain of binary nodes; the new nodes in between are
      unlabelled (-1), and the old node, with its label, is the top of the chain:
      `direction="right"` gives `(a (b (c d)))`, `direction="left"` gives `(((a b) c) d)`.

    Args:
        text: exactly one tree in brackets; words stand only in leaves `(label word)`.
        direction: "right" or "left", the side to which the chains lean.
        num_classes: as in `parse_tree`.

    Returns:
        The binary tree. A tree that is binary already comes back as `parse_tree` reads it.

    Raises:
        DataError: as `parse_tree`, but for the number of children.
        ValueError: for a bad `direction` or `num_classes`.

    Example:
        >>> binarize("(3 (2 a) (1 b) (4 (0 c)))").to_brackets()
        '(3 (2 a) (-1 (1 b) (4 c)))'
        >>> binarize("(3 (2 a) (1 b) (4 (0 c)))", direction="left").to_brackets()
        '(3 (-1 (2 a) (1 b)) (4 c))'
    """
    if direction is None:
        raise ValueError("direction must be 'left' or 'right', not None")
    return _parse_all(text, None, num_classes, direction, single=True)[0]


def read_trees(
    source: str | os.PathLike[str] | IO[str] | IO[bytes],
    *,
    num_classes: int | None = 5,
    binarize: Direction | None = None,
) -> list[Tree]:
    """Reads all trees of a file.

    Usually one tree stands on each line; trees may span lines, several may stand on one, and blank
    lines are skipped.

    Args:
        source: a path, or an open text or binary stream such as `sys.stdin`, read to its end;
            UTF-8.
        num_classes: labels must be in `0 .. num_classes-1`, or -1 for unlabelled; None: no upper
            limit.
        binarize: None refuses nodes that are not binary; "left" or "right" makes them so, as the
            function `binarize` does.

    Returns:
        The trees in the order of the file, at least one. About 1 microsecond a node.

    Raises:
        DataError: with file, line, column and value; the cases of `parse_tree`, a file without
            trees, and what `rntn_jax.data.text.read_text` refuses.
        OSError: when the file cannot be opened (FileNotFoundError, PermissionError).
        ValueError: for a bad `num_classes` or `binarize`.

    Example:
        >>> import io
        >>> [tree.text for tree in read_trees(io.StringIO("(3 good)\\n(1 (2 not) (3 good))\\n"))]
        ['good', 'not good']
    """
    file, text = read_text(source)
    return _parse_all(text, file, num_classes, binarize, single=False)


def write_trees(path: str | os.PathLike[str], trees: Iterable[Tree]) -> None:
    """Writes trees to a file, one a line, in UTF-8 with LF; `read_trees` reads them back equal.

    The file appears, or is replaced, only when everything is written.

    Args:
        path: the file to write; its directory must exist.
        trees: the trees.

    Raises:
        DataError: when there are no trees (such a file could not be read back), or when a token
            holds NUL or a lone surrogate, which UTF-8 cannot express.
        OSError: when the file cannot be written.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "trees.txt")
        >>> write_trees(path, [parse_tree("(1 (2 not) (3 good))")])
        >>> path.read_text()
        '(1 (2 not) (3 good))\\n'
    """
    path = pathlib.Path(path)
    lines = [tree.to_brackets() + "\n" for tree in trees]
    if not lines:
        raise DataError("no trees to write", file=str(path))
    write_text(path, "".join(lines))


def _parse_all(
    text: str, file: str | None, num_classes: int | None, direction: Direction | None, single: bool
) -> list[Tree]:
    check_num_classes(num_classes)
    if direction not in (None, "left", "right"):
        raise ValueError(f"the direction must be 'left' or 'right', got {direction!r}")
    text = text.removeprefix("\ufeff")
    trees = _parse_binary(text, num_classes)
    if not trees or (single and len(trees) > 1):
        nary = scan_trees(
            text, file=file, num_classes=num_classes, binary=direction is None, single=single
        )
        trees = [to_binary(tree, direction or "right") for tree in nary]
    return trees


# `(label`, `(label word)` and `)`; the second group is filled for words only, and the third one by
# anything that fits nowhere. Every word and bracket of the text is in some match.
_FAST_TOKEN = re.compile(r"\(\s*([^\s()]+)(?:\s+([^\s()]+)\s*\))?|\)|([^\s()]|\()", re.ASCII)
_BLOCK = 1 << 16  # characters tokenised at once: bounds the memory


class _Labels(dict[str, int]):
    """Label text -> int, each distinct text checked once."""

    def __init__(self, num_classes: int | None):
        super().__init__()
        self.num_classes = num_classes

    def __missing__(self, text: str) -> int:
        label = self[text] = parse_label(text, self.num_classes)
        return label


def _parse_binary(text: str, num_classes: int | None) -> list[Tree] | None:
    """All trees of a faultless text of binary trees; None for any other text.

    The stack holds, for each unfinished node, its opening mark `-2 - label` and the finished
    children: `2 i` for leaf `i`, `2 k + 1` for the `k`-th internal node. The arrays of all trees
    are made at once; each tree gets slices of them.
    """
    label_of = _Labels(num_classes)
    tokens: list[tuple[str, ...]] = []  # one entry per tree
    labels: list[int] = []
    children: list[int] = []  # two entries per internal node, coded as on the stack
    stack: list[int] = []
    words: list[str] = []  # of the current tree, as are the next two
    leaf_labels: list[int] = []
    node_labels: list[int] = []
    start = 0
    try:
        while start < len(text):
            stop = text.find(")", start + _BLOCK) + 1 or len(text)  # after `)` no token is cut
            for label, word, junk in _FAST_TOKEN.findall(text, start, stop):
                if word:
                    finished = 2 * len(words)
                    words.append(word)
                    leaf_labels.append(label_of[label])
                elif label:
                    stack.append(-2 - label_of[label])
                    continue
                elif junk:
                    return None
                else:
                    right, left, mark = stack.pop(), stack.pop(), stack.pop()
                    if right < 0 or left < 0 or mark >= 0:
                        return None  # not two children
                    finished = 2 * len(node_labels) + 1
                    node_labels.append(-2 - mark)
                    children += (left, right)
                if stack:
                    stack.append(finished)
                else:
                    tokens.append(tuple(words))
                    labels += leaf_labels
                    labels += node_labels
                    words, leaf_labels, node_labels = [], [], []
            start = stop
    except (IndexError, DataError):  # too many `)`; a bad label
        return None
    return None if stack else _slice_trees(tokens, labels, children)


def _slice_trees(tokens: list[tuple[str, ...]], labels: list[int], coded: list[int]) -> list[Tree]:
    """Trees from the arrays of all trees in a row; `coded` as in `_parse_binary`."""
    sizes = np.array([len(words) for words in tokens], np.int32)
    codes = np.array(coded, np.int32).reshape(-1, 2)
    all_labels = np.array(labels, np.int32)
    # Leaf i is coded 2 i, the k-th internal node 2 k + 1: its id is k + the number of leaves.
    children = (codes >> 1) + (codes & 1) * np.repeat(sizes, sizes - 1)[:, None]
    for array in (children, all_labels):
        array.flags.writeable = False
    trees, node, inner = [], 0, 0
    for words in tokens:
        size = len(words)
        end, inner_end = node + 2 * size - 1, inner + size - 1
        trees.append(Tree._trusted(words, children[inner:inner_end], all_labels[node:end]))
        node, inner = end, inner_end
    return trees
