"""What all recurrent layers share: time first inside, masks, direction, recomputation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops import accumulator, masked
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like

__all__ = ["after_the_sweep", "both_directions", "dropped", "sweep"]


def sweep(
    run: Callable[..., tuple[jax.Array, Any]],
    cell: Any,
    x: jax.Array,
    carry: Any,
    mask: jax.Array | None,
    recurrent_mask: jax.Array | None,
    sizes: dict[str, int],
    reverse: bool,
    remat_every: int | None,
) -> tuple[jax.Array, Any]:
    """A recurrent layer over a batch.

    Args:
        run: from cell, ``x [T, B, E]``, carry, mask ``[T, B]`` and ``recurrent_mask`` to states
            ``[T, B, D]``, a masked step showing the state it leaves alone, and the carry after.
        cell: its weights.
        x: ``[B, T, E]``.
        carry: before the first step; a pytree of ``[B, D]``.
        mask: bool ``[B, T]``, or None.
        recurrent_mask: ``[B, D]``, or None.
        sizes: of axes B, T and D, as `rntn_jax.ops.checks.check` found them.
        reverse: from the last step to the first.
        remat_every: steps recomputed at a time in the backward pass, or None.

    Returns:
        ``(hidden [B, T, D], carry)``, hidden 0 where masked.

    Raises:
        AssertionError: when shapes do not match.
        ValueError: for a ``remat_every`` below 1.
    """
    here = jnp.ones((sizes["B"], sizes["T"]), bool) if mask is None else mask
    here = check("mask", here, "bool", "B T", sizes)
    if recurrent_mask is not None:
        check("recurrent_mask", recurrent_mask, "float", "B D", sizes)
    if remat_every is not None and remat_every < 1:
        raise ValueError(f"remat_every must be at least 1, got {remat_every}")
    cell, x, carry, here, drop = vary_like((cell, x, carry, here, recurrent_mask))
    x, here = x.swapaxes(0, 1), here.T
    if reverse:
        x, here = x[::-1], here[::-1]
    if remat_every is None or remat_every >= sizes["T"]:
        states, last = run(cell, x, carry, here, drop)
    else:
        states, last = _with_remat(run, remat_every, cell, x, carry, here, drop)
    hidden = states if mask is None else masked(states, here)
    return (hidden[::-1] if reverse else hidden).swapaxes(0, 1), last


def _with_remat(
    run: Callable, every: int, cell: Any, x: jax.Array, carry: Any, mask: jax.Array, drop: Any
) -> tuple[jax.Array, Any]:
    """The sweep over pieces of time, each computed again in the backward pass."""
    steps = x.shape[0]
    pieces = -(-steps // every)

    def split(a):
        pad = [(0, pieces * every - steps)] + [(0, 0)] * (a.ndim - 1)
        return jnp.pad(a, pad).reshape(pieces, every, *a.shape[1:])

    @jax.checkpoint
    def piece(carry, parts):
        x, mask = parts
        states, carry = run(cell, x, carry, mask, drop)
        return carry, states

    carry, states = lax.scan(piece, carry, (split(x), split(mask)))
    return states.reshape(pieces * every, *states.shape[2:])[:steps], carry


def both_directions(
    layer: Callable, forward: Any, backward: Any, x: jax.Array, mask: jax.Array | None
) -> jax.Array:
    """States ``[B, T, 2 D]`` of a layer and of one that reads from the last step on.

    Args:
        layer: `rntn_jax.recurrent.rnn`, for example.
        forward: the weights of the first.
        backward: those of the other.
        x: ``[B, T, E]``.
        mask: bool ``[B, T]``, or None.

    Returns:
        Both side by side.
    """
    there, _ = layer(forward, x, mask=mask)
    back, _ = layer(backward, x, mask=mask, reverse=True)
    return jnp.concatenate([there, back], axis=-1)


def dropped(state: jax.Array, drop: jax.Array | None) -> jax.Array:
    """The state times what drops some of it.

    Args:
        state: ``[.., D]``.
        drop: what multiplies it, or None.

    Returns:
        The product; for None, the state as it is.
    """
    return state if drop is None else state * drop


def after_the_sweep(
    cell: Any, x: jax.Array, before: jax.Array, drop: Any, mask: jax.Array, delta: jax.Array
) -> tuple[Any, jax.Array, Any]:
    """What a rule has left to do when the errors of all steps are known: one contraction each.

    Args:
        cell: weights ``h [D, G]``, ``i [E, G]`` and ``b [G]``.
        x: ``[T, B, E]``.
        before: the state before each step, ``[T, B, D]``.
        drop: what multiplied it, ``[B, D]``, or None.
        mask: ``[T, B]``.
        delta: the errors of ``h_{t-1} H + x_t I + b``, ``[T, B, G]``, 0 where masked.

    Returns:
        The gradients of the cell, of ``x`` and of ``drop``.
    """

    def contract(left: jax.Array) -> jax.Array:
        """``sum over t, b of left^T delta``."""
        dtype = accumulator(left, delta)
        return jnp.einsum("tbi,tbj->ij", left, delta, preferred_element_type=dtype)

    d_cell = type(cell)(
        h=contract(dropped(before, None if drop is None else drop[None])),
        i=contract(masked(x, mask)),
        b=delta.sum((0, 1), dtype=accumulator(delta)),
    )
    d_drop = None if drop is None else (before * (delta @ cell.h.T)).sum(0)
    return d_cell, delta @ cell.i.T, d_drop
