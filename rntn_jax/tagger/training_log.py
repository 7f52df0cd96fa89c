"""The log of a training: figures of each iteration, on held-out sentences too."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

__all__ = ["LabelScore", "Logger", "TrainingLog", "holdout_scores"]


class LabelScore(NamedTuple):
    """How well one label is predicted, token by token.

    Example:
        >>> LabelScore(match=1, model=2, ref=1).precision
        0.5
    """

    match: int  # tokens that have it in gold and predicted labels
    model: int  # in the predicted ones
    ref: int  # in the gold ones

    @property
    def precision(self) -> float:
        """``match / model``, 0 where nothing was predicted."""
        return self.match / self.model if self.model else 0.0

    @property
    def recall(self) -> float:
        """``match / ref``, 0 where there is none."""
        return self.match / self.ref if self.ref else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        return 2 * self.match / (self.model + self.ref) if self.model + self.ref else 0.0


class TrainingLog(list):
    """A dictionary for each iteration; also with the names that pycrfsuite's log has.

    Example:
        >>> log = TrainingLog([{"num": 1, "loss": 3.0}])
        >>> log.last_iteration["loss"], log.iterations == log
        (3.0, True)
    """

    @property
    def iterations(self) -> list[dict[str, Any]]:
        """All iterations: the list itself."""
        return self

    @property
    def last_iteration(self) -> dict[str, Any]:
        """The last one."""
        return self[-1]


def holdout_scores(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], num_labels: int
) -> dict[str, Any]:
    """Scores of predicted labels, as CRFsuite logs them for held-out sentences.

    Args:
        gold: labels of sentences.
        predicted: as many.
        num_labels: labels that the model knows, over which the averages are taken.

    Returns:
        ``scores``, a `LabelScore` for each gold label; ``avg_precision``, ``avg_recall``,
        ``avg_f1``, their means over labels; ``item_accuracy`` and ``instance_accuracy``, of tokens
        and sentences, as fractions, and the same with ``_float`` after the name.

    Example:
        >>> found = holdout_scores([["A", "B"], ["B"]], [["A", "A"], ["B"]], 2)
        >>> found["scores"]["B"].recall, str(found["item_accuracy"])
        (0.5, '2/3')
    """
    pairs = [pair for rows in zip(gold, predicted) for pair in zip(*rows)]
    match = collections.Counter(a for a, b in pairs if a == b)
    model = collections.Counter(b for _, b in pairs)
    ref = collections.Counter(a for a, _ in pairs)
    scores = {label: LabelScore(match[label], model[label], ref[label]) for label in ref}
    items = Fraction(match.total(), max(1, len(pairs)))
    whole = sum(list(a) == list(b) for a, b in zip(gold, predicted))
    instances = Fraction(whole, max(1, len(gold)))
    return {
        "scores": scores,
        "avg_precision": sum(s.precision for s in scores.values()) / num_labels,
        "avg_recall": sum(s.recall for s in scores.values()) / num_labels,
        "avg_f1": sum(s.f1 for s in scores.values()) / num_labels,
        "item_accuracy": items,
        "item_accuracy_float": float(items),
        "instance_accuracy": instances,
        "instance_accuracy_float": float(instances),
    }


class Logger:
    """Collects the figures of iterations, prints them, and hands them on."""

    def __init__(
        self,
        verbose: bool,
        report: Callable[[dict[str, Any]], None] | None,
        holdout: Callable[[Any], dict[str, Any]] | None,
    ):
        """``holdout(params)`` returns further figures, those of held-out sentences."""
        self.log = TrainingLog()
        self._verbose, self._report, self._holdout = verbose, report, holdout
        self._start = time.monotonic()

    def again(self, row: dict[str, Any]) -> None:
        """Notes an iteration of a training that goes on."""
        self._start = time.monotonic() - row["time"]
        self.log.append(row)
        if self._report is not None:
            self._report(row)

    def __call__(
        self,
        number: int,
        loss: float,
        params: Any,
        *,
        feature_norm: float | None = None,
        error_norm: float | None = None,
        active_features: int | None = None,
    ) -> None:
        """Notes an iteration.

        Args:
            number: of the iteration, from 1.
            loss: of the training data, in nats.
            params: the weights after it.
            feature_norm: that of the weights; here and below, None: not known.
            error_norm: that of the gradient.
            active_features: weights that are not 0.
        """
        seconds = time.monotonic() - self._start
        known = {
            "feature_norm": feature_norm,
            "error_norm": error_norm,
            "active_features": active_features,
        }
        figures = {name: value for name, value in known.items() if value is not None}
        row = {"num": number, "loss": loss, **figures, "time": seconds}
        if self._holdout is not None:
            row |= self._holdout(params)
        self.log.append(row)
        if self._verbose:
            shown = [f"iteration {number}", f"loss {loss:.6f}"]
            shown += [f"{name.replace('_', ' ')} {value:.6f}" for name, value in figures.items()]
            if self._holdout is not None:
                for name in ("avg_precision", "avg_recall", "avg_f1", "item_accuracy_float"):
                    shown.append(f"{name.removesuffix('_float').replace('_', ' ')} {row[name]:.3f}")
            print("  ".join([*shown, f"seconds {seconds:.1f}"]), flush=True)
        if self._report is not None:
            self._report(row)
