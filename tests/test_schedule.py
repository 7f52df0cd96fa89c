"""`schedule`: children before their parents, as few steps as there can be."""

from __future__ import annotations

import numpy as np
import pytest

from rntn_jax.schedule import schedule


def random_forest(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Parents, in no particular order, and depths."""
    rng = np.random.default_rng(seed)
    parent = np.array([rng.integers(-1, i) if i else -1 for i in range(count)], int)
    depth = np.zeros(count, int)
    for i in range(count):
        depth[i] = depth[parent[i]] + 1 if parent[i] >= 0 else 0
    name = rng.permutation(count)  # of each node
    parents, depths = np.full(count, -1), np.zeros(count, int)
    parents[name] = np.where(parent >= 0, name[parent], -1)
    depths[name] = depth
    return parents, depths


@pytest.mark.parametrize("lanes", [1, 2, 3, 100])
@pytest.mark.parametrize("seed", range(5))
def test_order_and_length(seed, lanes):
    parent, depth = random_forest(seed, 60)
    step, lane = schedule(parent, depth, lanes)
    assert (step >= 0).all() and (lane < lanes).all()
    assert len({*zip(step.tolist(), lane.tolist())}) == 60
    has = parent >= 0
    assert (step[has] < step[parent[has]]).all()
    # Hu's bound: all nodes from some depth on, and then a step for each depth above.
    bound = max(d + -(-int((depth >= d).sum()) // lanes) for d in range(depth.max() + 1))
    assert step.max() + 1 == bound


def test_masked_nodes_are_left_out():
    parent, depth = np.array([-1, 0, 0, -1]), np.array([0, 1, 1, 0])
    mask = np.array([True, True, False, False])
    step, lane = schedule(parent, depth, 1, mask)
    assert step.tolist() == [1, 0, -1, -1] and lane.tolist() == [0, 0, -1, -1]


def test_no_node():
    empty = np.zeros(0, int)
    assert [x.tolist() for x in schedule(empty, empty, 4)] == [[], []]


def test_many_that_wait_above_a_deep_chain():
    """A queue for each depth: nobody looks at all depths in each step."""
    deep = 30_000
    parent = np.append(np.arange(1, deep), -1)
    parent = np.append(parent, np.full(deep, deep - 1))
    depth = np.append(deep - 1 - np.arange(deep), np.ones(deep, int))
    step, _ = schedule(parent, depth, 2)
    assert step.max() + 1 == deep + 1
