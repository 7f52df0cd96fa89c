"""Part of speech and morphological features of words, by a recurrent network over a sentence.

A word's columns (form, shape, first and last letters) are embedded, bidirectional recurrent layers
read the sentence (`rntn_jax.models.encoder`), and a linear layer gives the logits of its tag: the
pair of UPOS and FEATS, one of those that occurred in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rntn_jax.annotate.dependency_parser import length_groups
from rntn_jax.data import Vocabulary
from rntn_jax.models import encoder
from rntn_jax.models.layers import Layer, linear
from rntn_jax.ops import softmax_cross_entropy
from rntn_jax.shapes import shapes_repr

__all__ = ["Morphology", "Params", "apply", "init", "loss", "predict_tags", "word_columns"]


class Params(NamedTuple):
    """All parameters."""

    encoder: encoder.Params
    head: Layer  # to the tags

    __repr__ = shapes_repr


class Batch(NamedTuple):
    """Sentences as padded arrays."""

    ids: Any  # int32 [B, T, columns]
    labels: Any  # int32 [B, T], not read by `apply`
    length: Any  # int32 [B]

    __repr__ = shapes_repr


class Morphology(NamedTuple):
    """Everything needed to tag sentences."""

    params: Params
    vocabularies: tuple[Vocabulary, ...]  # of the columns
    config: encoder.Config
    tags: list[tuple[str, str]]  # UPOS and FEATS

    __repr__ = shapes_repr


def word_columns(forms: Sequence[str]) -> list[list[str]]:
    """What the network may know of words.

    The form in lower case, its shape (runs of capitals, small letters and digits), the last one to
    four letters, and the first three.

    Example:
        >>> [column[0] for column in word_columns(["McDonald's"])]
        ["mcdonald's", "AaAa'a", 's', "'s", "d's", "ld's", 'mcd']
    """
    lower = [form.lower() for form in forms]
    last = [[form[-count:] for form in lower] for count in range(1, 5)]
    return [lower, [_shape(form) for form in forms], *last, [form[:3] for form in lower]]


def _shape(form: str) -> str:
    shape = ""
    for c in form[:24]:
        kind = "A" if c.isupper() else "a" if c.isalpha() else "0" if c.isdigit() else c
        if not shape.endswith(kind):
            shape += kind
    return shape


def init(key: jax.Array, config: encoder.Config, num_tags: int) -> Params:
    """Random parameters.

    Args:
        key: a PRNG key.
        config: sizes of the encoder.
        num_tags: pairs of UPOS and FEATS.

    Returns:
        `Params` in float32.

    Example:
        >>> config = encoder.Config((9, 5), (3, 2), rnn_dim=4)
        >>> init(jax.random.key(0), config, 6).head.w.shape
        (13, 6)
    """
    keys = jax.random.split(key)
    return Params(
        encoder.init(keys[0], config), linear(keys[1], config.width, num_tags, jnp.float32)
    )


def apply(
    params: Params,
    batch: Batch,
    *,
    unknown_rate: float = 0.0,
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """Logits ``[B, T, tags]``.

    Args:
        params: as `init` makes them.
        batch: ``labels`` is not read.
        unknown_rate: as in `rntn_jax.models.encoder.apply`.
        input_dropout: as there.
        hidden_dropout: as there.
        key: PRNG key, needed when a rate is not 0.

    Returns:
        The logits, in the dtype of the parameters.
    """
    known = encoder.apply(
        params.encoder,
        batch.ids,
        batch.length,
        unknown_rate=unknown_rate,
        input_dropout=input_dropout,
        hidden_dropout=hidden_dropout,
        key=key,
    )
    return known @ params.head.w + params.head.b[None, None]


def loss(
    params: Params,
    batch: Batch,
    *,
    unknown_rate: float = 0.0,
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> tuple[jax.Array, None]:
    """Mean cross-entropy of the tags of all words.

    Args:
        params: as `init` makes them.
        batch: sentences and their tags.
        unknown_rate, input_dropout, hidden_dropout, key: as in `apply`.

    Returns:
        The loss in nats a word, a scalar; and nothing.
    """
    logits = apply(
        params,
        batch,
        unknown_rate=unknown_rate,
        input_dropout=input_dropout,
        hidden_dropout=hidden_dropout,
        key=key,
    )
    mask = jnp.arange(logits.shape[1])[None] < batch.length[:, None]
    nats = softmax_cross_entropy(logits, batch.labels, mask)
    return nats.sum() / jnp.maximum(mask.sum(), 1).astype(nats.dtype), None


def padded(
    morphology: Morphology, sentences: Sequence[Sequence[str]], rows: int, words: int
) -> Batch:
    """Sentences of forms as one batch of so many rows of so many words."""
    batch = Batch(
        np.zeros((rows, words, len(morphology.vocabularies)), np.int32),
        np.zeros((rows, words), np.int32),
        np.zeros(rows, np.int32),
    )
    for row, forms in enumerate(sentences):
        batch.length[row] = len(forms)
        for k, column in enumerate(word_columns(forms)):
            batch.ids[row, : len(forms), k] = morphology.vocabularies[k].encode(column)
    return batch


@jax.jit
def _best(params: Params, batch: Batch) -> jax.Array:
    return apply(params, batch).argmax(axis=-1)


def predict_tags(
    morphology: Morphology, sentences: Sequence[Sequence[str]]
) -> list[list[tuple[str, str]]]:
    """Tags the words of sentences.

    Args:
        morphology: the tagger.
        sentences: forms of each, at least one.

    Returns:
        UPOS and FEATS of each word of each sentence.
    """
    answers: list[Any] = [None] * len(sentences)
    for members, rows, words in length_groups([len(s) for s in sentences], 32, 1 << 12):
        group = [sentences[int(m)] for m in members]
        batch = padded(morphology, group, rows, words)
        best = np.asarray(_best(morphology.params, batch))
        for row, member in enumerate(members):
            own = best[row, : len(sentences[member])]
            answers[member] = [morphology.tags[tag] for tag in own]
    return answers
