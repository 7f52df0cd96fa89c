"""Linear-chain CRFs: an exponential softmax over all labellings of a sequence."""

from rntn_jax.crf.chain.decoding import argmax, sample, top_k
from rntn_jax.crf.chain.queries import (
    entropy,
    expected_score,
    kl,
    log_partition,
    log_prob,
    marginals,
    score,
)
from rntn_jax.crf.chain.scores import Scores, constrain

__all__ = [
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
]


def __dir__() -> list[str]:
    return sorted(__all__)
