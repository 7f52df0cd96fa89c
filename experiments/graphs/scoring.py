"""F1 of chunks, and how sure it is: sentences drawn again, with replacement (bootstrap)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rntn_jax import data

__all__ = ["compare", "counts", "f1"]

DRAWS = 2000


def counts(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> np.ndarray:
    """By sentence, how many chunks there are, how many were predicted, and how many rightly.

    Example:
        >>> counts([["B-NP", "O", "B-VP"]], [["B-NP", "B-NP", "O"]]).tolist()
        [[2, 2, 1]]
    """
    rows = np.zeros((len(gold), 3), int)
    for row, tags, guesses in zip(rows, gold, predicted, strict=True):
        row[:] = data.chunks.evaluate([tags], [guesses]).overall
    return rows


def f1(totals: np.ndarray) -> np.ndarray:
    """F1 of counts ``[.., 3]``; 0 where there is no chunk.

    Example:
        >>> float(f1(np.array([2, 2, 1])))
        0.5
    """
    return 2 * totals[..., 2] / np.maximum(totals[..., 0] + totals[..., 1], 1)


def compare(found: np.ndarray, baseline: np.ndarray) -> dict[str, float]:
    """F1 of the first counts ``[S, 3]`` and its difference from that of the second.

    The standard errors are the deviations over draws of sentences, the same for both.
    """
    size, drawn = len(found), np.zeros((DRAWS, 0), int)
    if size:
        drawn = np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), DRAWS)
    of_draws = f1(drawn @ found)
    return {
        "f1": float(f1(found.sum(axis=0))),
        "f1_standard_error": float(of_draws.std()),
        "more": float(f1(found.sum(axis=0)) - f1(baseline.sum(axis=0))),
        "more_standard_error": float((of_draws - f1(drawn @ baseline)).std()),
    }
