"""From tags of chunks to segmentations and back, on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rntn_jax.crf.semi_markov.scores import Segments
from rntn_jax.data import chunks

__all__ = ["from_bio", "to_bio"]


def from_bio(tags: Sequence[Sequence[str]], labels: Sequence[str]) -> Segments:
    """Segmentations of sentences whose chunks are given by tags.

    A chunk is one segment; a token outside of chunks is a segment of its own, of label ``O``.

    Args:
        tags: of each sentence, in any scheme that `rntn_jax.data.chunks` reads: ``B-NP``, ``O``.
        labels: names of the labels, ``O`` among them.

    Returns:
        NumPy arrays ``[B, T]``, T the longest sentence; begins false and labels 0 behind an end.

    Raises:
        DataError: for what is no tag.
        ValueError: for a type that is not among the labels.

    Example:
        >>> segments = from_bio([["B-NP", "I-NP", "O"], ["O"]], ["O", "NP"])
        >>> segments.begins.tolist(), segments.labels.tolist()
        ([[True, False, True], [True, False, False]], [[1, 1, 0], [0, 0, 0]])
    """
    number = {name: i for i, name in enumerate(labels)}
    shape = len(tags), max(map(len, tags), default=0)
    begins, found = np.zeros(shape, bool), np.zeros(shape, np.int32)
    for row, own in enumerate(tags):
        spans = chunks.chunks(own)
        inside = {t for chunk in spans for t in range(chunk.start, chunk.end)}
        outside = [chunks.Chunk("O", t, t + 1) for t in range(len(own)) if t not in inside]
        for chunk in (*spans, *outside):
            if chunk.type not in number:
                raise ValueError(f"labels must hold {chunk.type!r}, got {list(labels)}")
            begins[row, chunk.start] = True
            found[row, chunk.start : chunk.end] = number[chunk.type]
    return Segments(begins, found)


def to_bio(segments: Segments, length: Any, labels: Sequence[str]) -> list[list[str]]:
    """Tags of the chunks of segmentations, in the scheme BIO; `from_bio` undone.

    Args:
        segments: ``[B, T]``, as `argmax` finds them.
        length: int ``[B]``.
        labels: names of the labels; segments of label ``O`` are no chunks.

    Returns:
        The tags of each sentence.

    Example:
        >>> begins = [[True, False, True, True]]
        >>> to_bio(Segments(begins, [[1, 1, 1, 0]]), [4], ["O", "NP"])
        [['B-NP', 'I-NP', 'B-NP', 'O']]
    """
    tags = []
    for begins, own, count in zip(
        np.asarray(segments.begins), np.asarray(segments.labels), np.asarray(length)
    ):
        names = [labels[label] for label in own[:count]]
        tags.append(
            [
                name if name == "O" else f"{'B' if begin else 'I'}-{name}"
                for begin, name in zip(begins, names)
            ]
        )
    return tags
