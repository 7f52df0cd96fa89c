"""The Tree-LSTM over packed binary trees (Tai, Socher and Manning 2015).

A node's state is ``[h, c]``, the hidden state and the memory cell side by side. For a node with
children ``l`` and ``r``, and no word of its own (words stand at the leaves)::

    i   = sigmoid(h_l U^i_l + h_r U^i_r + b^i)            (9)
    f_k = sigmoid(h_l U^f_kl + h_r U^f_kr + b^f_k)        (10), one for each child k
    o   = sigmoid(h_l U^o_l + h_r U^o_r + b^o)            (11)
    u   = tanh(h_l U^u_l + h_r U^u_r + b^u)               (12)
    c   = i u + f_l c_l + f_r c_r                         (13)
    h   = o tanh(c)                                       (14)

That is their N-ary Tree-LSTM for N = 2 (`Cell` with ``u [2D, 5D]``). Their child-sum Tree-LSTM
(equations 2 to 8; ``u [D, 4D]``) has one matrix for both children in every gate, and each forget
gate sees its own child alone. Over binary trees it is the same cell with tied blocks, so `sweep`
writes its weights as those of the other and needs no rule of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.ops import cast_like
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like
from rntn_jax.recursive.sweep import downward, gather_children, reference, upward
from rntn_jax.shapes import shapes_repr
from rntn_jax.trees import Forest

__all__ = ["Cell", "sweep"]


class Cell(NamedTuple):
    """Weights of the gates, side by side: i, f_l, f_r, o, u; of a child-sum cell i, f, o, u."""

    u: jax.Array  # [2D, 5D]; child-sum: [D, 4D]
    b: jax.Array  # [5D]; child-sum: [4D]

    __repr__ = shapes_repr


@jax.jit
def sweep(cell: Cell, leaves: jax.Array, forest: Forest) -> jax.Array:
    """States ``[h, c]`` of all nodes of a forest, leaves first, roots last.

    Computes equations 9 to 14 at every internal node (2 to 8 for a child-sum cell). Gradient, from
    the whole cotangents ``dh`` and ``dc`` of a node's state::

        dc   <- dc + dh o (1 - tanh^2 c)                                  of (14)
        dz^o = dh tanh(c) o (1 - o)                                       of (11)
        dz^i = dc u i (1 - i),  dz^u = dc i (1 - u^2)                     of (9), (12)
        dz^f_k = dc c_k f_k (1 - f_k)                                     of (10)
        down:  dh_k = dz U_k^T,  dc_k = dc f_k
        after the sweep:  dU = sum_n [h_l, h_r]_n^T dz_n,  db = sum_n dz_n

    with ``dz = [dz^i, dz^f_l, dz^f_r, dz^o, dz^u]``.

    Source: Tai, Socher and Manning (2015), equations 2 to 14.
    Differs from source: internal nodes have no input ``x``; the two forget gates have a bias each,
    as in the authors' code.

    Args:
        cell: the weights, ``D`` the width of ``h``; their shapes tell the kind of cell.
        leaves: ``[L, 2D]``, the states of the leaf slots.
        forest: made by `rntn_jax.trees.pack`, with ``L`` leaf slots.

    Returns:
        ``[N, 2D]``, one state a slot; padding slots are zero. Cost O(nodes D^2). Residuals: the
        states and ``steps x lanes x 5 D`` gates.

    Raises:
        AssertionError: when shapes do not match.

    Example:
        >>> from rntn_jax import data, trees
        >>> tree = data.parse_tree("(3 (2 not) (4 (2 very) (0 bad)))")
        >>> forest = trees.pack([tree], data.Vocabulary.build(tree.tokens))
        >>> cell = Cell(u=jnp.zeros((2, 5)), b=jnp.array([0.0, 0.0, 0.0, 0.0, 1.0]))
        >>> states = sweep(cell, jnp.zeros((forest.tokens.size, 2)), forest)
        >>> c = trees.unpack(forest, states)[0][:, 1]  # tanh(1) / 2, then that and half of it
        >>> [round(float(x), 3) for x in c]
        [0.0, 0.0, 0.0, 0.381, 0.571]
    """
    sizes = {"L": forest.shape.leaves}
    check("leaves", leaves, "float", "L S", sizes)
    d, odd = divmod(sizes["S"], 2)
    if odd:
        raise AssertionError(f"leaves must be float [L, 2D], got {list(leaves.shape)}")
    sizes["D"] = d
    if jnp.shape(cell.u) == (d, 4 * d):
        check("cell.b", cell.b, "float", f"{4 * d}", sizes)
        cell = _as_binary(cell)
    check("cell.u", cell.u, "float", f"{2 * d} {5 * d}", sizes)
    check("cell.b", cell.b, "float", f"{5 * d}", sizes)
    return _sweep(*vary_like((cell, leaves, forest)))


def _as_binary(cell: Cell) -> Cell:
    """A child-sum cell as the binary cell that computes the same: blocks tied, others zero."""
    i, f, o, u = jnp.split(cell.u, 4, axis=1)
    zero = jnp.zeros_like(f)
    b_i, b_f, b_o, b_u = jnp.split(cell.b, 4)
    return Cell(
        u=jnp.block([[i, f, zero, o, u], [i, zero, f, o, u]]),
        b=jnp.concatenate([b_i, b_f, b_f, b_o, b_u]),
    )


def _sweep_reference(cell: Cell, leaves: jax.Array, forest: Forest) -> jax.Array:
    return reference(_compose, cell, leaves, forest)


@jax.custom_vjp
def _sweep(cell: Cell, leaves: jax.Array, forest: Forest) -> jax.Array:
    return upward(_compose, cell, leaves, forest, keep=False)[0]


def _compose(cell: Cell, x) -> tuple[jax.Array, jax.Array]:
    """States ``[h, c]`` of a step's nodes from their children's, and the gates."""
    h, c = jnp.split(x, 2, axis=-1)  # [B, 2, D] each
    z = h.reshape(len(h), -1) @ cell.u + cell.b[None]
    d = h.shape[-1]
    gates = jnp.concatenate([jax.nn.sigmoid(z[:, : 4 * d]), jnp.tanh(z[:, 4 * d :])], axis=1)
    i, f_l, f_r, o, u = jnp.split(gates, 5, axis=1)  # (9) to (12)
    c = i * u + f_l * c[:, 0] + f_r * c[:, 1]  # (13)
    return jnp.concatenate([o * jnp.tanh(c), c], axis=1), gates  # (14)


class _SweepResiduals(NamedTuple):
    cell: Cell
    leaves: jax.Array  # [L, 2D], for its dtype only
    forest: Forest
    states: jax.Array  # [N, 2D]
    gates: jax.Array  # [S, B, 5D]


def _sweep_fwd(cell: Cell, leaves: jax.Array, forest: Forest) -> tuple[jax.Array, _SweepResiduals]:
    states, gates = upward(_compose, cell, leaves, forest, keep=True)
    return states, _SweepResiduals(cell, leaves, forest, states, gates)


def _sweep_bwd(res: _SweepResiduals, g: jax.Array) -> tuple[Cell, jax.Array, None]:
    dz, d_leaves = downward(_backward, res.cell.u, res.states, res.gates, res.forest, g)
    h = res.states[:, : dz.shape[1] // 5]
    x = gather_children(h, res.forest.children).reshape(len(dz), -1)
    d_cell = Cell(u=x.T @ dz, b=dz.sum(0))
    return *cast_like((d_cell, d_leaves), (res.cell, res.leaves)), None


def _backward(u, error, state, x, gates) -> tuple[jax.Array, jax.Array]:
    """The ``dz`` of a step's nodes, and what they send down."""
    dh, dc = jnp.split(error, 2, axis=1)
    c = jnp.split(state, 2, axis=1)[1]
    c_l, c_r = jnp.split(x, 2, axis=-1)[1].swapaxes(0, 1)
    i, f_l, f_r, o, g = jnp.split(gates, 5, axis=1)
    t = jnp.tanh(c)
    dc = dc + dh * o * (1 - t * t)
    slopes = [g * i * (1 - i), c_l * f_l * (1 - f_l), c_r * f_r * (1 - f_r)]
    dz = jnp.concatenate(
        [*(dc * slope for slope in slopes), dh * t * o * (1 - o), dc * i * (1 - g * g)], axis=1
    )
    dh_children = (dz @ u.T).reshape(x.shape[0], 2, -1)
    dc_children = jnp.stack([dc * f_l, dc * f_r], axis=1)
    return dz, jnp.concatenate([dh_children, dc_children], axis=2)


_sweep.defvjp(_sweep_fwd, _sweep_bwd)
