"""The sweep over trees: padding, lanes and batches change nothing."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest

from rntn_jax import trees
from rntn_jax.recursive import sweep
from tests.helpers import (
    assert_close,
)
from tests.recursive.samples import (
    VOCABULARY,
    D,
    random_cell,
    random_leaves,
    random_trees,
)


# One compiled gradient for most of the rest: tanh, with the tensor.
@jax.jit
def gradients(cell, leaves, forest, cotangent):
    """States and the pullback of a cotangent of the states."""
    states, pullback = jax.vjp(lambda cell, leaves: sweep(cell, leaves, forest), cell, leaves)
    return states, pullback(cotangent)


def by_slot(forest: trees.Forest, rows: list[np.ndarray]) -> np.ndarray:
    """The inverse of unpack: an array ``[N, ...]`` with NaN in the padding slots."""
    flat = np.concatenate(rows)
    out = np.full((forest.shape.slots, *flat.shape[1:]), np.nan)
    out[forest.slots[: len(flat)]] = flat
    return out


def by_leaf(forest: trees.Forest, rows: list[np.ndarray]) -> np.ndarray:
    """States for the leaf slots, NaN in the padding."""
    flat = np.concatenate(rows)
    out = np.full((forest.shape.leaves, flat.shape[1]), np.nan)
    out[: len(flat)] = flat
    return out


def run_packed(packed, cotangents, states, shape=None, lanes=None):
    """Per-tree states, per-tree gradients of the leaves, and the cell's gradient.

    Everything that is padding holds NaN.
    """
    forest = trees.pack(packed, VOCABULARY, shape=shape, lanes=lanes)
    cell = random_cell()
    leaves = by_leaf(forest, states)
    h, (d_cell, d_leaves) = gradients(cell, leaves, forest, by_slot(forest, cotangents))
    ends = np.cumsum([tree.num_leaves for tree in packed])
    assert not np.asarray(d_leaves)[ends[-1] :].any()
    padding = np.ones(forest.shape.slots, bool)
    padding[forest.slots[: forest.sizes.sum()]] = False
    assert not np.asarray(h)[padding].any()
    return trees.unpack(forest, h), np.split(d_leaves[: ends[-1]], ends[:-1]), d_cell


@pytest.fixture(scope="module")
def batch():
    """Trees, a cotangent for each node and a state for each leaf."""
    packed = random_trees(4, [6, 1, 12, 3]) + random_trees(5, [9], shape="left")
    rng = np.random.default_rng(6)
    cotangents = [rng.normal(size=(len(tree), D)) for tree in packed]
    states = [rng.normal(size=(tree.num_leaves, D)) for tree in packed]
    return packed, cotangents, states


SHAPE = trees.Shape(40, 32, 2, 6)


@pytest.fixture(scope="module")
def whole(batch):
    return run_packed(*batch, shape=SHAPE)


def test_nan_in_padding_changes_nothing(batch, whole):
    packed, cotangents, states = batch
    forest = trees.pack(packed, VOCABULARY, shape=SHAPE)
    leaves = np.nan_to_num(by_leaf(forest, states), nan=0.25)
    cotangent = np.nan_to_num(by_slot(forest, cotangents), nan=0.25)
    h, (d_cell, d_leaves) = gradients(random_cell(), leaves, forest, cotangent)
    np.testing.assert_array_equal(np.concatenate(trees.unpack(forest, h)), np.concatenate(whole[0]))
    np.testing.assert_array_equal(d_leaves[: sum(map(len, whole[1]))], np.concatenate(whole[1]))
    for left, right in zip(d_cell, whole[2], strict=True):
        np.testing.assert_array_equal(left, right)
        assert np.isfinite(left).all()


def test_batch_of_many_is_many_batches_of_one(batch, whole):
    alone = [
        run_packed([tree], [cotangent], [state], shape=SHAPE)
        for tree, cotangent, state in zip(*batch, strict=True)
    ]
    assert_close([h for (h,), _, _ in alone], whole[0], 1e-12)
    assert_close([g for _, (g,), _ in alone], whole[1], 1e-12)
    summed = jax.tree.map(lambda *shares: sum(shares), *(d_cell for _, _, d_cell in alone))
    assert_close(summed, whole[2], 1e-12)


@pytest.mark.parametrize(
    ("shape", "lanes"), [(trees.Shape(64, 50, 2, 9), None), (None, 1), (None, 16)], ids=str
)
def test_padding_and_lanes_change_nothing(batch, whole, shape, lanes):
    assert_close(run_packed(*batch, shape=shape, lanes=lanes), whole, 1e-12)


def test_second_order_with_nan_in_padding_and_a_forest_that_is_a_constant(batch):
    """A jitted function may close over the forest, also for the gradient of the gradient."""
    packed, cotangents, states = batch
    forest = trees.pack(packed, VOCABULARY, shape=SHAPE)
    dirty = by_leaf(forest, states), by_slot(forest, cotangents)
    clean = [np.nan_to_num(x, nan=0.25) for x in dirty]

    def of_gradient(forest, cell, leaves, cotangent):
        def size(cell, leaves):
            swept = lambda cell, leaves: sweep(cell, leaves, forest)
            _, pullback = jax.vjp(swept, cell, leaves)
            return sum((g**2).sum() for g in jax.tree.leaves(pullback(cotangent)))

        return jax.grad(size, (0, 1))(cell, leaves)

    closed = jax.jit(partial(of_gradient, forest))(random_cell(), *dirty)
    assert_close(closed, jax.jit(of_gradient)(forest, random_cell(), *clean), 1e-12)


def test_forests_of_one_shape_compile_once():
    traces = []

    @jax.jit
    def value_and_grad(cell, leaves, forest):
        traces.append(forest.shape)
        return jax.value_and_grad(lambda cell: sweep(cell, leaves, forest).sum())(cell)

    shape = trees.Shape(24, 16, 4, 3)
    forests = [trees.pack(random_trees(s, [7, s, 4]), VOCABULARY, shape=shape) for s in (1, 5, 13)]
    values = [float(value_and_grad(random_cell(), random_leaves(f), f)[0]) for f in forests]
    assert len(set(values)) == 3
    assert traces == [shape]
