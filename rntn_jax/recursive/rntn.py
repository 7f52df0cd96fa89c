"""The recursive neural tensor network, and the plain recursive network, over packed trees.

One signature serves the recursive neural tensor network and the plain recursive net (no tensor).
For a node with children ``l`` and ``r`` and ``x = [h_l, h_r]``::

    h = f(x^T V^[1:d] x + x W + b)

This is the cell: what one step computes, forwards and backwards, and the contractions that are its
weight gradients (source 000, section 6). The sweeps are those of `rntn_jax.recursive.sweep`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.ops import (
    activate,
    cast_like,
    derivative_from_output,
    outer_sum,
    slice_products,
    symmetric_slices,
)
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like
from rntn_jax.recursive.sweep import downward, gather_children, reference, upward
from rntn_jax.shapes import shapes_repr
from rntn_jax.trees import Forest

__all__ = ["Cell", "sweep"]


class Cell(NamedTuple):
    """Weights of the composition; ``v=None`` makes it a plain recursive net."""

    v: jax.Array | None  # [D, 2D, 2D], the tensor slices
    w: jax.Array  # [2D, D]
    b: jax.Array  # [D]

    __repr__ = shapes_repr


@partial(jax.jit, static_argnames=("activation",))
def sweep(cell: Cell, leaves: jax.Array, forest: Forest, *, activation: str = "tanh") -> jax.Array:
    """States of all nodes of a forest, leaves first, roots last.

    Computes ``h = f(x^T V^[1:d] x + x W + b)`` with ``x = [h_left, h_right]`` at every internal
    node. Gradient, from ``delta^s`` (the cotangent of the states) of all nodes::

        delta_n = (delta^s_n + its half of the parent's down) f'(h_n)     (13), (15)
        down_n  = W delta_n + sum_k delta_n[k] (V^[k] + V^[k]T) x_n       (13), (14)
        dV^[k]  = sum_n delta_n[k] x_n x_n^T                              (4), (16)
        dW      = sum_n x_n delta_n^T,  db = sum_n delta_n                (6), (8), (16)

    Source: 000, equations 2 to 8 and 13 to 16.
    Differs from source: signs are those of a loss; (13) applies f' to stored outputs; (14) gets
    its missing index [k]; by (15) every node has an error of its own, leaves included; the leaves'
    factor f' belongs to whoever computed ``leaves`` (errata 000).

    Args:
        cell: the weights, ``D`` the width of a state; ``cell.v`` may be None.
        leaves: ``[L, D]``, the states of the leaf slots.
        forest: made by `rntn_jax.trees.pack`, with ``L`` leaf slots.
        activation: ``tanh``, ``sigmoid``, ``relu`` or ``identity``.

    Returns:
        ``[N, D]``, one state a slot; padding slots are zero. Cost O(nodes D^3), half of it the
        recursion and half the contraction for ``V``. Residuals: the states and, with a tensor,
        ``steps x lanes x 2 D^2`` slice products.

    Raises:
        AssertionError: when shapes do not match.
        ValueError: for an unknown activation.

    Example:
        >>> from rntn_jax import data, trees
        >>> tree = data.parse_tree("(3 (2 not) (4 (2 very) (0 bad)))")
        >>> forest = trees.pack([tree], data.Vocabulary.build(tree.tokens))
        >>> cell = Cell(v=None, w=jnp.ones((2, 1)), b=jnp.zeros(1))
        >>> h = sweep(cell, jnp.ones((forest.tokens.size, 1)), forest, activation="identity")
        >>> trees.unpack(forest, h)[0].ravel().tolist()
        [1.0, 1.0, 1.0, 2.0, 3.0]
    """
    sizes = {"L": forest.shape.leaves}
    check("leaves", leaves, "float", "L D", sizes)
    d = sizes["D"]
    check("cell.w", cell.w, "float", f"{2 * d} D", sizes)
    check("cell.b", cell.b, "float", "D", sizes)
    if cell.v is not None:
        check("cell.v", cell.v, "float", f"D {2 * d} {2 * d}", sizes)
    derivative_from_output(activation, jnp.zeros(()))  # an unknown name fails here
    return _sweep(activation, *vary_like((cell, leaves, forest)))


def _sweep_reference(activation: str, cell: Cell, leaves: jax.Array, forest: Forest) -> jax.Array:
    """Equation 2 at one step after the other, as anybody would write it."""
    return reference(partial(_plain_compose, activation), cell, leaves, forest)


def _plain_compose(activation: str, cell: Cell, x) -> tuple[jax.Array, None]:
    """Equation 2, the slices' products and the halves of a symmetric slice not made use of."""
    x = x.reshape(len(x), -1)
    z = x @ cell.w + cell.b[None]
    if cell.v is not None:
        z = z + jnp.einsum("ni,kij,nj->nk", x, cell.v, x)
    return activate(activation, z), None


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sweep(activation: str, cell: Cell, leaves: jax.Array, forest: Forest) -> jax.Array:
    return _forward(activation, cell, leaves, forest, keep=False)[0]


def _forward(
    activation: str, cell: Cell, leaves, forest: Forest, keep: bool
) -> tuple[jax.Array, Any]:
    """States of all nodes and, with ``keep`` and a tensor, the slice products of all steps."""
    u = None if cell.v is None else symmetric_slices(cell.v)
    compose = partial(_compose, activation)
    return upward(compose, (cell.w, cell.b, u), leaves, forest, keep=keep)


def _compose(activation: str, weights, x) -> tuple[jax.Array, Any]:
    """``h`` of a step's nodes from their children, and ``t_k = (V^[k] + V^[k]T) x`` of each."""
    w, b, u = weights
    x = x.reshape(len(x), -1)
    z = x @ w + b[None]
    if u is None:
        return activate(activation, z), None
    t = slice_products(x, u)
    z = z + 0.5 * jnp.einsum("nkj,nj->nk", t, x)
    return activate(activation, z), t.astype(jnp.result_type(x, u))


class _SweepResiduals(NamedTuple):
    cell: Cell
    leaves: jax.Array  # [L, D], for its dtype only
    forest: Forest
    states: jax.Array  # [N, D]
    t: jax.Array | None  # [S, B, D, 2D], the slice products; None without a tensor


def _sweep_fwd(
    activation: str, cell: Cell, leaves: jax.Array, forest: Forest
) -> tuple[jax.Array, _SweepResiduals]:
    states, t = _forward(activation, cell, leaves, forest, keep=True)
    return states, _SweepResiduals(cell, leaves, forest, states, t)


def _sweep_bwd(activation: str, res: _SweepResiduals, g: jax.Array) -> tuple[Cell, jax.Array, None]:
    cell, forest, states = res.cell, res.forest, res.states
    backward = partial(_backward, activation)
    delta, d_leaves = downward(backward, cell.w, states, res.t, forest, g)
    x = gather_children(states, forest.children).reshape(len(delta), -1)
    count = forest.num_steps * forest.shape.lanes
    d_cell = Cell(
        v=None if cell.v is None else outer_sum(delta, x, count),  # (4), (16)
        w=x.T @ delta,  # (6), (16)
        b=delta.sum(0),  # (8), (16)
    )
    return *cast_like((d_cell, d_leaves), (cell, res.leaves)), None


def _backward(activation: str, w, error, h, x, t) -> tuple[jax.Array, jax.Array]:
    """The deltas of a step's nodes, and what they send down."""
    delta = error * derivative_from_output(activation, h)  # f' of (13)
    below = delta @ w.T  # (13)
    if t is not None:
        below = below + jnp.einsum("nkj,nk->nj", t, delta)  # (14)
    return delta, below


_sweep.defvjp(_sweep_fwd, _sweep_bwd)
