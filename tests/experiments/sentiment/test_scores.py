"""Scores of sentiment trees, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from experiments.sentiment.scores import Predictions, collect, confusion_matrix, score
from rntn_jax.data import parse_tree

# Node order: leaves, then internal nodes, the root last.
TREES = [parse_tree("(3 (2 a) (4 b))"), parse_tree("(0 (1 c) (-1 d))")]
ROWS = [
    np.array(
        [
            [0.10, 0.10, 0.60, 0.10, 0.10],  # 2: right; a neutral gold label is not polar
            [0.30, 0.05, 0.20, 0.25, 0.20],  # 4: best is 0, but 0.45 > 0.35 is the right side
            [0.00, 0.10, 0.10, 0.30, 0.50],  # 3: best is 4, on the right side either way
        ]
    ),
    np.array(
        [
            [0.20, 0.15, 0.40, 0.10, 0.15],  # 1: best is neutral; 0.35 > 0.25 is the right side
            [0.00, 0.00, 0.00, 0.00, 1.00],  # unlabelled
            [0.40, 0.00, 0.10, 0.30, 0.20],  # 0: right, but 0.5 > 0.4 is the wrong side
        ]
    ),
]


def test_an_example_by_hand():
    found = score(collect(TREES, ROWS))
    assert found == {
        "fine_all": 2 / 5,
        "fine_root": 1 / 2,
        "binary_all": 3 / 4,
        "binary_root": 1 / 2,
        "binary_corenlp_all": 2 / 4,
        "binary_corenlp_root": 2 / 2,
    }
    assert all(type(value) is float for value in found.values())


def test_labelled_nodes_are_collected_in_order():
    found = collect(TREES, ROWS)
    assert found.gold.tolist() == [2, 4, 3, 1, 0]
    assert found.is_root.tolist() == [False, False, True, False, True]
    np.testing.assert_array_equal(found.probabilities, np.concatenate(ROWS)[[0, 1, 2, 3, 5]])


def test_the_confusion_matrix_is_gold_by_predicted():
    expected = np.zeros((5, 5), int)
    expected[[2, 4, 3, 1, 0], [2, 0, 4, 2, 0]] = 1
    np.testing.assert_array_equal(confusion_matrix(collect(TREES, ROWS)), expected)


def test_an_unlabelled_root_and_a_tree_of_one_word():
    trees = [parse_tree("(-1 (2 a) (4 b))"), parse_tree("(1 c)")]
    found = collect(trees, [np.eye(5)[[2, 4, 0]], np.eye(5)[[1]]])
    assert found.is_root.tolist() == [False, False, True]
    assert score(found) == dict.fromkeys(score(found), 1.0)


def test_two_classes_have_no_binary_columns():
    trees = [parse_tree("(1 (0 a) (-1 b))", num_classes=2)]
    found = collect(trees, [np.array([[0.4, 0.6], [0.5, 0.5], [0.3, 0.7]])])
    assert score(found) == {"fine_all": 0.5, "fine_root": 1.0}
    np.testing.assert_array_equal(confusion_matrix(found), [[0, 1], [0, 1]])


@pytest.mark.parametrize(
    ("brackets", "without"),
    [
        ("(-1 (-1 a) (-1 b))", ["fine_all", "fine_root", "binary_all", "binary_root"]),
        ("(-1 (3 a) (-1 b))", ["fine_root", "binary_root"]),
        ("(2 (2 a) (2 b))", ["binary_all", "binary_root"]),
        ("(2 (3 a) (2 b))", ["binary_root"]),
    ],
)
def test_where_no_node_qualifies_there_is_no_number(brackets: str, without: list[str]):
    tree = parse_tree(brackets)
    found = score(collect([tree], [np.eye(5)[np.maximum(tree.labels, 0)]]))
    for name in ("fine_all", "fine_root", "binary_all", "binary_root"):
        assert math.isnan(found[name]) if name in without else found[name] == 1.0, name
        if name.startswith("binary"):
            corenlp = found[name.replace("binary", "binary_corenlp")]
            assert math.isnan(corenlp) == math.isnan(found[name])


def test_scores_agree_with_counting_one_by_one():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(5), 200)
    gold, is_root = rng.integers(0, 5, 200), rng.random(200) < 0.2
    found = score(Predictions(p, gold, is_root))
    for place, wanted in (("all", [True] * 200), ("root", is_root)):
        fine, binary, corenlp = [], [], []
        for row, label, here in zip(p, gold, wanted):
            if not here:
                continue
            best = max(range(5), key=row.__getitem__)
            fine.append(best == label)
            if label != 2:
                binary.append((row[3] + row[4] > row[0] + row[1]) == (label > 2))
                corenlp.append(best > 2 if label > 2 else best < 2)
        assert found[f"fine_{place}"] == pytest.approx(np.mean(fine))
        assert found[f"binary_{place}"] == pytest.approx(np.mean(binary))
        assert found[f"binary_corenlp_{place}"] == pytest.approx(np.mean(corenlp))
    assert confusion_matrix(Predictions(p, gold, is_root)).sum() == 200
