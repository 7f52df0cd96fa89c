"""Derivatives of NumPy functions without a second derivation: by a step into the complex plane.

``f'(x) = Im f(x + ih) / h`` (Squire and Trapp 1998). Nothing is subtracted, so that ``h`` may be
1e-30 and the derivative is exact to rounding. ``f`` has to be written with operations that are
analytic: no abs, no comparisons, no conjugate transpose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

STEP = 1e-30


def vjp(f: Callable[..., Any], args: Sequence[Any], cotangent: Any) -> list[np.ndarray]:
    """``sum(cotangent * df/dx)`` for every entry of every argument.

    Args:
        f: of arrays, to one array.
        args: float64 arrays.
        cotangent: of the shape of what ``f`` gives.
    """
    args = [np.asarray(a, np.complex128) for a in args]
    found = []
    for i, argument in enumerate(args):
        gradient = np.zeros(argument.shape)
        for place in np.ndindex(argument.shape):
            moved = argument.copy()
            moved[place] += 1j * STEP
            value = f(*args[:i], moved, *args[i + 1 :])
            gradient[place] = (np.imag(value) / STEP * cotangent).sum()
        found.append(gradient)
    return found
