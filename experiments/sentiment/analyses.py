"""What a model of sentiment trees understands: the analyses of Socher et al. (2013), section 5.

Each is a function of trees and of the class probabilities of their nodes, whoever gave them: a
network of this package, a baseline, another program. Five classes; the side of a node is positive
where p3 + p4 > p0 + p1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rntn_jax.data import Tree

__all__ = [
    "Contrast",
    "accuracy_by_length",
    "contrasts",
    "extreme_phrases",
    "negation",
    "positivity",
]

Probabilities = Sequence[np.ndarray]  # [2L-1, 5] of each tree


def positivity(p: np.ndarray) -> np.ndarray:
    """Probability of the positive side, neutral left out: ``(p3 + p4) / (1 - p2)``.

    Args:
        p: ``[.., 5]``.

    Example:
        >>> float(positivity(np.array([0.1, 0.1, 0.2, 0.3, 0.3])).round(3))
        0.75
    """
    positive, negative = p[..., 3:].sum(-1), p[..., :2].sum(-1)
    return positive / np.maximum(positive + negative, np.finfo(float).tiny)


def accuracy_by_length(trees: Sequence[Tree], probabilities: Probabilities) -> list[dict[str, Any]]:
    """Accuracy of the nodes that span n words, for each n, and of all that span at least n.

    Source: Socher et al. (2013), Figure 6 (which shows at each n the nodes of that length, and
    all of at most that length).

    Args:
        trees: with labels.
        probabilities: of their nodes.

    Returns:
        A row for each length that occurs: ``length``, ``nodes``, ``fine`` and ``fine_up_to``, and
        the same of the binary task, without nodes that are neutral: ``binary``, ``binary_up_to``.
    """
    length = np.concatenate([np.diff(tree.spans(), axis=1)[:, 0] for tree in trees])
    gold = np.concatenate([tree.labels for tree in trees])
    p = np.concatenate(list(probabilities))
    right = {
        "fine": (p.argmax(axis=1) == gold, gold >= 0),
        "binary": ((positivity(p) > 0.5) == (gold > 2), (gold >= 0) & (gold != 2)),
    }
    rows = []
    for n in np.unique(length[gold >= 0]).tolist():
        row: dict[str, Any] = {"length": n, "nodes": int(((length == n) & (gold >= 0)).sum())}
        for name, (hit, counted) in right.items():
            for suffix, chosen in (("", length == n), ("_up_to", length <= n)):
                own = hit[chosen & counted]
                row[name + suffix] = float(own.mean()) if len(own) else float("nan")
        rows.append(row)
    return rows


class Contrast(NamedTuple):
    """A sentence "X but Y" whose halves are of different sides."""

    tree: int  # its number
    left: int  # the node of X
    right: int  # the node of Y
    top: int  # the lowest node above both "but" and Y
    is_right: bool  # whether the sides of all three are predicted


def contrasts(
    trees: Sequence[Tree], probabilities: Probabilities, words: Sequence[str] = ("but",)
) -> list[Contrast]:
    """Phrases "X but Y" with X and Y of different sides, and whether a model gets them right.

    Right is what has the sides of X, of Y, and of the lowest node that is above both "but" and Y.

    Source: Socher et al. (2013), section 5.3: 131 such cases in the test set.
    Differs from source: theirs is not said to be of sides or of five classes; these are sides.
    Cases whose lowest node has a neutral label, or none, are left out.

    Args:
        trees: with labels.
        probabilities: of their nodes.
        words: conjunctions, in lower case.
    """
    found = []
    for number, (tree, p) in enumerate(zip(trees, probabilities)):
        parents, children = tree.parents(), tree.children
        for leaf, word in enumerate(tree.tokens):
            if word.lower() not in words or parents[leaf] < 0:
                continue
            parent = int(parents[leaf])
            first, second = map(int, children[parent - tree.num_leaves])
            grandparent = int(parents[parent])
            if grandparent < 0:
                continue
            outer = list(map(int, children[grandparent - tree.num_leaves]))
            if first == leaf and outer[1] == parent:  # (X (but Y))
                left, right, top = outer[0], second, parent
            elif second == leaf and outer[0] == parent:  # ((X but) Y)
                left, right, top = first, outer[1], grandparent
            else:
                continue
            left = _without_comma(tree, left)
            gold = np.sign(tree.labels[[left, right, top]] - 2)
            unlabelled = (tree.labels[[left, right, top]] < 0).any()
            if unlabelled or not gold.all() or gold[0] == gold[1]:
                continue
            sides = np.where(positivity(p[[left, right, top]]) > 0.5, 1, -1)
            found.append(Contrast(number, left, right, top, bool((sides == gold).all())))
    return found


def _without_comma(tree: Tree, node: int) -> int:
    """The left child of a node whose right one is a comma."""
    if node < tree.num_leaves:
        return node
    first, second = map(int, tree.children[node - tree.num_leaves])
    comma = second < tree.num_leaves and tree.tokens[second] in (",", ";", "--")
    return first if comma else node


def negation(
    plain: Probabilities, negated: Probabilities, positive: bool
) -> tuple[float, np.ndarray]:
    """How often a model understands that a sentence is negated.

    Of positive sentences: how often the negated one comes out negative. Of negative sentences: how
    often negation makes them less negative (it need not make them positive).

    Source: Socher et al. (2013), section 5.4 and Table 2.
    Differs from source: positivity leaves out the neutral class; the sentences are the caller's.

    Args:
        plain: probabilities of the nodes of each sentence.
        negated: of those of its negation.
        positive: whether the plain sentences are positive.

    Returns:
        ``(share, change)``: the share that is right, and the change of the root's positivity in
        each pair.
    """
    before, after = (positivity(np.stack([p[-1] for p in own])) for own in (plain, negated))
    right = after < 0.5 if positive else after > before
    return float(right.mean()), after - before


def extreme_phrases(
    trees: Sequence[Tree],
    probabilities: Probabilities,
    lengths: tuple[int, int],
    count: int = 5,
    positive: bool = True,
) -> list[tuple[str, float]]:
    """The most positive (or negative) phrases of so many words, each once.

    Source: Socher et al. (2013), Table 3.

    Args:
        trees: their labels are not read.
        probabilities: of their nodes.
        lengths: least and greatest number of words.
        count: of phrases.
        positive: False: the most negative ones.

    Returns:
        Phrases with the probability of the most extreme class, greatest first.
    """
    found: dict[str, float] = {}
    for tree, p in zip(trees, probabilities):
        spans = tree.spans()
        sizes = spans[:, 1] - spans[:, 0]
        for node in np.flatnonzero((lengths[0] <= sizes) & (sizes <= lengths[1])).tolist():
            phrase = " ".join(tree.tokens[spans[node, 0] : spans[node, 1]]).lower()
            found[phrase] = max(found.get(phrase, 0.0), float(p[node, 4 if positive else 0]))
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))[:count]
