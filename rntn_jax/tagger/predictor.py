"""Answers of a trained CRF for sentences of features."""

from __future__ import annotations

from typing import Any

import numpy as np

from rntn_jax.data import encode_attributes
from rntn_jax.tagger import inference
from rntn_jax.tagger.encoding import check_lengths
from rntn_jax.tagger.model import Model

__all__ = ["Predictor"]


class Predictor:
    """A model with its weights as a table, which answers for many sentences at once.

    Args:
        model: what training found.

    Example:
        >>> from rntn_jax.models import sparse_crf
        >>> zero, pair = np.zeros(1, np.int32), np.ones((1, 1), bool)
        >>> features = sparse_crf.Features(zero, zero, pair)
        >>> params = sparse_crf.Params(np.ones(1, np.float32), np.ones((1, 1), np.float32))
        >>> Predictor(Model(["the"], ["D"], features, params)).labels([[["the"], ["a"]]])
        [['D', 'D']]
    """

    def __init__(self, model: Model):
        self.model = model
        self._numbers = {name: number for number, name in enumerate(model.attributes)}
        weights = np.zeros((len(model.attributes) + 1, len(model.classes)), np.float32)
        weights[model.features.attribute, model.features.label] = model.params.state
        self._weights = weights

    def labels(self, X: list[Any], constraints: Any = None) -> list[list[str]]:
        """The best labels of each sentence (Viterbi).

        Args:
            X: of each sentence, of each token, its features; lists.
            constraints: transitions bool ``[C, C]``, first and last labels ``[C]`` that are
                allowed; None: all.

        Returns:
            A list of labels for each sentence.
        """
        found = self._answers(inference.best_labels, X, constraints=constraints)
        return inference.Rows([[self.model.classes[c] for c in row] for row in found])

    def marginals(self, X: list[Any]) -> list[list[dict[str, float]]]:
        """Of each token, the probability of each label."""
        rows, classes = self._answers(inference.marginals, X), self.model.classes
        return inference.Rows([[dict(zip(classes, map(float, p))) for p in row] for row in rows])

    def log_prob(self, X: list[Any], y: list[Any]) -> np.ndarray:
        """Log-probability of the labels of each sentence.

        Args:
            X: of each sentence, of each token, its features; lists.
            y: of each sentence, of each token, its label.

        Returns:
            ``[S]`` nats; ``-inf`` where a label was not in the training data.

        Raises:
            DataError: when sentences and labels do not match.
        """
        check_lengths(X, y)
        number = {label: i for i, label in enumerate(self.model.classes)}
        labels = [[number.get(label, -1) for label in row] for row in y]
        known = [[max(label, 0) for label in row] for row in labels]
        nats = self._answers(inference.log_prob, X, known)
        unseen = np.array([min(row, default=0) < 0 for row in labels], bool)
        return np.where(unseen, -np.inf, [row[0] if len(row) else 0.0 for row in nats])

    def _answers(
        self, query: inference.Query, X: list[Any], labels: Any = None, constraints: Any = None
    ) -> list[np.ndarray]:
        encoded, _ = encode_attributes(X, self._numbers)
        return inference.answers(
            query,
            inference.node_scores(encoded, self._weights),
            np.asarray(self.model.params.edge),
            encoded.lengths,
            labels,
            constraints or (None, None, None),
        )
