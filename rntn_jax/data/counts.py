"""Precision, recall and F1, from how many there are, were predicted, and were predicted rightly."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Counts"]


class Counts(NamedTuple):
    """How many there are, were predicted, and were predicted rightly: chunks, words, arcs.

    Attributes:
        gold: how many there are.
        predicted: how many were predicted.
        correct: of these, how many are right.

    Example:
        >>> counts = Counts(gold=4, predicted=2, correct=2)
        >>> counts.precision, counts.recall, round(counts.f1, 4)
        (1.0, 0.5, 0.6667)
    """

    gold: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float:
        """`correct / predicted`, from 0 to 1; 0 where nothing was predicted."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """`correct / gold`, from 0 to 1; 0 where there is nothing."""
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """`2 correct / (gold + predicted)`, the harmonic mean of the two, from 0 to 1."""
        total = self.gold + self.predicted
        return 2 * self.correct / total if total else 0.0
