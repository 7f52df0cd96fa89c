"""Binary trees over sentences: an exponential softmax of scores of spans."""

from rntn_jax.crf.constituency.queries import (
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
from rntn_jax.crf.constituency.scores import Scores, constrain, to_spans

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
    "to_spans",
    "top_k",
]


def __dir__() -> list[str]:
    return sorted(__all__)
