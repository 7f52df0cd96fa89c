"""Containers, comparisons and damage for the tests of checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rntn_jax.training import (
    load_pytree,
    read_info,
    save_pytree,
)

ROOT = Path(__file__).resolve().parents[2]
INFO = {"epoch": 3, "score": 0.5, "words": ["é", '"', "\\", "\n"], "none": None}


class Inner(NamedTuple):
    """A part with an optional leaf."""

    v: Any
    w: Any


class Outer(NamedTuple):
    """Parts of all kinds."""

    inner: Inner
    parts: list[Any]
    named: dict[str, Any]


def plain(tree: Any) -> Any:
    """Arrays only: keys as their data."""

    def convert(leaf):
        is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

    return jax.tree.map(convert, tree)


def assert_same(actual: Any, expected: Any) -> None:
    """Equal structure, dtypes, shapes and bits."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(plain(actual)), jax.tree.leaves(plain(expected)), strict=True):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def blank(tree: Any) -> Any:
    """The same structure, shapes and types with other values."""

    def convert(leaf):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(
                jnp.zeros_like(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf)
            )
        return jnp.zeros_like(leaf)

    return jax.tree.map(convert, tree)


def trip(path: Path, tree: Any, like: Any = None) -> Any:
    """What comes back of a tree that is saved."""
    save_pytree(path, tree, INFO)
    answer, info = load_pytree(path, blank(tree) if like is None else like)
    assert info == INFO == read_info(path)
    return answer


def damage(path: Path) -> None:
    """Flips a bit of the last byte."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
