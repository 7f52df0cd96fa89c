"""One sentence at a time, with the interface of `pycrfsuite.Tagger`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from rntn_jax.tagger.encoding import Token

if TYPE_CHECKING:
    from rntn_jax.tagger.estimator import CRF

__all__ = ["ModelInfo", "SequenceTagger"]


class ModelInfo(NamedTuple):
    """What a model holds, with pycrfsuite's names."""

    transitions: dict[tuple[str, str], float]  # weights of a label followed by a label
    state_features: dict[tuple[str, str], float]  # of an attribute with a label
    labels: dict[str, str]  # number of each label
    attributes: dict[str, str]
    header: dict[str, str]


class SequenceTagger:
    """Tags a sentence, and says how probable labels are; `CRF.tagger_`.

    Example:
        >>> from rntn_jax.tagger import CRF
        >>> crf = CRF("pa").fit([[["the"], ["film"]]], [["D", "N"]])
        >>> tagger = crf.tagger_
        >>> tagger.tag([["the"], ["film"]]), tagger.labels()
        (['D', 'N'], ['D', 'N'])
        >>> round(sum(tagger.marginal(label, 1) for label in tagger.labels()), 4)
        1.0
    """

    def __init__(self, crf: CRF):
        self._crf = crf
        self._sentence: Sequence[Token] | None = None
        self._marginals: list[dict[str, float]] | None = None

    def labels(self) -> list[str]:
        """The labels."""
        return list(self._crf.classes_)

    def set(self, xseq: Sequence[Token]) -> None:
        """Takes a sentence, to which `marginal` and `probability` then refer."""
        self._sentence, self._marginals = list(xseq), None

    def tag(self, xseq: Sequence[Token] | None = None) -> list[str]:
        """The best labels of a sentence, or of that given before."""
        if xseq is not None:
            self.set(xseq)
        return self._crf.predict_single(self._given())

    def probability(self, yseq: Sequence[str]) -> float:
        """The probability of labels of the sentence given before."""
        return math.exp(self._crf.log_prob([self._given()], [yseq])[0])

    def marginal(self, y: str, pos: int) -> float:
        """The probability of a label at a token (from 0) of the sentence given before.

        Args:
            y: a label.
            pos: a token, from 0.

        Returns:
            A number from 0 to 1.

        Raises:
            ValueError: when there is no such label.
        """
        if self._marginals is None:
            self._marginals = self._crf.predict_marginals_single(self._given())
        if y not in self._crf.classes_:
            raise ValueError(f"there is no label {y!r}, only {self._crf.classes_}")
        return self._marginals[pos][y]

    def info(self) -> ModelInfo:
        """Weights, labels, attributes and their numbers."""
        crf = self._crf
        states, transitions = crf.state_features_, crf.transition_features_
        header = {
            "size": crf.size_,
            "num_features": len(states) + len(transitions),
            "num_labels": len(crf.classes_),
            "num_attrs": crf.num_attributes_,
        }
        return ModelInfo(
            transitions,
            states,
            {name: str(number) for number, name in enumerate(crf.classes_)},
            {name: str(number) for number, name in enumerate(crf.attributes_)},
            {name: str(value) for name, value in header.items()},
        )

    def _given(self) -> Sequence[Token]:
        if self._sentence is None:
            raise ValueError("there is no sentence yet: call set or tag with one")
        return self._sentence
