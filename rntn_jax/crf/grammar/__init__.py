"""Grammars in Chomsky normal form: an exponential softmax over all parses of a sentence."""

from rntn_jax.crf.grammar.decoding import argmax, sample, top_k
from rntn_jax.crf.grammar.information import entropy, kl
from rntn_jax.crf.grammar.queries import (
    constrain,
    expected_score,
    log_partition,
    log_prob,
    marginals,
    score,
)
from rntn_jax.crf.grammar.scores import LowRank, Parse, Scores

__all__ = [
    "LowRank",
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
    "top_k",
]


def __dir__() -> list[str]:
    return sorted(__all__)
