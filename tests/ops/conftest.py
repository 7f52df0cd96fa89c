"""The ops mix no dtypes silently."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True)
def strict_dtypes() -> Iterator[None]:
    """NumPy-like promotion of dtypes is an error in here."""
    with jax.numpy_dtype_promotion("strict"):
        yield
