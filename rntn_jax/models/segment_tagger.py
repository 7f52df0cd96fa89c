"""Neural taggers of segments: the network of `rntn_jax.models.tagger` under a semi-Markov CRF.

Of each token the network scores, for each label, being alone in a segment, its first, an inner and
its last token. A segment's score is the sum of its tokens' scores, and of the score of its width
with its label; labels of neighbouring segments score as in a chain (source 004, with s of source
002 or 003; segments as in Sarawagi and Cohen 2004).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.crf import semi_markov
from rntn_jax.models import encoder, tagger
from rntn_jax.models.layers import Layer, check_config
from rntn_jax.ops import check_ids
from rntn_jax.ops.checks import check
from rntn_jax.shapes import shapes_repr

__all__ = ["Aux", "Batch", "Config", "Params", "apply", "init", "loss"]

ALONE, FIRST, INNER, LAST = range(4)  # places of a token in its segment


@dataclass(frozen=True)
class Config:
    """Sizes and initial scales, as of `rntn_jax.models.tagger.Config`.

    Raises:
        ValueError: naming the field and its value.
    """

    vocab_sizes: tuple[int, ...]  # of the columns
    embed_dims: tuple[int, ...]  # one for each of them
    num_labels: int
    max_width: int  # tokens of a segment at most
    windows: tuple[int, ...] = (5,)
    rnn_layers: int = 0
    hidden_dim: int = 200
    word_range: float = 0.1
    recurrent_scale: float = 0.9
    cell: str = "elman"  # or lstm

    def __post_init__(self) -> None:
        check_config(self, {"num_labels": 1, "max_width": 1})
        self.network()

    def network(self) -> tagger.Config:
        """Those of the network, which has four outputs a label."""
        return tagger.Config(
            self.vocab_sizes,
            self.embed_dims,
            4 * self.num_labels,
            self.windows,
            self.rnn_layers,
            self.hidden_dim,
            self.word_range,
            self.recurrent_scale,
            self.cell,
        )


class Params(NamedTuple):
    """All parameters; C is the number of labels, K the greatest width."""

    embeddings: tuple[jax.Array, ...]  # [V, E] of each column; row 0 stands for no token
    windows: tuple[Layer, ...]
    cells: tuple[tuple[Any, Any], ...]  # forward and backward
    head: Layer  # to 4 C: alone, first, inner, last, of each label
    width: jax.Array  # [K, C], of segments of k + 1 tokens
    edge: jax.Array  # [C, C]
    start: jax.Array  # [C]
    end: jax.Array  # [C]

    __repr__ = shapes_repr


class Batch(NamedTuple):
    """Sentences as padded arrays; real tokens come first."""

    ids: Any  # int32 [B, T, columns]
    mask: Any  # bool [B, T]
    segments: Any = None  # crf.semi_markov.Segments [B, T]; not read by `apply`

    __repr__ = shapes_repr


class Aux(NamedTuple):
    """What comes with the loss."""

    nats: jax.Array  # [B], -ln P(segments) of each sentence

    __repr__ = shapes_repr


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters, as of `rntn_jax.models.tagger.init`; widths score 0 at first.

    Args:
        key: a PRNG key.
        config: columns, layers, labels and widths.
        dtype: of all of them.

    Returns:
        `Params`.

    Example:
        >>> config = Config((9, 5), (3, 2), num_labels=3, max_width=4, hidden_dim=6)
        >>> params = init(jax.random.key(0), config)
        >>> params.head.w.shape, params.width.shape
        ((6, 12), (4, 3))
    """
    network = tagger.init(key, config.network(), dtype)
    c = config.num_labels
    return Params(
        *network[:4],
        jnp.zeros((config.max_width, c), dtype),
        jnp.zeros((c, c), dtype),
        jnp.zeros(c, dtype),
        jnp.zeros(c, dtype),
    )


def apply(
    params: Params,
    batch: Batch,
    *,
    singles: int = 0,
    activation: str = "relu",
    recurrent_activation: str = "tanh",
    unknown_rate: float = 0.0,
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> semi_markov.Scores:
    """Scores of all segments of each sentence.

    Computes ``u(s, t, c) = alone(s, c)`` where ``s = t``, else ``first(s, c) + sum of inner(r, c) +
    last(t, c)``, plus ``width(t - s, c)``; the four are the network's, see `tagger.apply`.

    Args:
        params: as `init` makes them.
        batch: segments are not read; what is masked may hold anything.
        singles: so many labels, the first ones, have segments of one token only, as has the ``O``
            of chunks.
        activation: as in `tagger.apply`.
        recurrent_activation: as in `tagger.apply`.
        unknown_rate: as in `tagger.apply`.
        input_dropout: as in `tagger.apply`.
        hidden_dropout: as in `tagger.apply`.
        key: as in `tagger.apply`.

    Returns:
        `crf.semi_markov.Scores` of the batch: decode with `crf.semi_markov.argmax`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: as `tagger.apply`.

    Example:
        >>> config = Config((9,), (3,), num_labels=2, max_width=4, hidden_dim=6)
        >>> batch = Batch(jnp.ones((2, 5, 1), int), jnp.ones((2, 5), bool))
        >>> apply(init(jax.random.key(0), config), batch).span.shape
        (2, 5, 4, 2)
    """
    _check(params, batch)
    return _apply(
        params,
        batch._replace(segments=None),
        key,
        singles=singles,
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
    "singles",
    "activation",
    "recurrent_activation",
    "unknown_rate",
    "input_dropout",
    "hidden_dropout",
)


@partial(jax.jit, static_argnames=_OPTIONS)
def _apply(
    params: Params, batch: Batch, key: jax.Array | None, *, singles: int, **options: Any
) -> semi_markov.Scores:
    own = tagger.emissions(params, batch.ids, batch.mask, key, **options)
    rows, tokens, _ = own.shape
    widest, c = params.width.shape
    own = own.reshape(rows, tokens, 4, c)
    later = jnp.pad(own, ((0, 0), (0, widest), (0, 0), (0, 0)))
    so_far, sums = own[:, :, FIRST], [own[:, :, ALONE]]
    for k in range(1, widest):
        at = later[:, k : k + tokens]
        sums.append(so_far + at[:, :, LAST])
        so_far = so_far + at[:, :, INNER]
    span = jnp.stack(sums, axis=2) + params.width[None, None]
    wide = jnp.arange(widest)[:, None] > 0
    never = wide & (jnp.arange(c) < singles)[None]
    span = jnp.where(never[None, None], -jnp.inf, span)
    length = batch.mask.sum(axis=1).astype(jnp.int32)
    return semi_markov.Scores(span, params.edge, params.start, params.end, length)


def loss(
    params: Params,
    batch: Batch,
    *,
    singles: int = 0,
    activation: str = "relu",
    recurrent_activation: str = "tanh",
    unknown_rate: float = 0.0,
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> tuple[jax.Array, Aux]:
    """``-ln P(segments)``, summed over sentences, divided by their number.

    Source: 004, L (with s of source 002 or 003).

    Args:
        params: as `init` makes them.
        batch: what is masked may hold anything.
        singles: as in `apply`.
        activation: as in `apply`.
        recurrent_activation: as in `apply`.
        unknown_rate: as in `apply`.
        input_dropout: as in `apply`.
        hidden_dropout: as in `apply`.
        key: as in `apply`.

    Returns:
        ``(nats a sentence, aux)``; sentences without tokens do not count. ``inf`` where a segment
        is wider than there can be.

    Raises:
        AssertionError: as `apply`.
        ValueError: as `apply`, and for labels that there are not, where they are not traced.

    Example:
        >>> config = Config((9,), (3,), num_labels=1, max_width=3, word_range=0.0)
        >>> whole = semi_markov.Segments(jnp.array([[True, False, False]]), jnp.zeros((1, 3), int))
        >>> batch = Batch(jnp.ones((1, 3, 1), int), jnp.ones((1, 3), bool), whole)
        >>> nats, aux = loss(init(jax.random.key(0), config), batch)
        >>> round(float(jnp.exp(-nats)), 4)  # one of four segmentations
        0.25
    """
    sizes = _check(params, batch)
    check("batch.segments.begins", batch.segments.begins, "bool", "B T", sizes)
    check("batch.segments.labels", batch.segments.labels, "int", "B T", sizes)
    check_ids("batch.segments.labels", batch.segments.labels, params.end.shape[0], batch.mask)
    return _loss(
        params,
        batch,
        key,
        singles=singles,
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
    nats = -semi_markov.log_prob(_apply(params, batch, key, **options), batch.segments)
    count = jnp.maximum(batch.mask.any(axis=1).sum(), 1)
    return nats.sum() / count.astype(nats.dtype), Aux(nats)
