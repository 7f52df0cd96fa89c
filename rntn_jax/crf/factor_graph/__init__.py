"""Graphs with tables over any number of variables, each with as many labels as it has."""

from rntn_jax.crf.factor_graph.decoding import argmax, sample, top_k
from rntn_jax.crf.factor_graph.information import entropy, kl
from rntn_jax.crf.factor_graph.queries import (
    expected_score,
    log_partition,
    log_prob,
    marginals,
    score,
    variable_marginals,
)
from rntn_jax.crf.factor_graph.scores import Scopes, Scores, clamp, constrain

__all__ = [
    "Scopes",
    "Scores",
    "argmax",
    "clamp",
    "constrain",
    "entropy",
    "expected_score",
    "kl",
    "log_partition",
    "log_prob",
    "marginals",
    "sample",
    "score",
    "top_k",
    "variable_marginals",
]


def __dir__() -> list[str]:
    return sorted(__all__)
