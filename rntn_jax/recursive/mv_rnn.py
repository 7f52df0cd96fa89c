"""The matrix-vector recursive network over packed trees (Socher, Huval, Manning and Ng 2012).

Every node has a vector and a matrix: what it means, and how it changes the meaning of what stands
beside it. A state is ``[p, P]``, the ``D`` numbers of the vector and the ``D x D`` of the matrix
side by side. For a node whose children are ``[a, A]`` and ``[b, B]``, written with rows::

    p = f([a B, b A] W + b_p)
    P = [A, B] W_M
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.ops import activate, cast_like, derivative_from_output
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like
from rntn_jax.recursive.sweep import downward, gather_children, reference, upward
from rntn_jax.shapes import shapes_repr
from rntn_jax.trees import Forest

__all__ = ["Cell", "sweep"]


class Cell(NamedTuple):
    """Weights of the composition of vectors, and of that of matrices."""

    w: jax.Array  # [2D, D]
    b: jax.Array  # [D]
    w_m: jax.Array  # [2D, D]

    __repr__ = shapes_repr


@partial(jax.jit, static_argnames=("activation",))
def sweep(cell: Cell, leaves: jax.Array, forest: Forest, *, activation: str = "tanh") -> jax.Array:
    """States ``[p, P]`` of all nodes of a forest, leaves first, roots last.

    Computes ``p = f([a B, b A] W + b_p)`` and ``P = [A, B] W_M`` at every internal node. Gradient,
    from the whole cotangents ``dp`` and ``dP`` of a node's state::

        delta  = dp f'(p)
        [s, t] = delta W^T                        the errors of a B and of b A
        da = s B^T,  dB = a^T s + (dP W_M^T)_2
        db = t A^T,  dA = b^T t + (dP W_M^T)_1
        after the sweep:  dW = sum_n [a B, b A]^T delta,  db_p = sum_n delta,
                          dW_M = sum_n [A, B]^T dP

    Source: Socher, Huval, Manning and Ng (2012), section 2.1: ``p = g(W [B a; A b])`` and
    ``P = W_M [A; B]``, of columns.
    Differs from source: of rows, so that every matrix is the transpose of theirs.

    Args:
        cell: the weights, ``D`` the width of a vector.
        leaves: ``[L, D + D D]``, the states of the leaf slots.
        forest: made by `rntn_jax.trees.pack`, with ``L`` leaf slots.
        activation: ``tanh``, ``sigmoid``, ``relu`` or ``identity``.

    Returns:
        ``[N, D + D D]``, one state a slot; padding slots are zero. Cost O(nodes D^3). Residuals:
        the states.

    Raises:
        AssertionError: when shapes do not match.
        ValueError: for an unknown activation.

    Example:
        >>> from rntn_jax import data, trees
        >>> tree = data.parse_tree("(3 (2 not) (4 (2 very) (0 bad)))")
        >>> forest = trees.pack([tree], data.Vocabulary.build(tree.tokens))
        >>> cell = Cell(w=jnp.ones((2, 1)), b=jnp.zeros(1), w_m=jnp.ones((2, 1)))
        >>> words = jnp.full((forest.tokens.size, 2), 2.0)  # the number 2 and the matrix (2)
        >>> trees.unpack(forest, sweep(cell, words, forest, activation="identity"))[0].tolist()
        [[2.0, 2.0], [2.0, 2.0], [2.0, 2.0], [8.0, 4.0], [24.0, 6.0]]
    """
    sizes = {"L": forest.shape.leaves}
    check("cell.b", cell.b, "float", "D", sizes)
    d = sizes["D"]
    check("leaves", leaves, "float", f"L {d + d * d}", sizes)
    check("cell.w", cell.w, "float", f"{2 * d} D", sizes)
    check("cell.w_m", cell.w_m, "float", f"{2 * d} D", sizes)
    derivative_from_output(activation, jnp.zeros(()))  # an unknown name fails here
    return _sweep(activation, *vary_like((cell, leaves, forest)))


def _sweep_reference(activation: str, cell: Cell, leaves: jax.Array, forest: Forest) -> jax.Array:
    return reference(partial(_compose, activation), cell, leaves, forest)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sweep(activation: str, cell: Cell, leaves: jax.Array, forest: Forest) -> jax.Array:
    return upward(partial(_compose, activation), cell, leaves, forest, keep=False)[0]


def _parts(states: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Vectors ``[.., D]`` and matrices ``[.., D, D]`` of states."""
    d = (math.isqrt(1 + 4 * states.shape[-1]) - 1) // 2  # D + D D
    return states[..., :d], states[..., d:].reshape(*states.shape[:-1], d, d)


def _state(vector: jax.Array, matrix: jax.Array) -> jax.Array:
    """The inverse of `_parts`."""
    return jnp.concatenate([vector, matrix.reshape(*vector.shape[:-1], -1)], axis=-1)


def _crossed(vectors: jax.Array, matrices: jax.Array) -> jax.Array:
    """``[a B, b A]`` of children ``[B, 2, ..]``: each vector times the other's matrix."""
    return jnp.einsum("nci,ncij->ncj", vectors, matrices[:, ::-1])


def _beside(matrices: jax.Array) -> jax.Array:
    """``[A, B]`` of children ``[B, 2, D, D]``: ``[B, D, 2D]``."""
    n, _, d, _ = matrices.shape
    return matrices.swapaxes(1, 2).reshape(n, d, 2 * d)


def _compose(activation: str, cell: Cell, x) -> tuple[jax.Array, None]:
    vectors, matrices = _parts(x)
    z = _crossed(vectors, matrices).reshape(len(x), -1) @ cell.w + cell.b[None]
    return _state(activate(activation, z), _beside(matrices) @ cell.w_m), None


class _SweepResiduals(NamedTuple):
    cell: Cell
    leaves: jax.Array  # [L, D + D D], for its dtype only
    forest: Forest
    states: jax.Array  # [N, D + D D]


def _sweep_fwd(
    activation: str, cell: Cell, leaves: jax.Array, forest: Forest
) -> tuple[jax.Array, _SweepResiduals]:
    states, _ = upward(partial(_compose, activation), cell, leaves, forest, keep=False)
    return states, _SweepResiduals(cell, leaves, forest, states)


def _sweep_bwd(activation: str, res: _SweepResiduals, g: jax.Array) -> tuple[Cell, jax.Array, None]:
    cell, forest, states = res.cell, res.forest, res.states
    backward = partial(_backward, activation)
    (delta, dm), d_leaves = downward(backward, (cell.w, cell.w_m), states, None, forest, g)
    vectors, matrices = _parts(gather_children(states, forest.children.reshape(-1, 2)))
    d_cell = Cell(
        w=_crossed(vectors, matrices).reshape(len(delta), -1).T @ delta,
        b=delta.sum(0),
        w_m=jnp.einsum("nij,nik->jk", _beside(matrices), dm),
    )
    return *cast_like((d_cell, d_leaves), (cell, res.leaves)), None


def _backward(activation: str, weights, error, state, x, kept) -> tuple[Any, jax.Array]:
    """The errors of a step's vectors (before f) and matrices, and what they send down."""
    w, w_m = weights
    dp, dm = _parts(error)
    vectors, matrices = _parts(x)
    delta = dp * derivative_from_output(activation, _parts(state)[0])
    crossed = (delta @ w.T).reshape(vectors.shape)  # s and t
    d_vectors = jnp.einsum("ncj,ncij->nci", crossed, matrices[:, ::-1])
    d_other = vectors[..., :, None] * crossed[..., None, :]  # a^T s, of B; b^T t, of A
    below = (dm @ w_m.T).reshape(*dm.shape[:2], 2, -1).swapaxes(1, 2)
    return (delta, dm), _state(d_vectors, d_other[:, ::-1] + below)


_sweep.defvjp(_sweep_fwd, _sweep_bwd)
