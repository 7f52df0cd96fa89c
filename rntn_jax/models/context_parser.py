"""The transition parser over words in context.

As `rntn_jax.models.parser`, but what the network reads at a position is not the word's embeddings:
it is what an encoder knows of the word in its sentence (`rntn_jax.models.encoder`). The words of a
batch in their contexts are one table of vectors, of which each occurs once, and everything else
(window network, steps, decoding with precomputed products) is the window parser's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rntn_jax.models import encoder, parser, window
from rntn_jax.models.layers import check_config
from rntn_jax.models.parser import Sentences
from rntn_jax.ops import activate, dropout, embed_sum, softmax_cross_entropy
from rntn_jax.ops.checks import check
from rntn_jax.shapes import shapes_repr

# Of what `parser.extract_features` gives: s1 s2 s3 b1 b2 and the outermost children of s1 and s2,
# whose relations are seen too. An encoder has told them of their neighbours.
POSITIONS = (0, 1, 2, 3, 4, 6, 7, 12, 13), (0, 1, 6, 7)

__all__ = ["POSITIONS", "Batch", "Config", "Params", "decode", "in_context", "init", "loss"]


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
        check_config(self, {"num_relations": 1, "relation_dim": 1, "hidden_dim": 1})


class Params(NamedTuple):
    """All parameters."""

    encoder: encoder.Params
    ends: jax.Array  # [2, F], what the root has, and "nothing there"
    network: window.Params  # with the relations' table only

    __repr__ = shapes_repr


class Batch(NamedTuple):
    """Sentences, and the steps to their trees."""

    sentences: (
        Sentences  # ids int [B, T + 2] of each column; those of root and nothing do not count
    )
    positions: Any  # int [2 T, B, 18], positions that the network sees before each step
    relations: Any  # int [2 T, B, 12], as `parser.extract_features` gives them
    steps: Any  # int [2 T, B], -1 after the end

    __repr__ = shapes_repr


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters.

    Args:
        key: a PRNG key.
        config: sizes.
        dtype: of all parameters.

    Returns:
        `Params`.

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
        window=tuple(map(len, POSITIONS)),
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


def in_context(
    params: Params,
    sentences: Sentences,
    *,
    unknown_rate: float = 0.0,
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> tuple[window.Params, Sentences]:
    """The window network of a batch, whose words are positions, and the sentences in these words.

    Args:
        params: as `init` makes them.
        sentences: padded to ``T`` words.
        unknown_rate: as in `encoder.apply`.
        input_dropout: as in `encoder.apply`.
        hidden_dropout: as in `encoder.apply`.
        key: as in `encoder.apply`.

    Returns:
        The window network with an embedding ``[B (T + 2), width]`` of this batch's words, and
        sentences whose only column numbers its rows.

    Raises:
        AssertionError: as `encoder.apply`.
        ValueError: as `encoder.apply`.
    """
    columns, length = jnp.stack(sentences.ids, axis=-1), jnp.asarray(sentences.length)
    known = encoder.apply(
        params.encoder,
        columns[:, 1:-1],
        length,
        unknown_rate=unknown_rate,
        input_dropout=input_dropout,
        hidden_dropout=hidden_dropout,
        key=key,
    )
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
    unknown_rate: float = 0.0,
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> tuple[jax.Array, window.Aux]:
    """Mean cross-entropy of the steps in nats.

    Source: 002, J.

    Args:
        params: as `init` makes them.
        batch: sentences and steps.
        activation: of the window network.
        unknown_rate: as in `encoder.apply`.
        input_dropout: as in `encoder.apply`.
        hidden_dropout: as in `encoder.apply`, and rate on the window network's hidden layer.
        key: PRNG key, needed when a rate is not 0.

    Returns:
        ``(nats, aux)``; 0 when there is no step.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for an unknown activation, a rate outside [0, 1), a missing key, and for words
            outside of their table, where they are not traced.
    """
    sizes: dict[str, int] = {}
    check("batch.steps", batch.steps, "int", "S B", sizes)
    check("batch.positions", batch.positions, "int", f"S B {parser.POSITIONS}", sizes)
    check("batch.relations", batch.relations, "int", f"S B {parser.LABELLED}", sizes)
    network, sentences = in_context(
        params,
        batch.sentences,
        unknown_rate=unknown_rate,
        input_dropout=input_dropout,
        hidden_dropout=hidden_dropout,
        key=key,
    )
    return _loss(network, batch, sentences, key, activation, hidden_dropout)


@partial(jax.jit, static_argnames=("activation", "hidden_dropout"))
def _loss(
    network: window.Params,
    batch: Batch,
    sentences: Sentences,
    key: jax.Array | None,
    activation: str,
    hidden_dropout: float,
) -> tuple[jax.Array, window.Aux]:
    # Position p of sentence b is word (b, p) of the table.
    words = batch.positions + sentences.ids[0][None, :, :1]
    # Each word is seen at many positions by many steps: its products are formed once for all steps.
    z = network.hidden.b[None]
    for products, ids, positions in zip(
        parser.precompute(network, POSITIONS), (words, batch.relations), POSITIONS
    ):
        own = ids[..., np.array(positions)].reshape(-1, len(positions))
        z = z + embed_sum(products.reshape(len(positions), -1, z.shape[1]), own)
    key = None if key is None else jax.random.fold_in(key, 1)
    h = dropout(key, 0, activate(activation, z), hidden_dropout)
    logits = h @ network.head.w + network.head.b[None]
    steps = batch.steps.reshape(-1)
    real = steps >= 0
    nats = softmax_cross_entropy(logits, jnp.maximum(steps, 0), real)
    return nats.sum() / jnp.maximum(real.sum(), 1).astype(nats.dtype), window.Aux(logits, nats)


def decode(
    params: Params, sentences: Sentences, root: int, *, activation: str = "relu"
) -> tuple[jax.Array, jax.Array]:
    """Parses greedily; see `parser.decode`, whose results these are.

    Args:
        params: as `init` makes them.
        sentences: padded to ``T`` words.
        root: the relation of the root's child.
        activation: as in training.

    Returns:
        ``(heads, relations)``, int ``[B, T + 2]``.

    Raises:
        AssertionError: as `parser.decode`.
        ValueError: as `parser.decode`.

    Example:
        >>> config = Config(encoder.Config((9,), (3,)), num_relations=3)
        >>> sentences = Sentences((jnp.array([[0, 5, 6, 7, 0]]),), jnp.array([3]))
        >>> heads, _ = decode(init(jax.random.key(0), config), sentences, root=2)
        >>> int((heads[0, 1:4] == 0).sum())
        1
    """
    network, words = in_context(params, sentences)
    products = parser.precompute(network, POSITIONS)
    return parser.decode(
        network, words, root, products=products, positions=POSITIONS, activation=activation
    )
