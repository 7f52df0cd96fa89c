"""Chains for the battery: edges shared or of each step, masks with holes, start and end."""

from __future__ import annotations

import itertools

import numpy as np

from rntn_jax.crf import chain
from tests.crf.battery.case import Case, Listed


def _make(shared: bool):
    def make(rng, rows, length, classes):
        mask = rng.random((rows, length)) < 0.7
        mask[:1] = True
        mask[1:2] = False
        node = rng.normal(size=(rows, length, classes))
        edge = (classes, classes) if shared else (rows, max(length - 1, 0), classes, classes)
        edge = rng.normal(size=edge)
        node[~mask] = np.nan
        if not shared and length > 1:
            has_edge = mask[:, 1:] & (np.cumsum(mask, axis=1)[:, :-1] > 0)
            edge[~has_edge] = np.nan
        return chain.Scores(node, edge, rng.normal(size=classes), rng.normal(size=classes), mask)

    return make


def _listed(scores) -> list[Listed]:
    rows, length, classes = scores.node.shape
    out = []
    for row in range(rows):
        real = np.flatnonzero(scores.mask[row])
        answers, counts = [], []
        for labels in itertools.product(range(classes), repeat=len(real)):
            read = [np.zeros(np.shape(x)) for x in scores[:4]]
            for t, label in zip(real, labels):
                read[0][row, t, label] = 1
            for t, i, j in zip(real[1:], labels, labels[1:]):
                read[1][(i, j) if scores.edge.ndim == 2 else (row, t - 1, i, j)] += 1
            if labels:
                read[2][labels[0]] = 1
                read[3][labels[-1]] = 1
            answer = np.zeros(length, int)
            answer[real] = labels
            answers.append(answer)
            counts.append(np.concatenate([x.ravel() for x in read]))
        size = sum(x.size for x in scores[:4])
        answers = np.array(answers, int).reshape(len(answers), length)
        out.append(Listed(answers, np.reshape(counts, (len(answers), size))))
    return out


def _case(name: str, shared: bool, **options) -> Case:
    return Case(
        name=name,
        module=chain,
        make=_make(shared),
        listed=_listed,
        pack=lambda scores, answers: np.reshape(answers, scores.mask.shape).astype(int),
        unpack=lambda scores, labels: list(labels),
        best=lambda scores, labels, i: labels[:, i],
        sizes=[(3, 4, 3), (0, 4, 3), (2, 0, 3), (2, 1, 1), (2, 2, 0)],
        slow_sizes=[(2, 1, 3), (2, 4, 1), (1, 2, 2)],
        **options,
    )


CASES = [_case("chain, shared edges", True), _case("chain, edges of each step", False)]
