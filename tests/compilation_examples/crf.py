"""Calls of the functions of `rntn_jax.crf`."""

from __future__ import annotations

from typing import Any

import numpy as np

from rntn_jax.crf import chain, constituency, enumerate, expectations, forest, graph
from tests.compilation_examples.calls import (
    KEY,
    MASK,
    B,
    C,
    Example,
    N,
    T,
    args,
    draw,
    ints,
)


def chain_scores(edge: tuple[int, ...] = (C, C), **rest: Any):
    def make(rng):
        more = {k: rng.normal(size=C) for k in rest.get("ends", ())}
        return chain.Scores(draw(B, T, C)(rng), draw(*edge)(rng), mask=rest.get("mask"), **more)

    return make


CHAINS = chain_scores(), chain_scores((B, T - 1, C, C), ends=("start", "end"), mask=MASK)
LABELS = ints(C, B, T)
PARENT: Any = np.array([-1, 0, 0, 1])


def forest_scores(rng):
    return forest.Scores(draw(N, C)(rng), draw(C, C)(rng), PARENT)


EDGES = np.array([[0, 1], [1, 2], [2, 3], [3, 0]], np.int32)


def graph_scores(rng):
    return graph.Scores(draw(N, C)(rng), draw(4, C, C)(rng), EDGES)


def span_scores(rng):
    return constituency.Scores(draw(B, T + 1, T + 1)(rng), np.array([3, 2]))


SPANS = np.array([[[0, 2], [0, 3]], [[0, 2], [0, 0]]])
SOME = np.ones((B, T, C), bool)


def of_chain(function: Any, *more: Any, **options: Any) -> list[Example]:
    """With shared edges and no mask, and with all that a chain may have."""
    return [Example(function, args(scores, *more), **options) for scores in CHAINS]


CHAIN = [
    *of_chain(chain.log_partition),
    *of_chain(chain.log_partition, SOME),
    *of_chain(chain.log_partition, options={"method": "parallel"}, slow=True),
    Example(chain.log_partition, args(CHAINS[0]), options={"method": "kernel"}, slow=True),
    *of_chain(chain.score, LABELS),
    *of_chain(chain.log_prob, LABELS),
    *of_chain(chain.marginals, slow=True),
    *of_chain(chain.argmax, gradient=False),
    *(Example(chain.top_k, args(s, 2), gradient=False, slow=True) for s in CHAINS),
    *(Example(chain.sample, args(KEY, s, 2), gradient=False, vmap=False) for s in CHAINS),
    *of_chain(chain.entropy, slow=True),
    *(Example(chain.kl, args(s, s), slow=True) for s in CHAINS),
    *(Example(chain.expected_score, args(s, s), slow=True) for s in CHAINS),
    *(Example(chain.constrain, args(s, np.ones((C, C), bool))) for s in CHAINS),
]
FOREST = [
    Example(forest.log_partition, args(forest_scores)),
    Example(forest.log_partition, args(forest_scores, np.ones((N, C), bool))),
    Example(forest.score, args(forest_scores, ints(C, N))),
    Example(forest.log_prob, args(forest_scores, ints(C, N))),
    Example(forest.marginals, args(forest_scores), slow=True),
    Example(forest.argmax, args(forest_scores), gradient=False),
    Example(forest.top_k, args(forest_scores, 2), gradient=False, slow=True),
    Example(forest.sample, args(KEY, forest_scores, 2), gradient=False, vmap=False),
    Example(forest.entropy, args(forest_scores), slow=True),
    Example(forest.kl, args(forest_scores, forest_scores), slow=True),
    Example(forest.expected_score, args(forest_scores, forest_scores), slow=True),
]
APPROXIMATE = ("loopy", "mean_field", "tree_reweighted")
GRAPH = [
    Example(graph.log_partition, args(graph_scores), vmap=False),
    Example(graph.log_partition, args(graph_scores, np.ones((N, C), bool)), vmap=False),
    *(
        Example(f, args(graph_scores), {"method": method}, vmap=False, slow=True)
        for method in APPROXIMATE
        for f in (graph.log_partition, graph.beliefs, graph.entropy, graph.marginals)
    ),
    Example(graph.score, args(graph_scores, ints(C, N)), vmap=False),
    Example(graph.log_prob, args(graph_scores, ints(C, N)), vmap=False),
    Example(graph.marginals, args(graph_scores), vmap=False, slow=True),
    Example(graph.argmax, args(graph_scores), gradient=False, vmap=False),
    Example(graph.top_k, args(graph_scores, 2), gradient=False, vmap=False, slow=True),
    Example(graph.sample, args(KEY, graph_scores, 2), gradient=False, vmap=False),
    Example(graph.entropy, args(graph_scores), vmap=False, slow=True),
    Example(graph.kl, args(graph_scores, graph_scores), vmap=False, slow=True),
    Example(graph.expected_score, args(graph_scores, graph_scores), vmap=False, slow=True),
    Example(graph.constrain, args(graph_scores, np.ones((N, C), bool)), vmap=False),
    Example(graph.clamp, args(graph_scores, ints(C, N), np.arange(N) < 2), vmap=False),
    Example(
        graph.joint_marginals, args(graph_scores, (0, 2)), gradient=False, vmap=False, slow=True
    ),
    Example(graph.pseudo_log_likelihood, args(graph_scores, ints(C, N)), vmap=False),
    *(
        Example(f, make, options, gradient=False, vmap=False)
        for f, make, options in [
            (graph.gibbs, args(KEY, graph_scores, ints(C, 2, N), 2), {}),
            (graph.icm, args(graph_scores, ints(C, 2, N), 2), {}),
            (graph.contrastive_divergence, args(KEY, graph_scores, ints(C, N)), {}),
            (
                graph.annealed_log_partition,
                args(KEY, graph_scores),
                {"num_steps": 2, "num_chains": 2},
            ),
        ]
    ),
]
CONSTITUENCY = [
    Example(constituency.log_partition, args(span_scores)),
    Example(constituency.score, args(span_scores, SPANS)),
    Example(constituency.log_prob, args(span_scores, SPANS)),
    Example(constituency.marginals, args(span_scores), slow=True),
    Example(constituency.argmax, args(span_scores), gradient=False),
    Example(constituency.entropy, args(span_scores), slow=True),
    Example(constituency.constrain, args(span_scores, np.ones((B, T + 1, T + 1), bool))),
    Example(
        constituency.to_spans,
        args(np.array([[[0, 1], [3, 2]], [[0, 1], [0, 0]]]), np.array([3, 2])),
        gradient=False,
        vmap=False,
    ),
    Example(constituency.top_k, args(span_scores, 2), gradient=False, slow=True),
    Example(constituency.sample, args(KEY, span_scores, 2), gradient=False, vmap=False),
    Example(constituency.kl, args(span_scores, span_scores), slow=True),
    Example(constituency.expected_score, args(span_scores, span_scores), slow=True),
]


def labelled_spans(rng):
    return constituency.Scores(draw(B, T + 1, T + 1, C)(rng), np.array([3, 2]))


PARSES = constituency.Parse(SPANS, np.zeros((B, 2 * T - 1), int))
CONSTITUENCY += [
    Example(constituency.log_partition, args(labelled_spans)),
    Example(constituency.log_prob, args(labelled_spans, PARSES), slow=True),
    Example(constituency.marginals, args(labelled_spans), slow=True),
    Example(constituency.top_k, args(labelled_spans, 2), gradient=False, slow=True),
    Example(constituency.sample, args(KEY, labelled_spans, 2), gradient=False, vmap=False),
    Example(constituency.entropy, args(labelled_spans), slow=True),
    Example(constituency.kl, args(labelled_spans, labelled_spans), slow=True),
]
TABLE = draw(C, C, C)
ENUMERATE = [
    Example(expectations.log_prob, args(draw(3), draw(3))),
    Example(expectations.weighted_sum, args(draw(3, 2), draw(3, 2), (0,))),
    Example(enumerate.log_partition, args(TABLE)),
    Example(enumerate.marginal, args(TABLE, 1)),
    Example(enumerate.table, args(draw(3, C), draw(2, C, C), [(0, 1), (1, 2)])),
    Example(enumerate.of_chain, args(chain_scores(), 0)),
]
