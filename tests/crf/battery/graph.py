"""Graphs for the battery: exact on one with a cycle, by messages on a tree, where they are exact.

Within jit, where the edges are traced, verbs get the plan that the graph's size says.
"""

from __future__ import annotations

import itertools
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np

from rntn_jax.crf import graph
from tests.crf.battery.case import Case, Listed

# Without node 3 and the edges that are masked: a cycle of four nodes; a tree.
CYCLE = [(0, 1), (2, 1), (2, 4), (3, 1), (4, 0), (0, 2)]
TREE = [(0, 1), (2, 1), (2, 4), (3, 1), (0, 2), (4, 0)]
MASKED = {id(CYCLE): [5], id(TREE): [4, 5]}
EXACTLY = ("argmax", "kl", "sample", "top_k")  # whatever the method
OPTIONS = graph.Options(max_iterations=50, tolerance=0)


def _topology(edges, nodes, count):
    """Edges and masks of a size."""
    node_mask = np.arange(nodes) != 3
    edge_mask = ~np.isin(np.arange(count), MASKED[id(edges)])
    return np.array(edges[:count], int).reshape(-1, 2), node_mask, edge_mask


def _make(edges):
    def make(rng, nodes, count, classes):
        pairs, node_mask, edge_mask = _topology(edges, nodes, count)
        node, edge = rng.normal(size=(nodes, classes)), rng.normal(size=(count, classes, classes))
        node[~node_mask] = np.nan
        edge[~(edge_mask & node_mask[pairs].all(axis=1))] = np.nan
        return graph.Scores(node, edge, pairs, node_mask, edge_mask)

    return make


def _listed(scores) -> list[Listed]:
    classes, real = scores.node.shape[1], np.flatnonzero(scores.node_mask)
    on = np.flatnonzero(scores.edge_mask & scores.node_mask[scores.edges].all(axis=1))
    answers, counts = [], []
    for labels in itertools.product(range(classes), repeat=len(real)):
        y = np.zeros(len(scores.node), int)
        y[real] = labels
        node, edge = np.zeros(scores.node.shape), np.zeros(scores.edge.shape)
        node[real, y[real]] = 1
        i, j = scores.edges[on].T
        edge[on, y[i], y[j]] = 1
        answers.append(y)
        counts.append(np.concatenate([node.ravel(), edge.ravel()]))
    return [Listed(np.array(answers), np.array(counts))]


def _module(edges, method: str) -> SimpleNamespace:
    """The verbs, with a method and a plan."""

    def ask(verb, *args, **kwargs):
        scores = next(x for x in args if isinstance(x, graph.Scores))
        by = "exact" if verb in EXACTLY else method
        if by != "exact":
            kwargs |= {"method": by, "options": OPTIONS}
        if isinstance(scores.edges, jax.core.Tracer):
            nodes, classes = scores.node.shape
            pairs, _, mask = _topology(edges, nodes, len(scores.edge))
            kwargs["plan"] = (
                graph.plan(pairs, nodes, classes, edge_mask=mask)
                if by == "exact"
                else graph.neighbours(pairs, nodes, edge_mask=mask, forests=True)
            )
        return getattr(graph, verb)(*args, **kwargs)

    verbs = ("log_partition", "log_prob", "marginals", "entropy", "expected_score", *EXACTLY)
    return SimpleNamespace(score=graph.score, **{verb: partial(ask, verb) for verb in verbs})


def _case(name: str, edges, method: str, sizes, **options) -> Case:
    return Case(
        name=name,
        module=_module(edges, method),  # type: ignore[arg-type]
        make=_make(edges),
        listed=_listed,
        pack=lambda scores, answers: answers[0],
        unpack=lambda scores, labels: [labels],
        sizes=sizes,
        **options,
    )


SMALL = [(0, 0, 3), (1, 0, 3), (2, 1, 3), (5, 6, 1)]
CASES = [_case("graph, exact", CYCLE, "exact", [(5, 6, 3), (0, 0, 3), (1, 0, 3), (5, 6, 1)])]
# Too much to compile for every day: tests/crf/graph/test_faults.py asks them.
SLOW_CASES = [
    _case(f"graph, {method}", TREE, method, [(5, 6, 3), *SMALL], without=frozenset(EXACTLY[1:]))
    for method in ("loopy", "tree_reweighted")
]
