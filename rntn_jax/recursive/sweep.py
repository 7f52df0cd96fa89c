"""The sweep of recursive networks over packed trees: bottom-up, and top-down for the errors.

What all cells share. A node's state is a row of ``S`` numbers (a cell whose state has several parts
puts them side by side). Upwards, each step gathers the states of its nodes' children, composes
them and writes one contiguous block. The backward pass visits the same steps in reverse. It
carries nothing but the errors of single nodes; a node *gathers* the half of what its parent sends
down that is meant for it (source 000, equations 13 to 15), for every node has exactly one parent;
and the deltas of all steps are stacked, so that a cell forms each weight gradient by one
contraction after the sweep (equations 4, 6, 8 and 16).

A cell is a file of its own (see `rntn_jax.recursive.rntn`). It gives two functions of one step,
which may not close over traced arrays, and calls the two sweeps from its rule::

    compose(operands, x [B, 2, S]) -> h [B, S], kept [B, ..]
    backward(operands, error [B, S], h [B, S], x [B, 2, S], kept [B, ..])
        -> delta [B, ..], below [B, 2, S]

``kept`` is what the forward pass keeps of a node for the backward pass besides its state: a pytree,
or None. ``error`` is the whole cotangent of a node's state, ``x`` its children's states (gathered
again, not kept), ``delta`` what the contractions need, ``below`` the part that each child gets.
`reference` is the same recursion left to autodiff: what a cell's rule is compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops import bounded_loop
from rntn_jax.trees import Forest

__all__ = ["downward", "gather_children", "reference", "upward"]

Compose = Callable[[Any, jax.Array], tuple[jax.Array, Any]]
Backward = Callable[[Any, jax.Array, jax.Array, jax.Array, Any], tuple[Any, jax.Array]]


def reference(compose: Compose, operands: Any, leaves: jax.Array, forest: Forest) -> jax.Array:
    """States of all nodes, as anybody would write it: one step after the other, for autodiff.

    Args:
        compose: the cell's step.
        operands: pytree of arrays that ``compose`` reads (weights).
        leaves: ``[L, S]``, the states of the leaf slots.
        forest: arrays, made by `rntn_jax.trees.pack`.

    Returns:
        ``[N, S]``; padding slots are zero.
    """
    leaves = jnp.where((forest.tokens > 0)[:, None], leaves, 0)
    states = jnp.zeros((forest.shape.slots, leaves.shape[1]), leaves.dtype)
    states = states.at[1 : forest.shape.first].set(leaves)

    def step(states, i):
        h, _ = compose(operands, states[forest.children[i]])
        h = jnp.where(forest.children[i, :, :1] > 0, h, 0)
        slots = forest.shape.first + i * forest.shape.lanes + jnp.arange(forest.shape.lanes)
        return states.at[slots].set(h.astype(states.dtype)), None

    return lax.scan(step, states, jnp.arange(forest.shape.steps))[0]


def upward(
    compose: Compose, operands: Any, leaves: jax.Array, forest: Forest, *, keep: bool
) -> tuple[jax.Array, Any]:
    """States of all nodes, children before their parents.

    Args:
        compose: the cell's step; the same object for the same operands' types, or a `partial`.
        operands: pytree of arrays that ``compose`` reads (weights).
        leaves: ``[L, S]``, the states of the leaf slots.
        forest: arrays, made by `rntn_jax.trees.pack`.
        keep: whether the backward pass will follow.

    Returns:
        ``(states [N, S], kept)``: padding slots are zero; with ``keep``, what ``compose`` gives
        besides the states, ``[steps, B, ..]``, zero where no step was taken; else None.
    """
    _, steps, lanes, _ = forest.shape
    kept = None
    if keep:
        children = jax.ShapeDtypeStruct((lanes, 2, leaves.shape[1]), leaves.dtype)
        _, rows = jax.eval_shape(compose, operands, children)
        kept = jax.tree.map(lambda row: jnp.zeros((steps, *row.shape), row.dtype), rows)
    carry = _initial_states(leaves, forest), kept
    step = partial(_up_step, compose, keep)
    return bounded_loop(step, steps, forest.num_steps, carry, (operands, forest))


def downward(
    backward: Backward,
    operands: Any,
    states: jax.Array,
    kept: Any,
    forest: Forest,
    cotangent: jax.Array,
) -> tuple[Any, jax.Array]:
    """Errors of all nodes, parents before their children.

    Args:
        backward: the cell's step.
        operands: pytree of arrays that ``backward`` reads (weights).
        states: ``[N, S]``, of `upward`.
        kept: of `upward`.
        forest: as for `upward`.
        cotangent: ``[N, S]``, of the states.

    Returns:
        ``(delta, d_leaves [L, S])``: what ``backward`` gives of every node, ``[steps * B, ..]``,
        zero at padding; and the cotangent of the leaves' states.
    """
    _, steps, lanes, _ = forest.shape
    width = cotangent.shape[1]
    row = jax.ShapeDtypeStruct((lanes, width), cotangent.dtype)
    of_step = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), kept)
    children = jax.ShapeDtypeStruct((lanes, 2, width), states.dtype)
    deltas, _ = jax.eval_shape(backward, operands, row, row, children, of_step)
    delta = jax.tree.map(lambda a: jnp.zeros((steps * lanes, *a.shape[1:]), a.dtype), deltas)
    down = jnp.zeros((2 + 2 * steps * lanes, width), cotangent.dtype)  # rows 0, 1: no parent
    read = operands, states, kept, cotangent, forest
    step = partial(_down_step, backward)
    delta, down = bounded_loop(step, steps, forest.num_steps, (delta, down), read)
    d_leaves = (cotangent + down[forest.parent])[1 : forest.shape.first]
    return delta, jnp.where((forest.tokens > 0)[:, None], d_leaves, 0)


def _initial_states(leaves: jax.Array, forest: Forest) -> jax.Array:
    """States ``[N, S]`` before the sweep: the leaves in their slots, zeros elsewhere."""
    leaves = jnp.where((forest.tokens > 0)[:, None], leaves, jnp.zeros((), leaves.dtype))
    states = jnp.zeros((forest.shape.slots, leaves.shape[1]), leaves.dtype)
    return lax.dynamic_update_slice_in_dim(states, leaves, 1, axis=0)


def gather_children(states: jax.Array, children: jax.Array) -> jax.Array:
    """States of both children: slots ``[.., 2]`` give ``[rows, 2, S]``.

    Args:
        states: ``[N, S]``.
        children: integer slots, ``[rows, 2]``.

    Returns:
        ``[rows, 2, S]`` of the states' dtype.
    """
    return states[children.reshape(-1)].reshape(-1, 2, states.shape[1])


def _write_step(states, h, forest: Forest, i) -> jax.Array:
    """Puts step ``i``'s states in their slots, zero where a lane is empty."""
    h = jnp.where(forest.children[i, :, :1] > 0, h, 0).astype(states.dtype)
    slot = forest.shape.first + i * forest.shape.lanes
    return lax.dynamic_update_slice_in_dim(states, h, slot, axis=0)


def _up_step(compose: Compose, keep: bool, i, carry, read) -> tuple[jax.Array, Any]:
    (states, kept), (operands, forest) = carry, read
    h, row = compose(operands, gather_children(states, forest.children[i]))
    if keep:
        put = partial(lax.dynamic_update_index_in_dim, index=i, axis=0)
        kept = jax.tree.map(put, kept, row)
    return _write_step(states, h, forest, i), kept


def _down_step(backward: Backward, i, carry, read) -> tuple[Any, jax.Array]:
    """Errors of the nodes of step ``num_steps - 1 - i``, and what they send down."""
    (delta, down), (operands, states, kept, cotangent, forest) = carry, read
    i = forest.num_steps - 1 - i
    lanes = forest.shape.lanes

    def rows(a):
        return lax.dynamic_slice_in_dim(a, forest.shape.first + i * lanes, lanes, axis=0)

    error = rows(cotangent) + down[rows(forest.parent)]  # (15)
    # Read before `down` is written: without the barrier XLA copies `down` in every step.
    error = lax.optimization_barrier(jnp.where(forest.children[i, :, :1] > 0, error, 0))
    of_step = jax.tree.map(lambda a: a[i], kept)
    x = gather_children(states, forest.children[i])  # no work where a cell does not read it
    here, below = backward(operands, error, rows(states), x, of_step)
    below = below.reshape(2 * lanes, -1).astype(down.dtype)
    put = partial(lax.dynamic_update_slice_in_dim, start_index=i * lanes, axis=0)
    delta = jax.tree.map(put, delta, here)
    return delta, lax.dynamic_update_slice_in_dim(down, below, 2 + 2 * i * lanes, axis=0)
