"""Words in context: vectors of each word, and recurrent states over them in both directions.

A word is described by several columns (form, suffix, tag), each with its own table of embeddings.
What is known of it are its vectors side by side (source 002, x) and, of each recurrent layer, the
states of both directions (source 003, equation 1a).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rntn_jax.ops import dropout, embed, masked
from rntn_jax.recurrent import Cell, birnn

__all__ = ["Config", "Params", "apply", "init"]


@dataclass(frozen=True)
class Config:
    """Sizes and initial scales.

    Embeddings start uniform ``+-word_range``, input weights in Glorot's range, recurrent weights as
    a random rotation times ``recurrent_scale``, biases at 0.

    Raises:
        ValueError: naming the field and its value.
    """

    vocab_sizes: tuple[int, ...]  # of the columns
    embed_dims: tuple[int, ...]  # one for each of them
    rnn_layers: int = 1
    rnn_dim: int = 100  # of each direction
    word_range: float = 0.1
    recurrent_scale: float = 0.9

    def __post_init__(self) -> None:
        for name in ("vocab_sizes", "embed_dims"):
            values = getattr(self, name)
            if not values or min(values) < 1:
                raise ValueError(f"{name} must be positive numbers, one for each column: {values}")
        if len(self.vocab_sizes) != len(self.embed_dims):
            raise ValueError(
                f"vocab_sizes and embed_dims must be equally many, got {self.vocab_sizes} and "
                f"{self.embed_dims}"
            )
        for name, least in (("rnn_layers", 0), ("rnn_dim", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)!r}")
        for name in ("word_range", "recurrent_scale"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)!r}")

    @property
    def width(self) -> int:
        """What is known of a word, ``F``."""
        return sum(self.embed_dims) + 2 * self.rnn_dim * self.rnn_layers


class Params(NamedTuple):
    """All parameters."""

    embeddings: tuple[jax.Array, ...]  # [V, E] of each column
    cells: tuple[tuple[Cell, Cell], ...]  # of each layer, forward and backward


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters.

    Example:
        >>> config = Config(vocab_sizes=(9, 5), embed_dims=(3, 2), rnn_dim=4)
        >>> params = init(jax.random.key(0), config)
        >>> params.cells[0][0].i.shape, config.width
        ((5, 4), 13)
    """
    keys = iter(jax.random.split(key, len(config.vocab_sizes) + 4 * config.rnn_layers))

    def uniform(shape, r):
        return jax.random.uniform(next(keys), shape, dtype, -r, r)

    sizes = zip(config.vocab_sizes, config.embed_dims)
    tables = tuple(uniform(size, config.word_range) for size in sizes)
    width, d = sum(config.embed_dims), config.rnn_dim

    def cell() -> Cell:
        rotation = jax.random.orthogonal(next(keys), d, dtype=dtype)
        inputs = uniform((width, d), (6 / (width + d)) ** 0.5)
        return Cell(config.recurrent_scale * rotation, inputs, jnp.zeros(d, dtype))

    cells = []
    for _ in range(config.rnn_layers):
        cells.append((cell(), cell()))
        width = 2 * d
    return Params(tables, tuple(cells))


def apply(
    params: Params,
    ids: jax.Array,
    length: jax.Array,
    *,
    unknown_rate: float = 0.0,
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """What is known of each word.

    Args:
        params: as `init` makes them.
        ids: int ``[B, T, columns]``; what lies behind a sentence's end may hold anything.
        length: int ``[B]``.
        unknown_rate: rate at which the first column (the word) becomes id 1, unknown.
        input_dropout: rate on the vectors.
        hidden_dropout: rate on the states.
        key: PRNG key, needed when a rate is not 0.

    Returns:
        ``[B, T, F]``: vectors, then the states of each layer; 0 behind a sentence's end.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for a rate outside [0, 1) or a missing key.

    Example:
        >>> config = Config(vocab_sizes=(9,), embed_dims=(3,), rnn_dim=4)
        >>> params = init(jax.random.key(0), config)
        >>> apply(params, jnp.array([[[4], [5], [6]]]), jnp.array([3])).shape
        (1, 3, 11)
    """
    ids, length = jnp.asarray(ids), jnp.asarray(length)
    chex.assert_rank([ids, length], [3, 1])
    chex.assert_type([ids, length], int)
    chex.assert_shape(ids, (len(length), None, len(params.embeddings)))
    mask = jnp.arange(ids.shape[1])[None] < length[:, None]
    ids = masked(ids, mask)
    if unknown_rate:
        kept = dropout(key, 0, jnp.ones(mask.shape), unknown_rate, "unknown_rate") > 0
        ids = ids.at[..., 0].set(jnp.where(kept, ids[..., 0], 1))
    x = jnp.concatenate([embed(t, ids[..., k]) for k, t in enumerate(params.embeddings)], axis=-1)
    layers = [masked(dropout(key, 1, x, input_dropout, "input_dropout"), mask)]
    for number, cells in enumerate(params.cells, 2):
        states = birnn(*cells, layers[-1], mask)
        layers.append(dropout(key, number, states, hidden_dropout, "hidden_dropout"))
    return jnp.concatenate(layers, axis=-1)
