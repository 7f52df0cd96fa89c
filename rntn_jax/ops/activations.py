"""Activations whose derivative is read off their output.

A rule that stores the outputs of a layer needs nothing else for the backward pass: with
``h = f(z)``, ``f'(z)`` is ``1 - h^2`` for tanh, ``h (1 - h)`` for the logistic function,
``[h > 0]`` for ReLU (0 at 0, as source 002 takes it), and ``3 h^(2/3)`` for the cube ``z^3`` of
Chen and Manning (2014).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

__all__ = ["ACTIVATIONS", "activate", "derivative_from_output"]


def _cube_derivative(h: jax.Array) -> jax.Array:
    """``3 z^2``; at 0 the cube root has no derivative, that of the cube's own is 0."""
    root = jnp.cbrt(jnp.where(h == 0, jnp.ones_like(h), h))
    return jnp.where(h == 0, jnp.zeros_like(h), 3 * root * root)


# name -> (f, f' as a function of f's output)
ACTIVATIONS: dict[str, tuple[Callable, Callable]] = {
    "tanh": (jnp.tanh, lambda h: 1 - h * h),
    "sigmoid": (jax.nn.sigmoid, lambda h: h * (1 - h)),
    # jnp.maximum would split the gradient at a tie; relu'(0) is 0 here.
    "relu": (lambda z: jnp.where(z > 0, z, jnp.zeros_like(z)), lambda h: (h > 0).astype(h.dtype)),
    "cube": (lambda z: z**3, _cube_derivative),
    "identity": (lambda z: z, jnp.ones_like),
}


def _lookup(name: str) -> tuple[Callable, Callable]:
    try:
        return ACTIVATIONS[name]
    except KeyError:
        raise ValueError(f"activation {name!r} is not one of {sorted(ACTIVATIONS)}") from None


def activate(name: str, z: jax.Array) -> jax.Array:
    """``f(z)``, elementwise.

    Args:
        name: ``tanh``, ``sigmoid``, ``relu``, ``cube`` or ``identity``.
        z: any shape, floating point.

    Returns:
        Shape and dtype of ``z``.

    Raises:
        ValueError: for another name.

    Example:
        >>> float(activate("relu", jnp.float32(-2.0)))
        0.0
    """
    return _lookup(name)[0](z)


def derivative_from_output(name: str, h: jax.Array) -> jax.Array:
    """``f'(z)`` given ``h = f(z)``, elementwise.

    Source: 000, the factor f' of equations 3 to 8 and 13.
    Differs from source: 000 applies f' to pre-activations in (3) and to outputs in (13); here
    it is a function of the output everywhere.

    Args:
        name: as in `activate`.
        h: any shape, floating point, what `activate` gave.

    Returns:
        As ``h``.

    Raises:
        ValueError: for another name.

    Example:
        >>> float(derivative_from_output("tanh", jnp.float32(0.5)))
        0.75
    """
    return _lookup(name)[1](h)
