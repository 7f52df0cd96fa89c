"""Graphs with tables over up to three variables, for the battery: labels of different number."""

from __future__ import annotations

import itertools

import numpy as np

from rntn_jax.crf import factor_graph
from rntn_jax.crf.factor_graph.scores import sizes_of
from tests.crf.battery.case import Case, Listed

# A cycle of tables of three, one more on a pair of theirs in another order, and a part of its own.
SCOPES = [(0, 1, 2), (2, 1), (3, 2, 4), (0, 4), (5,)]
SIZES = [2, 3, 2, 2, 1, 3]


def _make(scopes, sizes):
    def make(rng):
        shapes = [[sizes[v] for v in scope] for scope in scopes]
        tables = tuple(rng.normal(size=shape) for shape in shapes)
        return factor_graph.Scores(tables, factor_graph.Scopes(scopes))

    return make


def _listed(scores) -> list[Listed]:
    answers, counts = [], []
    for labels in itertools.product(*map(range, sizes_of(scores))):
        read = [np.zeros(table.shape) for table in scores.tables]
        for own, scope in zip(read, scores.scopes):
            own[tuple(labels[v] for v in scope)] = 1
        answers.append(labels)
        counts.append(np.concatenate([x.ravel() for x in [*read, np.zeros(0)]]))
    return [Listed(np.array(answers, int), np.array(counts))]


def _case(name: str, scopes, sizes, slow: str) -> Case:
    return Case(
        name=name,
        module=factor_graph,
        make=_make(scopes, sizes),
        listed=_listed,
        pack=lambda scores, answers: np.reshape(answers[0], len(sizes)).astype(int),
        unpack=lambda scores, labels: [np.asarray(labels)],
        sizes=[()],
        allowed="tables",
        forbid=factor_graph.constrain,
        slow=slow,
    )


CASES = [
    _case("tables of three", SCOPES, SIZES, "most"),
    _case("one variable", [(0,)], [3], "all"),
    _case("one label", [(0, 1), (1, 2)], [1, 1, 1], "all"),
]
