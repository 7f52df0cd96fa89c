"""How well binary trees over the same sentences agree: unlabelled brackets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rntn_jax.data.tree import Tree

__all__ = ["BracketScores", "bracket_scores"]


class BracketScores(NamedTuple):
    """Unlabelled agreement; precision, recall and F1 are one number, as trees are binary."""

    f1: float  # of all internal nodes: shared spans over spans
    f1_below_root: float  # without those of whole sentences, which are always right
    exact: float  # of sentences: all spans right
    root: float  # of sentences of two words and more: the root's split is right


def bracket_scores(gold: Iterable[Tree], predicted: Iterable[Tree]) -> BracketScores:
    """Agreement of trees over the same sentences.

    Args:
        gold: the trees to compare with.
        predicted: as many trees, each over as many words as its gold tree; labels mean nothing.

    Returns:
        The scores, as fractions from 0 to 1. O(nodes) time.

    Raises:
        ValueError: when there are not equally many trees, or a pair's words differ in number.

    Example:
        >>> from rntn_jax.data import parse_tree
        >>> gold = parse_tree("(2 (2 (2 very) (2 good)) (2 film))")
        >>> bracket_scores([gold], [parse_tree("(2 (2 very) (2 (2 good) (2 film)))")]).f1
        0.5
    """
    total = shared = exact = split = sentences = long = 0
    for number, (one, other) in enumerate(zip(gold, predicted, strict=True), 1):
        if one.num_leaves != other.num_leaves:
            raise ValueError(
                f"pair {number} has {one.num_leaves} and {other.num_leaves} words: not one sentence"
            )
        sentences += 1
        right, guessed = set(_spans(one)), set(_spans(other))
        common = len(right & guessed)
        exact += common == len(right)
        if right:
            long += 1
            total, shared = total + len(right), shared + common
            split += _join(one) == _join(other)
    return BracketScores(
        f1=shared / max(total, 1),
        f1_below_root=(shared - long) / max(total - long, 1),
        exact=exact / max(sentences, 1),
        root=split / max(long, 1),
    )


def _spans(tree: Tree) -> list[tuple[int, int]]:
    """Of each internal node, the words below it: ``begin .. end - 1``."""
    return list(map(tuple, tree.spans()[tree.num_leaves :].tolist()))


def _join(tree: Tree) -> int:
    """The number of words in the root's first part."""
    return int(tree.spans()[tree.children[-1, 0], 1])
