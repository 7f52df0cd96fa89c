"""The hidden layer over windows: vectors side by side, times weights (source 002).

There may be several vocabularies (words, tags, labels), each with its table and its own positions
in the window; their vectors stand one after the other in ``x``. Of small vocabularies the products
of all their vectors with the rows of ``W`` of a position are precomputed once and then looked up,
which is less work than to multiply what stands there in every window.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops.checks import check
from rntn_jax.ops.embedding import check_ids, embed
from rntn_jax.ops.masking import accumulator, cast_like
from rntn_jax.ops.varying import vary_like

__all__ = ["side_by_side", "window_layer"]

PRECOMPUTED = 4096  # positions times words, up to which a vocabulary's products are precomputed


def window_layer(
    tables: Sequence[jax.Array], ids: Sequence[jax.Array], w: jax.Array, b: jax.Array
) -> jax.Array:
    """``z = x W + b1``, ``x`` being the vectors of a window side by side.

    Gradient: with ``delta`` the cotangent of ``z``, ``dW = x^T delta``, ``db1 = sum delta``, and
    ``dL_v = sum over positions that hold v of delta (W_i)^T``. Of a precomputed vocabulary, with
    products ``P_i = L W_i``, ``dP_iv`` is the sum of ``delta`` over the windows with v at position
    i, from which ``dL = sum_i dP_i W_i^T`` and ``dW_i = L^T dP_i``.

    Source: 002, z and the split of W by rows.

    Args:
        tables: ``[V, E]`` of each vocabulary.
        ids: integer ``[B, W]`` of each vocabulary, in ``0 .. V-1``.
        w: ``[sum of W E, H]``.
        b: ``[H]``.

    Returns:
        ``[B, H]``. Cost O(B H) times the width of what is not precomputed plus the positions times
        words of what is; residuals: the arguments.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when the windows do not fit ``w``.

    Example:
        >>> window_layer([jnp.eye(2)], [jnp.array([[1, 0]])], jnp.eye(4), jnp.zeros(4)).tolist()
        [[0.0, 1.0, 1.0, 0.0]]
    """
    tables, ids = tuple(tables), tuple(ids)
    if len(tables) != len(ids):
        raise ValueError(f"{len(tables)} vocabularies, but ids of {len(ids)}")
    sizes: dict[str, int] = {}
    for k, (table, own) in enumerate(zip(tables, ids)):
        check(f"tables[{k}]", table, "float", f"V{k} E{k}", sizes)
        check(f"ids[{k}]", own, "int", f"B W{k}", sizes)
        check_ids(f"ids[{k}]", own, sizes[f"V{k}"])
    check("w", w, "float", "X H", sizes)
    check("b", b, "float", "H", sizes)
    width = sum(i.shape[1] * t.shape[1] for t, i in zip(tables, ids))
    if w.shape != (width, b.shape[0]):
        raise ValueError(
            f"windows of {[i.shape[1] for i in ids]} vectors of width "
            f"{[t.shape[1] for t in tables]} need weights ({width}, {b.shape[0]}), got {w.shape}"
        )
    return _jitted(PRECOMPUTED, *vary_like((tables, ids, w, b)))


def side_by_side(tables: Sequence[jax.Array], ids: Sequence[jax.Array]) -> jax.Array:
    """``x [B, sum of W E]``: the vectors ``[V, E]`` that ids ``[B, W]`` name, of all vocabularies.

    Args:
        tables: ``[V, E]`` of each vocabulary.
        ids: integer ``[B, W]`` of each vocabulary.

    Returns:
        ``[B, sum of W E]`` of the tables' dtype.
    """
    return jnp.concatenate([embed(t, i).reshape(len(i), -1) for t, i in zip(tables, ids)], axis=1)


def _vectors(table, ids) -> jax.Array:
    """``[B, W E]`` of one vocabulary; XLA is quicker at a gather for each position than at one."""
    if ids.shape[1] > 64:  # but would compile for long
        return table[ids].reshape(len(ids), -1)
    return jnp.concatenate([table[own] for own in ids.T], axis=1)


def _blocks(tables, ids, w) -> list[jax.Array]:
    """Rows ``[W, E, H]`` of the weights that belong to each vocabulary."""
    blocks, start = [], 0
    for t, i in zip(tables, ids):
        positions, width = i.shape[1], t.shape[1]
        blocks.append(w[start : start + positions * width].reshape(positions, width, w.shape[1]))
        start += positions * width
    return blocks


def _is_small(limit: int, table, ids) -> bool:
    return 0 < ids.shape[1] * table.shape[0] <= limit


def _window_layer_reference(limit: int, tables, ids, w, b) -> jax.Array:
    return side_by_side(tables, ids) @ w + b[None]


def _window_layer_precomputed(limit: int, tables, ids, w, b) -> jax.Array:
    dtype = accumulator(w, b, *tables)
    sum_in = partial(jnp.matmul, preferred_element_type=dtype)
    z = jnp.broadcast_to(b.astype(dtype), (len(ids[0]), w.shape[1]))
    for t, i, block in zip(tables, ids, _blocks(tables, ids, w)):
        if _is_small(limit, t, i):

            def look_up(z, position, t=t):
                own, weights = position
                return z + sum_in(t, weights)[own], None

            # One position after the other: XLA would store what is looked up in all of them.
            z, _ = lax.scan(look_up, z, (i.T, block))
        elif i.shape[1]:
            z = z + sum_in(_vectors(t, i), block.reshape(-1, w.shape[1]))
    return z.astype(jnp.result_type(w, b, *tables))


_window_layer = partial(jax.custom_vjp, nondiff_argnums=(0,))(_window_layer_precomputed)
_jitted = jax.jit(_window_layer, static_argnums=(0,))


class _WindowLayerResiduals(NamedTuple):
    tables: tuple[jax.Array, ...]
    ids: tuple[jax.Array, ...]
    w: jax.Array
    b: jax.Array  # for its dtype only


def _window_layer_fwd(limit: int, tables, ids, w, b) -> tuple[jax.Array, _WindowLayerResiduals]:
    return _window_layer_precomputed(limit, tables, ids, w, b), _WindowLayerResiduals(
        tables, ids, w, b
    )


def _window_layer_bwd(
    limit: int, res: _WindowLayerResiduals, delta
) -> tuple[tuple[jax.Array, ...], None, jax.Array, jax.Array]:
    tables, ids, w, b = res
    dtype = accumulator(delta)
    sum_in = partial(jnp.einsum, preferred_element_type=dtype)
    d_tables, d_w = [], [jnp.zeros((0, w.shape[1]), dtype)]
    for t, i, block in zip(tables, ids, _blocks(tables, ids, w)):
        d_t = jnp.zeros_like(t, dtype)
        if _is_small(limit, t, i):

            def add_up(d_t, position, t=t):
                own, weights = position
                d_products = jnp.zeros((len(t), w.shape[1]), dtype).at[own].add(delta)
                d_t = d_t + sum_in("vh,eh->ve", d_products, weights)
                return d_t, sum_in("ve,vh->eh", t, d_products)

            d_t, d_block = lax.scan(add_up, d_t, (i.T, block))
            d_w.append(d_block.reshape(-1, w.shape[1]))
        elif i.shape[1]:
            d_t = d_t.at[i].add(sum_in("bh,peh->bpe", delta, block))
            d_w.append(sum_in("bx,bh->xh", _vectors(t, i), delta))
        d_tables.append(d_t)
    grads = tuple(d_tables), jnp.concatenate(d_w), delta.sum(0, dtype=dtype)
    d_tables, d_w, d_b = cast_like(grads, (tables, w, b))
    return d_tables, None, d_w, d_b


_window_layer.defvjp(_window_layer_fwd, _window_layer_bwd)
