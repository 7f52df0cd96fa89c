"""The Elman network: its scan, and its hand-derived rule of backpropagation through time.

For inputs ``x_t`` and a state ``h_t`` (rows)::

    h_t = f(h_{t-1} H + x_t I + b)

The backward pass carries nothing but the error ``delta`` of one step; all weight gradients are one
contraction each, after the sweep (source 001; source 003, equations 17 to 24 summed over t).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops import activate, cast_like, derivative_from_output, masked
from rntn_jax.ops.checks import check
from rntn_jax.recurrent.sweep import after_the_sweep, both_directions, dropped, sweep
from rntn_jax.shapes import shapes_repr

__all__ = ["Cell", "birnn", "jacobian_norms", "rnn", "stacked_rnn"]


class Cell(NamedTuple):
    """Weights of one layer."""

    h: jax.Array  # [D, D], from the state before
    i: jax.Array  # [E, D], from the input
    b: jax.Array  # [D]

    __repr__ = shapes_repr


_OPTIONS = ("activation", "reverse", "remat_every")  # static


@partial(jax.jit, static_argnames=_OPTIONS)
def rnn(
    cell: Cell,
    x: jax.Array,
    carry: jax.Array | None = None,
    mask: jax.Array | None = None,
    *,
    activation: str = "tanh",
    reverse: bool = False,
    recurrent_mask: jax.Array | None = None,
    remat_every: int | None = None,
) -> tuple[jax.Array, jax.Array]:
    """States of a recurrent network at all steps.

    Computes ``h_t = f((m * h_{t-1}) H + x_t I + b)``, ``m`` being ``recurrent_mask``. Gradient,
    from ``g_t``, the cotangent of ``h_t``::

        delta_t = (g_t + down_t) f'(h_t),   down_{t-1} = m * (delta_t H^T)
        dH = sum_t (m * h_{t-1})^T delta_t,  dI = sum_t x_t^T delta_t,  db = sum_t delta_t
        dx_t = delta_t I^T,                  dcarry = down_0

    Source: 001, ``h^(t)`` and its dJ/dH; 003, equations 1a and 15 to 24.
    Differs from source: 001 stops at the immediate term of dJ/dH, and derives neither dI nor db
    nor dx; 003's sums over r <= t, done once for all t, are this one recursion (errata 001, 003).

    Args:
        cell: the weights.
        x: ``[B, T, E]``.
        carry: ``[B, D]``, the state before the first step; zeros by default. Its gradient is
            that of the whole past: truncated backpropagation is the caller stopping it.
        mask: bool ``[B, T]``, any pattern; a false step leaves the state as it was, shows zero,
            and may hold anything.
        activation: ``tanh``, ``sigmoid``, ``relu``, ``cube`` or ``identity``.
        reverse: from the last step to the first.
        recurrent_mask: ``[B, D]`` floating point, multiplies the state before each step:
            variational dropout.
        remat_every: steps recomputed at a time in the backward pass. The states of all steps are
            then not kept for it, only every ``remat_every``-th; about ``sqrt(T)`` keeps least.

    Returns:
        ``(hidden [B, T, D], carry [B, D])``. Cost O(B T D (D + E)), three times; residuals: the
        arguments and the states, with ``remat_every`` only ``T / remat_every`` of these.

    Raises:
        AssertionError: when shapes do not match.
        ValueError: for an unknown activation or a ``remat_every`` below 1.

    Example:
        >>> cell = Cell(h=jnp.ones((1, 1)), i=jnp.ones((1, 1)), b=jnp.zeros(1))
        >>> hidden, carry = rnn(cell, jnp.ones((1, 3, 1)), activation="identity")
        >>> hidden.ravel().tolist(), carry.tolist()
        ([1.0, 2.0, 3.0], [[3.0]])
    """
    sizes: dict[str, int] = {}
    check("x", x, "float", "B T E", sizes)
    _check_cell("cell", cell, sizes)
    carry = jnp.zeros((sizes["B"], sizes["D"]), x.dtype) if carry is None else carry
    check("carry", carry, "float", "B D", sizes)
    derivative_from_output(activation, jnp.zeros(()))  # an unknown name fails here
    run = partial(_rnn, activation)
    return sweep(run, cell, x, carry, mask, recurrent_mask, sizes, reverse, remat_every)


def _check_cell(name: str, cell: Cell, sizes: dict[str, int]) -> None:
    check(f"{name}.b", cell.b, "float", "D", sizes)
    check(f"{name}.h", cell.h, "float", "D D", sizes)
    check(f"{name}.i", cell.i, "float", "E D", sizes)


@partial(jax.jit, static_argnames=_OPTIONS)
def stacked_rnn(
    cells: Sequence[Cell],
    x: jax.Array,
    carries: Sequence[jax.Array | None] | None = None,
    mask: jax.Array | None = None,
    *,
    activation: str = "tanh",
    reverse: bool = False,
    recurrent_mask: jax.Array | None = None,
    remat_every: int | None = None,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Layers on top of each other, each reading the states of the one below.

    Args:
        cells: the layers, from the input up.
        x: ``[B, T, E]``.
        carries: one ``[B, D]`` a layer, or None.
        mask: bool ``[B, T]``.
        activation: as in `rnn`, of all layers.
        reverse: as in `rnn`, all layers.
        recurrent_mask: as in `rnn`, the same for all layers.
        remat_every: as in `rnn`, of all layers.

    Returns:
        ``(hidden [B, T, D] of the top layer, carries)``.

    Raises:
        ValueError: when there are not as many carries as cells.

    Example:
        >>> cell = Cell(h=jnp.ones((1, 1)), i=jnp.ones((1, 1)), b=jnp.zeros(1))
        >>> hidden, _ = stacked_rnn([cell, cell], jnp.ones((1, 3, 1)), activation="identity")
        >>> hidden.ravel().tolist()
        [1.0, 3.0, 6.0]
    """
    carries = [None] * len(cells) if carries is None else carries
    after = []
    for cell, carry in zip(cells, carries, strict=True):
        x, carry = rnn(
            cell,
            x,
            carry,
            mask,
            activation=activation,
            reverse=reverse,
            recurrent_mask=recurrent_mask,
            remat_every=remat_every,
        )
        after.append(carry)
    return x, tuple(after)


@partial(jax.jit, static_argnames=("activation", "remat_every"))
def birnn(
    forward: Cell,
    backward: Cell,
    x: jax.Array,
    mask: jax.Array | None = None,
    *,
    activation: str = "tanh",
    recurrent_mask: jax.Array | None = None,
    remat_every: int | None = None,
) -> jax.Array:
    """States of both directions side by side.

    Args:
        forward: the layer that reads from the first step on.
        backward: the layer that reads from the last step on.
        x: ``[B, T, E]``.
        mask: bool ``[B, T]``, as in `rnn`.
        activation: as in `rnn`, of both.
        recurrent_mask: as in `rnn`, the same for both.
        remat_every: as in `rnn`, of both.

    Returns:
        ``[B, T, 2 D]``, 0 where masked.

    Raises:
        AssertionError: when shapes do not match.
        ValueError: for an unknown activation or a ``remat_every`` below 1.

    Example:
        >>> cell = Cell(h=jnp.ones((1, 1)), i=jnp.ones((1, 1)), b=jnp.zeros(1))
        >>> birnn(cell, cell, jnp.ones((1, 3, 1)), activation="identity")[0].tolist()
        [[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]
    """
    options = {
        "activation": activation,
        "recurrent_mask": recurrent_mask,
        "remat_every": remat_every,
    }
    return both_directions(partial(rnn, **options), forward, backward, x, mask)


@partial(jax.jit, static_argnames=("max_lag", "activation"))
def jacobian_norms(
    cell: Cell, hidden: jax.Array, max_lag: int, *, activation: str = "tanh"
) -> jax.Array:
    """How much of an error survives: Frobenius norms of ``ds_t / ds_{t-lag}``, ``lag <= max_lag``.

    Computes ``|prod_k diag(f'(s_k)) H^T|`` for ``k = t-lag+1 .. t``, averaged over batch and time.
    Falling norms are the vanishing gradient.

    Source: 003, the factor ``ds_t / ds_r`` of equations 19 to 24.
    Differs from source: it is never written out there (errata 003).

    Args:
        cell: the weights.
        hidden: ``[B, T, D]``, the states that `rnn` returned (no step masked).
        max_lag: largest lag, below ``T``.
        activation: as in `rnn`.

    Returns:
        ``[max_lag + 1]``, divided by that at lag 0, ``sqrt(D)``. Cost O(max_lag B T D^3), memory
        O(B T D^2).

    Raises:
        ValueError: when ``max_lag`` is not in ``0 .. T-1``.

    Example:
        >>> cell = Cell(h=0.5 * jnp.eye(2), i=jnp.ones((1, 2)), b=jnp.zeros(2))
        >>> jacobian_norms(cell, jnp.zeros((1, 4, 2)), 2).tolist()
        [1.0, 0.5, 0.25]
    """
    sizes: dict[str, int] = {}
    check("hidden", hidden, "float", "B T D", sizes)
    _check_cell("cell", cell, sizes)
    steps, d = sizes["T"], sizes["D"]
    if not 0 <= max_lag < steps:
        raise ValueError(f"max_lag must be in 0 .. {steps - 1}, got {max_lag}")
    slope = derivative_from_output(activation, hidden)
    # Rows: ds_k / ds_{k-1} [i, j] = d s_k[j] / d s_{k-1}[i].
    one_step = cell.h[None, None] * slope[:, :, None, :]
    product = jnp.broadcast_to(jnp.eye(d, dtype=hidden.dtype), one_step.shape)
    norms = [jnp.ones((), hidden.dtype)]
    for lag in range(1, max_lag + 1):
        # Of ds_t / ds_{t-lag}, t from lag to T-1: the factor of step t-lag+1 comes first.
        product = one_step[:, 1 : steps - lag + 1] @ product[:, 1:]
        size = jnp.sqrt(jnp.square(product).sum((-1, -2)) / d)
        norms.append(size.mean())
    return jnp.stack(norms)


def _rnn_reference(
    activation: str, cell: Cell, x, carry, mask, drop
) -> tuple[jax.Array, jax.Array]:
    """States ``[T, B, D]``, a masked step showing the state it leaves alone; and the last."""
    projected = masked(x, mask) @ cell.i + cell.b[None, None]  # all steps at once

    def step(state, inputs):
        z, here = inputs
        seen = dropped(state, drop)
        h = activate(activation, z + seen @ cell.h).astype(state.dtype)
        state = jnp.where(here[:, None], h, state)
        return state, state

    carry, states = lax.scan(step, carry, (projected, mask))
    return states, carry


_rnn = partial(jax.custom_vjp, nondiff_argnums=(0,))(_rnn_reference)


class _RnnResiduals(NamedTuple):
    cell: Cell
    x: jax.Array  # [T, B, E]
    carry: jax.Array  # [B, D]
    mask: jax.Array  # [T, B]
    drop: jax.Array | None  # [B, D]
    states: jax.Array  # [T, B, D]


def _rnn_fwd(
    activation: str, cell: Cell, x, carry, mask, drop
) -> tuple[tuple[jax.Array, jax.Array], _RnnResiduals]:
    out = _rnn_reference(activation, cell, x, carry, mask, drop)
    return out, _RnnResiduals(cell, x, carry, mask, drop, out[0])


def _rnn_bwd(
    activation: str, res: _RnnResiduals, cotangents
) -> tuple[Cell, jax.Array, jax.Array, None, Any]:
    cell, x, carry, mask, drop, states = res
    g, g_carry = cotangents
    slope = derivative_from_output(activation, states)
    h_t = cell.h.T

    def step(down, inputs):
        g, slope, here = inputs
        total = g + down
        delta = jnp.where(here[:, None], total * slope, jnp.zeros((), total.dtype))
        down = dropped(delta @ h_t, drop)
        down = down + jnp.where(here[:, None], jnp.zeros((), total.dtype), total)
        return down.astype(g_carry.dtype), delta

    d_carry, delta = lax.scan(step, g_carry, (g, slope, mask), reverse=True)

    # Everything else is one contraction over all steps.
    before = jnp.concatenate([carry[None], states[:-1]]) if len(states) else states
    d_cell, d_x, d_drop = after_the_sweep(cell, x, before, drop, mask, delta)
    grads = d_cell, d_x, d_carry, d_drop
    d_cell, d_x, d_carry, d_drop = cast_like(grads, (cell, x, carry, drop))
    return d_cell, d_x, d_carry, None, d_drop


_rnn.defvjp(_rnn_fwd, _rnn_bwd)
