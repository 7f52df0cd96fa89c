"""Binary trees over sentences: an exponential softmax of scores of spans."""

from rntn_jax.crf.constituency.queries import (
    Scores,
    argmax,
    constrain,
    entropy,
    log_partition,
    log_prob,
    marginals,
    score,
)

__all__ = [
    "Scores",
    "argmax",
    "constrain",
    "entropy",
    "log_partition",
    "log_prob",
    "marginals",
    "score",
]
