"""Embedding lookup with its scatter rule."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rntn_jax.ops.checks import check
from rntn_jax.ops.masking import accumulator, cast_like
from rntn_jax.ops.varying import vary_like

__all__ = ["check_ids", "embed", "embed_sum"]


def check_ids(name: str, ids: Any, size: int, where: Any = None) -> None:
    """Refuses ids outside of a table, where they can be looked at without cost to a program.

    JAX clamps or wraps them, and the result looks plausible. Traced arrays, under `jax.jit` for
    example, pass unseen, and so do those that lie on other hosts.

    Args:
        name: of the argument, as its caller knows it: ``batch.tokens``.
        ids: integers of any shape.
        size: ids must lie in ``0 .. size-1``.
        where: bool, shape of ``ids`` or of its leading axes; false entries may hold anything.

    Raises:
        ValueError: naming the first wrong id and where it stands.

    Example:
        >>> check_ids("tokens", np.array([[1, 9]]), size=5)
        Traceback (most recent call last):
        ValueError: tokens must lie in 0 .. 4 (the table has 5 rows), got 9 at [0, 1]
    """
    if not (is_concrete(ids) and (where is None or is_concrete(where))):
        return
    ids = np.asarray(ids)
    wrong = (ids < 0) | (ids >= size)
    if where is not None:
        where = np.asarray(where)
        wrong &= where.reshape(where.shape + (1,) * (ids.ndim - where.ndim))
    if wrong.any():
        at = [int(i) for i in np.argwhere(wrong)[0]]
        raise ValueError(
            f"{name} must lie in 0 .. {size - 1} (the table has {size} rows), got "
            f"{ids[tuple(at)]} at {at}"
        )


def is_concrete(x: Any) -> bool:
    """Whether the values of an array can be looked at: it is neither traced nor elsewhere."""
    if isinstance(x, Tracer):
        return False
    return not isinstance(x, jax.Array) or x.is_fully_addressable


def embed(table: jax.Array, ids: jax.Array) -> jax.Array:
    """Rows of an embedding table.

    Computes ``table[ids]``. Gradient: ``d table[w] = sum of the cotangents of all positions that
    hold w``; a word that occurs several times accumulates, in at least float32.

    Ids must lie in ``0 .. V-1``: JAX clamps or wraps what does not, so what is not traced is
    checked here (`check_ids`).

    Source: 002, the gradient for L_wi; 000, "etc." of equation 16.

    Args:
        table: ``[V, E]`` floating point.
        ids: integer ``[...]``.

    Returns:
        ``[..., E]``, dtype of the table. Cost O(size of the result); residuals: the ids.

    Raises:
        AssertionError: when ranks or dtype kinds are wrong.
        ValueError: for an id outside of the table, where ``ids`` is not traced.

    Example:
        >>> embed(jnp.eye(3), jnp.array([2, 0])).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    table = check("table", table, "float", "V E")
    shape = " ".join(map(str, np.shape(ids)))
    ids = check("ids", ids, "int", shape)
    check_ids("ids", ids, table.shape[0])
    return _embed(*vary_like((table, ids)))


@jax.custom_vjp
def _embed(table, ids) -> jax.Array:
    return table[ids]


class _EmbedResiduals(NamedTuple):
    table: jax.Array  # for its shape and dtype only; not kept alive by the program
    ids: jax.Array


def _embed_fwd(table, ids) -> tuple[jax.Array, _EmbedResiduals]:
    return table[ids], _EmbedResiduals(table, ids)


def _embed_bwd(res: _EmbedResiduals, g) -> tuple[jax.Array, None]:
    dtype = accumulator(g)
    zeros = jnp.zeros(res.table.shape, dtype)
    return cast_like(zeros.at[res.ids].add(g.astype(dtype)), res.table), None


_embed.defvjp(_embed_fwd, _embed_bwd)


@jax.jit
def embed_sum(table: jax.Array, ids: jax.Array) -> jax.Array:
    """Sums of rows: ``sum_p table[p, ids[.., p]]``.

    A linear layer of one-hot vectors side by side, whose products with the weights are given:
    source 002, ``z = x W``. Gradient: ``d table[p, w] = sum of the cotangents of all rows that hold
    w at place p``. Nothing of the size of rows times places is formed.

    Args:
        table: ``[P, V, H]`` floating point.
        ids: integer ``[N, P]``, in ``0 .. V-1``.

    Returns:
        ``[N, H]``. Cost O(N P H); residuals: the ids.

    Raises:
        AssertionError: when shapes or dtype kinds are wrong.

    Example:
        >>> embed_sum(jnp.arange(6.0).reshape(2, 3, 1), jnp.array([[0, 2], [1, 0]])).tolist()
        [[5.0], [4.0]]
    """
    sizes: dict[str, int] = {}
    check("table", table, "float", "P V H", sizes)
    check("ids", ids, "int", "N P", sizes)
    return _embed_sum(*vary_like((table, ids)))


@jax.custom_vjp
def _embed_sum(table, ids) -> jax.Array:
    total = table[0, ids[:, 0]]
    for place in range(1, table.shape[0]):  # one gather each: XLA adds them up unstored
        total = total + table[place, ids[:, place]]
    return total


def _embed_sum_fwd(table, ids) -> tuple[jax.Array, _EmbedResiduals]:
    return _embed_sum(table, ids), _EmbedResiduals(table, ids)


def _embed_sum_bwd(res: _EmbedResiduals, g) -> tuple[jax.Array, None]:
    g = g.astype(accumulator(g))
    zeros = jnp.zeros(res.table.shape[1:], g.dtype)
    grad = jnp.stack([zeros.at[own].add(g) for own in res.ids.T])
    return cast_like(grad, res.table), None


_embed_sum.defvjp(_embed_sum_fwd, _embed_sum_bwd)
