"""The tree builder: binary trees over sentences, by scores of spans.

A recurrent network reads the sentence in both directions (source 003). Between two words, and at
both ends, stands a fence; what is known at a fence are the vectors and states of the words on
either side. A window network (source 002) over two fences scores the span of words between them,
and the tree is an exponential softmax over all binary trees (source 004, `rntn_jax.crf.brackets`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from rntn_jax.crf import brackets
from rntn_jax.models.window import Layer
from rntn_jax.ops import dropout, embed, masked, pair_scores
from rntn_jax.recurrent import Cell, birnn

__all__ = ["Aux", "Batch", "Config", "Params", "apply", "decode", "init", "loss"]


@dataclass(frozen=True)
class Config:
    """Sizes and initial scales, which are those of `rntn_jax.models.tagger`.

    Raises:
        ValueError: naming the field and its value.
    """

    vocab_sizes: tuple[int, ...]  # of the columns: words, suffixes, ...
    embed_dims: tuple[int, ...]  # one for each of them
    rnn_layers: int = 1
    rnn_dim: int = 100  # of each direction
    hidden_dim: int = 100
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
        for name in ("rnn_layers", "rnn_dim", "hidden_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        for name in ("word_range", "recurrent_scale"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)!r}")


class Params(NamedTuple):
    """All parameters."""

    embeddings: tuple[jax.Array, ...]  # [V, E] of each column
    cells: tuple[tuple[Cell, Cell], ...]  # of each layer, forward and backward
    begin: Layer  # W_begin [F, H] of the fence where a span begins, and the hidden layer's b
    end: jax.Array  # W_end [F, H], of the fence where it ends
    head: jax.Array  # U [H]


class Batch(NamedTuple):
    """Sentences and their trees."""

    ids: Any  # int [B, T, columns], T >= 1
    length: Any  # int [B]
    spans: Any = None  # int [B, T - 1, 2], begin and end of each; 0 and 0 after the last


class Aux(NamedTuple):
    """What comes with the loss."""

    scores: brackets.Scores
    nats: jax.Array  # [B], -ln P(tree) of each sentence


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters.

    Example:
        >>> config = Config(vocab_sizes=(9,), embed_dims=(3,), rnn_dim=4, hidden_dim=5)
        >>> params = init(jax.random.key(0), config)
        >>> params.begin.w.shape, params.head.shape
        ((22, 5), (5,))
    """
    keys = iter(jax.random.split(key, len(config.vocab_sizes) + 4 * config.rnn_layers + 3))

    def uniform(shape, r):
        return jax.random.uniform(next(keys), shape, dtype, -r, r)

    def glorot(inputs, outputs):
        return uniform((inputs, outputs), (6 / (inputs + outputs)) ** 0.5)

    tables = tuple(
        uniform(size, config.word_range) for size in zip(config.vocab_sizes, config.embed_dims)
    )
    width, d, h = sum(config.embed_dims), config.rnn_dim, config.hidden_dim
    fence = 2 * (width + config.rnn_layers * 2 * d)
    cells = []
    for _ in range(config.rnn_layers):
        both = []
        for _ in range(2):
            rotation = jax.random.orthogonal(next(keys), d, dtype=dtype)
            both.append(
                Cell(config.recurrent_scale * rotation, glorot(width, d), jnp.zeros(d, dtype))
            )
        cells.append(tuple(both))
        width = 2 * d
    return Params(
        tables,
        tuple(cells),
        Layer(glorot(fence, h), jnp.zeros(h, dtype)),
        glorot(fence, h),
        glorot(h, 1)[:, 0],
    )


def apply(
    params: Params,
    batch: Batch,
    *,
    unknown_rate: float = 0.0,
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> brackets.Scores:
    """Scores of all spans of each sentence.

    Computes, with ``f_i`` the vectors and states of the words before and after fence ``i`` (0
    beyond the ends), ``s(i, j) = relu(f_i W_begin + f_j W_end + b) U``.

    Source: 002, z, h and theta, of a window of two fences; 003, equation 1a, in both directions.

    Args:
        params: as `init` makes them.
        batch: ``spans`` is not read; what lies behind a sentence's end may hold anything.
        unknown_rate: rate at which the first column (the word) becomes id 1, unknown.
        input_dropout: rate on the vectors.
        hidden_dropout: rate on the states and the hidden layer.
        key: PRNG key, needed when a rate is not 0.

    Returns:
        `crf.brackets.Scores` of the batch. Cost O(B T^2 H).

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for a rate outside [0, 1) or a missing key.

    Example:
        >>> config = Config(vocab_sizes=(9,), embed_dims=(3,))
        >>> batch = Batch(jnp.array([[[4], [5], [6]]]), jnp.array([3]))
        >>> apply(init(jax.random.key(0), config), batch).span.shape
        (1, 4, 4)
    """
    ids, length = jnp.asarray(batch.ids), jnp.asarray(batch.length)
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
    words = jnp.concatenate(layers, axis=-1)
    before = jnp.pad(words, ((0, 0), (1, 0), (0, 0)))
    after = jnp.pad(words, ((0, 0), (0, 1), (0, 0)))
    fences = jnp.concatenate([before, after], axis=-1)
    begin = fences @ params.begin.w + params.begin.b[None, None]
    end = fences @ params.end
    # Hidden units are dropped for all spans of a sentence together.
    head = jnp.broadcast_to(params.head[None], (len(length), len(params.head)))
    head = dropout(key, 2 + len(params.cells), head, hidden_dropout, "hidden_dropout")
    return brackets.Scores(pair_scores(begin, end, head), length)


def loss(params: Params, batch: Batch, **options) -> tuple[jax.Array, Aux]:
    """``-ln P(tree)``, summed over sentences, divided by their number; options as in `apply`.

    Source: 004, L.

    Returns:
        ``(nats a sentence, aux)``; sentences of fewer than two words do not count.

    Example:
        >>> config = Config(vocab_sizes=(9,), embed_dims=(3,))
        >>> batch = Batch(jnp.array([[[4], [5]]]), jnp.array([2]), jnp.array([[[0, 2]]]))
        >>> float(loss(init(jax.random.key(0), config), batch)[0])  # two words have one tree
        0.0
    """
    scores = apply(params, batch, **options)
    nats = -brackets.log_prob(scores, batch.spans)
    count = jnp.maximum((jnp.asarray(batch.length) > 1).sum(), 1)
    return nats.sum() / count.astype(nats.dtype), Aux(scores, nats)


def decode(params: Params, batch: Batch, allowed: jax.Array | None = None) -> jax.Array:
    """The tree with the greatest expected number of right spans, of each sentence.

    Args:
        params: as `init` makes them.
        batch: ``spans`` is not read.
        allowed: bool ``[B, T + 1, T + 1]``, the spans that trees may have; None: all.

    Returns:
        Children of each join, int ``[B, T - 1, 2]``, as `crf.brackets.argmax` returns them. Cost
        O(B T^3).

    Example:
        >>> config = Config(vocab_sizes=(9,), embed_dims=(3,))
        >>> batch = Batch(jnp.array([[[4], [5], [6]]]), jnp.array([3]))
        >>> decode(init(jax.random.key(0), config), batch)[0, -1].max().tolist()
        3
    """

    def among_allowed(scores: brackets.Scores) -> brackets.Scores:
        if allowed is None:
            return scores
        return scores._replace(span=jnp.where(allowed, scores.span, -jnp.inf))

    found = brackets.marginals(among_allowed(apply(params, batch)))
    return brackets.argmax(among_allowed(found))[0]
