"""Word vectors of a file as the first vectors of a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import optax

from rntn_jax import data

__all__ = ["begin_with", "scale_words", "with_known_words"]


def with_known_words(
    file: str | None, vocabulary: data.Vocabulary, words: Iterable[str]
) -> tuple[data.Vocabulary, data.WordVectors | None]:
    """The vocabulary and, after its own, those other words that the file has; and their vectors.

    Args:
        file: of word vectors (`rntn_jax.data.read_word_vectors`), or None.
        vocabulary: of the training texts.
        words: of all texts, training and other.

    Raises:
        DataError: as `rntn_jax.data.read_word_vectors`.
    """
    if file is None:
        return vocabulary, None
    everywhere = data.Vocabulary.build(
        [*vocabulary.words[2:], *words], lowercase=vocabulary.lowercase
    )
    known = data.read_word_vectors(file, everywhere.words[2:])
    others = [word for word in known.words if word not in vocabulary]
    return data.Vocabulary((*vocabulary.words, *others), vocabulary.lowercase), known


def begin_with(
    known: data.WordVectors, table: jax.Array, vocabulary: data.Vocabulary, width: int, flags: str
) -> jax.Array:
    """A table ``[V, E]`` whose rows begin with the vectors of the words that are known.

    Args:
        known: of `with_known_words`.
        table: random vectors, and what else stands in a row behind them.
        vocabulary: of its rows.
        width: of the model's vectors.
        flags: what sets that width.

    Raises:
        DataError: when the vectors are of another width.
    """
    if known.vectors.shape[1] != width:
        raise data.DataError(
            f"the word vectors have {known.vectors.shape[1]} numbers, the model takes {width}: "
            f"{flags}"
        )
    return table.at[vocabulary.encode(known.words), :width].set(known.vectors)


def scale_words(rate: float) -> optax.GradientTransformation:
    """Multiplies the updates of ``params.embeddings[0]``, the words' table, by a factor."""

    def scaled(updates: Any, _: Any) -> Any:
        words, *others = updates.embeddings
        return updates._replace(embeddings=(rate * words, *others))

    return optax.identity() if rate == 1 else optax.stateless(scaled)
