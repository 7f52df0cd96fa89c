"""The paper's analyses on trees small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.sentiment import analyses
from experiments.sentiment.negation import NEGATIVE, POSITIVE
from rntn_jax import data


def certain(*classes: int) -> np.ndarray:
    """Probabilities of a model that is nearly sure."""
    return np.full((len(classes), 5), 0.01) + 0.95 * np.eye(5)[list(classes)]


TREE = data.parse_tree("(3 (4 good) (1 (2 but) (1 long)))")  # leaves 0, 1, 2; nodes 3, 4


def test_accuracy_by_length_counts_nodes_of_each_length():
    rows = analyses.accuracy_by_length([TREE], [certain(4, 2, 3, 1, 4)])
    assert [row["length"] for row in rows] == [1, 2, 3]
    assert [row["nodes"] for row in rows] == [3, 1, 1]
    assert [row["fine"] for row in rows] == pytest.approx([2 / 3, 1, 0])
    assert [row["fine_up_to"] for row in rows] == pytest.approx([2 / 3, 3 / 4, 3 / 5])
    assert [row["binary"] for row in rows] == pytest.approx([1 / 2, 1, 1])  # "but" is neutral
    assert [row["binary_up_to"] for row in rows] == pytest.approx([1 / 2, 2 / 3, 3 / 4])


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("(3 (4 good) (1 (2 but) (1 long)))", (0, 2, 3)),
        ("(1 (3 (4 good) (2 but)) (1 long))", (0, 2, 4)),
        ("(1 (3 (4 good) (2 ,)) (1 (2 But) (1 long)))", (0, 3, 5)),  # the comma is not of X
    ],
)
def test_contrasts_of_both_shapes(text: str, nodes: tuple[int, int, int]):
    tree = data.parse_tree(text)
    gold = certain(*tree.labels)
    (found,) = analyses.contrasts([tree], [gold])
    assert (found.left, found.right, found.top) == nodes and found.is_right
    for node in nodes:  # each of the three has a say
        wrong = gold.copy()
        wrong[node] = certain(4 - tree.labels[node])[0]
        assert not analyses.contrasts([tree], [wrong])[0].is_right


@pytest.mark.parametrize(
    "text",
    [
        "(3 (4 good) (3 (2 but) (3 long)))",  # of one side
        "(3 (4 good) (2 (2 but) (1 long)))",  # the lowest node is neutral
        "(3 (4 good) (1 (2 and) (1 long)))",
        "(1 (2 but) (1 long))",  # no X
        "(2 but)",
    ],
)
def test_what_is_no_contrast(text: str):
    tree = data.parse_tree(text)
    assert not analyses.contrasts([tree], [certain(*tree.labels)])


def test_negation_asks_for_negative_or_for_less_negative():
    plain, negated = [certain(3), certain(4)], [certain(1), certain(3)]
    share, change = analyses.negation(plain, negated, positive=True)
    assert share == 0.5 and change[0] < 0
    plain, negated = [certain(0), certain(1)], [certain(3), certain(0)]
    share, change = analyses.negation(plain, negated, positive=False)
    assert share == 0.5 and change[0] > 0.5 and change[1] == pytest.approx(0)


def test_extreme_phrases_are_of_the_lengths_asked_for_and_stand_once():
    p = np.zeros((5, 5))
    p[:, 4] = [0.9, 0.1, 0.3, 0.8, 0.7]
    p[:, 0] = 1 - p[:, 4]
    found = analyses.extreme_phrases([TREE, TREE], [p, p / 2], (1, 2), count=2)
    assert found == [("good", pytest.approx(0.9)), ("but long", pytest.approx(0.8))]
    worst = analyses.extreme_phrases([TREE], [p], (3, 9), positive=False)
    assert worst == [("good but long", pytest.approx(0.3))]


def test_as_many_pairs_as_in_the_paper_and_each_changes():
    for pairs in (POSITIVE, NEGATIVE):
        assert len(pairs) == len(set(pairs)) == 21
        assert all(plain != negated for plain, negated in pairs)
