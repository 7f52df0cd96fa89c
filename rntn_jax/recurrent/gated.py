"""Long short-term memory: the gated scan, and its hand-derived rule.

For inputs ``x_t``, a state ``h_t`` and a memory ``c_t`` (rows)::

    i_t, f_t, o_t = sigmoid(h_{t-1} H + x_t I + b),   u_t = tanh(h_{t-1} H + x_t I + b)
    c_t = f_t c_{t-1} + i_t u_t                       each by its own columns of H, I and b
    h_t = o_t tanh(c_t)

Where a gate is open, ``dc_t / dc_{t-1} = f_t`` is near 1: the product that vanishes in an Elman
network (source 003, ``ds_t / ds_r``) does not. Hochreiter and Schmidhuber (1997), the gate ``f``
by Gers, Schmidhuber and Cummins (2000).

The backward pass carries the errors of state and memory of one step; all weight gradients are one
contraction each, after the sweep, as in `rntn_jax.recurrent.elman`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops import cast_like, masked
from rntn_jax.ops.checks import check
from rntn_jax.recurrent.sweep import after_the_sweep, both_directions, dropped, sweep
from rntn_jax.shapes import shapes_repr

__all__ = ["LSTMCell", "LSTMState", "bilstm", "lstm"]


class LSTMCell(NamedTuple):
    """Weights of one layer; columns of the gates i, f, o and of the candidate u, in this order."""

    h: jax.Array  # [D, 4 D], from the state before
    i: jax.Array  # [E, 4 D], from the input
    b: jax.Array  # [4 D]

    __repr__ = shapes_repr


class LSTMState(NamedTuple):
    """What goes on from step to step."""

    h: jax.Array  # [B, D], the state, which is seen
    c: jax.Array  # [B, D], the memory

    __repr__ = shapes_repr


@partial(jax.jit, static_argnames=("reverse", "remat_every"))
def lstm(
    cell: LSTMCell,
    x: jax.Array,
    carry: LSTMState | None = None,
    mask: jax.Array | None = None,
    *,
    reverse: bool = False,
    recurrent_mask: jax.Array | None = None,
    remat_every: int | None = None,
) -> tuple[jax.Array, LSTMState]:
    """States of a long short-term memory at all steps.

    Computes the recursion above, ``h_{t-1}`` times ``m``, the ``recurrent_mask``. Gradient, from
    ``g_t``, the cotangent of ``h_t``::

        dh_t = g_t + down_t,          dc_t = keep_t + dh_t o_t (1 - tanh(c_t)^2)
        delta_t = (dc_t u_t i_t (1 - i_t), dc_t c_{t-1} f_t (1 - f_t),
                   dh_t tanh(c_t) o_t (1 - o_t), dc_t i_t (1 - u_t^2))
        down_{t-1} = m * (delta_t H^T),   keep_{t-1} = dc_t f_t
        dH = sum_t (m * h_{t-1})^T delta_t,  dI = sum_t x_t^T delta_t,  db = sum_t delta_t
        dx_t = delta_t I^T,                  dcarry = (down_0, keep_0)

    Source: the chain rule of 003, equations 15 to 24, along state and memory; 001, dJ/dH.

    Args:
        cell: the weights.
        x: ``[B, T, E]``.
        carry: state and memory ``[B, D]`` before the first step; zeros by default.
        mask: bool ``[B, T]``, any pattern; a false step leaves state and memory as they were,
            shows zero, and may hold anything.
        reverse: from the last step to the first.
        recurrent_mask: ``[B, D]`` floating point, multiplies the state before each step:
            variational dropout.
        remat_every: steps recomputed at a time in the backward pass, as in `rnn`.

    Returns:
        ``(hidden [B, T, D], LSTMState of the last step)``. Cost O(B T D (D + E)), four times that
        of `rnn`; residuals: the arguments, and states, memories and gates ``[T, B, 6 D]``, with
        ``remat_every`` only every so many states and memories.

    Raises:
        AssertionError: when shapes do not match.
        ValueError: for a ``remat_every`` below 1.

    Example:
        >>> cell = LSTMCell(h=jnp.zeros((1, 4)), i=jnp.zeros((1, 4)), b=jnp.array([9, 9, 9, 9.0]))
        >>> hidden, carry = lstm(cell, jnp.ones((1, 3, 1)))  # all gates open: it counts
        >>> carry.c.round(2).tolist()
        [[3.0]]
    """
    sizes: dict[str, int] = {}
    check("x", x, "float", "B T E", sizes)
    check("cell.h", cell.h, "float", "D G", sizes)
    if sizes["G"] != 4 * sizes["D"]:
        shape = list(cell.h.shape)
        raise AssertionError(f"cell.h must be float [D, 4 D], three gates and u, got {shape}")
    check("cell.i", cell.i, "float", "E G", sizes)
    check("cell.b", cell.b, "float", "G", sizes)
    if carry is None:
        carry = LSTMState(*2 * (jnp.zeros((sizes["B"], sizes["D"]), x.dtype),))
    check("carry.h", carry.h, "float", "B D", sizes)
    check("carry.c", carry.c, "float", "B D", sizes)
    return sweep(_lstm, cell, x, carry, mask, recurrent_mask, sizes, reverse, remat_every)


@partial(jax.jit, static_argnames="remat_every")
def bilstm(
    forward: LSTMCell,
    backward: LSTMCell,
    x: jax.Array,
    mask: jax.Array | None = None,
    *,
    recurrent_mask: jax.Array | None = None,
    remat_every: int | None = None,
) -> jax.Array:
    """States of both directions side by side.

    Args:
        forward: the layer that reads from the first step on.
        backward: the layer that reads from the last step on.
        x: ``[B, T, E]``.
        mask: bool ``[B, T]``, as in `lstm`.
        recurrent_mask: as in `lstm`, the same for both.
        remat_every: as in `lstm`, of both.

    Returns:
        ``[B, T, 2 D]``, 0 where masked.

    Raises:
        AssertionError: when shapes do not match.
        ValueError: for a ``remat_every`` below 1.

    Example:
        >>> cell = LSTMCell(h=jnp.zeros((1, 4)), i=jnp.zeros((1, 4)), b=jnp.array([9, 9, 9, 0.2]))
        >>> (10 * bilstm(cell, cell, jnp.ones((1, 3, 1)))[0]).round().tolist()
        [[2.0, 5.0], [4.0, 4.0], [5.0, 2.0]]
    """
    options = {"recurrent_mask": recurrent_mask, "remat_every": remat_every}
    return both_directions(partial(lstm, **options), forward, backward, x, mask)


class _Kept(NamedTuple):
    """Of each step, for the backward pass."""

    h: jax.Array  # [T, B, D], the state after it
    before: jax.Array  # [T, B, D], the memory before it
    gates: tuple[jax.Array, ...]  # i, f, o and u, [T, B, D] each


def _run(keep: bool, cell: LSTMCell, x, carry: LSTMState, mask, drop) -> tuple[Any, LSTMState]:
    """States ``[T, B, D]``, or `_Kept`; and the last."""
    projected = masked(x, mask) @ cell.i + cell.b[None, None]  # all steps at once

    def step(before: LSTMState, inputs):
        z, here = inputs
        *z, u = jnp.split(z + dropped(before.h, drop) @ cell.h, 4, axis=1)
        i, f, o = map(jax.nn.sigmoid, z)
        u = jnp.tanh(u)
        c = (f * before.c + i * u).astype(before.c.dtype)
        h = (o * jnp.tanh(c)).astype(before.h.dtype)
        here = here[:, None]
        state = LSTMState(jnp.where(here, h, before.h), jnp.where(here, c, before.c))
        return state, _Kept(state.h, before.c, (i, f, o, u)) if keep else state.h

    carry, found = lax.scan(step, carry, (projected, mask))
    return found, carry


def _lstm_reference(cell: LSTMCell, x, carry, mask, drop) -> tuple[jax.Array, LSTMState]:
    """States ``[T, B, D]``, a masked step showing the state it leaves alone; and the last."""
    return _run(False, cell, x, carry, mask, drop)


_lstm = jax.custom_vjp(_lstm_reference)


class _LSTMResiduals(NamedTuple):
    cell: LSTMCell
    x: jax.Array  # [T, B, E]
    carry: LSTMState
    mask: jax.Array  # [T, B]
    drop: jax.Array | None  # [B, D]
    kept: _Kept


def _lstm_fwd(cell: LSTMCell, x, carry, mask, drop) -> tuple[Any, _LSTMResiduals]:
    kept, last = _run(True, cell, x, carry, mask, drop)
    return (kept.h, last), _LSTMResiduals(cell, x, carry, mask, drop, kept)


def _lstm_bwd(res: _LSTMResiduals, cotangents) -> tuple[LSTMCell, jax.Array, LSTMState, None, Any]:
    cell, x, carry, mask, drop, (h, c_before, gates) = res
    g, g_carry = cotangents
    h_t = cell.h.T

    def step(down: LSTMState, inputs):
        g, (i, f, o, u), before, here = inputs
        here = here[:, None]
        seen = jnp.tanh(f * before + i * u)
        total = g + down.h
        dh = jnp.where(here, total, jnp.zeros((), total.dtype))
        dc = jnp.where(here, down.c, jnp.zeros((), down.c.dtype)) + dh * o * (1 - seen * seen)
        delta = (
            dc * u * i * (1 - i),
            dc * before * f * (1 - f),
            dh * seen * o * (1 - o),
            dc * i * (1 - u * u),
        )
        delta = jnp.concatenate(delta, axis=1)
        below = dropped(delta @ h_t, drop) + (total - dh)
        kept = jnp.where(here, dc * f, down.c)
        return LSTMState(below.astype(down.h.dtype), kept.astype(down.c.dtype)), delta

    d_carry, delta = lax.scan(step, g_carry, (g, gates, c_before, mask), reverse=True)

    # Everything else is one contraction over all steps.
    h_before = jnp.concatenate([carry.h[None], h])[:-1]
    d_cell, d_x, d_drop = after_the_sweep(cell, x, h_before, drop, mask, delta)
    grads = d_cell, d_x, d_carry, d_drop
    d_cell, d_x, d_carry, d_drop = cast_like(grads, (cell, x, carry, drop))
    return d_cell, d_x, d_carry, None, d_drop


_lstm.defvjp(_lstm_fwd, _lstm_bwd)
