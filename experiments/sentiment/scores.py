"""The accuracies of Socher et al. (2013), Table 1, in every way the binary task is scored."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["COLUMNS", "PUBLISHED", "Predictions", "collect", "confusion_matrix", "score"]

COLUMNS = ("fine_all", "fine_root", "binary_all", "binary_root")
# Socher et al. 2013, Table 1, test set.
PUBLISHED = {
    f"{name}, Socher et al. 2013": dict(zip(COLUMNS, (round(x / 100, 3) for x in figures)))
    for name, figures in {
        "RNTN": (80.7, 45.7, 87.6, 85.4),
        "RNN": (79.0, 43.2, 86.1, 82.4),
    }.items()
}


class Predictions(NamedTuple):
    """Labelled nodes of a treebank, all trees in one row."""

    probabilities: np.ndarray  # [n, C]
    gold: np.ndarray  # [n]
    is_root: np.ndarray  # bool [n]


def collect(trees: list[Any], probabilities: list[np.ndarray]) -> Predictions:
    """Puts the labelled nodes of trees, and what was predicted for them, in one row."""
    gold = np.concatenate([tree.labels for tree in trees])
    is_root = np.zeros(len(gold), bool)
    is_root[np.cumsum([len(tree.labels) for tree in trees]) - 1] = True
    labelled = gold >= 0
    return Predictions(np.concatenate(probabilities)[labelled], gold[labelled], is_root[labelled])


def _share(right: np.ndarray, where: np.ndarray) -> float:
    return float(right[where].mean()) if where.any() else float("nan")


def score(predictions: Predictions) -> dict[str, float]:
    """Accuracies over all labelled nodes and over roots, as fractions.

    ``fine``: the most probable class. With five classes also, over nodes whose gold label is not
    neutral: ``binary``, the more probable of the two sides, p0 + p1 against p3 + p4 (this is what
    the paper's columns hold); ``binary_corenlp``, where the most probable of the five must lie on
    the right side and a neutral prediction is wrong.
    """
    p, gold, is_root = predictions
    best = p.argmax(axis=1)
    everywhere = np.ones(len(gold), bool)
    columns = {"fine": (best == gold, everywhere)}
    if p.shape[1] == 5:
        polar = gold != 2
        side = (p[:, 3] + p[:, 4] > p[:, 0] + p[:, 1]) == (gold > 2)
        columns["binary"] = (side, polar)
        columns["binary_corenlp"] = (np.sign(best - 2) == np.sign(gold - 2), polar)
    return {
        f"{name}_{place}": _share(right, where & at)
        for name, (right, where) in columns.items()
        for place, at in (("all", everywhere), ("root", is_root))
    }


def confusion_matrix(predictions: Predictions) -> np.ndarray:
    """Counts ``[C, C]``, gold by predicted."""
    classes = predictions.probabilities.shape[1]
    pairs = predictions.gold * classes + predictions.probabilities.argmax(axis=1)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
