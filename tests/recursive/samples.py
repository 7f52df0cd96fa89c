"""Trees, cells and the plain recursion for the tests of the sweep."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rntn_jax import trees
from rntn_jax.data import Tree, Vocabulary
from rntn_jax.ops import activate
from rntn_jax.recursive import Cell
from tests.helpers import (
    random_params,
    random_tree,
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
