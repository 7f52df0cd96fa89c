"""Linear-chain CRFs: an exponential softmax over all labellings of a sequence."""

from rntn_jax.crf.chain.decoding import argmax, sample, top_k
from rntn_jax.crf.chain.hmm import HMM, em_step, filtered, from_hmm, predicted, smoothed
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
    "HMM",
    "Scores",
    "argmax",
    "constrain",
    "em_step",
    "entropy",
    "expected_score",
    "filtered",
    "from_hmm",
    "kl",
    "log_partition",
    "log_prob",
    "marginals",
    "predicted",
    "sample",
    "score",
    "smoothed",
    "top_k",
]


def __dir__() -> list[str]:
    return sorted(__all__)
