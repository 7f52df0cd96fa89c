"""The child-sum Tree-LSTM over trees of any number of children (Tai, Socher and Manning 2015).

A node has an input ``x`` (its word's, in a dependency tree) and children ``k``, in no order::

    h~  = sum_k h_k                                       (2)
    i   = sigmoid(x^i + h~ U^i + b^i)                     (3)
    f_k = sigmoid(x^f + h_k U^f + b^f)                    (4), of each child
    o   = sigmoid(x^o + h~ U^o + b^o)                     (5)
    u   = tanh(x^u + h~ U^u + b^u)                        (6)
    c   = i u + sum_k f_k c_k                             (7)
    h   = o tanh(c)                                       (8)

A parent asks of its children two sums only, ``h~`` and ``sum_k f_k c_k``, and every node has one
parent. So a node, once computed, computes its own ``f`` too and adds ``[h, f c]`` to its parent's
sums: no list of children, no padding to the largest number of them. Backwards, it gathers the
errors of those two sums from its parent.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops import accumulator, bounded_loop, cast_like
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like
from rntn_jax.recursive.tree_lstm import Cell
from rntn_jax.trees import NaryForest

__all__ = ["Cell", "sweep"]

_Carry = tuple[jax.Array, jax.Array, jax.Array | None]  # states, sums, gates where they are kept


@jax.jit
def sweep(cell: Cell, inputs: jax.Array, forest: NaryForest) -> jax.Array:
    """States ``[h, c]`` of all nodes of a forest.

    Computes equations 2 to 8 at every node, children before their parents. Gradient, from the
    cotangents ``dh`` and ``dc`` of a node's state and those of its parent's sums, ``e^h`` and
    ``e^c``::

        dz^f = e^c c f (1 - f)                                            of (4)
        dh  <- dh + e^h + dz^f U^f^T,  dc <- dc + e^c f + dh o (1 - tanh^2 c)
        dz^o = dh tanh(c) o (1 - o)                                       of (5), (8)
        dz^i = dc u i (1 - i),  dz^u = dc i (1 - u^2)                     of (3), (6)
        of the node's own sums:  e^h = [dz^i, dz^o, dz^u] U^T,  e^c = dc
        after the sweep:  dU = sum_n h~_n^T dz_n of the gates i, o and u,
                          dU^f = sum_n h_n^T dz^f_n,  db = sum_n dz_n

    and ``dx`` is ``dz`` of the node, but of ``x^f`` the sum of its children's ``dz^f``.

    Source: Tai, Socher and Manning (2015), equations 2 to 8.
    Differs from source: the inputs' products ``W x`` are the caller's, one product for all nodes.

    Args:
        cell: ``u [D, 4D]`` and ``b [4D]``, the gates i, f, o, u side by side.
        inputs: ``[N, 4D]``, the gates' shares of each slot's word; rows of empty slots mean
            nothing.
        forest: made by `rntn_jax.trees.pack_nary`.

    Returns:
        ``[N, 2D]``, one state a slot; empty slots are zero. Cost O(nodes D^2). Residuals: the
        inputs' dtype, the states, and ``steps x lanes x 4 D`` gates.

    Raises:
        AssertionError: when shapes do not match.
        TypeError: when ``forest`` is not of `pack_nary`.

    Example:
        >>> from rntn_jax import data, trees
        >>> words = ["the", "dog", "barks", "loudly"]
        >>> forest = trees.pack_nary([words], [[1, 2, -1, 2]], data.Vocabulary.build(words))
        >>> cell = Cell(u=jnp.zeros((1, 4)), b=jnp.array([0.0, 0.0, 0.0, 1.0]))
        >>> states = sweep(cell, jnp.zeros((forest.shape.slots, 4)), forest)
        >>> c = trees.unpack(forest, states)[0][:, 1]  # tanh(1) / 2, and half of each child's
        >>> [round(float(x), 3) for x in c]
        [0.381, 0.571, 0.857, 0.381]
    """
    if not isinstance(forest, NaryForest):
        raise TypeError(
            "forest must be a NaryForest, made by rntn_jax.trees.pack_nary, got "
            f"{type(forest).__name__}"
        )
    sizes = {"N": forest.shape.slots}
    check("cell.u", cell.u, "float", "D G", sizes)
    gates = 4 * sizes["D"]
    check("cell.u", cell.u, "float", f"D {gates}", sizes)
    check("cell.b", cell.b, "float", f"{gates}", sizes)
    check("inputs", inputs, "float", f"N {gates}", sizes)
    return _sweep(*vary_like((cell, inputs, forest)))


def _sweep_reference(cell: Cell, inputs: jax.Array, forest: NaryForest) -> jax.Array:
    """One step after the other, left to autodiff."""
    operands = _operands(cell, inputs, forest)
    body = lambda carry, i: (_up_step(i, carry, operands), None)
    carry = _empty(cell, inputs, forest, keep=False)
    return lax.scan(body, carry, jnp.arange(forest.shape.steps))[0][0]


@jax.custom_vjp
def _sweep(cell: Cell, inputs: jax.Array, forest: NaryForest) -> jax.Array:
    return _upward(cell, inputs, forest, keep=False)[0]


def _upward(cell: Cell, inputs: jax.Array, forest: NaryForest, *, keep: bool) -> _Carry:
    """States, the sums ``[h~, sum_k f_k c_k]`` of every slot, and the gates ``[S, B, 4D]``."""
    carry = _empty(cell, inputs, forest, keep)
    operands = _operands(cell, inputs, forest)
    return bounded_loop(_up_step, forest.shape.steps, forest.num_steps, carry, operands)


def _empty(cell: Cell, inputs: jax.Array, forest: NaryForest, keep: bool) -> _Carry:
    """States, sums and gates before the sweep."""
    slots, (steps, lanes) = forest.shape.slots, forest.parent.shape
    d = cell.u.shape[0]
    states = jnp.zeros((slots, 2 * d), jnp.result_type(inputs, *cell))
    sums = jnp.zeros((slots, 2 * d), accumulator(states))  # a node may have many children
    gates = jnp.zeros((steps, lanes, 4 * d), states.dtype) if keep else None
    return states, sums, gates


class _Operands(NamedTuple):
    """What every step reads; of the gates' columns, those of the node and those of the child."""

    u: jax.Array  # [D, 3D], of i, o, u
    u_f: jax.Array  # [D, D]
    own: jax.Array  # [N, 3D], x + b of i, o, u
    as_parent: jax.Array  # [N, D], x^f + b^f
    parent: jax.Array  # [S, B]
    used: jax.Array  # [S, B]


def _operands(cell: Cell, inputs: jax.Array, forest: NaryForest) -> _Operands:
    u, u_f = _split(cell.u)
    used = jnp.append(False, forest.used)[:, None]
    own, as_parent = _split(jnp.where(used, inputs + cell.b[None], 0))
    return _Operands(u, u_f, own, as_parent, forest.parent, forest.used)


def _split(gates: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Columns of i, o, u, and those of f."""
    i, f, o, u = jnp.split(gates, 4, axis=-1)
    return jnp.concatenate([i, o, u], axis=-1), f


def _joined(node: jax.Array, child: jax.Array) -> jax.Array:
    """The inverse of `_split`."""
    i, o, u = jnp.split(node, 3, axis=-1)
    return jnp.concatenate([i, child, o, u], axis=-1)


def _rows(a: jax.Array, i: jax.Array, lanes: int) -> jax.Array:
    """The slots of step ``i``."""
    return lax.dynamic_slice_in_dim(a, 1 + i * lanes, lanes, axis=0)


def _up_step(i, carry: _Carry, read: _Operands) -> _Carry:
    states, sums, gates = carry
    parent, used = read.parent[i], read.used[i][:, None]
    lanes = parent.shape[0]
    h_sum, c_sum = jnp.split(_rows(sums, i, lanes).astype(states.dtype), 2, axis=1)
    z = _rows(read.own, i, lanes) + h_sum @ read.u
    in_, out, new = jnp.split(z, 3, axis=1)
    in_, out, new = jax.nn.sigmoid(in_), jax.nn.sigmoid(out), jnp.tanh(new)  # (3), (5), (6)
    c = in_ * new + c_sum  # (7)
    h = out * jnp.tanh(c)  # (8)
    forget = jax.nn.sigmoid(read.as_parent[parent] + h @ read.u_f)  # (4)
    put = partial(lax.dynamic_update_slice_in_dim, start_index=1 + i * lanes, axis=0)
    states = put(states, jnp.where(used, jnp.concatenate([h, c], axis=1), 0).astype(states.dtype))
    sent = jnp.concatenate([h, forget * c], axis=1)
    sent = jnp.where(used & (parent > 0)[:, None], sent, 0).astype(sums.dtype)
    sums = sums.at[parent].add(sent)
    if gates is not None:
        row = jnp.concatenate([in_, forget, out, new], axis=1)
        gates = lax.dynamic_update_index_in_dim(gates, row.astype(gates.dtype), i, axis=0)
    return states, sums, gates


class _SweepResiduals(NamedTuple):
    cell: Cell
    inputs: jax.Array  # [N, 4D], for its dtype only
    forest: NaryForest
    states: jax.Array  # [N, 2D]
    gates: jax.Array | None  # [S, B, 4D]


def _sweep_fwd(cell, inputs, forest) -> tuple[jax.Array, _SweepResiduals]:
    states, _, gates = _upward(cell, inputs, forest, keep=True)
    return states, _SweepResiduals(cell, inputs, forest, states, gates)


def _sweep_bwd(res: _SweepResiduals, g: jax.Array) -> tuple[Cell, jax.Array, None]:
    forest, d = res.forest, res.cell.u.shape[0]
    steps, lanes = forest.parent.shape
    dz = jnp.zeros((steps * lanes, 4 * d), g.dtype)
    down = jnp.zeros((forest.shape.slots, 2 * d), g.dtype)  # errors of the sums; slot 0: none
    read = (*_split(res.cell.u), res.states, res.gates, g, forest)
    dz, _ = bounded_loop(_down_step, steps, forest.num_steps, (dz, down), read)
    h = res.states[1:, :d]
    own, of_child = _split(dz)
    up = forest.parent.reshape(-1)

    def to_parents(rows):  # sums over the children of every slot
        sums = jnp.zeros((forest.shape.slots, rows.shape[1]), accumulator(rows))
        return sums.at[up].add(rows).at[0].set(0).astype(rows.dtype)

    d_u = _joined(to_parents(h)[1:].T @ own, h.T @ of_child)
    own = jnp.concatenate([jnp.zeros_like(own[:1]), own])
    d_inputs = _joined(own, to_parents(of_child))
    d_cell = Cell(u=d_u, b=dz.sum(0))
    return *cast_like((d_cell, d_inputs), (res.cell, res.inputs)), None


def _down_step(i, carry, read) -> tuple[jax.Array, jax.Array]:
    """Errors of the nodes of step ``num_steps - 1 - i``, and of their sums."""
    (dz, down), (u, u_f, states, gates, cotangent, forest) = carry, read
    i = forest.num_steps - 1 - i
    parent, used = forest.parent[i], forest.used[i][:, None]
    lanes = parent.shape[0]
    # Read before `down` is written: without the barrier XLA copies `down` in every step.
    above = lax.optimization_barrier(down[parent])
    e_h, e_c = jnp.split(above, 2, axis=1)
    dh, dc = jnp.split(jnp.where(used, _rows(cotangent, i, lanes), 0), 2, axis=1)
    c = jnp.split(_rows(states, i, lanes), 2, axis=1)[1]
    in_, forget, out, new = jnp.split(gates[i], 4, axis=1)
    t = jnp.tanh(c)
    dz_f = e_c * c * forget * (1 - forget)
    dh = dh + e_h + dz_f @ u_f.T
    dc = dc + e_c * forget + dh * out * (1 - t * t)
    own = [dc * new * in_ * (1 - in_), dh * t * out * (1 - out), dc * in_ * (1 - new * new)]
    own = jnp.where(used, jnp.concatenate(own, axis=1), 0)
    here = _joined(own, jnp.where(used, dz_f, 0)).astype(dz.dtype)
    sent = jnp.concatenate([own @ u.T, jnp.where(used, dc, 0)], axis=1).astype(down.dtype)
    dz = lax.dynamic_update_slice_in_dim(dz, here, i * lanes, axis=0)
    return dz, lax.dynamic_update_slice_in_dim(down, sent, 1 + i * lanes, axis=0)


_sweep.defvjp(_sweep_fwd, _sweep_bwd)
