"""The sweep over trees: memory, what loops carry, what devices tell each other."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from experiments.benchmark.compiled.hlo import collectives
from rntn_jax import trees
from rntn_jax.models import rntn
from rntn_jax.recursive import sweep
from tests.helpers import (
    assert_close,
    random_params,
    residual_bytes,
    size_in_bytes,
)
from tests.recursive.loops import loops
from tests.recursive.samples import (
    VOCABULARY,
    D,
    plain_sweep,
    random_cell,
    random_leaves,
    random_trees,
)


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


@pytest.mark.slow
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
