"""Binary trees over sentences: an exponential softmax of scores of spans."""

from rntn_jax.crf.constituency.decoding import argmax, sample, top_k
from rntn_jax.crf.constituency.information import entropy, kl
from rntn_jax.crf.constituency.queries import (
    expected_score,
    log_partition,
    log_prob,
    marginals,
    score,
)
from rntn_jax.crf.constituency.scores import Parse, Scores, constrain, to_spans

__all__ = [
    "Parse",
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
    "to_spans",
    "top_k",
]


def __dir__() -> list[str]:
    return sorted(__all__)
