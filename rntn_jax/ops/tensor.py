"""The bilinear tensor product ``x^T V^[1:d] x`` and the contraction that is its gradient.

Two facts about it carry the speed of the whole recursive network:

* ``x^T V^[k] x`` sees only the symmetric part of each slice. With ``U^[k] = V^[k] + V^[k]T`` and
  ``t_k = U^[k] x`` the value is ``t_k . x / 2``, and the error sent down (source 000, equation
  14) is ``S = sum_k delta_k t_k``: the same products, formed once.
* The gradient ``dV^[k] = sum_n delta_n[k] x_n x_n^T`` (equations 4 and 16) is symmetric as well,
  so only half of it need be computed. `outer_sum` computes the half without gathers: shift ``s``
  of the products ``x_i x_(i+s mod m)``, ``s = 0 .. m/2``, meets every unordered pair once.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops.masking import accumulator, cast_like

__all__ = ["outer_sum", "slice_products", "symmetric_slices", "tensor_product"]


ROWS = 1024  # of one block in `outer_sum`: few enough to stay in cache


def tensor_product(x: jax.Array, v: jax.Array) -> jax.Array:
    """``x^T V^[k] x`` for every slice ``k`` and every row of a batch.

    Computes ``y[..., k] = sum_ij x[..., i] v[k, i, j] x[..., j]``.
    Gradients, for a cotangent ``delta``: ``dx = sum_k delta_k (V^[k] + V^[k]T) x`` and
    ``dV^[k] = sum over rows of delta_k x x^T``.

    Source: 000, the tensor term of equation 2; equations 4 and 14.
    Differs from source: (14) lacks the index [k] of its delta; signs as of a value and not of
    the log-likelihood.

    Args:
        x: ``[..., M]`` floating point.
        v: ``[D, M, M]``.

    Returns:
        ``[..., D]``, dtype of ``x`` and ``v`` combined. Cost O(rows D M^2) forward, twice that on
        the way back; residuals: the arguments.

    Raises:
        AssertionError: when shapes do not match.

    Example:
        >>> tensor_product(jnp.array([1.0, 2.0]), jnp.ones((1, 2, 2))).tolist()
        [9.0]
    """
    x, v = jnp.asarray(x), jnp.asarray(v)
    chex.assert_rank(v, 3)
    chex.assert_shape(v, (None, x.shape[-1], x.shape[-1]))
    return _tensor_product(x, v)


def _rows(a):
    """``[..., M]`` as ``[rows, M]``."""
    return a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


@jax.custom_vjp
def _tensor_product(x, v):
    return jnp.einsum("...i,kij,...j->...k", x, v, x)


class _TensorProductResiduals(NamedTuple):
    x: jax.Array  # [..., M]
    v: jax.Array  # [D, M, M]


def _tensor_product_fwd(x, v):
    rows = _rows(x)
    t = slice_products(rows, symmetric_slices(v))
    y = 0.5 * jnp.einsum("nkj,nj->nk", t, rows)
    y = y.astype(jnp.result_type(x, v)).reshape(*x.shape[:-1], v.shape[0])
    return y, _TensorProductResiduals(x, v)


def _tensor_product_bwd(res: _TensorProductResiduals, delta):
    rows, delta = _rows(res.x), _rows(delta)
    t = slice_products(rows, symmetric_slices(res.v))
    dx = jnp.einsum("nkj,nk->nj", t, delta).reshape(res.x.shape)
    return cast_like((dx, outer_sum(delta, rows)), (res.x, res.v))


_tensor_product.defvjp(_tensor_product_fwd, _tensor_product_bwd)


def symmetric_slices(v: jax.Array) -> jax.Array:
    """``U^[k] = V^[k] + V^[k]T`` laid out ``[M, D * M]``, ready for one matrix product."""
    d, m, _ = v.shape
    return (v + v.swapaxes(1, 2)).transpose(1, 0, 2).reshape(m, d * m)


def slice_products(x: jax.Array, u: jax.Array) -> jax.Array:
    """``t[n, k] = U^[k] x_n``: ``[N, M]`` and ``[M, D * M]`` give ``[N, D, M]``."""
    t = jnp.matmul(x, u, preferred_element_type=accumulator(x, u))
    return t.reshape(x.shape[0], u.shape[1] // u.shape[0], x.shape[1])


def outer_sum(delta: jax.Array, x: jax.Array) -> jax.Array:
    """``sum_n delta[n, k] x[n, i] x[n, j]`` as ``[D, M, M]``: all tensor slices' gradients.

    Source: 000, equations 4 and 16. Half the arithmetic of the plain contraction, because the
    result is symmetric in ``i, j``; temporary memory O(D M^2).

    Args:
        delta: ``[N, D]``.
        x: ``[N, M]``.

    Returns:
        ``[D, M, M]`` in at least float32.

    Example:
        >>> outer_sum(jnp.array([[2.0]]), jnp.array([[1.0, 3.0]])).tolist()
        [[[2.0, 6.0], [6.0, 18.0]]]
    """
    (n, m), d = x.shape, delta.shape[1]
    dtype = accumulator(x, delta)
    half = m // 2 + 1  # shifts 0 .. m // 2
    blocks = max(1, -(-n // ROWS))
    size = max(1, -(-n // blocks))
    pad = blocks * size - n  # rows of zeros add nothing
    x = jnp.pad(x, ((0, pad), (0, 0))).reshape(blocks, size, m)
    delta = jnp.pad(delta, ((0, pad), (0, 0))).reshape(blocks, size, d)

    def add_block(total, block):
        x, delta = block
        x = x.T
        ring = jnp.concatenate([x, x])

        def one_shift(shift):
            """``c[i, k] = sum_n delta_k x_i x_(i + shift mod m)``."""
            products = x * lax.dynamic_slice_in_dim(ring, shift, m)
            return jnp.matmul(products, delta, preferred_element_type=dtype)

        return total + lax.map(one_shift, jnp.arange(half)), None

    c, _ = lax.scan(add_block, jnp.zeros((half, m, d), dtype), (x, delta))
    c = c.transpose(2, 0, 1)  # [D, half, M]
    # Shift 0, and shift m / 2 of an even m, meet each pair twice.
    weight = jnp.ones(half, dtype).at[0].set(0.5)
    if m % 2 == 0:
        weight = weight.at[-1].set(0.5)
    c = c * weight[None, :, None]
    # Entry (s, i) belongs to (i, i + s): row i moves right by i, and wraps around.
    c = jnp.pad(c.swapaxes(1, 2), ((0, 0), (0, 0), (0, 2 * m + 1 - half)))
    c = c.reshape(d, m * (2 * m + 1))[:, : m * 2 * m].reshape(d, m, 2 * m)
    c = c[:, :, :m] + c[:, :, m:]
    return c + c.swapaxes(1, 2)
