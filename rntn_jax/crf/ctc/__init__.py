"""Connectionist temporal classification: targets aligned with frames, all alignments summed."""

from rntn_jax.crf.ctc.decoding import Found, argmax, beam_search, greedy
from rntn_jax.crf.ctc.queries import log_prob, loss, marginals
from rntn_jax.crf.ctc.scores import Scores

__all__ = ["Found", "Scores", "argmax", "beam_search", "greedy", "log_prob", "loss", "marginals"]


def __dir__() -> list[str]:
    return sorted(__all__)
