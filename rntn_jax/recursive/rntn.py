"""Recursive networks: the bottom-up sweep over packed trees, and its hand-derived top-down rule.

One signature serves the recursive neural tensor network and the plain recursive net (no tensor).
For a node with children ``l`` and ``r`` and ``x = [h_l, h_r]``::

    h = f(x^T V^[1:d] x + x W + b)

The way back (source 000, section 6) visits the same steps in reverse. It carries nothing but the
errors ``delta`` of single nodes; a node gathers the half of its parent's downward error that is
its own; and all weight gradients are one contraction each, after the sweep.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops import (
    activate,
    bounded_loop,
    cast_like,
    derivative_from_output,
    outer_sum,
    slice_products,
    symmetric_slices,
)
from rntn_jax.trees import Forest

__all__ = ["Cell", "sweep"]


class Cell(NamedTuple):
    """Weights of the composition; ``v=None`` makes it a plain recursive net."""

    v: jax.Array | None  # [D, 2D, 2D], the tensor slices
    w: jax.Array  # [2D, D]
    b: jax.Array  # [D]


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
    leaves = jnp.asarray(leaves)
    cell = jax.tree.map(jnp.asarray, cell)
    forest = jax.tree.map(jnp.asarray, forest)
    d = leaves.shape[-1]
    chex.assert_shape(leaves, (forest.tokens.shape[0], d))
    chex.assert_shape(cell.w, (2 * d, d))
    chex.assert_shape(cell.b, (d,))
    if cell.v is not None:
        chex.assert_shape(cell.v, (d, 2 * d, 2 * d))
    derivative_from_output(activation, jnp.zeros(()))  # an unknown name fails here
    return _sweep(activation, cell, leaves, forest)


def _start(leaves, forest: Forest):
    """States before the sweep: the leaves in their slots, zeros elsewhere."""
    leaves = jnp.where((forest.tokens > 0)[:, None], leaves, jnp.zeros((), leaves.dtype))
    states = jnp.zeros((forest.shape.slots, leaves.shape[1]), leaves.dtype)
    return lax.dynamic_update_slice_in_dim(states, leaves, 1, axis=0)


def _gather_children(states, children):
    """``x = [h_left, h_right]``: ``[..., 2]`` slots give ``[rows, 2 D]``."""
    return states[children.reshape(-1)].reshape(-1, 2 * states.shape[1])


def _write_step(states, h, forest: Forest, i):
    """Puts step ``i``'s states in their slots, zero where a lane is empty."""
    h = jnp.where(forest.children[i, :, :1] > 0, h, 0).astype(states.dtype)
    _, _, lanes, _ = forest.shape
    return lax.dynamic_update_slice_in_dim(states, h, forest.shape.first + i * lanes, axis=0)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sweep(activation: str, cell: Cell, leaves, forest: Forest):
    return _upward(activation, cell, leaves, forest, keep=False)[0]


class _SweepResiduals(NamedTuple):
    cell: Cell
    leaves: jax.Array  # [L, D], for its dtype only
    forest: Forest
    states: jax.Array  # [N, D]
    t: jax.Array | None  # [S, B, D, 2D], t_k = (V^[k] + V^[k]T) x; None without a tensor


def _sweep_fwd(activation: str, cell: Cell, leaves, forest: Forest):
    states, t = _upward(activation, cell, leaves, forest, keep=True)
    return states, _SweepResiduals(cell, leaves, forest, states, t)


def _upward(activation: str, cell: Cell, leaves, forest: Forest, keep: bool):
    """States of all nodes and, with ``keep`` and a tensor, the slice products of all steps."""
    _, steps, lanes, _ = forest.shape
    d = leaves.shape[1]
    u = t = None
    if cell.v is not None:
        u = symmetric_slices(cell.v)
        if keep:
            t = jnp.zeros((steps, lanes, d, 2 * d), jnp.result_type(leaves, cell.v))
    carry, operands = (_start(leaves, forest), t), (cell._replace(v=None), u, forest)
    return bounded_loop(partial(_up_step, activation), steps, forest.num_steps, carry, operands)


def _up_step(activation: str, i, carry, operands):
    (states, kept), (cell, u, forest) = carry, operands
    x = _gather_children(states, forest.children[i])
    z = x @ cell.w + cell.b[None]
    if u is not None:
        t = slice_products(x, u)
        z = z + 0.5 * jnp.einsum("nkj,nj->nk", t, x)
        if kept is not None:
            kept = lax.dynamic_update_index_in_dim(kept, t.astype(kept.dtype), i, axis=0)
    return _write_step(states, activate(activation, z), forest, i), kept


def _sweep_bwd(activation: str, res: _SweepResiduals, g):
    cell, forest, states = res.cell, res.forest, res.states
    _, steps, lanes, _ = forest.shape
    slope = derivative_from_output(activation, states)
    zeros = jnp.zeros((steps * lanes, g.shape[1]), g.dtype)
    down = jnp.zeros((2 + 2 * steps * lanes, g.shape[1]), g.dtype)  # rows 0, 1: no parent
    operands = cell.w, res.t, g, slope, forest
    delta, down = bounded_loop(_down_step, steps, forest.num_steps, (zeros, down), operands)
    d_leaves = (g + down[forest.parent])[1 : forest.shape.first]
    x = _gather_children(states, forest.children)
    d_cell = Cell(
        v=None if cell.v is None else outer_sum(delta, x, forest.num_steps * lanes),  # (4), (16)
        w=x.T @ delta,  # (6), (16)
        b=delta.sum(0),  # (8), (16)
    )
    d_leaves = jnp.where((forest.tokens > 0)[:, None], d_leaves, 0)
    return *cast_like((d_cell, d_leaves), (cell, res.leaves)), None


def _down_step(i, carry, operands):
    """Errors of the nodes of step ``num_steps - 1 - i``, and what they send down."""
    (delta, down), (w, t, g, slope, forest) = carry, operands
    i = forest.num_steps - 1 - i
    lanes = forest.shape.lanes

    def rows(a):
        return lax.dynamic_slice_in_dim(a, forest.shape.first + i * lanes, lanes, axis=0)

    here = (rows(g) + down[rows(forest.parent)]) * rows(slope)  # (15), then f' of (13)
    # Read before `down` is written: without the barrier XLA copies `down` in every step.
    here = lax.optimization_barrier(jnp.where(forest.children[i, :, :1] > 0, here, 0))
    below = here @ w.T  # (13)
    if t is not None:
        below = below + jnp.einsum("nkj,nk->nj", t[i], here)  # (14)
    below = below.reshape(2 * lanes, -1).astype(down.dtype)
    delta = lax.dynamic_update_slice_in_dim(delta, here, i * lanes, axis=0)
    return delta, lax.dynamic_update_slice_in_dim(down, below, 2 + 2 * i * lanes, axis=0)


_sweep.defvjp(_sweep_fwd, _sweep_bwd)
