"""Containers of arrays as text: shapes and dtypes instead of thousands of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["shapes_repr"]

_FEW = 8  # numbers that are shown


def shapes_repr(self: Any) -> str:
    """The `repr` of a NamedTuple of arrays: the shape and dtype of each; up to 8 numbers in full.

    A class takes it as its own by ``__repr__ = shapes_repr``. Tracers are shown as arrays are, and
    nothing is waited for but arrays of up to 8 numbers.

    Returns:
        One line, whatever the NamedTuple holds: arrays, further containers, anything else.

    Example:
        >>> import numpy as np
        >>> from typing import NamedTuple
        >>> class Layer(NamedTuple):
        ...     w: np.ndarray
        ...     b: np.ndarray
        ...     __repr__ = shapes_repr
        >>> Layer(w=np.zeros((300, 2), np.float32), b=np.array([1, 2], np.float32))
        Layer(w=float32[300, 2], b=array([1., 2.], dtype=float32))
    """
    fields = zip(self._fields, self)
    return f"{type(self).__name__}({', '.join(f'{k}={_shown(v)}' for k, v in fields)})"


def _shown(value: Any) -> str:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return shapes_repr(value)
    if type(value) in (tuple, list):
        items = ", ".join(map(_shown, value))
        closing = ("(", ",)" if len(value) == 1 else ")") if type(value) is tuple else ("[", "]")
        return items.join(closing)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k!r}: {_shown(v)}" for k, v in value.items()) + "}"
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if not isinstance(shape, tuple) or dtype is None:
        return repr(value)
    if _is_few(value):
        try:
            return " ".join(repr(value).split())
        except RuntimeError:  # deleted, or in part on another machine
            pass
    return f"{dtype}{list(shape)}"


def _is_few(value: Any) -> bool:
    """Whether an array holds at most 8 numbers that can be read: a tracer has none."""
    is_array = hasattr(value, "__array__") and not type(value).__name__.endswith("Tracer")
    return is_array and getattr(value.dtype, "kind", "O") in "biufcV" and value.size <= _FEW
