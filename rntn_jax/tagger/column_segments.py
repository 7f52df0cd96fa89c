"""Taggers of chunks by segments: tags of the scheme BIO to segmentations and back, answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rntn_jax import data
from rntn_jax.crf import semi_markov
from rntn_jax.models import segment_tagger, tagger

__all__ = ["OUTSIDE", "Segmental", "answer", "as_segments", "tags_of", "types_of"]

OUTSIDE = "O"


class Segmental(NamedTuple):
    """A neural tagger of segments."""

    params: segment_tagger.Params
    vocabularies: tuple[data.Vocabulary, ...]  # of the columns
    types: list[str]  # of the segments, O first
    config: segment_tagger.Config
    info: dict[str, Any]  # columns, and how it was trained

    @property
    def labels(self) -> list[str]:
        """The tags, in the scheme BIO."""
        return tags_of(self.types)

    @property
    def edge_labels(self) -> list[str]:
        """Of the rows and columns of `edge`."""
        return self.types

    @property
    def edge(self) -> np.ndarray:
        """Scores ``[C, C]`` of a segment followed by a segment."""
        return np.asarray(self.params.edge)


def types_of(tags: Sequence[Sequence[str]]) -> tuple[list[str], int]:
    """The types of the chunks of some sentences, ``O`` before them, and the longest chunk.

    Args:
        tags: of each sentence, in the scheme BIO.

    Returns:
        ``(types, tokens)``.

    Raises:
        DataError: for what is no tag, and for a type ``O``, which is not to be told from outside.

    Example:
        >>> types_of([["B-NP", "I-NP", "O"], ["B-VP"]])
        (['O', 'NP', 'VP'], 2)
    """
    chunks = [chunk for own in tags for chunk in data.chunks.chunks(own)]
    names = {chunk.type for chunk in chunks}
    if OUTSIDE in names:
        raise data.DataError(f"segments cannot have the type {OUTSIDE!r}, which is what is outside")
    widest = max((chunk.end - chunk.start for chunk in chunks), default=1)
    return [OUTSIDE, *sorted(names)], widest


def tags_of(types: Sequence[str]) -> list[str]:
    """All tags of the types that `types_of` finds: ``O``, then both of each.

    Example:
        >>> tags_of(["O", "NP", "VP"])
        ['O', 'B-NP', 'I-NP', 'B-VP', 'I-VP']
    """
    both = [f"{place}-{name}" if name else place for name in types[1:] for place in "BI"]
    return [OUTSIDE, *both]


def as_segments(batch: tagger.Batch) -> segment_tagger.Batch:
    """A batch with segmentations in the place of the numbers of their tags, as `tags_of` has them.

    Args:
        batch: ``labels`` of well-formed sequences; None where there are none.

    Returns:
        The same sentences.
    """
    if batch.labels is None:
        return segment_tagger.Batch(batch.ids, batch.mask)
    begins = (batch.labels == 0) | (batch.labels % 2 == 1)
    segments = semi_markov.Segments(begins, (batch.labels + 1) // 2)
    return segment_tagger.Batch(batch.ids, batch.mask, segments)


@jax.jit
def answer(params: segment_tagger.Params, batch: tagger.Batch) -> tuple[jax.Array, jax.Array]:
    """Numbers of the tags of the best segmentations, and the marginals of all tags.

    Args:
        params: of the tagger.
        batch: labels are not read.

    Returns:
        ``(int [B, T], [B, T, 2 C - 1])``.
    """
    scores = segment_tagger.apply(params, as_segments(batch._replace(labels=None)), singles=1)
    best, _ = semi_markov.argmax(scores)
    tags = jnp.where(best.labels == 0, 0, 2 * best.labels - best.begins)
    p = semi_markov.marginals(scores).span
    tokens = p.shape[1]
    begun = p.sum(axis=2)
    wider = jnp.cumsum(p[:, :, ::-1], axis=2)[:, :, ::-1]  # of k + 1 tokens and more
    inside = jnp.zeros_like(begun)
    for k in range(1, min(p.shape[2], tokens)):
        inside += jnp.pad(wider[:, : tokens - k, k], ((0, 0), (k, 0), (0, 0)))
    both = jnp.stack([begun, inside], axis=3)[:, :, 1:].reshape(*p.shape[:2], -1)
    return tags, jnp.concatenate([begun[:, :, :1], both], axis=2)
