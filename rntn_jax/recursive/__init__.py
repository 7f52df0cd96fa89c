"""Recursive networks: the bottom-up sweep over packed trees, and its hand-derived rule."""

from rntn_jax.recursive.rntn import Cell, sweep

__all__ = ["Cell", "sweep"]


def __dir__() -> list[str]:
    return sorted(__all__)
