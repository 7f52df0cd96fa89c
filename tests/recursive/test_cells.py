"""All cells of the recursive family: rule = autodiff of the plain recursion = NumPy oracle.

A new cell is one row of CELLS, and its equations in `tests.oracles.cells_numpy`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax import recursive, trees
from rntn_jax.data import Vocabulary
from rntn_jax.recursive import mv_rnn, rntn, tree_lstm
from rntn_jax.recursive.span_sum import _span_sum_reference, span_sum
from tests.helpers import assert_close, check_rule, random_tree, residual_bytes, size_in_bytes
from tests.oracles import cells_numpy, complex_step
from tests.recursive.loops import loops

D = 2
VOCABULARY = Vocabulary.build([f"w{i}" for i in range(7)])


class Family(NamedTuple):
    """A cell under test: functions of ``(weights, leaves, forest)``, weights a tuple of arrays."""

    sweep: Callable[..., Any]
    plain: Callable[..., Any]  # the recursion left to autodiff
    node: Callable[..., Any]  # the oracle of one node
    weights: Callable[[int], list[tuple[int, ...]]]  # their shapes at a width D
    width: Callable[[int], int]  # of a state
    kept: int = 0  # numbers that the rule keeps of a node besides its state, at D = 2


def _rntn(plain: bool):
    def run(weights, leaves, forest):
        cell = rntn.Cell(*weights) if len(weights) == 3 else rntn.Cell(None, *weights)
        swept = partial(rntn._sweep_reference, "tanh") if plain else recursive.sweep
        return swept(cell, leaves, forest)

    return run


def _tree_lstm_plain(weights, leaves, forest):
    cell = tree_lstm.Cell(*weights)
    if cell.b.shape[0] == 2 * leaves.shape[1]:
        cell = tree_lstm._as_binary(cell)
    return tree_lstm._sweep_reference(cell, leaves, forest)


def _tree_lstm(weights, leaves, forest):
    return tree_lstm.sweep(tree_lstm.Cell(*weights), leaves, forest)


CELLS = {
    "rntn": Family(
        _rntn(False),
        _rntn(True),
        cells_numpy.rntn,
        lambda d: [(d, 2 * d, 2 * d), (2 * d, d), (d,)],
        lambda d: d,
        kept=2 * D * D,
    ),
    "rnn": Family(
        _rntn(False), _rntn(True), cells_numpy.rnn, lambda d: [(2 * d, d), (d,)], lambda d: d
    ),
    "tree_lstm": Family(
        _tree_lstm,
        _tree_lstm_plain,
        cells_numpy.tree_lstm,
        lambda d: [(2 * d, 5 * d), (5 * d,)],
        lambda d: 2 * d,
        kept=5 * D,
    ),
    "child_sum": Family(
        _tree_lstm,
        _tree_lstm_plain,
        cells_numpy.child_sum,
        lambda d: [(d, 4 * d), (4 * d,)],
        lambda d: 2 * d,
        kept=5 * D,
    ),
    "mv_rnn": Family(
        lambda weights, *rest: mv_rnn.sweep(mv_rnn.Cell(*weights), *rest),
        lambda weights, *rest: mv_rnn._sweep_reference("tanh", mv_rnn.Cell(*weights), *rest),
        cells_numpy.mv_rnn,
        lambda d: [(2 * d, d), (d,), (2 * d, d)],
        lambda d: d + d * d,
    ),
    "span_sum": Family(
        lambda _, *rest: span_sum(*rest),
        lambda _, *rest: _span_sum_reference(*rest),
        cells_numpy.span_sum,
        lambda d: [],
        lambda d: 3,
    ),
}
every_cell = pytest.mark.parametrize("name", CELLS)


def forest_of(sizes, **options):
    rng = np.random.default_rng(3)
    packed = [random_tree(rng, n) for n in sizes]
    return packed, trees.pack(packed, VOCABULARY, **options)


def arguments(family: Family, forest: trees.Forest, dim: int = D):
    """Weights and leaves; the padding leaves have states too."""
    rng = np.random.default_rng(7)
    weights = tuple(0.7 * rng.normal(size=shape) for shape in family.weights(dim))
    return weights, rng.normal(size=(forest.shape.leaves, family.width(dim)))


QUICK = ("tree_lstm", "span_sum")  # the others have this test elsewhere, or share a rule


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CELLS]
)
def test_rule(name):
    """Of first and second order, with other dtypes, in jit, vmap, scan and remat."""
    family, (_, forest) = CELLS[name], forest_of([1, 4, 2], lanes=2)
    weights, leaves = arguments(family, forest)
    if weights:
        check_rule(family.sweep, family.plain, (weights, leaves, forest))
    else:  # nothing of ours that has a gradient but the leaves
        of_leaves = lambda f: lambda leaves, forest: f((), leaves, forest)
        check_rule(of_leaves(family.sweep), of_leaves(family.plain), (leaves, forest))


@every_cell
def test_states_and_gradients_are_the_papers(name):
    """Against NumPy, node by node from the trees; derivatives by complex steps."""
    family, (packed, forest) = CELLS[name], forest_of([3, 1, 5])
    weights, leaves = arguments(family, forest)
    ends = np.cumsum([tree.num_leaves for tree in packed])
    cotangents = [np.random.default_rng(5).normal(size=(len(t), leaves.shape[1])) for t in packed]

    def value(weights, leaves):
        return family.sweep(weights, leaves, forest)[jnp.asarray(forest.slots)[: 2 * ends[-1] - 3]]

    states, pullback = jax.vjp(jax.jit(value), weights, leaves)
    d_weights, d_leaves = pullback(jnp.concatenate(cotangents))
    totals = [np.zeros_like(w) for w in weights]
    of_trees = np.split(leaves[: ends[-1]], ends[:-1])
    found = np.split(d_leaves[: ends[-1]], ends[:-1])
    rows = np.split(states, np.cumsum([len(tree) for tree in packed])[:-1])
    for tree, own, cotangent, gradient, h in zip(packed, of_trees, cotangents, found, rows):
        run = lambda *args: cells_numpy.states(family.node, args[:-1], args[-1], tree.children)  # noqa: B023
        assert_close(h, run(*weights, own), 1e-12)
        *shares, expected = complex_step.vjp(run, [*weights, own], cotangent)
        assert_close(gradient, expected)
        totals = [total + share for total, share in zip(totals, shares)]
    assert_close(list(d_weights), totals)
    assert not np.asarray(d_leaves)[ends[-1] :].any()


@every_cell
def test_nan_in_padding_and_the_size_of_the_padding_change_nothing(name):
    family, (packed, forest) = CELLS[name], forest_of([3, 1, 5])
    weights, leaves = arguments(family, forest)
    count = sum(tree.num_leaves for tree in packed)
    larger = trees.pack(packed, VOCABULARY, shape=trees.Shape(count + 3, 9, 2, 5))

    def run(forest):
        own = np.full((forest.shape.leaves, leaves.shape[1]), np.nan)
        own[:count] = leaves[:count]
        slots = forest.slots[: forest.sizes.sum()]
        cotangent = np.full((forest.shape.slots, own.shape[1]), np.nan)
        cotangent[slots] = np.random.default_rng(0).normal(size=(len(slots), own.shape[1]))
        states, pullback = jax.vjp(lambda *args: family.sweep(*args, forest), weights, own)
        d_weights, d_leaves = pullback(jnp.asarray(cotangent))
        assert not np.asarray(d_leaves[count:]).any()
        return states[slots], d_weights, d_leaves[:count]

    first, second = run(forest), run(larger)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(first))
    assert_close(second, first, 1e-12)


@every_cell
def test_no_loop_carries_a_weight_gradient(name):
    family, (_, forest) = CELLS[name], forest_of([20, 30], lanes=4)
    forest = jax.tree.map(jnp.asarray, forest)
    weights, leaves = arguments(family, forest, dim=5)
    shapes = set(family.weights(5))

    def carried(states):
        gradient = jax.grad(lambda *args: states(*args, forest).sum(), (0, 1))
        return [set(own) for own in loops(jax.make_jaxpr(gradient)(weights, leaves).jaxpr)]

    mine = carried(family.sweep)
    assert len(mine) >= 2  # up and down
    assert not any(shapes & own for own in mine)
    if shapes and name != "child_sum":  # so the check can fail
        assert any(shapes & own for own in carried(family.plain))


@every_cell
def test_residuals(name):
    """The states, what the docstring says of each node, and the arguments."""
    family, (_, forest) = CELLS[name], forest_of([20, 30], lanes=4)
    forest = jax.tree.map(jnp.asarray, forest)
    weights, leaves = arguments(family, forest)
    kept = residual_bytes(lambda *args: family.sweep(*args, forest), weights, leaves)
    steps, lanes = forest.shape.steps, forest.shape.lanes
    bound = forest.shape.slots * leaves.shape[1] + steps * lanes * family.kept
    assert kept <= 2 * size_in_bytes(weights) + size_in_bytes((leaves, forest)) + 8 * bound + 512


@every_cell
@pytest.mark.usefixtures("float32")
def test_chain_of_5000_leaves(name):
    """Finite gradients in float32 from the root of a chain, through 4,999 steps."""
    family = CELLS[name]
    chain = random_tree(np.random.default_rng(0), 5000, "left")
    forest = trees.pack([chain], VOCABULARY)
    weights, leaves = arguments(family, forest)
    low = jax.tree.map(lambda x: np.float32(0.3 * x), (weights, leaves))

    def total(weights, leaves):
        states = family.sweep(weights, leaves, forest)
        return jnp.tanh(states).sum()

    value, gradients = jax.jit(jax.value_and_grad(total, (0, 1)))(*low)
    assert np.isfinite(value)
    for gradient in jax.tree.leaves(gradients):
        assert gradient.dtype == np.float32
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


@pytest.mark.parametrize("name", [name for name in CELLS if name != "span_sum"])
def test_wrong_shapes_are_named(name):
    family, (_, forest) = CELLS[name], forest_of([3])
    weights, leaves = arguments(family, forest)
    with pytest.raises(AssertionError, match="leaves"):
        family.sweep(weights, leaves[:-1], forest)
    for i in range(len(weights)):
        with pytest.raises(AssertionError, match=r"cell\.|leaves"):
            family.sweep((*weights[:i], weights[i][:-1], *weights[i + 1 :]), leaves, forest)


def test_an_odd_state_is_no_state_of_a_tree_lstm():
    _, forest = forest_of([3])
    cell = tree_lstm.Cell(jnp.zeros((2, 5)), jnp.zeros(5))
    with pytest.raises(AssertionError, match="2D"):
        tree_lstm.sweep(cell, jnp.zeros((forest.shape.leaves, 3)), forest)
