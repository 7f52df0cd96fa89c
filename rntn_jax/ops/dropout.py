"""Dropout, as all models apply it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

__all__ = ["dropout"]


def dropout(key: jax.Array | None, place: int, x: jax.Array, rate: float, name: str) -> jax.Array:
    """``x`` with entries dropped at a rate, the others scaled so that the mean stays.

    Args:
        key: a PRNG key; may be None when nothing is dropped.
        place: number of this dropout among those that share the key.
        x: any floating point array.
        rate: in ``[0, 1)``; at 0 ``x`` is returned as it is.
        name: of the rate, for the errors.

    Returns:
        As ``x``.

    Raises:
        ValueError: for a rate outside [0, 1), or when a key is needed and missing.

    Example:
        >>> dropped = dropout(jax.random.key(0), 0, jnp.ones(100), 0.5, "rate")
        >>> sorted(set(dropped.tolist()))
        [0.0, 2.0]
    """
    if not 0 <= rate < 1:
        raise ValueError(f"{name} must be in [0, 1), got {rate!r}")
    if not rate:
        return x
    if key is None:
        raise ValueError(f"{name} needs a key")
    keep = jax.random.bernoulli(jax.random.fold_in(key, place), 1 - rate, x.shape)
    return jnp.where(keep, x / (1 - rate), 0)
