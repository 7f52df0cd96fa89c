"""Embedding and softmax whose vocabulary is shared out to devices, inside `jax.shard_map`.

Each device of a mesh axis holds some rows of the embedding and the same columns of the softmax.
A word's vector comes from the one device that has its row, the others adding zeros. With ``l_d``
the log-sum-exp of the logits that device ``d`` has,

    lse = top + ln sum_d exp(l_d - top),    top = max_d l_d,

so that a row costs three numbers to talk about, whatever the vocabulary. Gradients: with
``p_d = exp(logits - l_d)``, the softmax over a device's own words, and ``g`` the cotangent of
``l_d``, the delta is ``p_d g``; ``g = exp(l_d - lse)`` makes it the softmax over all words. The
loop over chunks of rows is each device's own: devices talk after it, never within.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops.checks import check
from rntn_jax.ops.cross_entropy import in_pieces, largest, logits_of
from rntn_jax.ops.embedding import embed
from rntn_jax.ops.masking import accumulator, cast_like, masked
from rntn_jax.ops.varying import vary_like

__all__ = ["Shards", "sharded_cross_entropy", "sharded_embed"]


class Shards(NamedTuple):
    """How a vocabulary is shared out."""

    axis: str  # of the mesh
    size: int  # words; what fills up the last devices' shares does not count


def _own(ids: jax.Array, count: int, shards: Shards) -> tuple[jax.Array, jax.Array]:
    """Which words are this device's, and their numbers there; 0 for those of others."""
    local = ids - lax.axis_index(shards.axis) * count
    own = (local >= 0) & (local < count)
    return own, jnp.where(own, local, 0)


def sharded_embed(table: jax.Array, ids: jax.Array, shards: Shards) -> jax.Array:
    """Rows of an embedding table of which each device has its share; `rntn_jax.ops.embed`.

    Gradient: that of `embed`, on each device of its own rows; nothing is sent.

    Args:
        table: this device's ``[V / devices, E]`` floating point.
        ids: integer ``[...]``, the same on all devices of the axis.
        shards: the mesh axis.

    Returns:
        ``[..., E]``, the same on all devices: one all-reduce.

    Raises:
        AssertionError: when ranks or dtype kinds are wrong.

    Example:
        >>> from jax.sharding import Mesh, PartitionSpec as P
        >>> mesh = Mesh(jax.devices()[:1], ("words",))
        >>> rows = jax.shard_map(
        ...     lambda table, ids: sharded_embed(table, ids, Shards("words", 3)),
        ...     mesh=mesh, in_specs=(P("words"), P()), out_specs=P(),
        ... )
        >>> rows(jnp.eye(3), jnp.array([2])).tolist()
        [[0.0, 0.0, 1.0]]
    """
    check("table", table, "float", "V E")
    own, local = _own(ids, table.shape[0], shards)
    return lax.psum(jnp.where(own[..., None], embed(table, local), 0), shards.axis)


def sharded_cross_entropy(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
    where: jax.Array,
    shards: Shards,
    chunk: int | None = None,
) -> jax.Array:
    """`rntn_jax.ops.linear_cross_entropy` where each device has some columns of the kernel.

    Source: 002, identities 5 and 7, of the words that a device has.

    Args:
        x: ``[..., D]`` floating point, the same on all devices of the axis.
        kernel: this device's ``[D, V / devices]``.
        bias: this device's ``[V / devices]``.
        labels: integer ``[...]`` in ``0 .. V-1``, the same on all devices.
        where: bool ``[...]``; false rows count 0, have gradient 0, and may hold anything.
        shards: the mesh axis, and ``V``: columns beyond count for nothing.
        chunk: most rows at a time; None means all at once.

    Returns:
        ``[...]`` nats, in at least float32, the same on all devices. Cost of `linear_cross_entropy`
        divided by the devices; three numbers a row are sent forward, and ``D`` backward.

    Raises:
        AssertionError: when shapes or dtype kinds do not match.
        ValueError: when ``chunk`` is not positive.

    Example:
        >>> from jax.sharding import Mesh, PartitionSpec as P
        >>> mesh, one = Mesh(jax.devices()[:1], ("words",)), jnp.ones((1, 2))
        >>> nats = jax.shard_map(
        ...     lambda w, b: sharded_cross_entropy(
        ...         one, w, b, jnp.zeros(1, int), jnp.ones(1, bool), Shards("words", 4)
        ...     ),
        ...     mesh=mesh, in_specs=(P(None, "words"), P("words")), out_specs=P(),
        ... )
        >>> round(float(nats(jnp.zeros((2, 4)), jnp.zeros(4))[0]), 4)
        1.3863
    """
    sizes: dict[str, int] = {}
    check("kernel", kernel, "float", "D C", sizes)
    check("bias", bias, "float", "C", sizes)
    rows, count = x.shape[:-1], kernel.shape[1]
    first = lax.axis_index(shards.axis) * count
    bias = jnp.where(first + jnp.arange(count) < shards.size, bias, -jnp.inf)
    (x, labels, where), unsplit = in_pieces(chunk, labels.size, x, labels, where)
    own, local = _own(labels, count, shards)
    own = own & where
    lse, picked = _lse_and_picked(*vary_like((x, kernel, bias, local, own, where)))
    top = lax.pmax(lax.stop_gradient(lse), shards.axis)
    total, picked = lax.psum((jnp.exp(lse - top), picked), shards.axis)
    return unsplit(masked(top + jnp.log(total) - picked, where)).reshape(rows)


def _log_sum_exp(logits) -> jax.Array:
    """Over the last axis; ``-inf``, with a gradient of 0, where no word of the device counts."""
    top = largest(logits)
    total = jnp.exp(logits - top).sum(-1)
    some = total > 0
    return jnp.where(some, top[..., 0] + jnp.log(jnp.where(some, total, 1)), -jnp.inf)


def _lse_and_picked_reference(x, kernel, bias, labels, own, where) -> tuple[jax.Array, jax.Array]:
    """Log-sum-exp and the label's logit ``[pieces, n]``, 0 where the label is another device's."""

    def one_piece(piece):
        x, labels, own, where = piece
        _, logits = logits_of(x, kernel, bias, where)
        picked = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
        return _log_sum_exp(logits), masked(picked, own)

    return lax.map(one_piece, (x, labels, own, where))


_lse_and_picked = jax.custom_vjp(_lse_and_picked_reference)


class _LseAndPickedResiduals(NamedTuple):
    arguments: tuple[Any, ...]
    lse: jax.Array  # [pieces, n]


def _lse_and_picked_fwd(
    *args,
) -> tuple[tuple[jax.Array, jax.Array], _LseAndPickedResiduals]:
    lse, picked = _lse_and_picked_reference(*args)
    return (lse, picked), _LseAndPickedResiduals(args, lse)


def _lse_and_picked_bwd(res: _LseAndPickedResiduals, g) -> tuple[Any, ...]:
    x, kernel, bias, labels, own, where = res.arguments
    dtype = accumulator(x, kernel)

    def one_piece(totals, piece):
        (d_kernel, d_bias), (x, labels, own, where, lse, g_lse, g_picked) = totals, piece
        x, logits = logits_of(x, kernel, bias, where)
        lse = jnp.where(jnp.isfinite(lse), lse, 0)  # where no word of the device counts
        one_hot = labels[:, None] == jnp.arange(logits.shape[-1])[None]
        delta = jnp.exp(logits - lse[:, None]) * g_lse[:, None]
        delta = delta + jnp.where(one_hot & own[:, None], g_picked[:, None], 0)
        delta = masked(delta, where)
        d_kernel = d_kernel + jnp.matmul(x.T, delta, preferred_element_type=dtype)
        d_x = jnp.matmul(delta, kernel.T, preferred_element_type=dtype)
        return (d_kernel, d_bias + delta.sum(0)), d_x.astype(x.dtype)

    zeros = jnp.zeros_like(kernel, dtype), jnp.zeros_like(bias, dtype)
    (d_kernel, d_bias), d_x = lax.scan(one_piece, zeros, (x, labels, own, where, res.lse, *g))
    return *cast_like((d_x, d_kernel, d_bias), (x, kernel, bias)), None, None, None


_lse_and_picked.defvjp(_lse_and_picked_fwd, _lse_and_picked_bwd)
