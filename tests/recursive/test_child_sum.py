"""The child-sum Tree-LSTM over trees of any number of children, and their packing."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rntn_jax import trees
from rntn_jax.data import Vocabulary
from rntn_jax.recursive import child_sum, tree_lstm
from tests.helpers import assert_close, check_orders, check_rule, random_tree
from tests.oracles import cells_numpy, complex_step
from tests.recursive.loops import loops

D = 2
WORDS = [f"w{i}" for i in range(7)]
VOCABULARY = Vocabulary.build(WORDS)
# In no order of the nodes: a star, a chain, a single node, and something between.
PARENTS = [[3, 3, 3, -1, 3], [1, 2, 3, -1], [-1], [4, 0, 4, 2, -1, 0, 0, 2, 6]]


def packed(parents=PARENTS, **options):
    words = [[WORDS[n % 7] for n in range(len(own))] for own in parents]
    return trees.pack_nary(words, parents, VOCABULARY, **options)


def arguments(forest, d=D):
    """Weights, and inputs of every slot, the empty ones too."""
    rng = np.random.default_rng(7)
    weights: Any = 0.7 * rng.normal(size=(d, 4 * d)), 0.7 * rng.normal(size=4 * d)
    return child_sum.Cell(*weights), rng.normal(size=(forest.shape.slots, 4 * d))


@pytest.mark.parametrize("check", [check_orders, pytest.param(check_rule, marks=pytest.mark.slow)])
def test_rule(check):
    """Of first and second order; with other dtypes, in jit, vmap, scan and remat."""
    forest = packed(PARENTS[1:], lanes=3)
    check(child_sum.sweep, child_sum._sweep_reference, (*arguments(forest), forest))


def oracle(u, b, inputs, parents):
    """States of one tree's nodes, by the recursion from its root."""
    states = np.zeros((len(parents), len(b) // 2), np.result_type(u, b, inputs))

    def visit(node):
        children = [visit(k) for k in range(len(parents)) if parents[k] == node]
        states[node] = cells_numpy.child_sum(u, b, *children, x=inputs[node])
        return states[node]

    visit(parents.index(-1))
    return states


def test_states_and_gradients_are_the_papers():
    forest = packed(lanes=3)
    cell, inputs = arguments(forest)
    cotangents = [np.random.default_rng(5).normal(size=(len(own), 2 * D)) for own in PARENTS]
    of_tree = trees.unpack(forest, np.arange(forest.shape.slots))

    def value(cell, inputs):
        return child_sum.sweep(cell, inputs, forest)[np.concatenate(of_tree)]

    states, pullback = jax.vjp(jax.jit(value), cell, inputs)
    d_cell, d_inputs = pullback(jnp.concatenate(cotangents))
    totals = [np.zeros_like(w) for w in cell]
    begin = 0
    for parents, slots, cotangent in zip(PARENTS, of_tree, cotangents):
        run = lambda u, b, x: oracle(u, b, x, parents)  # noqa: B023
        own = inputs[slots]
        assert_close(states[begin : begin + len(parents)], run(*cell, own), 1e-12)
        *shares, expected = complex_step.vjp(run, [*cell, own], cotangent)
        assert_close(np.asarray(d_inputs)[slots], expected)
        totals = [total + share for total, share in zip(totals, shares)]
        begin += len(parents)
    assert_close(list(d_cell), totals)
    empty = np.setdiff1d(np.arange(forest.shape.slots), np.concatenate(of_tree))
    assert len(empty) > 1 and not np.asarray(d_inputs)[empty].any()


def test_binary_trees_are_those_of_the_other_sweep():
    rng = np.random.default_rng(3)
    binary = [random_tree(rng, n) for n in (6, 1, 4)]
    words, parents = [], []
    for tree in binary:
        up = np.full(len(tree), -1)
        for k, children in enumerate(tree.children):
            up[children] = tree.num_leaves + k
        parents.append(up)
        words.append([*tree.tokens, *[None] * len(tree.children)])
    forest, other = trees.pack_nary(words, parents, VOCABULARY), trees.pack(binary, VOCABULARY)
    cell, _ = arguments(forest)
    table = rng.normal(size=(len(VOCABULARY), 4 * D))
    inputs = jnp.where((forest.tokens > 0)[:, None], table[forest.tokens], 0)
    # A leaf of the binary sweep is a state: that of a node without children.
    leaf = [cells_numpy.child_sum(*cell, x=table[token]) for token in other.tokens]
    expected = trees.unpack(other, tree_lstm.sweep(cell, jnp.array(leaf), other))
    for own, states in zip(trees.unpack(forest, child_sum.sweep(cell, inputs, forest)), expected):
        assert_close(own, states, 1e-12)


def test_nan_in_padding_and_the_size_of_the_padding_change_nothing():
    forest, larger = packed(lanes=2), packed(shape=trees.Shape(0, 20, 5, 6))
    cell, inputs = arguments(forest)
    by_node = np.concatenate(trees.unpack(forest, inputs))

    def run(forest):
        slots = np.concatenate(trees.unpack(forest, np.arange(forest.shape.slots)))
        own = np.full((forest.shape.slots, 4 * D), np.nan)
        own[slots] = by_node
        cotangent = np.full((forest.shape.slots, 2 * D), np.nan)
        cotangent[slots] = np.random.default_rng(0).normal(size=(len(slots), 2 * D))
        states, pullback = jax.vjp(lambda *args: child_sum.sweep(*args, forest), cell, own)
        d_cell, d_inputs = pullback(jnp.asarray(cotangent))
        return states[slots], d_cell, d_inputs[slots]

    first, second = run(forest), run(larger)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(first))
    assert_close(second, first, 1e-12)


def test_no_loop_carries_a_weight_gradient():
    forest = jax.tree.map(jnp.asarray, packed([[-1, *range(20)], [-1] + [0] * 9], lanes=4))
    cell, inputs = arguments(forest, d=5)

    def carried(states):
        gradient = jax.grad(lambda *args: states(*args, forest).sum(), (0, 1))
        return [set(own) for own in loops(jax.make_jaxpr(gradient)(cell, inputs).jaxpr)]

    shapes = {(5, 20), (5, 15), (5, 5), (20,)}
    mine = carried(child_sum.sweep)
    assert len(mine) >= 2  # up and down
    assert not any(shapes & own for own in mine)
    assert any(shapes & own for own in carried(child_sum._sweep_reference))


@pytest.mark.parametrize("parents", [[-1, *range(4999)], [-1] + [0] * 4999], ids=["chain", "star"])
@pytest.mark.usefixtures("float32")
def test_5000_nodes(parents):
    forest = packed([parents])
    cell, inputs = arguments(forest)
    cell = cell._replace(u=cell.u / len(forest.tokens))  # a sum of 4,999 would fill every gate
    low = jax.tree.map(lambda x: np.float32(0.3 * x), (cell, inputs))

    def total(cell, inputs):
        return jnp.tanh(child_sum.sweep(cell, inputs, forest)).sum()

    value, gradients = jax.jit(jax.value_and_grad(total, (0, 1)))(*low)
    assert np.isfinite(value)
    for gradient in jax.tree.leaves(gradients):
        assert gradient.dtype == np.float32
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_wrong_arguments():
    forest = packed()
    cell, inputs = arguments(forest)
    for bad, own in [
        (cell, inputs[:-1]),
        (cell._replace(u=cell.u.T), inputs),
        (cell._replace(b=cell.b[:-1]), inputs),
    ]:
        with pytest.raises(AssertionError, match=r"cell\.|inputs"):
            child_sum.sweep(bad, own, forest)
    binary = trees.pack([random_tree(np.random.default_rng(0), 3)], VOCABULARY)
    with pytest.raises(TypeError, match="pack_nary"):
        child_sum.sweep(cell, inputs, binary)  # pyright: ignore[reportArgumentType]


@given(st.data())
def test_every_node_is_packed_once_after_its_children(data):
    parents = []
    for _ in range(data.draw(st.integers(1, 4))):
        n = data.draw(st.integers(1, 12))
        up = np.array([-1] + [data.draw(st.integers(0, k - 1)) for k in range(1, n)])
        order = np.array(data.draw(st.permutations(range(n))))  # node k becomes order[k]
        shuffled = np.full(n, -1)
        shuffled[order] = np.where(up >= 0, order[up], -1)
        parents.append(shuffled)
    labels = [np.arange(len(own)) - 1 for own in parents]
    words = [[None if n % 3 else WORDS[n % 7] for n in range(len(own))] for own in parents]
    forest = trees.pack_nary(words, parents, VOCABULARY, labels=labels, lanes=3)
    of_tree = trees.unpack(forest, np.arange(forest.shape.slots))
    slots = np.concatenate(of_tree)
    assert len(set(slots)) == len(slots) == forest.used.sum() and slots.min() > 0
    assert np.array_equal(np.flatnonzero(forest.used.ravel()) + 1, np.sort(slots))
    up = np.append(0, forest.parent)
    for t, own in enumerate(of_tree):
        root = parents[t] < 0
        assert own[root] == forest.roots[t] and up[own[root]] == 0
        assert np.array_equal(up[own[~root]], own[parents[t][~root]])
        step = (own - 1) // 3
        assert (step[~root] < step[parents[t][~root]]).all()
        assert forest.labels[own].tolist() == [0, *range(len(own) - 1)]
        assert forest.labelled[own].tolist() == [False] + [True] * (len(own) - 1)
        found = [VOCABULARY.encode([w])[0] if w else 0 for w in words[t]]
        assert forest.tokens[own].tolist() == found
    assert not np.delete(forest.labelled, slots).any()


@pytest.mark.parametrize(
    ("words", "parents", "options", "message"),
    [
        ([], [], {}, "no tree"),
        ([["a"]], [], {}, "1 trees have words, and 0 have parents"),
        ([["a"], []], [[-1], []], {}, "tree 1"),
        ([["a", "b"]], [[-1, 2]], {}, "tree 0: node 1 has parent 2, of 2 nodes"),
        ([["a", "b"]], [[-1, -1]], {}, r"one node must be the root .* \[0, 1\]"),
        ([["a", "b", "c"]], [[-1, 2, 1]], {}, "tree 0: node 1 is its own ancestor"),
        ([["a", "b"]], [[-1, 0.0]], {}, "float64"),
        ([["a", "b"]], [[-1, 0]], {"labels": [[1]]}, "tree 0: 2 nodes need as many"),
        ([["a", "b"]], [[-1, 0]], {"shape": trees.Shape(0, 1, 2, 1)}, "does not fit"),
    ],
)
def test_what_is_no_tree_is_refused(words, parents, options, message):
    with pytest.raises(ValueError, match=message):
        trees.pack_nary(words, parents, VOCABULARY, **options)
