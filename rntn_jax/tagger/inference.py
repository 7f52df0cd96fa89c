"""Answers of a trained CRF for many sentences: padded batches of few shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rntn_jax import sequences
from rntn_jax.crf import chain
from rntn_jax.data import Encoded

__all__ = ["Rows", "answers", "best_labels", "log_prob", "marginals", "node_scores"]


class Rows(list):
    """A list with a row for each sentence; NumPy reads it as an array of lists.

    So scikit-learn can join the predictions of several folds, whatever their lengths.

    Example:
        >>> np.concatenate([Rows([["a", "b"]]), Rows([["c"]])])
        array([list(['a', 'b']), list(['c'])], dtype=object)
    """

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        rows = np.empty(len(self), object)
        for number, row in enumerate(self):
            rows[number] = row
        return rows


def node_scores(encoded: Encoded, weights: np.ndarray) -> np.ndarray:
    """Scores ``sum_a x_a weights[a]`` of all tokens, on the host.

    Args:
        encoded: of `rntn_jax.data.encode_attributes`.
        weights: ``[A + 1, C]``; the last row is 0.

    Returns:
        ``[N, C]``. Cost O(entries C).

    Example:
        >>> encoded = Encoded(np.array([0, 1]), None, np.array([2, 0]), np.array([2]))
        >>> node_scores(encoded, np.array([[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]])).tolist()
        [[4.0, 6.0], [0.0, 0.0]]
    """
    # An entry of the last, empty row after each token, so that none is without entries.
    places = np.cumsum(encoded.sizes)
    ids = np.insert(encoded.ids, places, len(weights) - 1)
    rows = weights[ids]
    if encoded.weights is not None:
        rows *= np.insert(encoded.weights, places, 1.0)[:, None]
    starts = places - encoded.sizes + np.arange(len(places))
    return np.add.reduceat(rows, starts) if len(places) else np.zeros((0, weights.shape[1]))


Query = Callable[[chain.Scores, Any, Any], jax.Array]


def answers(
    query: Query,
    node: np.ndarray,
    edge: np.ndarray,
    lengths: np.ndarray,
    labels: list[list[int]] | None = None,
    constraints: tuple[Any, Any, Any] = (None, None, None),
) -> list[np.ndarray]:
    """What a query says of each sentence.

    Args:
        query: `best_labels`, `marginals` or `log_prob`.
        node: ``[N, C]``, scores of all tokens.
        edge: ``[C, C]``.
        lengths: int ``[S]``, tokens of each sentence.
        labels: of each sentence; read by `log_prob` only.
        constraints: transitions, first and last labels that are allowed; of `best_labels` only.

    Returns:
        An array a sentence, its first axis that of the tokens.
    """
    ends = np.cumsum(lengths)
    found: list[np.ndarray] = [np.zeros(0, int)] * len(lengths)
    for members, rows, steps in _batches(lengths):
        padded = np.zeros((rows, steps, node.shape[1]), np.float32)
        mask = np.zeros((rows, steps), bool)
        gold = np.zeros((rows, steps), np.int32)
        for row, s in enumerate(members):
            size = lengths[s]
            padded[row, :size] = node[ends[s] - size : ends[s]]
            mask[row, :size] = True
            if labels is not None:
                gold[row, :size] = labels[s]
        scores = chain.Scores(jnp.asarray(padded), jnp.asarray(edge), mask=jnp.asarray(mask))
        out = np.asarray(query(scores, gold, constraints))
        for row, s in enumerate(members):
            found[s] = out[row, : lengths[s]]
    return found


def _batches(lengths: np.ndarray) -> Iterator[tuple[np.ndarray, int, int]]:
    """Sentences of like length, and the rows and steps they are padded to; few different shapes."""
    return sequences.padded_batches(
        lengths,
        partial(sequences.power_of_two, least=32),
        lambda _, fitting: 1 if fitting == 1 else 64 if fitting <= 64 else 512,
    )


@jax.jit
def best_labels(scores: chain.Scores, labels: Any, constraints: tuple[Any, Any, Any]) -> jax.Array:
    """The best labels (Viterbi) among those that the constraints allow.

    Args:
        scores: of padded sentences.
        labels: not read.
        constraints: transitions, first and last labels that are allowed; None: all.

    Returns:
        int32 ``[B, T]``.
    """
    return chain.argmax(chain.constrain(scores, *constraints))[0]


@jax.jit
def marginals(scores: chain.Scores, labels: Any, constraints: Any) -> jax.Array:
    """The probability of each label at each token.

    Args:
        scores: of padded sentences.
        labels: not read.
        constraints: not read.

    Returns:
        ``[B, T, C]``.
    """
    return chain.marginals(scores).node


@jax.jit
def log_prob(scores: chain.Scores, labels: jax.Array, constraints: Any) -> jax.Array:
    """The log-probability of the labels of each row.

    Args:
        scores: of padded sentences.
        labels: int ``[B, T]``.
        constraints: not read.

    Returns:
        ``[B, 1]`` nats.
    """
    return chain.log_prob(scores, labels)[:, None]
