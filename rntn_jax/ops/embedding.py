"""Embedding lookup with its scatter rule."""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rntn_jax.ops.masking import accumulator, cast_like

__all__ = ["embed", "embed_sum"]


def embed(table: jax.Array, ids: jax.Array) -> jax.Array:
    """Rows of an embedding table.

    Computes ``table[ids]``. Gradient: ``d table[w] = sum of the cotangents of all positions that
    hold w``; a word that occurs several times accumulates, in at least float32.

    Ids must lie in ``0 .. V-1``: JAX clamps or wraps what does not, so check on the host
    (`rntn_jax.data.Vocabulary.encode` never produces others).

    Source: 002, the gradient for L_wi; 000, "etc." of equation 16.

    Args:
        table: ``[V, E]`` floating point.
        ids: integer ``[...]``.

    Returns:
        ``[..., E]``, dtype of the table. Cost O(size of the result); residuals: the ids.

    Raises:
        AssertionError: when ranks or dtype kinds are wrong.

    Example:
        >>> embed(jnp.eye(3), jnp.array([2, 0])).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    table, ids = jnp.asarray(table), jnp.asarray(ids)
    chex.assert_rank(table, 2)
    chex.assert_type(ids, int)
    return _embed(table, ids)


@jax.custom_vjp
def _embed(table, ids):
    return table[ids]


class _EmbedResiduals(NamedTuple):
    table: jax.Array  # for its shape and dtype only; not kept alive by the program
    ids: jax.Array


def _embed_fwd(table, ids):
    return table[ids], _EmbedResiduals(table, ids)


def _embed_bwd(res: _EmbedResiduals, g):
    dtype = accumulator(g)
    zeros = jnp.zeros(res.table.shape, dtype)
    return cast_like(zeros.at[res.ids].add(g.astype(dtype)), res.table), None


_embed.defvjp(_embed_fwd, _embed_bwd)


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
    table, ids = jnp.asarray(table), jnp.asarray(ids)
    chex.assert_rank([table, ids], [3, 2])
    chex.assert_type(ids, int)
    chex.assert_axis_dimension(ids, 1, table.shape[0])
    return _embed_sum(table, ids)


@jax.custom_vjp
def _embed_sum(table, ids):
    total = table[0, ids[:, 0]]
    for place in range(1, table.shape[0]):  # one gather each: XLA adds them up unstored
        total = total + table[place, ids[:, place]]
    return total


def _embed_sum_fwd(table, ids):
    return _embed_sum(table, ids), _EmbedResiduals(table, ids)


def _embed_sum_bwd(res: _EmbedResiduals, g):
    g = g.astype(accumulator(g))
    zeros = jnp.zeros(res.table.shape[1:], g.dtype)
    grad = jnp.stack([zeros.at[own].add(g) for own in res.ids.T])
    return cast_like(grad, res.table), None


_embed_sum.defvjp(_embed_sum_fwd, _embed_sum_bwd)
