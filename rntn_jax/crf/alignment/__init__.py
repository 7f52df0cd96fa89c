"""Monotone alignments of two sequences: an exponential softmax over all of them."""

from rntn_jax.crf.alignment.decoding import argmax, sample, top_k
from rntn_jax.crf.alignment.queries import (
    entropy,
    expected_score,
    kl,
    log_partition,
    log_prob,
    marginals,
    score,
)
from rntn_jax.crf.alignment.scores import (
    MATCH,
    SKIP_LEFT,
    SKIP_RIGHT,
    Scores,
    constrain,
    with_gaps,
)

__all__ = [
    "MATCH",
    "SKIP_LEFT",
    "SKIP_RIGHT",
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
    "with_gaps",
]


def __dir__() -> list[str]:
    return sorted(__all__)
