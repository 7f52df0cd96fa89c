"""CRFs on trees and forests: an exponential softmax over the labellings of all their nodes."""

from rntn_jax.crf.forest.plan import Plan, plan
from rntn_jax.crf.forest.queries import (
    argmax,
    entropy,
    expected_score,
    kl,
    log_partition,
    log_prob,
    marginals,
    sample,
    score,
    top_k,
)
from rntn_jax.crf.forest.scores import Scores

__all__ = [
    "Plan",
    "Scores",
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
    "top_k",
]


def __dir__() -> list[str]:
    return sorted(__all__)
