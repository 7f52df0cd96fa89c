"""The chain's log-partition in O(log T) steps, for accelerators and very long sequences.

Every position is a matrix ``M_t[i, j] = edge[i, j] + node_t[j]`` of logarithms; products of these
matrices (sums of exponentials) are associative, so all prefixes come from `lax.associative_scan`,
and so do all suffixes. Products are normalised, their largest entry subtracted, and summed in
logarithms: as exact as the scan, at C times its operations.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.chain._steps import has_edge
from rntn_jax.ops import accumulator, cast_like, masked
from rntn_jax.ops.logspace import finite_max, logsumexp

__all__ = ["log_partition"]


def log_partition(node: jax.Array, edge: jax.Array, mask: jax.Array) -> jax.Array:
    """``ln Z [B]``. Gradient: the marginals. Residuals: the arguments and one array like ``node``.

    Args:
        node: float ``[B, T, C]``, T at least 1.
        edge: float ``[C, C]`` or ``[B, T-1, C, C]``.
        mask: bool ``[B, T]``.

    Returns:
        ``[B]`` nats in at least float32; ``-inf`` where every labelling is forbidden, 0 for a row
        without positions. Cost O(B T C^3) in O(log T) steps.
    """
    return _log_partition(node, edge, mask)


def _product(left, right) -> tuple[jax.Array, jax.Array]:
    """``ln sum_k exp(left[.., i, k] + right[.., k, j])`` with the largest subtracted."""
    (x, x_off), (y, y_off) = left, right
    z = x[..., :, :, None] + y[..., None, :, :]
    product = logsumexp(z, axis=-2)
    off = product.max(axis=(-2, -1))
    return product - finite_max(product, (-2, -1)), x_off + y_off + off


def _matrices(node, edge, mask) -> jax.Array:
    """``M_t [B, T, C, C]``: at the first position all rows alike, where masked the identity."""
    dtype = accumulator(node, edge)
    inner, classes = has_edge(mask), node.shape[-1]
    u = masked(node, mask).astype(dtype)
    if edge.ndim == 2:
        into = jnp.broadcast_to(edge.astype(dtype), (*mask.shape, classes, classes))
    else:
        into = jnp.pad(edge.astype(dtype), ((0, 0), (1, 0), (0, 0), (0, 0)))
    matrices = masked(into, inner) + u[..., None, :]
    identity = jnp.where(jnp.eye(classes, dtype=bool), 0, -jnp.inf).astype(dtype)
    return jnp.where(mask[..., None, None], matrices, identity[None, None])


def _states(node, edge, mask) -> tuple[jax.Array, jax.Array]:
    """Normalised forward states ``[B, T, C]``, and ``ln Z``."""
    matrices = _matrices(node, edge, mask)
    nothing = jnp.zeros(mask.shape, matrices.dtype)
    prefix, off = lax.associative_scan(_product, (matrices, nothing), axis=1)
    states = prefix[..., 0, :]  # from the first position on all rows are alike
    rest = logsumexp(states[:, -1])
    return states, jnp.where(mask.any(axis=1), off[:, -1] + rest, 0)


def _log_partition_reference(node, edge, mask) -> jax.Array:
    return _states(node, edge, mask)[1]


_log_partition = jax.custom_vjp(_log_partition_reference)


class _LogPartitionResiduals(NamedTuple):
    node: jax.Array  # [B, T, C]
    edge: jax.Array  # [C, C] or [B, T-1, C, C]
    mask: jax.Array  # [B, T]
    states: jax.Array  # [B, T, C]


def _log_partition_fwd(node, edge, mask) -> tuple[jax.Array, _LogPartitionResiduals]:
    states, total = _states(node, edge, mask)
    return total, _LogPartitionResiduals(node, edge, mask, states)


def _log_partition_bwd(res: _LogPartitionResiduals, ct) -> tuple[jax.Array, jax.Array, None]:
    node, edge, mask, states = res
    inner, matrices = has_edge(mask), _matrices(node, edge, mask)
    # Suffixes, the position itself left out: those of the next position.
    nothing = jnp.zeros(mask.shape, matrices.dtype)
    suffix, _ = lax.associative_scan(
        lambda later, earlier: _product(earlier, later), (matrices, nothing), axis=1, reverse=True
    )
    to_end = logsumexp(suffix)
    to_end = jnp.concatenate([to_end[:, 1:], jnp.zeros_like(to_end[:, :1])], axis=1)

    ct = ct.astype(states.dtype)
    d_node = masked(_probabilities(states + to_end, -1), mask) * ct[:, None, None]
    both = states[:, :-1, :, None] + matrices[:, 1:] + to_end[:, 1:, None, :]
    d_edge = masked(_probabilities(both, (-2, -1)), inner[:, 1:]) * ct[:, None, None, None]
    if edge.ndim == 2:
        d_edge = d_edge.sum(axis=(0, 1))
    return *cast_like((d_node, d_edge), (node, edge)), None


_log_partition.defvjp(_log_partition_fwd, _log_partition_bwd)


def _probabilities(logits, axes) -> jax.Array:
    """Softmax over several axes; all 0 where everything is ``-inf``."""
    p = jnp.exp(logits - finite_max(logits, axes))
    total = p.sum(axis=axes, keepdims=True)
    return p / jnp.where(total == 0, 1, total)
