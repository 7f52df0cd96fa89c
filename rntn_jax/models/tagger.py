"""Neural taggers: window layers, recurrent layers in both directions, and a chain CRF on top.

A token is described by several columns (word, suffix, capitals, part of speech), each with its
own table of embeddings. Their concatenation goes through window layers (source 002: the vectors of
neighbouring tokens side by side, one hidden layer) and bidirectional recurrent layers (source 003),
any number of each, and a linear layer gives the node scores of a chain CRF (source 004).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from rntn_jax.crf import chain
from rntn_jax.ops import activate, dropout, embed, masked
from rntn_jax.recurrent import Cell, birnn

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
        if any(window < 1 or window % 2 == 0 for window in self.windows):
            raise ValueError(f"windows must be odd and positive, got {self.windows}")
        for name, least in (("num_classes", 1), ("hidden_dim", 1), ("rnn_layers", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("word_range", "recurrent_scale"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


class Layer(NamedTuple):
    """A linear layer."""

    w: jax.Array  # [in, out]; of a window layer, the tokens' vectors one below the other
    b: jax.Array  # [out]


class Params(NamedTuple):
    """All parameters."""

    embeddings: tuple[jax.Array, ...]  # [V, E] of each column; row 0 stands for no token
    windows: tuple[Layer, ...]
    cells: tuple[tuple[Cell, Cell], ...]  # forward and backward
    head: Layer  # to C
    edge: jax.Array  # [C, C]
    start: jax.Array  # [C]
    end: jax.Array  # [C]


class Batch(NamedTuple):
    """Sentences as padded arrays."""

    ids: Any  # int32 [B, T, columns]
    labels: Any  # int32 [B, T]; not read by `apply`
    mask: Any  # bool [B, T]


class Aux(NamedTuple):
    """What comes with the loss."""

    scores: chain.Scores
    nats: jax.Array  # [B], -ln P(labels) of each sentence


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters.

    Example:
        >>> config = Config(vocab_sizes=(9, 5), embed_dims=(3, 2), num_classes=4, hidden_dim=6)
        >>> params = init(jax.random.key(0), config)
        >>> [table.shape for table in params.embeddings], params.windows[0].w.shape
        ([(9, 3), (5, 2)], (25, 6))
    """
    # One for each embedding and window layer, two for each direction of a recurrent one, the head.
    num_keys = len(config.vocab_sizes) + len(config.windows) + 4 * config.rnn_layers + 1
    keys = iter(jax.random.split(key, num_keys))

    def uniform(shape, r):
        return jax.random.uniform(next(keys), shape, dtype, -r, r)

    def linear(inputs, outputs):
        return Layer(
            uniform((inputs, outputs), (6 / (inputs + outputs)) ** 0.5), jnp.zeros(outputs, dtype)
        )

    sizes = zip(config.vocab_sizes, config.embed_dims)
    embeddings = tuple(uniform(size, config.word_range) for size in sizes)
    width, d, c = sum(config.embed_dims), config.hidden_dim, config.num_classes
    windows = []
    for window in config.windows:
        windows.append(linear(window * width, d))
        width = d
    cells = []
    for _ in range(config.rnn_layers):
        both = []
        for _ in range(2):
            rotation = jax.random.orthogonal(next(keys), d, dtype=dtype)
            both.append(Cell(config.recurrent_scale * rotation, *linear(width, d)))
        cells.append(tuple(both))
        width = 2 * d
    return Params(
        embeddings,
        tuple(windows),
        tuple(cells),
        linear(width, c),
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
    layers in both directions (source 003, equation 1a); then ``node = h U + b2``.

    Args:
        params: as `init` makes them.
        batch: ``labels`` is not read; what is masked may hold anything.
        activation: of window layers.
        recurrent_activation: of recurrent layers.
        unknown_rate: rate at which a token's first column (the word) becomes id 1, unknown.
        input_dropout: rate on the concatenated embeddings.
        hidden_dropout: rate on the states of all layers.
        key: PRNG key, needed when a rate is not 0.

    Returns:
        `crf.chain.Scores` of the batch: decode with `crf.chain.argmax`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for an unknown activation, a rate outside [0, 1), a missing key.

    Example:
        >>> config = Config(vocab_sizes=(9,), embed_dims=(3,), num_classes=4, hidden_dim=6)
        >>> batch = Batch(jnp.ones((2, 5, 1), int), None, jnp.ones((2, 5), bool))
        >>> scores = apply(init(jax.random.key(0), config), batch)
        >>> chain.argmax(scores)[0].shape
        (2, 5)
    """
    ids, mask = jnp.asarray(batch.ids), jnp.asarray(batch.mask)
    chex.assert_rank(ids, 3)
    chex.assert_type([ids, mask], [int, bool])
    chex.assert_shape(ids, (*mask.shape, len(params.embeddings)))
    ids = masked(ids, mask)
    if unknown_rate:
        word = ids[..., 0]
        kept = dropout(key, 0, jnp.ones(word.shape), unknown_rate, "unknown_rate") > 0
        ids = ids.at[..., 0].set(jnp.where(kept | (word == 0), word, 1))

    widths = sum(table.shape[1] for table in params.embeddings)
    reach = params.windows[0].w.shape[0] // widths // 2 if params.windows else 0
    ids = jnp.pad(ids, ((0, 0), (reach, reach), (0, 0)))  # tokens beyond the ends
    x = jnp.concatenate([embed(t, ids[..., k]) for k, t in enumerate(params.embeddings)], axis=-1)
    x = dropout(key, 1, x, input_dropout, "input_dropout")
    for number, layer in enumerate(params.windows):
        if number:
            reach = layer.w.shape[0] // x.shape[2] // 2
            x = jnp.pad(masked(x, mask), ((0, 0), (reach, reach), (0, 0)))
        steps = x.shape[1] - 2 * reach
        side_by_side = [x[:, k : k + steps] for k in range(2 * reach + 1)]
        z = jnp.concatenate(side_by_side, axis=-1) @ layer.w + layer.b[None, None]
        x = dropout(key, 2 + number, activate(activation, z), hidden_dropout, "hidden_dropout")
    for number, cells in enumerate(params.cells, 2 + len(params.windows)):
        x = birnn(*cells, x, mask, activation=recurrent_activation)
        x = dropout(key, number, x, hidden_dropout, "hidden_dropout")
    node = x @ params.head.w + params.head.b[None, None]
    return chain.Scores(node, params.edge, params.start, params.end, mask)


def loss(params: Params, batch: Batch, **options) -> tuple[jax.Array, Aux]:
    """``-ln P(labels)``, summed over sentences, divided by their number; options as in `apply`.

    Source: 004, L (with s of source 002 or 003).

    Returns:
        ``(nats a sentence, aux)``; sentences without tokens do not count.

    Example:
        >>> config = Config(vocab_sizes=(9,), embed_dims=(3,), num_classes=4, word_range=0.0)
        >>> batch = Batch(jnp.ones((2, 5, 1), int), jnp.zeros((2, 5), int), jnp.ones((2, 5), bool))
        >>> nats, aux = loss(init(jax.random.key(0), config), batch)
        >>> round(float(jnp.exp(-nats / 5)), 4)
        0.25
    """
    scores = apply(params, batch, **options)
    nats = -chain.log_prob(scores, batch.labels)
    count = jnp.maximum(batch.mask.any(axis=1).sum(), 1)
    return nats.sum() / count.astype(nats.dtype), Aux(scores, nats)
