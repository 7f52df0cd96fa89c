"""Sizes and parameters of recurrent language models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from rntn_jax.models.layers import check_config, recurrent_cell
from rntn_jax.recurrent import Cell
from rntn_jax.shapes import shapes_repr

__all__ = [
    "Cell",
    "Config",
    "Head",
    "Params",
    "cells_of",
    "from_source_003",
    "head_of",
    "init",
    "initial_carry",
    "vocabulary_specs",
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
        at_least = {"vocab_size": 2, "embed_dim": 1, "hidden_dim": 1, "layers": 1}
        check_config(self, at_least, ("word_range", "recurrent_scale"))
        if self.tied and self.embed_dim != self.hidden_dim:
            raise ValueError(
                f"tied needs embed_dim = hidden_dim, got {self.embed_dim} and {self.hidden_dim}"
            )


class Head(NamedTuple):
    """Output weights U and b2 of source 001; ``w=None``: the embedding's, transposed."""

    w: jax.Array | None  # [D, V]
    b: jax.Array  # [V]

    __repr__ = shapes_repr


class Params(NamedTuple):
    """All parameters."""

    embedding: jax.Array  # [V, E]
    cell: Cell | tuple[Cell, ...]  # h [D, D], i [E, D], b [D]; a tuple when there are layers
    head: Head

    __repr__ = shapes_repr


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters: recurrent weights a rotation, words and head uniform ``+-word_range``.

    Args:
        key: a PRNG key.
        config: vocabulary, widths, layers.
        dtype: of all of them.

    Returns:
        ``embedding [V, E]``, a cell a layer, and the head ``[D, V]``, None where it is tied.

    Example:
        >>> params = init(jax.random.key(0), Config(vocab_size=7, embed_dim=2, hidden_dim=3))
        >>> params.cell.h.shape, params.cell.i.shape, params.head.w.shape
        ((3, 3), (2, 3), (3, 7))
    """
    v, e, d = config.vocab_size, config.embed_dim, config.hidden_dim
    word_key, head_key, *keys = jax.random.split(key, 2 + config.layers)
    cells = []
    for layer, key in enumerate(keys):
        recurrent_key, input_key = jax.random.split(key)
        width, scale = d if layer else e, config.recurrent_scale
        cells.append(recurrent_cell(recurrent_key, input_key, width, d, scale, dtype))
    r = config.word_range
    embedding = jax.random.uniform(word_key, (v, e), dtype, -r, r)
    w = None if config.tied else jax.random.uniform(head_key, (d, v), dtype, -r, r)
    cell = cells[0] if config.layers == 1 else tuple(cells)
    return Params(embedding, cell, Head(w, jnp.zeros(v, dtype)))


def from_source_003(u: jax.Array, w: jax.Array, v: jax.Array) -> Params:
    """Parameters of source 003: ``s_t = tanh(U x_t + W s_{t-1})``, ``y_hat = softmax(V s_t)``.

    Source: 003, equations 1a and 1b.

    Args:
        u: ``[D, V]``, applied to one-hot words.
        w: ``[D, D]``.
        v: ``[V, D]``.

    Returns:
        `Params` with input weights that are the identity and biases 0.
    """
    d = w.shape[0]
    cell = Cell(h=w.T, i=jnp.eye(d, dtype=w.dtype), b=jnp.zeros(d, w.dtype))
    return Params(u.T, cell, Head(v.T, jnp.zeros(v.shape[0], v.dtype)))


def cells_of(params: Params) -> tuple[Cell, ...]:
    """The cells of all layers, from the input up."""
    return (params.cell,) if isinstance(params.cell, Cell) else tuple(params.cell)


def head_of(params: Params) -> tuple[jax.Array, jax.Array]:
    """Weights ``[D, V]`` and bias ``[V]`` of the head, tied or not."""
    w = params.embedding.T if params.head.w is None else params.head.w
    return w, params.head.b


def initial_carry(params: Params, batch_size: int) -> tuple[jax.Array, ...]:
    """States of zeros, one ``[B, D]`` a layer.

    Source: 001, ``h^(0)``, which it leaves open; 003, ``s_{-1} = 0``.

    Args:
        params: as `init` makes them.
        batch_size: ``B``.

    Returns:
        Zeros, one array ``[B, D]`` for each layer.
    """
    return tuple(jnp.zeros((batch_size, c.b.shape[0]), c.b.dtype) for c in cells_of(params))


def vocabulary_specs(params: Params, axis: str) -> Params:
    """Where parameters lie when the vocabulary is shared out to the devices of a mesh axis.

    Args:
        params: as `init` makes them.
        axis: of the mesh.

    Returns:
        `Params` of `PartitionSpec`: rows of the embedding, columns of the head and its bias; the
        rest whole.

    Example:
        >>> params = init(jax.random.key(0), Config(vocab_size=7, embed_dim=2, hidden_dim=3))
        >>> tuple(vocabulary_specs(params, "words").head.w)
        (None, 'words')
    """
    whole: Any = PartitionSpec()
    words: Any = PartitionSpec(axis)
    w: Any = None if params.head.w is None else PartitionSpec(None, axis)
    return Params(words, jax.tree.map(lambda _: whole, params.cell), Head(w, words))
