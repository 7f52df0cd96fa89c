"""A loop whose length is data and which can still be differentiated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops.varying import vary_like

__all__ = ["bounded_loop"]


@partial(jax.jit, static_argnames=("step", "bound"))
def bounded_loop(
    step: Callable[[jax.Array, Any, Any], Any],
    bound: int,
    length: jax.Array,
    carry: Any,
    operands: Any,
) -> Any:
    """``for i in range(length): carry = step(i, carry, operands)`` with ``length <= bound``.

    A ``fori_loop`` of traced length runs no step too many, so that one compiled program serves
    minibatches of all lengths; but JAX cannot reverse it. Here its derivative is that of the scan
    over ``bound`` steps that skips those from ``length`` on. Rules that derive their own gradient
    never ask for it; the derivative *of* such a rule does.

    Args:
        step: a function that closes over no traced array. Compiled once for each such function.
        bound: static upper limit of ``length``.
        length: integer scalar.
        carry: pytree of arrays.
        operands: pytree of arrays that the steps read.

    Returns:
        The carry after the last step.

    Example:
        >>> double = lambda i, carry, _: 2 * carry
        >>> jax.value_and_grad(lambda x: bounded_loop(double, 8, jnp.int32(3), x, None))(1.0)
        (Array(8., dtype=float32, weak_type=True), Array(8., dtype=float32, weak_type=True))
    """
    length, carry, operands = vary_like((length, carry, operands))
    return _bounded_loop(step, bound, length, carry, operands)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _bounded_loop(step, bound, length, carry, operands) -> Any:
    return lax.fori_loop(0, length, partial(_step, step, operands), carry)


def _step(step, operands, i, carry) -> Any:
    """One step; constants, which JAX may hand back as NumPy arrays, become arrays again."""
    return step(i, *jax.tree.map(jnp.asarray, (carry, operands)))


def _bounded_loop_reference(step, bound, length, carry, operands) -> Any:
    def body(carry, i):
        return lax.cond(i < length, partial(_step, step, operands, i), lambda c: c, carry), None

    return lax.scan(body, carry, jnp.arange(bound, dtype=length.dtype))[0]


def _bounded_loop_fwd(
    step, bound, length, carry, operands
) -> tuple[Any, tuple[jax.Array, Any, Any]]:
    return _bounded_loop(step, bound, length, carry, operands), (length, carry, operands)


def _bounded_loop_bwd(step, bound, res, cotangents) -> tuple[None, Any, Any]:
    length, *args = jax.tree.map(jnp.asarray, res)
    reference = partial(_bounded_loop_reference, step, bound, length)
    return None, *jax.vjp(reference, *args)[1](cotangents)


_bounded_loop.defvjp(_bounded_loop_fwd, _bounded_loop_bwd)
