"""Dependency trees over sentences: an exponential softmax of scores of arcs."""

from rntn_jax.crf.dependency.decoding import argmax, sample, top_k
from rntn_jax.crf.dependency.information import entropy, kl
from rntn_jax.crf.dependency.queries import (
    expected_score,
    log_partition,
    log_prob,
    marginals,
    score,
)
from rntn_jax.crf.dependency.scores import Arcs, Scores, constrain, undirected

__all__ = [
    "Arcs",
    "Scores",
    "argmax",
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
    "undirected",
]


def __dir__() -> list[str]:
    return sorted(__all__)
