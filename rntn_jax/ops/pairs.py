"""Scores of all pairs by one hidden layer, without the hidden layer of all pairs at once."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops.checks import check
from rntn_jax.ops.masking import cast_like
from rntn_jax.ops.varying import vary_like

__all__ = ["pair_scores"]


@jax.jit
def pair_scores(left: jax.Array, right: jax.Array, head: jax.Array) -> jax.Array:
    """``s[b, i, j] = relu(left[b, i] + right[b, j]) . head[b]``.

    A window of two places (source 002: z, h and theta with one class), whose parts of ``z`` are
    given. Gradient, with ``d[b, i, j] = g[b, i, j] (z > 0)``::

        dleft_i = head sum_j d_ij,   dright_j = head sum_i d_ij,   dhead = sum_ij d_ij z_ij

    The hidden layer is formed for one ``i`` at a time, in the backward pass once more.

    Source: 002, the gradients for U and delta_2, here of pairs.

    Args:
        left: ``[B, I, H]``.
        right: ``[B, J, H]``.
        head: ``[B, H]``.

    Returns:
        ``[B, I, J]``. Cost O(B I J H); memory O(B (I + J) H), residuals: the arguments.

    Raises:
        AssertionError: when shapes do not match.

    Example:
        >>> pair_scores(jnp.ones((1, 2, 3)), -jnp.ones((1, 1, 3)), jnp.ones((1, 3))).tolist()
        [[[0.0], [0.0]]]
    """
    sizes: dict[str, int] = {}
    check("left", left, "float", "B I H", sizes)
    check("right", right, "float", "B J H", sizes)
    check("head", head, "float", "B H", sizes)
    return _pair_scores(*vary_like((left, right, head)))


@jax.custom_vjp
def _pair_scores(left, right, head) -> jax.Array:
    def row(_, own):
        h = jax.nn.relu(own[:, None] + right)
        return None, jnp.einsum("bjh,bh->bj", h, head)

    return lax.scan(row, None, left.swapaxes(0, 1))[1].swapaxes(0, 1)


class _PairResiduals(NamedTuple):
    left: jax.Array  # [B, I, H]
    right: jax.Array  # [B, J, H]
    head: jax.Array  # [B, H]


def _pair_scores_fwd(left, right, head) -> tuple[jax.Array, _PairResiduals]:
    return _pair_scores(left, right, head), _PairResiduals(left, right, head)


def _pair_scores_bwd(res: _PairResiduals, g) -> tuple[jax.Array, jax.Array, jax.Array]:
    left, right, head = res

    def row(sums, inputs):
        d_right, d_head = sums
        own, g = inputs
        z = own[:, None] + right
        d = jnp.where(z > 0, g[..., None], jnp.zeros((), g.dtype))
        return (d_right + d, d_head + (d * z).sum(axis=1)), d.sum(axis=1)

    zeros = jnp.zeros_like(right), jnp.zeros_like(head)
    sums, d_left = lax.scan(row, zeros, (left.swapaxes(0, 1), g.swapaxes(0, 1)))
    d_left, d_right = d_left.swapaxes(0, 1) * head[:, None], sums[0] * head[:, None]
    return cast_like((d_left, d_right, sums[1]), (left, right, head))


_pair_scores.defvjp(_pair_scores_fwd, _pair_scores_bwd)
