"""Semi-Markov CRFs: an exponential softmax over all segmentations of a sequence."""

from rntn_jax.crf.semi_markov.decoding import argmax, sample, top_k
from rntn_jax.crf.semi_markov.queries import (
    entropy,
    expected_score,
    kl,
    log_partition,
    log_prob,
    marginals,
    score,
)
from rntn_jax.crf.semi_markov.scores import Scores, Segments, constrain
from rntn_jax.crf.semi_markov.tags import from_bio, to_bio

__all__ = [
    "Scores",
    "Segments",
    "argmax",
    "constrain",
    "entropy",
    "expected_score",
    "from_bio",
    "kl",
    "log_partition",
    "log_prob",
    "marginals",
    "sample",
    "score",
    "to_bio",
    "top_k",
]


def __dir__() -> list[str]:
    return sorted(__all__)
