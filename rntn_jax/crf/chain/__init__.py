"""Linear-chain CRFs: an exponential softmax over all labellings of a sequence."""

from rntn_jax.crf.chain.queries import (
    Scores,
    argmax,
    constrain,
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
