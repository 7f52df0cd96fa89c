"""Checks of what is known while tracing: rank, shape and dtype, with the name of the argument."""

from __future__ import annotations

import re
from typing import Any

import jax.numpy as jnp

__all__ = ["check"]

_KINDS = {"float": jnp.floating, "int": jnp.integer, "bool": jnp.bool_}
_AXIS = re.compile(r"([A-Za-z]\w*)?([+-]?\d+)?")


def check(name: str, x: Any, kind: str, axes: str, sizes: dict[str, int] | None = None) -> Any:
    """``x`` as an array, if it is one of that kind and shape.

    The sizes of axes are learnt where a letter is first met, and asked for from then on, so one
    dictionary serves all arguments of a function.

    Args:
        name: of the argument, as its caller knows it: ``scores.node``.
        x: what came; NumPy arrays and nested lists of numbers are turned into arrays.
        kind: ``float``, ``int`` (signed or not) or ``bool``.
        axes: letters or numbers, with blanks between them: ``B T C``, ``B T-1 C C``, ``E 2``. A
            difference counts 0 where it is negative.
        sizes: sizes of letters; those that are new are put in. None knows no letter.

    Returns:
        A `jax.Array`.

    Raises:
        AssertionError: where rank, shape or kind of dtype differ.

    Example:
        >>> sizes = {}
        >>> _ = check("scores.node", jnp.zeros((4, 7, 2)), "float", "B T C", sizes)
        >>> sizes
        {'B': 4, 'T': 7, 'C': 2}
        >>> check("scores.mask", jnp.zeros((4, 6)), "bool", "B T", sizes)
        Traceback (most recent call last):
        AssertionError: scores.mask must be bool [B, T] = [4, 7], got float32 [4, 6]
    """
    sizes = {} if sizes is None else sizes
    wanted = axes.split()
    known = [_size(axis, sizes) for axis in wanted]
    asked = f"{name} must be {kind} {_written(wanted)}"
    if None not in known and [str(size) for size in known] != wanted:
        asked += f" = {_written(known)}"
    try:
        array = jnp.asarray(x)
    except (TypeError, ValueError):
        raise AssertionError(f"{asked}, got {type(x).__name__}") from None
    fits = array.ndim == len(wanted) and jnp.issubdtype(array.dtype, _KINDS[kind])
    if fits:
        for axis, size in zip(wanted, array.shape):
            letter, number = _parts(axis)
            if letter:
                sizes.setdefault(letter, max(size - number, 0))
        fits = all(_size(axis, sizes) == size for axis, size in zip(wanted, array.shape))
    if not fits:
        raise AssertionError(f"{asked}, got {array.dtype} {list(array.shape)}")
    return array


def _parts(axis: str) -> tuple[str, int]:
    """``T-1`` is ``("T", -1)``, ``2`` is ``("", 2)``."""
    found = _AXIS.fullmatch(axis)
    if found is None:
        raise ValueError(f"axis must be a letter, a number or a letter +- a number, got {axis!r}")
    return found[1] or "", int(found[2] or 0)


def _size(axis: str, sizes: dict[str, int]) -> int | None:
    """What an axis must have; None where its letter is new."""
    letter, number = _parts(axis)
    if not letter:
        return number
    return None if letter not in sizes else max(sizes[letter] + number, 0)


def _written(axes: Any) -> str:
    return f"[{', '.join(map(str, axes))}]"
