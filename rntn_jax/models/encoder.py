"""Words in context: vectors of each word, and recurrent states over them in both directions.

A word is described by several columns (form, suffix, tag), each with its own table of embeddings.
What is known of it are its vectors side by side (source 002, x) and, of each recurrent layer, the
states of both directions (source 003, equation 1a; or gated ones, `rntn_jax.recurrent.gated`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rntn_jax.models.layers import check_config, lstm_cell, recurrent_cell
from rntn_jax.ops import check_dropout, check_ids, dropout, embed, masked
from rntn_jax.ops.checks import check
from rntn_jax.ops.embedding import is_concrete
from rntn_jax.recurrent import LSTMCell, bilstm, birnn
from rntn_jax.shapes import shapes_repr

__all__ = [
    "Config",
    "Params",
    "CELLS",
    "apply",
    "check_cell",
    "check_columns",
    "check_columns_config",
    "embed_columns",
    "init",
    "init_cells",
    "init_embeddings",
    "replace_by_unknown",
    "states",
]

CELLS: dict[str, Callable[..., Any]] = {"elman": recurrent_cell, "lstm": lstm_cell}


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
    cell: str = "elman"  # or lstm

    def __post_init__(self) -> None:
        check_cell(self.cell)
        check_columns_config(self.vocab_sizes, self.embed_dims)
        check_config(self, {"rnn_layers": 0, "rnn_dim": 1}, ("word_range", "recurrent_scale"))

    @property
    def width(self) -> int:
        """What is known of a word, ``F``."""
        return sum(self.embed_dims) + 2 * self.rnn_dim * self.rnn_layers


def check_cell(cell: str) -> None:
    """Refuses cells that there are not.

    Args:
        cell: ``elman`` or ``lstm``.

    Raises:
        ValueError: for another name.
    """
    if cell not in CELLS:
        raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r:.40}")


def check_columns_config(vocab_sizes: tuple[int, ...], embed_dims: tuple[int, ...]) -> None:
    """Refuses sizes of columns.

    Args:
        vocab_sizes: of the columns.
        embed_dims: of the columns.

    Raises:
        ValueError: naming the field and its value.
    """
    for name, values in (("vocab_sizes", vocab_sizes), ("embed_dims", embed_dims)):
        if not values or min(values) < 1:
            raise ValueError(f"{name} must be positive numbers, one for each column: {values}")
    if len(vocab_sizes) != len(embed_dims):
        raise ValueError(
            f"vocab_sizes and embed_dims must be equally many, got {vocab_sizes} and {embed_dims}"
        )


class Params(NamedTuple):
    """All parameters."""

    embeddings: tuple[jax.Array, ...]  # [V, E] of each column
    cells: tuple[tuple[Any, Any], ...]  # of each layer, forward and backward

    __repr__ = shapes_repr


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters: embeddings uniform ``+-word_range``, recurrent weights a rotation.

    Args:
        key: a PRNG key.
        config: columns and recurrent layers.
        dtype: of all of them.

    Returns:
        Tables ``[V, E]`` of each column, and two cells a layer.

    Example:
        >>> config = Config(vocab_sizes=(9, 5), embed_dims=(3, 2), rnn_dim=4)
        >>> params = init(jax.random.key(0), config)
        >>> params.cells[0][0].i.shape, config.width
        ((5, 4), 13)
    """
    columns = len(config.vocab_sizes)
    keys = jax.random.split(key, columns + 4 * config.rnn_layers)
    sizes = config.vocab_sizes, config.embed_dims
    return Params(
        init_embeddings(keys[:columns], *sizes, config.word_range, dtype),
        init_cells(
            keys[columns:],
            sum(config.embed_dims),
            config.rnn_dim,
            config.rnn_layers,
            config.recurrent_scale,
            dtype,
            config.cell,
        ),
    )


def init_embeddings(
    keys: jax.Array,
    vocab_sizes: tuple[int, ...],
    embed_dims: tuple[int, ...],
    word_range: float,
    dtype: jnp.dtype = jnp.float32,
) -> tuple[jax.Array, ...]:
    """Embeddings ``[V, E]`` of each column, uniform ``+-word_range``.

    Args:
        keys: PRNG keys, one a column.
        vocab_sizes: of the columns.
        embed_dims: of the columns.
        word_range: half the width of the range.
        dtype: of the embeddings.

    Returns:
        One array ``[V, E]`` for each column.
    """
    return tuple(
        jax.random.uniform(key, size, dtype, -word_range, word_range)
        for key, size in zip(keys, zip(vocab_sizes, embed_dims))
    )


def init_cells(
    keys: jax.Array,
    inputs: int,
    dim: int,
    layers: int,
    scale: float,
    dtype: jnp.dtype = jnp.float32,
    cell: str = "elman",
) -> tuple[tuple[Any, Any], ...]:
    """Bidirectional layers, each on the states of the one below.

    Args:
        keys: PRNG keys, four a layer.
        inputs: width of what the first layer reads.
        dim: of the states of each direction.
        layers: how many.
        scale: of the recurrent weights, see `rntn_jax.models.layers.recurrent_cell`.
        dtype: of the weights.
        cell: one of `CELLS`.

    Returns:
        One pair of cells, forward and backward, for each layer.
    """
    make, cells = CELLS[cell], []
    for layer in range(layers):
        own, width = keys[4 * layer : 4 * layer + 4], 2 * dim if layer else inputs
        forward = make(own[0], own[1], width, dim, scale, dtype)
        cells.append((forward, make(own[2], own[3], width, dim, scale, dtype)))
    return tuple(cells)


def states(
    cells: tuple[Any, Any], x: jax.Array, mask: jax.Array, activation: str = "tanh"
) -> jax.Array:
    """States of both directions of a layer, whichever its cells.

    Args:
        cells: forward and backward.
        x: ``[B, T, E]``.
        mask: bool ``[B, T]``.
        activation: of Elman cells.

    Returns:
        ``[B, T, 2 D]``, 0 where masked.
    """
    if isinstance(cells[0], LSTMCell):
        return bilstm(*cells, x, mask)
    return birnn(*cells, x, mask, activation=activation)


def check_columns(
    name: str, ids: Any, embeddings: tuple[jax.Array, ...], mask: Any, sizes: dict[str, int]
) -> None:
    """Checks ids ``[B, T, columns]``: their shape and, where they are not traced, their values.

    Args:
        name: of the ids, as the caller knows them.
        ids: what came.
        embeddings: the table of each column.
        mask: bool ``[B, T]``; what it hides may hold anything.
        sizes: of axes ``B`` and ``T``, as `rntn_jax.ops.checks.check` uses them.

    Raises:
        AssertionError: for another shape or no integers.
        ValueError: for an id outside of its table.
    """
    check(name, ids, "int", f"B T {len(embeddings)}", sizes)
    for k, table in enumerate(embeddings):
        check_ids(f"{name}[..., {k}]", ids[..., k], table.shape[0], mask)


def replace_by_unknown(
    key: jax.Array | None, ids: jax.Array, rate: float, but: jax.Array | None = None
) -> jax.Array:
    """Ids whose first column (the word) becomes 1, unknown, at a rate.

    Args:
        key: PRNG key, needed when the rate is not 0.
        ids: int ``[B, T, columns]``.
        rate: in ``[0, 1)``.
        but: bool ``[B, T]``, words that stay; None: none.

    Returns:
        Int ``[B, T, columns]``.

    Raises:
        ValueError: for a rate outside [0, 1) or a missing key.
    """
    check_dropout(key, {"unknown_rate": rate})
    if not rate:
        return ids
    kept = dropout(key, 0, jnp.ones(ids.shape[:2]), rate) > 0
    kept, ids = kept if but is None else kept | but, jnp.asarray(ids)
    return ids.at[..., 0].set(jnp.where(kept, ids[..., 0], 1))


def embed_columns(embeddings: tuple[jax.Array, ...], ids: jax.Array) -> jax.Array:
    """The vectors ``[B, T, sum of E]`` of all columns side by side (source 002, x).

    Args:
        embeddings: ``[V, E]`` of each column.
        ids: int ``[B, T, columns]``.

    Returns:
        ``[B, T, sum of E]`` of the embeddings' dtype.
    """
    return jnp.concatenate([embed(t, ids[..., k]) for k, t in enumerate(embeddings)], axis=-1)


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
        ValueError: for a rate outside [0, 1), a missing key, and for ids outside of their tables,
            where they are not traced.

    Example:
        >>> config = Config(vocab_sizes=(9,), embed_dims=(3,), rnn_dim=4)
        >>> params = init(jax.random.key(0), config)
        >>> apply(params, jnp.array([[[4], [5], [6]]]), jnp.array([3])).shape
        (1, 3, 11)
    """
    sizes: dict[str, int] = {}
    check("length", length, "int", "B", sizes)
    mask = None
    if is_concrete(length):
        mask = np.arange(np.shape(ids)[1])[None] < np.asarray(length)[:, None]
    check_columns("ids", ids, params.embeddings, mask, sizes)
    return _apply(
        params,
        ids,
        length,
        key,
        unknown_rate=unknown_rate,
        input_dropout=input_dropout,
        hidden_dropout=hidden_dropout,
    )


@partial(jax.jit, static_argnames=("unknown_rate", "input_dropout", "hidden_dropout"))
def _apply(
    params: Params,
    ids: jax.Array,
    length: jax.Array,
    key: jax.Array | None,
    *,
    unknown_rate: float,
    input_dropout: float,
    hidden_dropout: float,
) -> jax.Array:
    check_dropout(key, {"input_dropout": input_dropout, "hidden_dropout": hidden_dropout})
    mask = jnp.arange(ids.shape[1])[None] < length[:, None]
    ids = replace_by_unknown(key, masked(ids, mask), unknown_rate)
    x = dropout(key, 1, embed_columns(params.embeddings, ids), input_dropout)
    layers = [masked(x, mask)]
    for number, cells in enumerate(params.cells, 2):
        layers.append(dropout(key, number, states(cells, layers[-1], mask), hidden_dropout))
    return jnp.concatenate(layers, axis=-1)
