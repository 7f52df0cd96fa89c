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
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rntn_jax.ops.checks import check
from rntn_jax.ops.loops import bounded_loop
from rntn_jax.ops.masking import accumulator, cast_like
from rntn_jax.ops.varying import vary_like

__all__ = ["outer_sum", "slice_products", "symmetric_slices", "tensor_product"]


@jax.jit
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
        ``[..., D]``, dtype of ``x`` and ``v`` combined. Cost O(rows D M^2) forward, twice that
        in the backward pass; residuals: the arguments.

    Raises:
        AssertionError: when shapes do not match.

    Example:
        >>> tensor_product(jnp.array([1.0, 2.0]), jnp.ones((1, 2, 2))).tolist()
        [9.0]
    """
    rows, sizes = " ".join(map(str, x.shape[:-1])), {}
    check("x", x, "float", f"{rows} M", sizes)
    check("v", v, "float", "D M M", sizes)
    return _tensor_product(*vary_like((x, v)))


def _rows(a) -> jax.Array:
    """``[..., M]`` as ``[rows, M]``."""
    return a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


@jax.custom_vjp
def _tensor_product(x, v) -> jax.Array:
    return jnp.einsum("...i,kij,...j->...k", x, v, x)


class _TensorProductResiduals(NamedTuple):
    x: jax.Array  # [..., M]
    v: jax.Array  # [D, M, M]


def _tensor_product_fwd(x, v) -> tuple[jax.Array, _TensorProductResiduals]:
    rows = _rows(x)
    t = slice_products(rows, symmetric_slices(v))
    y = 0.5 * jnp.einsum("nkj,nj->nk", t, rows)
    y = y.astype(jnp.result_type(x, v)).reshape(*x.shape[:-1], v.shape[0])
    return y, _TensorProductResiduals(x, v)


def _tensor_product_bwd(res: _TensorProductResiduals, delta) -> tuple[jax.Array, jax.Array]:
    rows, delta = _rows(res.x), _rows(delta)
    t = slice_products(rows, symmetric_slices(res.v))
    dx = jnp.einsum("nkj,nk->nj", t, delta).reshape(res.x.shape)
    return cast_like((dx, outer_sum(delta, rows)), (res.x, res.v))


_tensor_product.defvjp(_tensor_product_fwd, _tensor_product_bwd)


def symmetric_slices(v: jax.Array) -> jax.Array:
    """``U^[k] = V^[k] + V^[k]T`` laid out ``[M, D * M]``, ready for one matrix product.

    Args:
        v: ``[D, M, M]``.
    """
    d, m, _ = v.shape
    return (v + v.swapaxes(1, 2)).transpose(1, 0, 2).reshape(m, d * m)


def slice_products(x: jax.Array, u: jax.Array) -> jax.Array:
    """``t[n, k] = U^[k] x_n`` for all slices and rows: one matrix product.

    Args:
        x: ``[N, M]`` floating point.
        u: ``[M, D * M]``, of `symmetric_slices`.

    Returns:
        ``[N, D, M]`` in at least float32. Cost O(N D M^2).
    """
    t = jnp.matmul(x, u, preferred_element_type=accumulator(x, u))
    return t.reshape(x.shape[0], u.shape[1] // u.shape[0], x.shape[1])


@jax.jit
def outer_sum(delta: jax.Array, x: jax.Array, count: jax.Array | None = None) -> jax.Array:
    """``sum_n delta[n, k] x[n, i] x[n, j]`` as ``[D, M, M]``: all tensor slices' gradients.

    Source: 000, equations 4 and 16. Half the arithmetic of the plain contraction, because the
    result is symmetric in ``i, j``; temporary memory O(D M^2).

    Args:
        delta: ``[N, D]``.
        x: ``[N, M]``.
        count: integer scalar; rows from there on are known to be zero, and most are left out.

    Returns:
        ``[D, M, M]`` in at least float32.

    Example:
        >>> outer_sum(jnp.array([[2.0]]), jnp.array([[1.0, 3.0]])).tolist()
        [[[2.0, 6.0], [6.0, 18.0]]]
    """
    (n, m), d = x.shape, delta.shape[1]
    half = m // 2 + 1  # shifts 0 .. m // 2
    # Blocks of rows that stay in cache, against sums that do not; a few shifts a product.
    size = min(256 if m <= 64 else 512, max(n, 1))
    group = min(4, half)
    blocks, groups = max(1, -(-n // size)), -(-half // group)
    pad = ((0, blocks * size - n), (0, 0))  # rows of zeros add nothing
    operands = jnp.pad(delta, pad), jnp.pad(x, pad)
    total = jnp.zeros((groups, group * m, d), accumulator(x, delta))
    count = jnp.asarray(n if count is None else count)
    used = jnp.minimum((count + size - 1) // size, blocks)
    total = bounded_loop(partial(_add_block, size, group), blocks, used, total, operands)
    # Entry (i, j) was met in row i of shift j - i or, that being too large, in row j of i - j.
    i, j = np.ogrid[:m, :m]
    where = np.where((j - i) % m < half, (j - i) % m * m + i, (i - j) % m * m + j)
    return total.reshape(groups * group * m, d).T[:, where]


def _add_block(size: int, group: int, i, total, operands) -> jax.Array:
    """Adds ``sum_n x_j x_(j + shift mod m) delta_k`` of block ``i`` of rows, all shifts."""
    delta, x = (lax.dynamic_slice_in_dim(a, i * size, size) for a in operands)
    x, m = x.T, x.shape[1]
    ring = jnp.concatenate([x, x, x[:group]])

    def one_group(g):
        shifted = [lax.dynamic_slice_in_dim(ring, g * group + s, m) for s in range(group)]
        products = jnp.concatenate([x * y for y in shifted])
        return jnp.matmul(products, delta, preferred_element_type=total.dtype)

    return total + lax.map(one_group, jnp.arange(total.shape[0]))
