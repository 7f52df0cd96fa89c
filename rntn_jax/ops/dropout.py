"""Dropout, as all models apply it."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

__all__ = ["check_dropout", "dropout"]


def check_dropout(key: jax.Array | None, rates: Mapping[str, float]) -> None:
    """Refuses rates, by the names that a function's caller knows.

    Args:
        key: a PRNG key; may be None when nothing is dropped.
        rates: of dropout, by name.

    Raises:
        ValueError: for a rate outside [0, 1), or when a key is needed and missing.

    Example:
        >>> check_dropout(None, {"input_dropout": 0.5})
        Traceback (most recent call last):
        ValueError: input_dropout needs a key
    """
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ValueError(f"{name} must be in [0, 1), got {rate!r}")
        if rate and key is None:
            raise ValueError(f"{name} needs a key")


def dropout(key: jax.Array | None, index: int, x: jax.Array, rate: float) -> jax.Array:
    """``x`` with entries dropped at a rate, the others scaled so that the mean stays.

    Args:
        key: a PRNG key; may be None when nothing is dropped.
        index: folded into the key: number of this dropout among those that share it.
        x: any floating point array.
        rate: in ``[0, 1)``; at 0 ``x`` is returned as it is.

    Returns:
        Shape and dtype of ``x``.

    Raises:
        ValueError: for a rate outside [0, 1), or when a key is needed and missing.

    Example:
        >>> dropped = dropout(jax.random.key(0), 0, jnp.ones(100), 0.5)
        >>> sorted(set(dropped.tolist()))
        [0.0, 2.0]
    """
    check_dropout(key, {"rate": rate})
    if not rate or key is None:
        return x
    keep = jax.random.bernoulli(jax.random.fold_in(key, index), 1 - rate, x.shape)
    return jnp.where(keep, x / (1 - rate), 0)
