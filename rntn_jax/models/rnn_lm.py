"""Recurrent language models (source 001: sigmoid, with biases; source 003: tanh, without).

A word's embedding feeds one or more recurrent layers (`rntn_jax.recurrent`), and the top state a
softmax over the vocabulary. Source 001 writes rows, as this library does; source 003 columns::

    here (rows)              001        003
    embedding                L          the columns of U (x_t is one-hot)
    cell.h                   H          W^T
    cell.i                   I          identity (`from_source_003`)
    cell.b                   b1         0
    head.w, head.b           U, b2      V^T, 0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rntn_jax.ops import (
    accumulator,
    dropout,
    embed,
    linear_cross_entropy,
    linear_cross_entropy_sum,
)
from rntn_jax.recurrent import Cell, rnn
from rntn_jax.sequences import SequenceBatch

__all__ = [
    "Aux",
    "Cell",
    "Config",
    "Head",
    "Params",
    "apply",
    "from_source_003",
    "generate",
    "init",
    "initial_carry",
    "loss",
    "perplexity",
    "score",
    "states",
]


@dataclass(frozen=True)
class Config:
    """Sizes and initial scales.

    Recurrent weights start as a random rotation times ``recurrent_scale``, all others uniform:
    words ``+-word_range``, input weights Glorot's range, head zero bias.

    Raises:
        ValueError: naming the field and its value.
    """

    vocab_size: int
    embed_dim: int = 200
    hidden_dim: int = 200
    layers: int = 1
    tied: bool = False  # the head's weights are the embedding's
    word_range: float = 0.1
    recurrent_scale: float = 0.9

    def __post_init__(self) -> None:
        for name, least in (("vocab_size", 2), ("embed_dim", 1), ("hidden_dim", 1), ("layers", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        for name in ("word_range", "recurrent_scale"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)!r}")
        if self.tied and self.embed_dim != self.hidden_dim:
            raise ValueError(
                f"tied needs embed_dim = hidden_dim, got {self.embed_dim} and {self.hidden_dim}"
            )


class Head(NamedTuple):
    """Output weights U and b2 of source 001; ``w=None``: the embedding's, transposed."""

    w: jax.Array | None  # [D, V]
    b: jax.Array  # [V]


class Params(NamedTuple):
    """All parameters."""

    embedding: jax.Array  # [V, E]
    cell: Cell | tuple[Cell, ...]  # h [D, D], i [E, D], b [D]; a tuple when there are layers
    head: Head


class Aux(NamedTuple):
    """What comes with the loss."""

    carry: tuple[jax.Array, ...]  # the states after the batch, one [B, D] a layer
    tokens: jax.Array  # predicted


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters.

    Args:
        key: a PRNG key.
        config: sizes and scales.
        dtype: of all parameters.

    Example:
        >>> params = init(jax.random.key(0), Config(vocab_size=7, embed_dim=2, hidden_dim=3))
        >>> params.cell.h.shape, params.cell.i.shape, params.head.w.shape
        ((3, 3), (2, 3), (3, 7))
    """
    v, e, d = config.vocab_size, config.embed_dim, config.hidden_dim
    word_key, head_key, *keys = jax.random.split(key, 2 + config.layers)
    cells = []
    for layer, key in enumerate(keys):
        recurrent, inputs = jax.random.split(key)
        width = d if layer else e
        r = (6 / (width + d)) ** 0.5
        cells.append(
            Cell(
                h=config.recurrent_scale * jax.random.orthogonal(recurrent, d, dtype=dtype),
                i=jax.random.uniform(inputs, (width, d), dtype, -r, r),
                b=jnp.zeros(d, dtype),
            )
        )
    r = config.word_range
    embedding = jax.random.uniform(word_key, (v, e), dtype, -r, r)
    w = None if config.tied else jax.random.uniform(head_key, (d, v), dtype, -r, r)
    cell = cells[0] if config.layers == 1 else tuple(cells)
    return Params(embedding, cell, Head(w, jnp.zeros(v, dtype)))


def from_source_003(u: jax.Array, w: jax.Array, v: jax.Array) -> Params:
    """Parameters of source 003: ``s_t = tanh(U x_t + W s_{t-1})``, ``y_hat = softmax(V s_t)``.

    Args:
        u: ``[D, V]``, applied to one-hot words.
        w: ``[D, D]``.
        v: ``[V, D]``.

    Source: 003, equations 1a and 1b.
    """
    d = w.shape[0]
    cell = Cell(h=w.T, i=jnp.eye(d, dtype=w.dtype), b=jnp.zeros(d, w.dtype))
    return Params(u.T, cell, Head(v.T, jnp.zeros(v.shape[0], v.dtype)))


def _cells(params: Params) -> tuple[Cell, ...]:
    return (params.cell,) if isinstance(params.cell, Cell) else tuple(params.cell)


def _head(params: Params) -> tuple[jax.Array, jax.Array]:
    w = params.embedding.T if params.head.w is None else params.head.w
    return w, params.head.b


def initial_carry(params: Params, batch_size: int) -> tuple[jax.Array, ...]:
    """States of zeros, one ``[B, D]`` a layer.

    Source: 001, ``h^(0)``, which it leaves open; 003, ``s_{-1} = 0``.
    """
    return tuple(jnp.zeros((batch_size, c.b.shape[0]), c.b.dtype) for c in _cells(params))


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
    segment: int | None = None,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Top states ``[B, T, D]``, which the head sees, and the carry. See `apply`."""
    tokens = jnp.asarray(batch.tokens)
    chex.assert_rank(tokens, 2)
    chex.assert_equal_shape([tokens, batch.mask])
    cells, size = _cells(params), tokens.shape[0]
    carry = initial_carry(params, size) if carry is None else carry
    chex.assert_shape(carry, [(size, cell.b.shape[0]) for cell in cells])
    x = embed(params.embedding, tokens)

    x = dropout(key, 0, x, input_dropout, "input_dropout")
    after = []
    for layer, (cell, state) in enumerate(zip(cells, carry, strict=True)):
        if layer:
            x = dropout(key, 3 * layer, x, hidden_dropout, "hidden_dropout")
        # One mask for all steps of a segment (variational).
        ones = jnp.ones_like(state)
        drop = dropout(key, 3 * layer + 1, ones, recurrent_dropout, "recurrent_dropout")
        x, state = rnn(
            cell, x, state, batch.mask, activation=activation, drop=drop, segment=segment
        )
        after.append(state)
    return dropout(key, 2, x, output_dropout, "output_dropout"), tuple(after)


def apply(
    params: Params, batch: SequenceBatch, carry: tuple[jax.Array, ...] | None = None, **options
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Logits of the next token at every step, and the carry.

    Computes ``h_t U + b2`` (source 001, z2; 003, q_t of equation 7).

    Args:
        params: as `init` makes them.
        batch: ``tokens`` and ``mask`` are read.
        carry: one ``[B, D]`` a layer; zeros by default.
        **options: ``activation`` (``tanh``, ``sigmoid``, ``relu``); dropout rates
            ``input_dropout`` (on embeddings), ``hidden_dropout`` (between layers),
            ``recurrent_dropout`` (on the state before each step, the same entries at all steps),
            ``output_dropout`` (before the head), with ``key``; ``segment`` as in
            `rntn_jax.recurrent.rnn`.

    Returns:
        ``([B, T, V], carry)``.

    Raises:
        AssertionError: when shapes do not match, a carry of another batch size among them.
        ValueError: for a rate outside [0, 1), or dropout without a key.

    Example:
        >>> params = init(jax.random.key(0), Config(vocab_size=7, embed_dim=2, hidden_dim=3))
        >>> tokens = jnp.ones((2, 4), jnp.int32)
        >>> logits, carry = apply(params, SequenceBatch(tokens, tokens, tokens > 0))
        >>> logits.shape, carry[0].shape
        ((2, 4, 7), (2, 3))
    """
    h, carry = states(params, batch, carry, **options)
    w, b = _head(params)
    return h @ w + b[None, None], carry


def loss(
    params: Params,
    batch: SequenceBatch,
    carry: tuple[jax.Array, ...] | None = None,
    *,
    chunk: int | None = 160,
    **options,
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
        **options: as in `apply`.

    Returns:
        ``(loss, aux)``.

    Example:
        >>> params = init(jax.random.key(0), Config(vocab_size=7, embed_dim=2, hidden_dim=3))
        >>> tokens = jnp.ones((2, 4), jnp.int32)
        >>> batch = SequenceBatch(tokens, tokens, tokens > 0)
        >>> (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(params, batch)
        >>> int(aux.tokens), grads.embedding.shape
        (8, (7, 2))
    """
    batch = SequenceBatch(*map(jnp.asarray, batch))
    h, carry = states(params, batch, carry, **options)
    count = batch.mask.sum()
    dtype = accumulator(h)
    weights = batch.mask.astype(dtype) / jnp.maximum(count, 1).astype(dtype)
    w, b = _head(params)
    nats = linear_cross_entropy_sum(h, w, b, batch.targets, weights, chunk)
    return nats, Aux(carry, count)


def score(
    params: Params,
    batch: SequenceBatch,
    carry: tuple[jax.Array, ...] | None = None,
    *,
    chunk: int | None = 160,
    **options,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Nats of every token, ``[B, T]`` (0 where masked), and the carry; options as in `loss`."""
    batch = SequenceBatch(*map(jnp.asarray, batch))
    h, carry = states(params, batch, carry, **options)
    return linear_cross_entropy(h, *_head(params), batch.targets, batch.mask, chunk), carry


def perplexity(nats: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """``exp`` of the mean: per token, from the nats that `score` gives.

    Example:
        >>> round(float(perplexity(jnp.log(jnp.array([2.0, 8.0])))), 4)
        4.0
    """
    nats = jnp.asarray(nats)
    count = nats.size if mask is None else jnp.maximum(jnp.asarray(mask).sum(), 1)
    total = nats.sum(dtype=accumulator(nats))
    return jnp.exp(total / jnp.asarray(count, total.dtype))


def generate(
    params: Params,
    key: jax.Array,
    prompt: jax.Array,
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    activation: str = "tanh",
) -> jax.Array:
    """Draws a continuation, token by token.

    Args:
        params: as `init` makes them.
        key: a PRNG key.
        prompt: integer ``[B, P]`` with ``P >= 1``.
        length: tokens to draw; static.
        temperature: of the softmax; 0 takes the most probable token.
        top_k: draw only from that many most probable tokens.
        activation: as in `apply`.

    Returns:
        int32 ``[B, length]``. Ids 0 and 1 (padding, unknown) are never drawn.

    Raises:
        ValueError: for a negative temperature or a ``top_k`` out of range.

    Example:
        >>> params = init(jax.random.key(0), Config(vocab_size=7, embed_dim=2, hidden_dim=3))
        >>> generate(params, jax.random.key(1), jnp.array([[2]]), 5).shape
        (1, 5)
    """
    prompt = jnp.asarray(prompt)
    chex.assert_rank(prompt, 2)
    w, b = _head(params)
    if not temperature >= 0:
        raise ValueError(f"temperature must not be negative, got {temperature}")
    if top_k is not None and not 1 <= top_k <= b.shape[0]:
        raise ValueError(f"top_k must be in 1 .. {b.shape[0]}, got {top_k}")

    def read(carry, tokens):
        """Logits after tokens ``[B, T]``."""
        batch = SequenceBatch(tokens, tokens, jnp.ones(tokens.shape, bool))
        h, carry = states(params, batch, carry, activation=activation)
        return h[:, -1] @ w + b[None], carry

    def choose(logits, key):
        logits = logits.at[:, :2].set(-jnp.inf)
        if top_k is not None:
            least = jax.lax.top_k(logits, top_k)[0][:, -1:]
            logits = jnp.where(logits < least, -jnp.inf, logits)
        if temperature == 0:
            return jnp.argmax(logits, axis=-1).astype(jnp.int32)
        return jax.random.categorical(key, logits / temperature).astype(jnp.int32)

    def step(state, key):
        logits, carry = state
        token = choose(logits, key)
        return read(carry, token[:, None]), token

    state = read(initial_carry(params, prompt.shape[0]), prompt)
    _, tokens = jax.lax.scan(step, state, jax.random.split(key, length))
    return tokens.T
