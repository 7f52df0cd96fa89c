"""What a recurrent language model computes: states, logits, loss."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.models.rnn_lm.params import Params, cells_of, head_of, initial_carry
from rntn_jax.ops import (
    accumulator,
    check_dropout,
    check_ids,
    dropout,
    embed,
    linear_cross_entropy,
    linear_cross_entropy_sum,
)
from rntn_jax.ops.checks import check
from rntn_jax.ops.vocabulary_shards import Shards, sharded_cross_entropy, sharded_embed
from rntn_jax.recurrent import rnn
from rntn_jax.sequences import SequenceBatch
from rntn_jax.shapes import shapes_repr

__all__ = ["Aux", "apply", "loss", "perplexity", "score", "states"]


class Aux(NamedTuple):
    """What comes with the loss."""

    carry: tuple[jax.Array, ...]  # the states after the batch, one [B, D] a layer
    tokens: jax.Array  # predicted

    __repr__ = shapes_repr


_OPTIONS = (  # static
    "activation",
    "input_dropout",
    "hidden_dropout",
    "recurrent_dropout",
    "output_dropout",
    "remat_every",
    "shards",
)


def _check(params: Params, batch: SequenceBatch, carry: Any) -> tuple[jax.Array, ...]:
    """Shapes, and the words where they are not traced; the carry, zeros for None."""
    if not isinstance(batch, SequenceBatch):
        raise TypeError(f"batch must be a SequenceBatch, got {type(batch).__name__}")
    sizes: dict[str, int] = {}
    check("batch.tokens", batch.tokens, "int", "B T", sizes)
    check("batch.mask", batch.mask, "bool", "B T", sizes)
    check("params.embedding", params.embedding, "float", "V E", sizes)
    check("params.head.b", params.head.b, "float", "V", sizes)
    check_ids("batch.tokens", batch.tokens, sizes["V"], batch.mask)
    cells = cells_of(params)
    if carry is None:
        return initial_carry(params, sizes["B"])
    if len(carry) != len(cells):
        raise AssertionError(f"carry must be {len(cells)} arrays, one a layer, got {len(carry)}")
    for layer, (state, cell) in enumerate(zip(carry, cells)):
        check(f"carry[{layer}]", state, "float", f"B {cell.b.shape[0]}", sizes)
    return tuple(carry)


def states(
    params: Params,
    batch: SequenceBatch,
    carry: tuple[jax.Array, ...] | None = None,
    *,
    activation: str = "tanh",
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    output_dropout: float = 0.0,
    key: jax.Array | None = None,
    remat_every: int | None = None,
    shards: Shards | None = None,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Top states, which the head sees, and the carry.

    Args:
        params, batch, carry: as in `apply`.
        activation, input_dropout, hidden_dropout, recurrent_dropout, output_dropout, key,
            remat_every: as in `apply`.
        shards: as in `loss`.

    Returns:
        ``([B, T, D], carry)``.

    Raises:
        AssertionError, TypeError, ValueError: as `apply`.
    """
    carry = _check(params, batch, carry)
    return _states(
        params,
        batch,
        carry,
        key,
        activation=activation,
        input_dropout=input_dropout,
        hidden_dropout=hidden_dropout,
        recurrent_dropout=recurrent_dropout,
        output_dropout=output_dropout,
        remat_every=remat_every,
        shards=shards,
    )


@partial(jax.jit, static_argnames=_OPTIONS)
def _states(
    params: Params,
    batch: SequenceBatch,
    carry: tuple[jax.Array, ...],
    key: jax.Array | None,
    *,
    activation: str,
    input_dropout: float,
    hidden_dropout: float,
    recurrent_dropout: float,
    output_dropout: float,
    remat_every: int | None,
    shards: Shards | None,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    check_dropout(
        key,
        {
            "input_dropout": input_dropout,
            "hidden_dropout": hidden_dropout,
            "recurrent_dropout": recurrent_dropout,
            "output_dropout": output_dropout,
        },
    )
    if shards is None:
        x = embed(params.embedding, batch.tokens)
    else:
        x = sharded_embed(params.embedding, batch.tokens, shards)
    x = dropout(key, 0, x, input_dropout)
    after = []
    for layer, (cell, state) in enumerate(zip(cells_of(params), carry, strict=True)):
        if layer:
            x = dropout(key, 3 * layer, x, hidden_dropout)
        kept = None
        if recurrent_dropout:  # one mask for all steps of a segment (variational)
            kept = dropout(key, 3 * layer + 1, jnp.ones_like(state), recurrent_dropout)
        x, state = rnn(
            cell,
            x,
            state,
            batch.mask,
            activation=activation,
            recurrent_mask=kept,
            remat_every=remat_every,
        )
        after.append(state)
    return dropout(key, 2, x, output_dropout), tuple(after)


def apply(
    params: Params,
    batch: SequenceBatch,
    carry: tuple[jax.Array, ...] | None = None,
    *,
    activation: str = "tanh",
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    output_dropout: float = 0.0,
    key: jax.Array | None = None,
    remat_every: int | None = None,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Logits of the next token at every step, and the carry.

    Computes ``h_t U + b2`` (source 001, z2; 003, q_t of equation 7).

    Args:
        params: as `init` makes them.
        batch: ``tokens`` and ``mask`` are read.
        carry: one ``[B, D]`` a layer; zeros by default.
        activation: ``tanh``, ``sigmoid``, ``relu``, ``cube`` or ``identity``.
        input_dropout: rate on the embeddings.
        hidden_dropout: rate between layers.
        recurrent_dropout: rate on the state before each step, the same entries at all steps.
        output_dropout: rate before the head.
        key: PRNG key, needed when a rate is not 0.
        remat_every: as in `rntn_jax.recurrent.rnn`.

    Returns:
        ``([B, T, V], carry)``.

    Raises:
        AssertionError: when shapes or dtypes do not match, a carry of another batch size among
            them.
        TypeError: when ``batch`` is no `SequenceBatch`.
        ValueError: for an unknown activation, a rate outside [0, 1), a missing key, and for tokens
            beyond the embedding, where they are not traced.

    Example:
        >>> from rntn_jax.models.rnn_lm import Config, init
        >>> params = init(jax.random.key(0), Config(vocab_size=7, embed_dim=2, hidden_dim=3))
        >>> tokens = jnp.ones((2, 4), jnp.int32)
        >>> logits, carry = apply(params, SequenceBatch(tokens, tokens, tokens > 0))
        >>> logits.shape, carry[0].shape
        ((2, 4, 7), (2, 3))
    """
    h, carry = states(
        params,
        batch,
        carry,
        activation=activation,
        input_dropout=input_dropout,
        hidden_dropout=hidden_dropout,
        recurrent_dropout=recurrent_dropout,
        output_dropout=output_dropout,
        key=key,
        remat_every=remat_every,
    )
    return _logits(params, h), carry


@jax.jit
def _logits(params: Params, h: jax.Array) -> jax.Array:
    w, b = head_of(params)
    return h @ w + b[None, None]


def loss(
    params: Params,
    batch: SequenceBatch,
    carry: tuple[jax.Array, ...] | None = None,
    *,
    chunk: int | None = 160,
    activation: str = "tanh",
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    output_dropout: float = 0.0,
    key: jax.Array | None = None,
    remat_every: int | None = None,
    shards: Shards | None = None,
) -> tuple[jax.Array, Aux]:
    """Mean cross-entropy of the real tokens, in nats.

    Source: 001, J; 003, equation 2.
    Differs from source: 001 prints J without its sign; the N of 003's 1/N is the number of
    predicted tokens, and the factor does not get lost after equation 3 (errata 001, 003).

    Args:
        params: as `init` makes them.
        batch: a segment; all of it masked costs 0.
        carry: states before it. Truncated backpropagation is passing ``aux.carry`` on through
            `jax.lax.stop_gradient`.
        chunk: rows whose logits exist at a time; None means all.
        activation, input_dropout, hidden_dropout, recurrent_dropout, output_dropout, key,
            remat_every: as in `apply`.
        shards: inside `jax.shard_map`, where each device has a share of the vocabulary:
            `vocabulary_specs`.

    Returns:
        ``(loss, aux)``.

    Raises:
        AssertionError, TypeError, ValueError: as `apply`.

    Example:
        >>> from rntn_jax.models.rnn_lm import Config, init
        >>> params = init(jax.random.key(0), Config(vocab_size=7, embed_dim=2, hidden_dim=3))
        >>> tokens = jnp.ones((2, 4), jnp.int32)
        >>> batch = SequenceBatch(tokens, tokens, tokens > 0)
        >>> (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(params, batch)
        >>> int(aux.tokens), grads.embedding.shape
        (8, (7, 2))
    """
    h, carry = states(
        params,
        batch,
        carry,
        activation=activation,
        input_dropout=input_dropout,
        hidden_dropout=hidden_dropout,
        recurrent_dropout=recurrent_dropout,
        output_dropout=output_dropout,
        key=key,
        remat_every=remat_every,
        shards=shards,
    )
    if shards is None:
        check_ids("batch.targets", batch.targets, params.head.b.shape[0], batch.mask)
    nats, count = _mean_nats(params, h, batch, chunk, shards)
    return nats, Aux(carry, count)


@partial(jax.jit, static_argnames=("chunk", "shards"))
def _mean_nats(
    params: Params, h: jax.Array, batch: SequenceBatch, chunk: int | None, shards: Shards | None
) -> tuple[jax.Array, jax.Array]:
    count = batch.mask.sum()
    dtype = accumulator(h)
    if shards is not None:
        targets, mask = batch.targets, batch.mask
        nats = sharded_cross_entropy(h, *head_of(params), targets, mask, shards, chunk)
        return nats.sum() / jnp.maximum(count, 1).astype(dtype), count
    weights = batch.mask.astype(dtype) / jnp.maximum(count, 1).astype(dtype)
    return linear_cross_entropy_sum(h, *head_of(params), batch.targets, weights, chunk), count


def score(
    params: Params,
    batch: SequenceBatch,
    carry: tuple[jax.Array, ...] | None = None,
    *,
    chunk: int | None = 160,
    activation: str = "tanh",
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Nats of every token, and the carry.

    Args:
        params: as `init` makes them.
        batch: as in `loss`.
        carry: as in `loss`.
        chunk: as in `loss`.
        activation: as in `apply`.

    Returns:
        ``([B, T], carry)``, 0 where masked.

    Raises:
        AssertionError, TypeError, ValueError: as `apply`.
    """
    h, carry = states(params, batch, carry, activation=activation)
    check_ids("batch.targets", batch.targets, params.head.b.shape[0], batch.mask)
    return linear_cross_entropy(h, *head_of(params), batch.targets, batch.mask, chunk), carry


def perplexity(nats: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """``exp`` of the mean: per token, from the nats that `score` gives.

    Args:
        nats: of any shape.
        mask: bool, shape of ``nats``; None: all count.

    Returns:
        A scalar, in at least float32.

    Example:
        >>> round(float(perplexity(jnp.log(jnp.array([2.0, 8.0])))), 4)
        4.0
    """
    nats = jnp.asarray(nats)
    count = nats.size if mask is None else jnp.maximum(jnp.asarray(mask).sum(), 1)
    total = nats.sum(dtype=accumulator(nats))
    return jnp.exp(total / jnp.asarray(count, total.dtype))
