"""Segmentations for the battery: rows of every length, segments that no row has are NaN."""

from __future__ import annotations

import itertools

import numpy as np

from rntn_jax.crf import semi_markov
from tests.crf.battery.case import Case, Listed


def widths(length: int, widest: int) -> list[tuple[int, ...]]:
    """All ways to cut so many tokens into segments of up to ``widest``."""
    if length == 0:
        return [()]
    return [
        (width, *rest)
        for width in range(1, min(length, widest) + 1)
        for rest in widths(length - width, widest)
    ]


def _make(rng, rows, tokens, widest, classes):
    length = np.array([tokens, max(tokens - 1, 0), 0])[:rows]
    span = rng.normal(size=(rows, tokens, widest, classes))
    last = np.arange(tokens)[:, None] + np.arange(widest)
    span[last[None] >= length[:, None, None]] = np.nan
    shared = rng.normal(size=(classes, classes)), *rng.normal(size=(2, classes))
    return semi_markov.Scores(span, *shared, length)


def _listed(scores) -> list[Listed]:
    _, tokens, widest, classes = scores.span.shape
    size = sum(np.size(x) for x in scores[:4])
    out = []
    for row, length in enumerate(scores.length):
        answers, counts = [], []
        for cut in widths(int(length), widest):
            for labels in itertools.product(range(classes), repeat=len(cut)):
                read = [np.zeros(np.shape(x)) for x in scores[:4]]
                answer, at = np.zeros((2, tokens), int), 0
                for width, label in zip(cut, labels):
                    read[0][row, at, width - 1, label] = 1
                    answer[0, at], answer[1, at : at + width] = 1, label
                    at += width
                for i, j in itertools.pairwise(labels):
                    read[1][i, j] += 1
                if labels:
                    read[2][labels[0]] = read[3][labels[-1]] = 1
                answers.append(answer)
                counts.append(np.concatenate([x.ravel() for x in read]))
        answers = np.array(answers, int).reshape(len(answers), 2, tokens)
        out.append(Listed(answers, np.reshape(counts, (len(answers), size))))
    return out


def _pack(scores, answers):
    both = np.reshape(answers, (len(scores.length), 2, scores.span.shape[1])).astype(int)
    return semi_markov.Segments(both[:, 0] > 0, both[:, 1])


CASES = [
    Case(
        name="segmentations",
        module=semi_markov,
        make=_make,
        listed=_listed,
        pack=_pack,
        unpack=lambda scores, found: [np.stack(own).astype(int) for own in zip(*found)],
        best=lambda scores, found, i: tuple(x[:, i] for x in found),
        sizes=[(3, 4, 3, 2), (2, 0, 2, 2), (2, 2, 3, 1)],
        slow_sizes=[(0, 3, 2, 2), (2, 2, 2, 0), (2, 3, 1, 2)],
        allowed="span",
        forbid=semi_markov.constrain,
        slow="most",
    )
]
