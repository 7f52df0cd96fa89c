"""The transition parser over words in context.

As `rntn_jax.models.parser`, but what the network reads at a position is not the word's embeddings:
it is what an encoder knows of the word in its sentence (`rntn_jax.models.encoder`). The words of a
batch in their contexts are one table of vectors, of which each occurs once, and everything else
(window network, steps, decoding with precomputed products) is the window parser's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rntn_jax.models import encoder, parser, window
from rntn_jax.models.parser import Sentences
from rntn_jax.ops import activate, dropout, embed_sum, softmax_cross_entropy

# Of what `parser.read` gives: s1 s2 s3 b1 b2 and the outermost children of s1 and s2, whose
# relations are seen too. An encoder has told them of their neighbours.
PLACES = (0, 1, 2, 3, 4, 6, 7, 12, 13), (0, 1, 6, 7)

__all__ = ["PLACES", "Batch", "Config", "Params", "decode", "in_context", "init", "loss"]


@dataclass(frozen=True)
class Config:
    """Sizes.

    Raises:
        ValueError: naming the field and its value.
    """

    encoder: encoder.Config
    num_relations: int
    relation_dim: int = 25
    hidden_dim: int = 200

    def __post_init__(self) -> None:
        for name in ("num_relations", "relation_dim", "hidden_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")


class Params(NamedTuple):
    """All parameters."""

    encoder: encoder.Params
    ends: jax.Array  # [2, F], what the root has, and "nothing there"
    network: window.Params  # with the relations' table only


class Batch(NamedTuple):
    """Sentences, and the steps to their trees."""

    sentences: (
        Sentences  # ids int [B, T + 2] of each column; those of root and nothing do not count
    )
    places: Any  # int [2 T, B, 18], positions that the network sees before each step
    relations: Any  # int [2 T, B, 12], as `parser.read` gives them
    steps: Any  # int [2 T, B], -1 after the end


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters.

    Example:
        >>> config = Config(encoder.Config((9,), (3,), rnn_dim=4), num_relations=3)
        >>> params = init(jax.random.key(0), config)
        >>> params.ends.shape, params.network.hidden.w.shape
        ((2, 11), (199, 200))
    """
    keys = jax.random.split(key)
    width = config.encoder.width
    sizes = window.Config(
        vocab_size=(1, config.num_relations + 1),
        window=tuple(map(len, PLACES)),
        embed_dim=(width, config.relation_dim),
        hidden_dim=config.hidden_dim,
        num_classes=2 * config.num_relations + 1,
    )
    network = window.init(keys[1], sizes, dtype)
    return Params(
        encoder.init(keys[0], config.encoder, dtype),
        jnp.zeros((2, width), dtype),
        network._replace(embedding=network.embedding[1:]),
    )


def in_context(params: Params, sentences: Sentences, **options) -> tuple[window.Params, Sentences]:
    """The window network of a batch, whose words are positions, and the sentences in these words.

    Args:
        params: as `init` makes them.
        sentences: padded to ``T`` words.
        **options: as in `encoder.apply`.
    """
    columns, length = jnp.stack(sentences.ids, axis=-1), jnp.asarray(sentences.length)
    known = encoder.apply(params.encoder, columns[:, 1:-1], length, **options)
    rows, _, width = known.shape
    root, nothing = (jnp.broadcast_to(end[None, None], (rows, 1, width)) for end in params.ends)
    table = jnp.concatenate([root, known, nothing], axis=1)
    ids = jnp.arange(table.shape[0] * table.shape[1]).reshape(table.shape[:2])
    network = params.network._replace(
        embedding=(table.reshape(-1, width), *params.network.embedding)
    )
    return network, Sentences((ids,), length)


def loss(
    params: Params,
    batch: Batch,
    *,
    activation: str = "relu",
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
    **options,
) -> tuple[jax.Array, window.Aux]:
    """Mean cross-entropy of the steps in nats; further options as in `encoder.apply`.

    Source: 002, J.
    """
    network, sentences = in_context(
        params, batch.sentences, hidden_dropout=hidden_dropout, key=key, **options
    )
    # Position p of sentence b is word (b, p) of the table.
    words = jnp.asarray(batch.places) + sentences.ids[0][None, :, :1]
    # Each word is seen at many places by many steps: its products are formed once for all steps.
    z = network.hidden.b[None]
    for products, read, places in zip(
        parser.precompute(network, PLACES), (words, jnp.asarray(batch.relations)), PLACES
    ):
        own = read[..., np.array(places)].reshape(-1, len(places))
        z = z + embed_sum(products.reshape(len(places), -1, z.shape[1]), own)
    h = z**3 if activation == "cube" else activate(activation, z)
    key = None if key is None else jax.random.fold_in(key, 1)
    h = dropout(key, 0, h, hidden_dropout, "hidden_dropout")
    logits = h @ network.head.w + network.head.b[None]
    steps = jnp.asarray(batch.steps).reshape(-1)
    real = steps >= 0
    nats = softmax_cross_entropy(logits, jnp.maximum(steps, 0), real)
    return nats.sum() / jnp.maximum(real.sum(), 1).astype(nats.dtype), window.Aux(logits, nats)


def decode(
    params: Params, sentences: Sentences, root: int, *, activation: str = "relu"
) -> tuple[jax.Array, jax.Array]:
    """Parses greedily; see `parser.decode`, whose answers these are.

    Example:
        >>> config = Config(encoder.Config((9,), (3,)), num_relations=3)
        >>> sentences = Sentences((jnp.array([[0, 5, 6, 7, 0]]),), jnp.array([3]))
        >>> heads, _ = decode(init(jax.random.key(0), config), sentences, root=2)
        >>> int((heads[0, 1:4] == 0).sum())
        1
    """
    network, words = in_context(params, sentences)
    products = parser.precompute(network, PLACES)
    return parser.decode(
        network, words, root, products=products, places=PLACES, activation=activation
    )
