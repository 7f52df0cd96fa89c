"""Calls of public functions, with new arrays of the same shapes for each seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np


class Example(NamedTuple):
    """How a function is called: once for each seed, with arrays of the same shapes."""

    function: Callable[..., Any]
    make: Callable[[np.random.Generator], tuple[Any, ...]]  # positional arguments, NumPy arrays
    options: dict[str, Any] = {}  # noqa: RUF012  # keyword arguments
    gradient: bool = True
    vmap: bool = True
    slow: bool = False  # what compiles for long


B, T, C, D, E, V, N = 2, 3, 2, 2, 3, 5, 4


def draw(*shape: int) -> Callable[[np.random.Generator], Any]:
    """Normal numbers of a shape."""
    return lambda rng: rng.normal(size=shape)


def tree_of(like: Any) -> Callable[[np.random.Generator], Any]:
    """Normal numbers in place of a pytree's arrays."""
    return lambda rng: jax.tree.map(lambda a: rng.normal(size=a.shape), like)


def args(*makers: Any) -> Callable[[np.random.Generator], tuple[Any, ...]]:
    """Arguments that are drawn, those that are functions, or constants."""
    return lambda rng: tuple(m(rng) if callable(m) else m for m in makers)


def ints(high: int, *shape: int) -> Callable[[np.random.Generator], Any]:
    """Integers from 0 on."""
    return lambda rng: rng.integers(0, high, shape)


MASK = np.array([[True, True, True], [True, False, False]])
KEY = jax.random.key(0)
