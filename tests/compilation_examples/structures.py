"""Calls of the functions of the structures beside chains, forests and graphs, and of HMMs."""

from __future__ import annotations

import numpy as np

from rntn_jax.crf import (
    alignment,
    chain,
    ctc,
    dependency,
    factor_graph,
    grammar,
    nats,
    semi_markov,
)
from tests.compilation_examples.calls import KEY, MASK, B, C, Example, T, V, args, draw, ints
from tests.compilation_examples.crf import CHAINS


def hmm_of(rng):
    return chain.HMM(draw(C)(rng), draw(C, C)(rng), draw(C, V)(rng))


HMMS = [
    Example(chain.from_hmm, args(draw(C), draw(C, C), draw(B, T, C))),
    Example(chain.filtered, args(CHAINS[0])),
    Example(chain.predicted, args(CHAINS[0], 2)),
    Example(chain.smoothed, args(CHAINS[0], 2), slow=True),
    Example(chain.em_step, args(hmm_of, ints(V, B, T)), slow=True),
]


def arc_scores(rng):
    return dependency.Scores(draw(B, T + 1, T + 1)(rng), np.array([3, 2]))


TREES_OF_HEADS = np.array([[2, 0, 2], [0, 1, 0]])


def in_nats(rng):
    return nats.Nats(np.round(draw(3, 2)(rng)), draw(3, 2)(rng) / 8)


D_KINDS = [{"projective": projective} for projective in (True, False)]
DEPENDENCY = [
    Example(dependency.log_partition, args(arc_scores)),
    Example(dependency.log_partition, args(arc_scores), D_KINDS[1], slow=True),
    Example(dependency.score, args(arc_scores, TREES_OF_HEADS)),
    Example(dependency.constrain, args(arc_scores, np.ones((B, T + 1, T + 1), bool))),
    Example(dependency.undirected, args(draw(B, T, T), np.array([3, 2]))),
    Example(dependency.top_k, args(arc_scores, 2), gradient=False, slow=True),
    *(
        example
        for kind in D_KINDS
        for example in (
            Example(dependency.log_prob, args(arc_scores, TREES_OF_HEADS), kind, slow=True),
            Example(dependency.marginals, args(arc_scores), kind, slow=True),
            Example(dependency.argmax, args(arc_scores), kind, gradient=False, slow=True),
            Example(dependency.sample, args(KEY, arc_scores, 2), kind, False, False, slow=True),
            Example(dependency.entropy, args(arc_scores), kind, slow=True),
            Example(dependency.kl, args(arc_scores, arc_scores), kind, slow=True),
            Example(dependency.expected_score, args(arc_scores, arc_scores), kind, slow=True),
        )
    ),
]


def frames(rng):
    return ctc.Scores(draw(B, T, C + 1)(rng), np.ones((B, 2), int), MASK)


PADDINGS = np.zeros((B, T)), np.ones((B, 2), int), np.zeros((B, 2))
CTC = [
    Example(ctc.log_prob, args(frames)),
    Example(ctc.loss, args(draw(B, T, C + 1), *PADDINGS)),
    Example(ctc.marginals, args(frames), slow=True),
    Example(ctc.argmax, args(frames), gradient=False, slow=True),
    Example(ctc.greedy, args(draw(B, T, C + 1), MASK), gradient=False),
    Example(ctc.beam_search, args(draw(B, T, C + 1), 2, MASK), gradient=False, slow=True),
]


def segment_scores(rng):
    shared = draw(C, C)(rng), draw(C)(rng), draw(C)(rng)
    return semi_markov.Scores(draw(B, T, 2, C)(rng), *shared, np.array([3, 2]))


SEGMENTS = semi_markov.Segments(np.ones((B, T), bool), np.zeros((B, T), int))
SEMI_MARKOV = [
    Example(semi_markov.log_partition, args(segment_scores)),
    Example(semi_markov.score, args(segment_scores, SEGMENTS)),
    Example(semi_markov.log_prob, args(segment_scores, SEGMENTS)),
    Example(semi_markov.constrain, args(segment_scores, np.ones((B, T, 2, C), bool))),
    Example(semi_markov.marginals, args(segment_scores), slow=True),
    Example(semi_markov.argmax, args(segment_scores), gradient=False, slow=True),
    Example(semi_markov.top_k, args(segment_scores, 2), gradient=False, slow=True),
    Example(semi_markov.sample, args(KEY, segment_scores, 2), gradient=False, vmap=False),
    Example(semi_markov.entropy, args(segment_scores), slow=True),
    Example(semi_markov.kl, args(segment_scores, segment_scores), slow=True),
    Example(semi_markov.expected_score, args(segment_scores, segment_scores), slow=True),
]


def moves(rng):
    return alignment.Scores(*draw(3, B, 2, T)(rng), np.array([[2, 3], [1, 2]]))


WAYS = np.array([[[1, 3, 0], [0, 0, 1]], [[1, 3, 0], [0, 0, 0]]])
ALIGNMENT = [
    Example(alignment.log_partition, args(moves)),
    Example(alignment.score, args(moves, WAYS)),
    Example(alignment.log_prob, args(moves, WAYS)),
    Example(alignment.constrain, args(moves, np.ones((B, 2, T), bool))),
    Example(alignment.with_gaps, args(draw(B, 2, T), draw(B))),
    Example(alignment.marginals, args(moves), slow=True),
    Example(alignment.argmax, args(moves), gradient=False, slow=True),
    Example(alignment.top_k, args(moves, 2), gradient=False, slow=True),
    Example(alignment.sample, args(KEY, moves, 2), gradient=False, vmap=False, slow=True),
    Example(alignment.entropy, args(moves), slow=True),
    Example(alignment.kl, args(moves, moves), slow=True),
    Example(alignment.expected_score, args(moves, moves), slow=True),
]


def rules(rng):
    own = draw(C)(rng), draw(C, C + 1, C + 1)(rng), draw(B, T, 1)(rng)
    return grammar.Scores(*own, np.array([3, 2]))


PARSES = grammar.Parse(
    np.array([[[0, 1], [3, 2]], [[0, 1], [0, 0]]]), np.zeros((B, 2), int), np.zeros((B, T), int)
)
GRAMMAR = [
    Example(grammar.log_partition, args(rules)),
    Example(grammar.score, args(rules, PARSES), slow=True),
    Example(grammar.log_prob, args(rules, PARSES), slow=True),
    Example(grammar.constrain, args(rules, np.ones((B, T, 1), bool))),
    Example(grammar.marginals, args(rules), slow=True),
    Example(grammar.argmax, args(rules), gradient=False, slow=True),
    Example(grammar.top_k, args(rules, 2), gradient=False, slow=True),
    Example(grammar.sample, args(KEY, rules, 2), gradient=False, vmap=False, slow=True),
    Example(grammar.entropy, args(rules), slow=True),
    Example(grammar.kl, args(rules, rules), slow=True),
    Example(grammar.expected_score, args(rules, rules), slow=True),
]


def tables(rng):
    scopes = factor_graph.Scopes([(0, 1, 2), (3, 1)])
    return factor_graph.Scores((draw(C, 2, C)(rng), draw(C, 2)(rng)), scopes)


ALL_TABLES = np.ones((C, 2, C), bool), np.ones((C, 2), bool)
FACTOR_GRAPH = [
    Example(factor_graph.log_partition, args(tables)),
    Example(factor_graph.score, args(tables, np.array([1, 0, 1, 0]))),
    Example(factor_graph.log_prob, args(tables, np.array([1, 0, 1, 0])), slow=True),
    Example(factor_graph.constrain, args(tables, ALL_TABLES)),
    Example(factor_graph.clamp, args(tables, {1: 0})),
    Example(factor_graph.marginals, args(tables), slow=True),
    Example(factor_graph.variable_marginals, args(tables), slow=True),
    Example(factor_graph.argmax, args(tables), gradient=False),
    Example(factor_graph.top_k, args(tables, 2), gradient=False, slow=True),
    Example(factor_graph.sample, args(KEY, tables, 2), gradient=False, vmap=False),
    Example(factor_graph.entropy, args(tables), slow=True),
    Example(factor_graph.kl, args(tables, tables), slow=True),
    Example(factor_graph.expected_score, args(tables, tables), slow=True),
]
NATS = [
    Example(nats.to_nats, args(draw(3))),
    Example(nats.largest, args(in_nats, 2), gradient=False),
    Example(nats.log_sum, args(in_nats)),
    Example(nats.log_sum_and_shares, args(in_nats)),
]
STRUCTURES = [*HMMS, *DEPENDENCY, *SEMI_MARKOV, *CTC, *ALIGNMENT, *GRAMMAR, *FACTOR_GRAPH, *NATS]
