"""CRFs on graphs with given edges: an exponential softmax over the labellings of all nodes.

A labelling ``y`` scores ``sum_i node[i, y_i] + sum_e edge[e, y_i, y_j]``, with ``(i, j) =
edges[e]``, and has probability ``exp(score - ln Z)`` (source 004). Computing ``Z`` is #P-hard in
general. Where the graph has small bags (trees, narrow grids, a few long-range edges) it is exact,
by elimination.
"""

from rntn_jax.crf.graph.plan import Plan, Shape, plan
from rntn_jax.crf.graph.queries import (
    argmax,
    entropy,
    expected_score,
    kl,
    log_partition,
    log_prob,
    marginals,
    sample,
)
from rntn_jax.crf.graph.scores import Scores, score

__all__ = [
    "Plan",
    "Scores",
    "Shape",
    "argmax",
    "entropy",
    "expected_score",
    "kl",
    "log_partition",
    "log_prob",
    "marginals",
    "plan",
    "sample",
    "score",
]
