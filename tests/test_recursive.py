"""`recursive.sweep`: the bottom-up recursion and its hand-derived backward pass."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from rntn_jax import trees
from rntn_jax.data import Tree, Vocabulary
from rntn_jax.models import rntn
from rntn_jax.ops import activate
from rntn_jax.recursive import Cell, sweep
from tests.helpers import (
    assert_close,
    check_orders,
    check_rule,
    collectives,
    needs_shard_map,
    random_params,
    random_tree,
    residual_bytes,
    size_in_bytes,
)

D = 3
VOCABULARY = Vocabulary.build([f"w{i}" for i in range(7)])


def random_trees(seed: int, sizes, **options) -> list[Tree]:
    rng = np.random.default_rng(seed)
    return [random_tree(rng, n, **options) for n in sizes]


def random_cell(tensor: bool = True, dim: int = D, scale: float = 0.5) -> Cell:
    return random_params(np.random.default_rng(7), 2, dim, tensor=tensor, scale=scale).cell


def random_leaves(forest: trees.Forest, dim: int = D) -> Any:
    """A state for every leaf slot; the padding slots have some too."""
    return np.random.default_rng(8).normal(size=(len(forest.tokens), dim))


def plain_sweep(activation, cell, leaves, forest):
    """The recursion over packed trees as anybody would write it, left to autodiff."""
    _, steps, lanes, _ = forest.shape
    leaves = jnp.where((forest.tokens > 0)[:, None], leaves, 0)
    states = jnp.zeros((forest.shape.slots, leaves.shape[1])).at[1 : len(leaves) + 1].set(leaves)

    def step(states, i):
        x = states[forest.children[i]].reshape(lanes, -1)
        z = x @ cell.w + cell.b[None]
        if cell.v is not None:
            z = z + jnp.einsum("ni,kij,nj->nk", x, cell.v, x)
        h = jnp.where(forest.children[i, :, :1] > 0, activate(activation, z), 0)
        slots = forest.shape.first + i * lanes + jnp.arange(lanes)
        return states.at[slots].set(h), None

    return jax.lax.scan(step, states, jnp.arange(steps))[0]


# The plain recursion, one node after the other, straight from the trees.
class Nodes(NamedTuple):
    """Trees in a row: all leaves, then all internal nodes."""

    children: np.ndarray  # [internal, 2]
    order: np.ndarray  # [nodes], of node k in the order of trees.unpack


def nodes_of(packed: list[Tree]) -> Nodes:
    num_leaves = sum(tree.num_leaves for tree in packed)
    children, order = [], []
    first_leaf, first_inner = 0, num_leaves
    for tree in packed:
        n = tree.num_leaves
        ids = np.r_[first_leaf : first_leaf + n, first_inner : first_inner + n - 1]
        children += ids[tree.children].tolist()
        order += ids.tolist()
        first_leaf, first_inner = first_leaf + n, first_inner + n - 1
    return Nodes(np.array(children).reshape(-1, 2), np.array(order))


def recursion(cell: Cell, leaves, nodes: Nodes, activation: str):
    """States of all nodes, in the order of the trees."""
    f = {
        "tanh": jnp.tanh,
        "sigmoid": lambda z: 1 / (1 + jnp.exp(-z)),
        "relu": lambda z: jnp.where(z > 0, z, 0.0),
        "identity": lambda z: z,
    }[activation]
    num_leaves = len(nodes.order) - len(nodes.children)
    states = jnp.zeros((len(nodes.order), leaves.shape[1])).at[:num_leaves].set(leaves[:num_leaves])

    def one_node(states, row):
        n, (left, right) = row
        x = jnp.concatenate([states[left], states[right]])
        z = x @ cell.w + cell.b
        if cell.v is not None:
            z += jnp.stack([x @ slice_ @ x for slice_ in cell.v])
        return states.at[n].set(f(z)), None

    rows = jnp.arange(num_leaves, len(nodes.order)), jnp.asarray(nodes.children)
    return jax.lax.scan(one_node, states, rows)[0][nodes.order]


def in_tree_order(states, forest: trees.Forest, count: int):
    return states[jnp.asarray(forest.slots)[:count]]


def objective(states):
    """Something in which every state has a say of its own."""
    weights = np.random.default_rng(9).normal(size=states.shape)
    return (weights * jnp.sin(states)).sum()


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


def chain_gradient(num_leaves: int, dim: int = 4):
    """Loss and gradient over a left chain in float32, with the arguments."""
    (chain,) = random_trees(0, [num_leaves], shape="left")
    forest = trees.pack([chain], VOCABULARY)
    params = random_params(np.random.default_rng(0), len(VOCABULARY), dim)
    params = jax.tree.map(lambda x: x.astype(np.float32), params)
    return jax.jit(jax.value_and_grad(rntn.loss, has_aux=True)), params, forest


@pytest.mark.usefixtures("float32")
def test_chain_of_5000_leaves_trains_in_memory_linear_in_its_length():
    step, params, forest = chain_gradient(5000)
    (loss, aux), grads = step(params, forest)
    assert int(aux.nodes) == 9999
    assert loss.dtype == np.float32 and np.isfinite(loss) and loss > 1000
    for leaf in jax.tree.leaves(grads):
        assert leaf.dtype == np.float32 and np.isfinite(leaf).all() and np.abs(leaf).max() > 0

    def temporary(num_leaves):
        step, params, forest = chain_gradient(num_leaves)
        memory: Any = step.lower(params, forest).compile().memory_analysis()
        return memory.temp_size_in_bytes

    assert temporary(3000) < 2.5 * temporary(1500)  # shapes double exactly


def test_residuals_are_states_and_slice_products():
    forest = trees.pack(random_trees(0, [20, 30]), VOCABULARY, lanes=4)
    forest = jax.tree.map(jnp.asarray, forest)
    _, steps, lanes, _ = forest.shape
    leaves = random_leaves(forest)
    for tensor in (True, False):
        cell = random_cell(tensor)
        kept = residual_bytes(lambda cell, leaves: sweep(cell, leaves, forest), cell, leaves)
        products = steps * lanes * 2 * D * D * 8 if tensor else 0
        arguments = size_in_bytes((cell, leaves, forest))
        assert kept <= arguments + forest.shape.slots * D * 8 + products


def _is_jaxpr(value) -> bool:
    return hasattr(getattr(value, "jaxpr", value), "eqns")


def loops(jaxpr):
    """The carried arrays' shapes of every loop in a jaxpr, loops within loops included."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "scan":
            # What a step returns and the loop stacks gets an axis; what it carries does not.
            steps = zip(eqn.params["jaxpr"].out_avals, eqn.outvars, strict=True)
            yield [step.shape for step, out in steps if step.shape == out.aval.shape]
        elif eqn.primitive.name == "while":
            yield [x.shape for x in eqn.params["body_jaxpr"].out_avals]
        for value in jax.tree.leaves(tuple(eqn.params.values()), is_leaf=_is_jaxpr):
            if _is_jaxpr(value):
                yield from loops(getattr(value, "jaxpr", value))


def test_no_loop_carries_a_weight_gradient():
    forest = trees.pack(random_trees(0, [20, 30]), VOCABULARY, lanes=4)
    forest = jax.tree.map(jnp.asarray, forest)
    cell, leaves = random_cell(dim=5), random_leaves(forest, dim=5)
    weights = {(5, 10, 10), (10, 5)}

    def carried(states):
        gradient = jax.grad(lambda *args: states(*args).sum(), (0, 1))
        return [set(shapes) for shapes in loops(jax.make_jaxpr(gradient)(cell, leaves).jaxpr)]

    mine = carried(lambda cell, leaves: sweep(cell, leaves, forest))
    assert len(mine) >= 2  # up and down
    assert not any(weights & shapes for shapes in mine)
    # What autodiff makes of the plain recursion does carry them, so the check can fail.
    plain = carried(lambda cell, leaves: plain_sweep("tanh", cell, leaves, forest))
    assert any(weights <= shapes for shapes in plain)


@needs_shard_map
def test_two_devices_add_up_to_the_union_and_talk_once():
    devices = jax.devices("cpu")[:2]
    assert len(devices) == 2
    mesh = Mesh(np.array(devices), ("data",))
    params = random_params(np.random.default_rng(0), len(VOCABULARY), D)
    halves = random_trees(0, [7, 12, 3]), random_trees(1, [9, 1])
    shape = trees.Shape(24, 16, 4, 3)
    forests = [trees.pack(half, VOCABULARY, shape=shape) for half in halves]
    stacked = jax.tree.map(lambda *fields: np.stack(fields), *forests)

    def total(params, forest):
        value, aux = rntn.loss(params, forest)
        return value * forest.num_trees, aux

    def local(params, stacked):
        forest = jax.tree.map(lambda field: field[0], stacked)
        (value, aux), grads = jax.value_and_grad(total, has_aux=True)(params, forest)
        return jax.lax.psum((value, aux), "data"), grads  # those are sums already

    sharded = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(P(), P("data")), out_specs=P()))
    compiled = sharded.lower(params, stacked).compile()
    (value, aux), grads = compiled(params, stacked)
    union = trees.pack(halves[0] + halves[1], VOCABULARY)
    (expected, expected_aux), expected_grads = jax.jit(jax.value_and_grad(total, has_aux=True))(
        params, union
    )
    assert_close((value, grads), (expected, expected_grads), 1e-12)
    assert [int(x) for x in aux] == [int(x) for x in expected_aux]

    everywhere, in_loops = collectives(compiled.as_text())
    assert everywhere
    assert not in_loops


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
