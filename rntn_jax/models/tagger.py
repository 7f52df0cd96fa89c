"""Neural taggers: window layers, recurrent layers in both directions, and a chain CRF on top.

A token is described by several columns (word, suffix, capitals, part of speech), each with its
own table of embeddings, as in `rntn_jax.models.encoder`. Their concatenation goes through window
layers (source 002: the vectors of neighbouring tokens side by side, one hidden layer) and
bidirectional recurrent layers (source 003), any number of each, and a linear layer gives the node
scores of a chain CRF (source 004).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.crf import chain
from rntn_jax.models import encoder
from rntn_jax.models.layers import Layer, check_config, linear
from rntn_jax.ops import activate, check_dropout, check_ids, dropout, masked
from rntn_jax.ops.checks import check
from rntn_jax.shapes import shapes_repr

__all__ = ["Aux", "Batch", "Config", "Layer", "Params", "apply", "init", "loss"]


@dataclass(frozen=True)
class Config:
    """Sizes and initial scales.

    Weights start uniform in Glorot's range, embeddings ``+-word_range``, recurrent weights as a
    random rotation times ``recurrent_scale``, biases and the chain's scores at 0.

    Raises:
        ValueError: naming the field and its value.
    """

    vocab_sizes: tuple[int, ...]  # of the columns
    embed_dims: tuple[int, ...]  # one for each of them
    num_classes: int
    windows: tuple[int, ...] = (5,)  # tokens a window layer sees, odd; one layer for each
    rnn_layers: int = 0
    hidden_dim: int = 200  # of every layer (of recurrent ones, each direction)
    word_range: float = 0.1
    recurrent_scale: float = 0.9
    cell: str = "elman"  # or lstm

    def __post_init__(self) -> None:
        encoder.check_cell(self.cell)
        encoder.check_columns_config(self.vocab_sizes, self.embed_dims)
        if any(window < 1 or window % 2 == 0 for window in self.windows):
            raise ValueError(f"windows must be odd and positive, got {self.windows}")
        at_least = {"num_classes": 1, "hidden_dim": 1, "rnn_layers": 0}
        check_config(self, at_least, ("word_range", "recurrent_scale"))


class Params(NamedTuple):
    """All parameters."""

    embeddings: tuple[jax.Array, ...]  # [V, E] of each column; row 0 stands for no token
    windows: tuple[Layer, ...]
    cells: tuple[tuple[Any, Any], ...]  # forward and backward
    head: Layer  # to C
    edge: jax.Array  # [C, C]
    start: jax.Array  # [C]
    end: jax.Array  # [C]

    __repr__ = shapes_repr


class Batch(NamedTuple):
    """Sentences as padded arrays."""

    ids: Any  # int32 [B, T, columns]
    labels: Any  # int32 [B, T]; not read by `apply`
    mask: Any  # bool [B, T]

    __repr__ = shapes_repr


class Aux(NamedTuple):
    """What comes with the loss."""

    scores: chain.Scores
    nats: jax.Array  # [B], -ln P(labels) of each sentence

    __repr__ = shapes_repr


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters: layers in Glorot's range, words uniform ``+-word_range``, transitions 0.

    Args:
        key: a PRNG key.
        config: columns, layers and labels.
        dtype: of all of them.

    Returns:
        The layers, and scores 0 of all transitions, starts and ends.

    Example:
        >>> config = Config(vocab_sizes=(9, 5), embed_dims=(3, 2), num_classes=4, hidden_dim=6)
        >>> params = init(jax.random.key(0), config)
        >>> [table.shape for table in params.embeddings], params.windows[0].w.shape
        ([(9, 3), (5, 2)], (25, 6))
    """
    columns, layers = len(config.vocab_sizes), len(config.windows)
    # One for each embedding and window layer, two for each direction of a recurrent one, the head.
    keys = jax.random.split(key, columns + layers + 4 * config.rnn_layers + 1)
    width, d, c = sum(config.embed_dims), config.hidden_dim, config.num_classes
    windows = []
    for own, window in zip(keys[columns:], config.windows):
        windows.append(linear(own, window * width, d, dtype))
        width = d
    cells = encoder.init_cells(
        keys[columns + layers : -1],
        width,
        d,
        config.rnn_layers,
        config.recurrent_scale,
        dtype,
        config.cell,
    )
    width = 2 * d if cells else width
    return Params(
        encoder.init_embeddings(
            keys[:columns], config.vocab_sizes, config.embed_dims, config.word_range, dtype
        ),
        tuple(windows),
        cells,
        linear(keys[-1], width, c, dtype),
        jnp.zeros((c, c), dtype),
        jnp.zeros(c, dtype),
        jnp.zeros(c, dtype),
    )


def apply(
    params: Params,
    batch: Batch,
    *,
    activation: str = "relu",
    recurrent_activation: str = "tanh",
    unknown_rate: float = 0.0,
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> chain.Scores:
    """Scores of the labels of each sentence.

    Computes, for window layers, ``h_t = f([h_{t-k}; ..; h_{t+k}] W + b)`` (source 002: z and h),
    beyond a sentence's ends the vector of id 0 below the first, 0 below others; then recurrent
    layers in both directions (source 003, equation 1a, or gated ones); then ``node = h U + b2``.

    Args:
        params: as `init` makes them.
        batch: ``labels`` is not read; what is masked may hold anything.
        activation: of window layers.
        recurrent_activation: of Elman layers.
        unknown_rate: rate at which a token's first column (the word) becomes id 1, unknown.
        input_dropout: rate on the concatenated embeddings.
        hidden_dropout: rate on the states of all layers.
        key: PRNG key, needed when a rate is not 0.

    Returns:
        `crf.chain.Scores` of the batch: decode with `crf.chain.argmax`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for an unknown activation, a rate outside [0, 1), a missing key, and for ids
            outside of their tables, where they are not traced.

    Example:
        >>> config = Config(vocab_sizes=(9,), embed_dims=(3,), num_classes=4, hidden_dim=6)
        >>> batch = Batch(jnp.ones((2, 5, 1), int), None, jnp.ones((2, 5), bool))
        >>> scores = apply(init(jax.random.key(0), config), batch)
        >>> chain.argmax(scores)[0].shape
        (2, 5)
    """
    _check(params, batch)
    return _apply(
        params,
        batch._replace(labels=None),
        key,
        activation=activation,
        recurrent_activation=recurrent_activation,
        unknown_rate=unknown_rate,
        input_dropout=input_dropout,
        hidden_dropout=hidden_dropout,
    )


def _check(params: Params, batch: Batch) -> dict[str, int]:
    """Shapes, and the ids where they are not traced; the sizes of axes."""
    sizes: dict[str, int] = {}
    check("batch.mask", batch.mask, "bool", "B T", sizes)
    encoder.check_columns("batch.ids", batch.ids, params.embeddings, batch.mask, sizes)
    return sizes


_OPTIONS = (  # static
    "activation",
    "recurrent_activation",
    "unknown_rate",
    "input_dropout",
    "hidden_dropout",
)


@partial(jax.jit, static_argnames=_OPTIONS)
def _apply(params: Params, batch: Batch, key: jax.Array | None, **options: Any) -> chain.Scores:
    node = emissions(params, batch.ids, batch.mask, key, **options)
    return chain.Scores(node, params.edge, params.start, params.end, batch.mask)


def emissions(
    params: Any,
    ids: jax.Array,
    mask: jax.Array,
    key: jax.Array | None,
    *,
    activation: str,
    recurrent_activation: str,
    unknown_rate: float,
    input_dropout: float,
    hidden_dropout: float,
) -> jax.Array:
    """What the network says of each token: node scores, or whatever stands on top of it.

    Args:
        params: with ``embeddings``, ``windows``, ``cells`` and ``head`` as `Params` has them.
        ids: int ``[B, T, columns]``.
        mask: bool ``[B, T]``.
        key: as in `apply`, like the rest.
        activation: of window layers.
        recurrent_activation: of Elman layers.
        unknown_rate: as in `apply`.
        input_dropout: as in `apply`.
        hidden_dropout: as in `apply`.

    Returns:
        ``[B, T, C]``, C being what the head makes.
    """
    check_dropout(key, {"input_dropout": input_dropout, "hidden_dropout": hidden_dropout})
    ids = masked(ids, mask)
    ids = encoder.replace_by_unknown(key, ids, unknown_rate, but=ids[..., 0] == 0)
    widths = sum(table.shape[1] for table in params.embeddings)
    reach = params.windows[0].w.shape[0] // widths // 2 if params.windows else 0
    ids = jnp.pad(ids, ((0, 0), (reach, reach), (0, 0)))  # tokens beyond the ends
    x = encoder.embed_columns(params.embeddings, ids)
    x = dropout(key, 1, x, input_dropout)
    for number, layer in enumerate(params.windows):
        if number:
            reach = layer.w.shape[0] // x.shape[2] // 2
            x = jnp.pad(masked(x, mask), ((0, 0), (reach, reach), (0, 0)))
        steps = x.shape[1] - 2 * reach
        side_by_side = [x[:, k : k + steps] for k in range(2 * reach + 1)]
        z = jnp.concatenate(side_by_side, axis=-1) @ layer.w + layer.b[None, None]
        x = dropout(key, 2 + number, activate(activation, z), hidden_dropout)
    for number, cells in enumerate(params.cells, 2 + len(params.windows)):
        x = encoder.states(cells, x, mask, recurrent_activation)
        x = dropout(key, number, x, hidden_dropout)
    return x @ params.head.w + params.head.b[None, None]


def loss(
    params: Params,
    batch: Batch,
    *,
    activation: str = "relu",
    recurrent_activation: str = "tanh",
    unknown_rate: float = 0.0,
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> tuple[jax.Array, Aux]:
    """``-ln P(labels)``, summed over sentences, divided by their number.

    Source: 004, L (with s of source 002 or 003).

    Args:
        params: as `init` makes them.
        batch: what is masked may hold anything.
        activation: as in `apply`.
        recurrent_activation: as in `apply`.
        unknown_rate: as in `apply`.
        input_dropout: as in `apply`.
        hidden_dropout: as in `apply`.
        key: as in `apply`.

    Returns:
        ``(nats a sentence, aux)``; sentences without tokens do not count.

    Raises:
        AssertionError: as `apply`.
        ValueError: as `apply`, and for labels beyond the classes, where they are not traced.

    Example:
        >>> config = Config(vocab_sizes=(9,), embed_dims=(3,), num_classes=4, word_range=0.0)
        >>> batch = Batch(jnp.ones((2, 5, 1), int), jnp.zeros((2, 5), int), jnp.ones((2, 5), bool))
        >>> nats, aux = loss(init(jax.random.key(0), config), batch)
        >>> round(float(jnp.exp(-nats / 5)), 4)
        0.25
    """
    check("batch.labels", batch.labels, "int", "B T", _check(params, batch))
    check_ids("batch.labels", batch.labels, params.head.b.shape[0], batch.mask)
    return _loss(
        params,
        batch,
        key,
        activation=activation,
        recurrent_activation=recurrent_activation,
        unknown_rate=unknown_rate,
        input_dropout=input_dropout,
        hidden_dropout=hidden_dropout,
    )


@partial(jax.jit, static_argnames=_OPTIONS)
def _loss(
    params: Params, batch: Batch, key: jax.Array | None, **options: Any
) -> tuple[jax.Array, Aux]:
    scores = _apply(params, batch, key, **options)
    nats = -chain.log_prob(scores, batch.labels)
    count = jnp.maximum(batch.mask.any(axis=1).sum(), 1)
    return nats.sum() / count.astype(nats.dtype), Aux(scores, nats)
