"""Positions: words and nodes do not overlap, edges do not cross, time is linear."""

import time

import numpy as np
import pytest

from rntn_jax.plots import layout
from tests.plots.samples import Tree, chain, random_tree

TREES = [
    *(random_tree([f"w{i}" for i in range(n)], seed) for n in (1, 2, 3, 24) for seed in range(5)),
    chain(40, left=True),
    chain(40, left=False),
]


def _place(tree: Tree) -> layout.Layout:
    widths = np.random.default_rng(0).uniform(0, 120, len(tree.tokens)).tolist()
    return layout.place(tree.children.tolist(), widths)


@pytest.mark.parametrize("tree", TREES)
def test_word_boxes_do_not_overlap_and_fill_the_width(tree: Tree) -> None:
    placed = _place(tree)
    leaves = len(tree.tokens)
    boxes = np.array(placed.boxes)
    low, high = np.array(placed.x[:leaves]) - boxes / 2, np.array(placed.x[:leaves]) + boxes / 2
    assert np.all(low[1:] - high[:-1] >= layout.WORD_GAP - 1e-6)
    assert low[0] == 0 and high[-1] == pytest.approx(placed.width)
    assert len(set(placed.y[:leaves])) == 1


@pytest.mark.parametrize("tree", TREES)
def test_parents_stand_midway_above_and_nodes_keep_apart(tree: Tree) -> None:
    placed = _place(tree)
    x, y, leaves = np.array(placed.x), np.array(placed.y), len(tree.tokens)
    left, right = tree.children.T
    np.testing.assert_allclose(x[leaves:], (x[left] + x[right]) / 2)
    assert np.all(y[leaves:] < np.minimum(y[left], y[right]))
    apart = np.hypot(x[:, None] - x, y[:, None] - y) + 1e9 * np.eye(len(x))
    assert apart.min() >= 2 * layout.RADIUS
    assert y.min() == layout.RADIUS and y.max() + layout.RADIUS == pytest.approx(placed.height)


@pytest.mark.parametrize("tree", TREES)
def test_edges_do_not_cross(tree: Tree) -> None:
    placed = _place(tree)
    x, y, leaves = placed.x, placed.y, len(tree.tokens)
    bars, drops = [], []
    for parent, pair in enumerate(tree.children.tolist(), leaves):
        bars.append((y[parent], x[pair[0]], x[pair[1]]))
        drops += [(x[child], y[parent], y[child]) for child in pair]
    for height, low, high in bars:
        for at, top, bottom in drops:
            assert not (low < at < high and top < height < bottom)


def test_time_is_linear_in_a_deep_chain() -> None:
    tree = chain(100_000, left=True)
    pairs = tree.children.tolist()
    start = time.process_time()
    placed = layout.place(pairs, [20.0] * len(tree.tokens))
    assert time.process_time() - start < 5
    assert len(placed.x) == len(tree.labels)
