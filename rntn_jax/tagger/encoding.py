"""Sentences and labels as people write them, to the arrays that training reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rntn_jax.data import DataError, encode_attributes
from rntn_jax.data.errors import shown

__all__ = ["Labels", "Sentences", "Token", "TrainingData", "as_lists", "check_lengths", "encode"]

Token = Mapping[str, Any] | Iterable[str]
Sentences = Iterable[Iterable[Token]]
Labels = Iterable[Sequence[str]]


class TrainingData(NamedTuple):
    """Sentences with labels, as `rntn_jax.models.sparse_crf` takes them."""

    bags: np.ndarray  # int32 [E], the token of each entry
    ids: np.ndarray  # int32 [E], its attribute
    labels: np.ndarray  # int32 [N], of each token
    lengths: np.ndarray  # int32 [S], tokens of each sentence
    num_attributes: int  # A
    num_labels: int  # C
    weights: np.ndarray | None  # float32 [E]; None: all 1


def as_lists(sentences: Any) -> list[Any]:
    """A list of sentences that have lengths, whatever is iterable: lists, arrays, generators.

    Objects with a method ``items`` that are no dictionary, as `pycrfsuite.ItemSequence`, stand for
    what it returns.

    Raises:
        DataError: for a text or a dictionary, which are no sentences.

    Example:
        >>> as_lists((token for token in sentence) for sentence in (["a", "b"], []))
        [['a', 'b'], []]
    """
    if isinstance(sentences, (str, Mapping)):
        raise DataError(f"sentences must be a list of sentences, got {shown(sentences)}")
    found = []
    for sentence in sentences:
        if isinstance(sentence, (list, str, Mapping)):
            found.append(sentence)  # what is none of a list is refused with its place
        elif hasattr(sentence, "items"):
            found.append(sentence.items())
        else:
            found.append(list(sentence))
    return found


def check_lengths(X: Sequence[Sequence[Any]], y: Sequence[Sequence[str]]) -> None:
    """Refuses labels that are not one for each token.

    Args:
        X: tokens of each sentence.
        y: labels of each.

    Raises:
        DataError: naming the sentence.
    """
    if len(X) != len(y):
        raise DataError(f"{len(X)} sentences, but labels of {len(y)}")
    for number, (tokens, labels) in enumerate(zip(X, y)):
        if isinstance(labels, str) or len(tokens) != len(labels):
            raise DataError(
                f"sentence {number} (from 0) has {len(tokens)} tokens, labels {shown(labels)}",
                value=labels,
            )


def encode(
    X: Sequence[Sequence[Token]], y: Sequence[Sequence[str]]
) -> tuple[TrainingData, dict[str, int], list[str]]:
    """Numbers attributes and labels in the order in which they first appear.

    Args:
        X: of each sentence, of each token, its features.
        y: of each sentence, of each token, its label.

    Returns:
        The arrays, the numbers of the attributes, and the labels.

    Raises:
        DataError: for features or labels of the wrong kind, naming sentence and token; when
            sentences and labels do not match; when there is no token.

    Example:
        >>> data, numbers, classes = encode([[["a", "b"], ["b"]]], [["X", "Y"]])
        >>> data.bags.tolist(), data.ids.tolist(), data.labels.tolist(), numbers, classes
        ([0, 0, 1], [0, 1, 1], [0, 1], {'a': 0, 'b': 1}, ['X', 'Y'])
    """
    check_lengths(X, y)
    classes: dict[str, int] = {}
    labels = []
    for place, row in enumerate(y):
        for label in row:
            if not isinstance(label, str):
                raise DataError(f"sentence {place} (from 0): label {shown(label)} is no string")
            labels.append(classes.setdefault(label, len(classes)))
    encoded, numbers = encode_attributes(X)
    if not len(encoded.sizes):
        raise DataError("there is no token to train on")
    data = TrainingData(
        np.repeat(np.arange(len(encoded.sizes), dtype=np.int32), encoded.sizes),
        encoded.ids,
        np.array(labels, np.int32),
        encoded.lengths,
        len(numbers),
        len(classes),
        encoded.weights,
    )
    return data, numbers, list(map(str, classes))
