"""The sweep over trees: its rule, and that of plain recursion."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax import trees
from rntn_jax.recursive import Cell, sweep
from tests.helpers import (
    assert_close,
    check_orders,
    check_rule,
)
from tests.recursive.samples import (
    VOCABULARY,
    in_tree_order,
    nodes_of,
    objective,
    plain_sweep,
    random_cell,
    random_leaves,
    random_trees,
    recursion,
)

SIZES = [1, 2, 3, 5, 17, 60, 1]
FOREST_TREES = [
    *random_trees(0, SIZES),
    *random_trees(1, [2, 20], shape="left"),
    *random_trees(2, [33], shape="right"),
]


@pytest.mark.parametrize("tensor", [True, False], ids=["tensor", "plain"])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu", "identity"])
def test_gradient_is_that_of_the_plain_recursion(activation, tensor):
    nodes = nodes_of(FOREST_TREES)
    count = len(nodes.order)
    forest = trees.pack(FOREST_TREES, VOCABULARY, lanes=4)
    args = random_cell(tensor), random_leaves(forest)

    def swept(cell, leaves):
        return in_tree_order(sweep(cell, leaves, forest, activation=activation), forest, count)

    def of_fun(cell, leaves):
        states = plain_sweep(activation, cell, leaves, jax.tree.map(jnp.asarray, forest))
        return in_tree_order(states, forest, count)

    def run(states):
        def value(*args):
            h = states(*args)
            return objective(h), h

        return jax.jit(jax.value_and_grad(value, (0, 1), has_aux=True))(*args)

    expected = run(lambda cell, leaves: recursion(cell, leaves, nodes, activation))
    assert all(np.abs(x).max() > 1e-3 for x in jax.tree.leaves(expected))
    assert_close(run(swept), expected, 1e-10)
    assert_close(run(of_fun), expected, 1e-10)


def plain_and_rule(tensor):
    """The sweep as arguments of check_rule."""
    forest = trees.pack(random_trees(3, [1, 4, 2]), VOCABULARY, lanes=2)
    rule = lambda cell, leaves, forest: sweep(cell, leaves, forest)
    return (
        rule,
        partial(plain_sweep, "tanh"),
        (random_cell(tensor, 2), random_leaves(forest, 2), forest),
    )


def test_rule():
    check_rule(*plain_and_rule(tensor=True))


def test_rule_without_tensor():
    check_orders(*plain_and_rule(tensor=False))


@pytest.mark.parametrize("tensor", [True, False], ids=["tensor", "plain"])
def test_half_precision_adds_up_many_nodes_in_float32(tensor):
    forest = trees.pack(random_trees(0, [2] * 3000), VOCABULARY, lanes=64)
    low = lambda *shape: jnp.zeros(shape, jnp.bfloat16)
    cell = Cell(v=low(1, 2, 2) if tensor else None, w=low(2, 1), b=low(1))
    leaves = low(forest.shape.leaves, 1) + 1

    def total(cell):  # every root has the gradient 1; in bfloat16 a sum of ones stops at 256
        states = sweep(cell, leaves, forest, activation="identity")
        return states[jnp.asarray(forest.roots)].astype(jnp.float32).sum()

    for gradient in jax.tree.leaves(jax.jit(jax.grad(total))(cell)):
        assert gradient.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(gradient, np.float32), 3000, rtol=2**-8)


def test_wrong_arguments():
    forest = trees.pack(random_trees(0, [3]), VOCABULARY)
    cell, leaves = random_cell(), random_leaves(forest)
    assert cell.v is not None
    for bad, own in [
        (cell, leaves[:-1]),
        (cell._replace(w=cell.w.T), leaves),
        (cell._replace(b=cell.b[:-1]), leaves),
        (cell._replace(v=cell.v[:, :-1]), leaves),
    ]:
        with pytest.raises(AssertionError):
            sweep(bad, own, forest)
    with pytest.raises(ValueError, match="'gelu'"):
        sweep(cell, leaves, forest, activation="gelu")
