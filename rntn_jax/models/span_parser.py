"""The tree builder: binary trees over sentences, by scores of spans.

Between two words, and at both ends of a sentence, stands a fencepost; what is known of it is what
an encoder knows of the words on either side (`rntn_jax.models.encoder`). A window network (source
002) over two fenceposts scores the span of words between them, and the tree is an exponential
softmax over all binary trees (source 004, `rntn_jax.crf.constituency`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rntn_jax.crf import constituency
from rntn_jax.models import encoder
from rntn_jax.models.layers import Layer, check_config, glorot, linear
from rntn_jax.ops import dropout, pair_scores
from rntn_jax.ops.checks import check
from rntn_jax.ops.embedding import is_concrete
from rntn_jax.shapes import shapes_repr

__all__ = ["Aux", "Batch", "Config", "Params", "apply", "decode", "init", "loss"]


@dataclass(frozen=True)
class Config:
    """Sizes.

    Raises:
        ValueError: naming the field and its value.
    """

    encoder: encoder.Config
    hidden_dim: int = 100

    def __post_init__(self) -> None:
        check_config(self, {"hidden_dim": 1})


class Params(NamedTuple):
    """All parameters."""

    encoder: encoder.Params
    begin: Layer  # W_begin [2 F, H] of where a span begins, and the hidden layer's b
    end: jax.Array  # W_end [2 F, H], of where it ends
    head: jax.Array  # U [H]

    __repr__ = shapes_repr


class Batch(NamedTuple):
    """Sentences and their trees."""

    ids: Any  # int [B, T, columns], T >= 1
    length: Any  # int [B]
    spans: Any = None  # int [B, T - 1, 2], begin and end of each; 0 and 0 after the last
    allowed: Any = None  # bool [B, T + 1, T + 1], spans that a tree may have; None: any

    __repr__ = shapes_repr


class Aux(NamedTuple):
    """What comes with the loss."""

    scores: constituency.Scores
    nats: jax.Array  # [B], -ln P(tree) of each sentence
    words: jax.Array  # [B, T, F], what is known of each word

    __repr__ = shapes_repr


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters: weights in Glorot's range, biases 0.

    Args:
        key: a PRNG key.
        config: the sizes.
        dtype: of all parameters.

    Returns:
        `Params`.

    Example:
        >>> config = Config(encoder.Config((9,), (3,), rnn_dim=4), hidden_dim=5)
        >>> params = init(jax.random.key(0), config)
        >>> params.begin.w.shape, params.head.shape
        ((22, 5), (5,))
    """
    keys = jax.random.split(key, 4)
    fencepost, h = 2 * config.encoder.width, config.hidden_dim
    return Params(
        encoder.init(keys[0], config.encoder, dtype),
        linear(keys[1], fencepost, h, dtype),
        glorot(keys[2], fencepost, h, dtype),
        glorot(keys[3], h, 1, dtype)[:, 0],
    )


def apply(
    params: Params,
    batch: Batch,
    *,
    unknown_rate: float = 0.0,
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> constituency.Scores:
    """Scores of all spans of each sentence.

    Computes, with ``f_i`` what is known of the words before and after fencepost ``i`` (0 beyond
    the ends), ``s(i, j) = relu(f_i W_begin + f_j W_end + b) U``.

    Source: 002, z, h and theta, of a window of two fenceposts.

    Args:
        params: as `init` makes them.
        batch: ``spans`` is not read; what lies behind a sentence's end may hold anything.
        unknown_rate: as in `encoder.apply`.
        input_dropout: as there.
        hidden_dropout: as there, and rate on the hidden layer.
        key: PRNG key, needed when a rate is not 0.

    Returns:
        `crf.constituency.Scores` of the batch, 0 where ``j <= i``. Cost O(B T^2 H).

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for a rate outside [0, 1), a missing key, and for ids outside of their tables
            and lengths outside of ``0 .. T``, where they are not traced.

    Example:
        >>> config = Config(encoder.Config(vocab_sizes=(9,), embed_dims=(3,)))
        >>> batch = Batch(jnp.array([[[4], [5], [6]]]), jnp.array([3]))
        >>> apply(init(jax.random.key(0), config), batch).span.shape
        (1, 4, 4)
    """
    _check(params, batch)
    return _apply(
        params,
        batch.ids,
        batch.length,
        key,
        unknown_rate=unknown_rate,
        input_dropout=input_dropout,
        hidden_dropout=hidden_dropout,
    )[0]


def _check(params: Params, batch: Batch) -> dict[str, int]:
    """Shapes, and ids and lengths where they are not traced; the sizes of axes."""
    sizes: dict[str, int] = {}
    check("batch.length", batch.length, "int", "B", sizes)
    mask = None
    if is_concrete(batch.length):
        length, words = np.asarray(batch.length), np.shape(batch.ids)[1:2]
        mask = np.arange(*words or (0,))[None] < length[:, None]
        wrong = np.flatnonzero((length < 0) | (length > mask.shape[1]))
        if len(wrong) and np.ndim(batch.ids) == 3:
            raise ValueError(
                f"batch.length must lie in 0 .. {mask.shape[1]}, the words of batch.ids, got "
                f"{length[wrong[0]]} at {wrong[0]}"
            )
    encoder.check_columns("batch.ids", batch.ids, params.encoder.embeddings, mask, sizes)
    if batch.allowed is not None:
        check("batch.allowed", batch.allowed, "bool", "B T+1 T+1", sizes)
    return sizes


_RATES = ("unknown_rate", "input_dropout", "hidden_dropout")


@partial(jax.jit, static_argnames=_RATES)
def _apply(
    params: Params,
    ids: jax.Array,
    length: jax.Array,
    key: jax.Array | None,
    *,
    unknown_rate: float = 0.0,
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
) -> tuple[constituency.Scores, jax.Array]:
    """Scores, and what is known of each word."""
    words = encoder.apply(
        params.encoder,
        ids,
        length,
        unknown_rate=unknown_rate,
        input_dropout=input_dropout,
        hidden_dropout=hidden_dropout,
        key=key,
    )
    # f W of each fencepost, as a sum of what the words before and after it add, for both ends of
    # spans.
    w_before, w_after = jnp.split(jnp.concatenate([params.begin.w, params.end], axis=1), 2)
    before = jnp.pad(words @ w_before, ((0, 0), (1, 0), (0, 0)))
    after = jnp.pad(words @ w_after, ((0, 0), (0, 1), (0, 0)))
    begin, end = jnp.split(before + after, 2, axis=-1)
    begin = begin + params.begin.b[None, None]
    # Hidden units are dropped for all spans of a sentence together.
    head = jnp.broadcast_to(params.head[None], (len(length), len(params.head)))
    head = dropout(key, 2 + len(params.encoder.cells), head, hidden_dropout)
    return constituency.Scores(pair_scores(begin, end, head, above=True), length), words


def loss(
    params: Params,
    batch: Batch,
    *,
    unknown_rate: float = 0.0,
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> tuple[jax.Array, Aux]:
    """``-ln P(tree)``, summed over sentences, divided by their number.

    Without ``spans``, of a tree known in part: ``-ln P`` of the trees of allowed spans.

    Source: 004, L.

    Args:
        params: as `init` makes them.
        batch: with ``spans`` or ``allowed``; what lies behind a sentence's end may hold anything.
        unknown_rate: as in `apply`.
        input_dropout: as in `apply`.
        hidden_dropout: as in `apply`.
        key: as in `apply`.

    Returns:
        ``(nats a sentence, aux)``; sentences of fewer than two words do not count. Cost
        O(B T^2 (H + T)) both ways.

    Raises:
        AssertionError: as `apply`.
        ValueError: as `apply`, and for a batch with neither ``spans`` nor ``allowed``.

    Example:
        >>> config = Config(encoder.Config(vocab_sizes=(9,), embed_dims=(3,)))
        >>> batch = Batch(jnp.array([[[4], [5]]]), jnp.array([2]), jnp.array([[[0, 2]]]))
        >>> float(jnp.exp(-loss(init(jax.random.key(0), config), batch)[0]))  # the only tree
        1.0
    """
    sizes = _check(params, batch)
    if batch.spans is not None:
        check("batch.spans", batch.spans, "int", "B T-1 2", sizes)
        batch = batch._replace(allowed=None)
    elif batch.allowed is None:
        raise ValueError("batch must have spans, or allowed for trees known in part")
    return _loss(
        params,
        batch,
        key,
        unknown_rate=unknown_rate,
        input_dropout=input_dropout,
        hidden_dropout=hidden_dropout,
    )


@partial(jax.jit, static_argnames=_RATES)
def _loss(
    params: Params, batch: Batch, key: jax.Array | None, **rates: float
) -> tuple[jax.Array, Aux]:
    scores, words = _apply(params, batch.ids, batch.length, key, **rates)
    if batch.spans is None:
        possible = constituency.constrain(scores, batch.allowed)
        nats = constituency.log_partition(scores) - constituency.log_partition(possible)
    else:
        nats = -constituency.log_prob(scores, batch.spans)
    count = jnp.maximum((batch.length > 1).sum(), 1)
    return nats.sum() / count.astype(nats.dtype), Aux(scores, nats, words)


def decode(params: Params | Sequence[Params], batch: Batch) -> jax.Array:
    """The tree with the greatest expected number of right spans, of each sentence.

    Args:
        params: as `init` makes them; of several, the scores are averaged.
        batch: ``spans`` is not read; with ``allowed``, the tree has no other spans.

    Returns:
        Children of each internal node, int32 ``[B, T - 1, 2]``, as `crf.constituency.argmax`
        returns them. Cost O(B T^2 (H + T)).

    Raises:
        AssertionError: as `apply`.
        ValueError: as `apply`, and when there are no parameters.

    Example:
        >>> config = Config(encoder.Config(vocab_sizes=(9,), embed_dims=(3,)))
        >>> batch = Batch(jnp.array([[[4], [5], [6]]]), jnp.array([3]))
        >>> decode(init(jax.random.key(0), config), batch)[0, -1].max().tolist()
        3
    """
    several = (params,) if isinstance(params, Params) else tuple(params)
    if not several:
        raise ValueError("params must be parameters, or several of them, got none")
    for own in several:
        _check(own, batch)
    return _decode(several, batch._replace(spans=None))


@jax.jit
def _decode(several: tuple[Params, ...], batch: Batch) -> jax.Array:
    def possible(scores: constituency.Scores) -> constituency.Scores:
        return scores if batch.allowed is None else constituency.constrain(scores, batch.allowed)

    scores = [_apply(own, batch.ids, batch.length, None)[0] for own in several]
    mean = scores[0]._replace(span=sum(own.span for own in scores) / len(scores))
    return constituency.argmax(possible(constituency.marginals(possible(mean))))[0]
