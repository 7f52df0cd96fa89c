"""CRFs on graphs with given edges: an exponential softmax over the labellings of all nodes.

A labelling ``y`` scores ``sum_i node[i, y_i] + sum_e edge[e, y_i, y_j]``, with ``(i, j) =
edges[e]``, and has probability ``exp(score - ln Z)`` (source 004). Computing ``Z`` is #P-hard in
general. Where the graph has small bags (trees, narrow grids, a few long-range edges) it is exact,
by elimination; else by belief propagation, its tree-reweighted form (an upper bound) or mean field
(a lower bound). Here are scores of nodes and pairs, of one number of labels; tables over three
variables and more, or each with labels of its own number, are `rntn_jax.crf.factor_graph`'s.
"""

from rntn_jax.crf.graph.annealing import Estimate, annealed_log_partition
from rntn_jax.crf.graph.builders import grid_edges, random_edges
from rntn_jax.crf.graph.decoding import argmax, sample, top_k
from rntn_jax.crf.graph.evidence import clamp, constrain, joint_marginals
from rntn_jax.crf.graph.fixed_point import Options
from rntn_jax.crf.graph.free_energy import Beliefs
from rntn_jax.crf.graph.learning import contrastive_divergence, pseudo_log_likelihood
from rntn_jax.crf.graph.neighbours import Neighbours, colours, neighbours
from rntn_jax.crf.graph.order import best_order
from rntn_jax.crf.graph.plan import Plan, Shape, plan
from rntn_jax.crf.graph.queries import (
    beliefs,
    entropy,
    expected_score,
    kl,
    log_partition,
    log_prob,
    marginals,
)
from rntn_jax.crf.graph.sampling import gibbs, icm
from rntn_jax.crf.graph.scores import Scores, score

__all__ = [
    "Beliefs",
    "Estimate",
    "Neighbours",
    "Options",
    "Plan",
    "Scores",
    "Shape",
    "annealed_log_partition",
    "argmax",
    "beliefs",
    "best_order",
    "clamp",
    "colours",
    "constrain",
    "contrastive_divergence",
    "entropy",
    "expected_score",
    "gibbs",
    "grid_edges",
    "icm",
    "joint_marginals",
    "kl",
    "log_partition",
    "log_prob",
    "marginals",
    "neighbours",
    "plan",
    "pseudo_log_likelihood",
    "random_edges",
    "sample",
    "score",
    "top_k",
]


def __dir__() -> list[str]:
    return sorted(__all__)
