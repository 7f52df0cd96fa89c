"""PRNG keys among arrays: what is saved, sent or copied as numbers, and is a key again after."""

from __future__ import annotations

from typing import Any

import jax

__all__ = ["is_key"]


def is_key(leaf: Any) -> bool:
    """Whether a leaf, or its shape and dtype, is that of PRNG keys.

    Args:
        leaf: anything.

    Returns:
        True for keys of `jax.random.key`, one or many.

    Example:
        >>> is_key(jax.random.key(0)), is_key(1.0)
        (True, False)
    """
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
