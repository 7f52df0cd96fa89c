"""Forests for the battery: trees of any shape, nodes in any order, masks that cut trees."""

from __future__ import annotations

import itertools

import numpy as np

from rntn_jax.crf import forest
from tests.crf.battery.case import Case, Listed


def _make(shared: bool):
    def make(rng, count, classes):
        parent = np.array([-1 if i < 2 else rng.integers(0, i) for i in range(count)], int)
        order = rng.permutation(count)
        parent, place = np.where(parent < 0, -1, order[parent]), np.argsort(order)
        parent = parent[place]
        mask = np.ones(count, bool)
        mask[parent.argmax() if count > 4 else count :][:1] = False
        edge = rng.normal(size=(classes, classes) if shared else (count, classes, classes))
        node = rng.normal(size=(count, classes))
        node[~mask] = np.nan
        if not shared:
            edge[~(mask & (parent >= 0) & mask[parent])] = np.nan
        plan = forest.plan(parent, lanes=2, steps=count + 1)
        return forest.Scores(node, edge, plan, mask)

    return make


def _listed(scores) -> list[Listed]:
    count, classes = scores.node.shape
    size = scores.node.size + scores.edge.size
    parent, out = scores.parent.parent, []
    for t in range(len(scores.parent.roots)):
        real = np.flatnonzero((scores.parent.tree == t) & scores.mask)
        answers, counts = [], []
        for labels in itertools.product(range(classes), repeat=len(real)):
            answer, read = np.zeros(count, int), [np.zeros(x.shape) for x in scores[:2]]
            answer[real] = labels
            for n in real:
                read[0][n, answer[n]] = 1
                if parent[n] in real:
                    pair = answer[parent[n]], answer[n]
                    read[1][pair if scores.edge.ndim == 2 else (n, *pair)] += 1
            answers.append(answer)
            counts.append(np.concatenate([x.ravel() for x in read]))
        answers = np.array(answers, int).reshape(len(answers), count)
        out.append(Listed(answers, np.reshape(counts, (len(answers), size))))
    return out


def _unpack(scores, labels) -> list[np.ndarray]:
    trees = range(len(scores.parent.roots))
    return [np.where(scores.parent.tree == t, labels, 0) for t in trees]


def _case(name: str, shared: bool) -> Case:
    return Case(
        name=name,
        module=forest,
        make=_make(shared),
        listed=_listed,
        pack=lambda scores, answers: np.sum([np.zeros(len(scores.node), int), *answers], axis=0),
        unpack=_unpack,
        sizes=[(7, 3), (0, 3), (1, 1), (2, 0)],
        slow_sizes=[(1, 3), (6, 1), (3, 2)],
    )


CASES = [_case("forest, shared edges", True), _case("forest, edges of each node", False)]
