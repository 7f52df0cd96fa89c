"""Masks and dtypes: the small rules that every hand-derived gradient obeys."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp

__all__ = ["accumulator", "append_zeros", "cast_like", "masked", "masked_mean"]

Tree = TypeVar("Tree")


def cast_like(cotangents: Tree, primals: Any) -> Tree:
    """Gives every cotangent the dtype of its primal; `None` leaves stay `None`.

    JAX checks the shape of what a backward rule returns and its container, but not its dtype:
    a float32 cotangent of a bfloat16 parameter passes silently. Every rule of the library ends
    with this function.

    Args:
        cotangents: a pytree of arrays.
        primals: a pytree of the same structure, whose dtypes are taken.

    Returns:
        The cotangents, cast.

    Raises:
        ValueError: where a shape differs.

    Example:
        >>> cast_like(jnp.ones(2), jnp.ones(2, jnp.bfloat16)).dtype
        dtype(bfloat16)
    """

    def cast(g: jax.Array, p: jax.Array) -> jax.Array:
        if jnp.shape(g) != jnp.shape(p):
            raise ValueError(f"cotangent has shape {jnp.shape(g)}, its primal {jnp.shape(p)}")
        return g.astype(p.dtype)

    return jax.tree.map(cast, cotangents, primals)


def accumulator(*arrays: jax.Array) -> Any:
    """The dtype in which sums over these arrays are formed: at least float32."""
    return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)


def append_zeros(x: jax.Array) -> jax.Array:
    """``x`` with a row of zeros at the end, for what has no place of its own to read.

    Example:
        >>> append_zeros(jnp.ones((1, 2))).tolist()
        [[1.0, 1.0], [0.0, 0.0]]
    """
    return jnp.concatenate([x, jnp.zeros_like(x, shape=(1, *x.shape[1:]))])


def masked(x: jax.Array, where: jax.Array | None, fill: float = 0.0) -> jax.Array:
    """``x`` with ``fill`` where the mask is false, whatever stood there, NaN included.

    Args:
        x: ``[..., *rest]``.
        where: bool ``[...]``, aligned with the leading axes of ``x``; None keeps ``x``.
        fill: the value put in.

    Returns:
        As ``x``.
    """
    if where is None:
        return x
    where = where.reshape(where.shape + (1,) * (x.ndim - where.ndim))
    return jnp.where(where, x, jnp.asarray(fill, x.dtype))


def masked_mean(x: jax.Array, where: jax.Array | None = None) -> jax.Array:
    """Mean of ``x`` over the true entries of the mask; 0 where there is none.

    Args:
        x: floating point, any shape.
        where: bool, of the shape of ``x``; None: all entries count.

    Returns:
        A scalar of the dtype of ``x``.

    Example:
        >>> float(masked_mean(jnp.array([1.0, jnp.nan]), jnp.array([True, False])))
        1.0
    """
    if where is None:
        return x.mean()
    return masked(x, where).sum() / jnp.maximum(where.sum(), 1).astype(x.dtype)
