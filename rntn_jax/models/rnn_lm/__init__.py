"""Recurrent language models (source 001: sigmoid, with biases; source 003: tanh, without).

A word's embedding feeds one or more recurrent layers (`rntn_jax.recurrent`), and the top state a
softmax over the vocabulary. Source 001 writes rows, as this library does; source 003 columns::

    here (rows)              001        003
    embedding                L          the columns of U (x_t is one-hot)
    cell.h                   H          W^T
    cell.i                   I          identity (`from_source_003`)
    cell.b                   b1         0
    head.w, head.b           U, b2      V^T, 0
"""

from rntn_jax.models.rnn_lm.generation import generate
from rntn_jax.models.rnn_lm.model import Aux, apply, loss, perplexity, score, states
from rntn_jax.models.rnn_lm.params import (
    Cell,
    Config,
    Head,
    Params,
    from_source_003,
    init,
    initial_carry,
    vocabulary_specs,
)

__all__ = [
    "Aux",
    "Cell",
    "Config",
    "Head",
    "Params",
    "apply",
    "from_source_003",
    "generate",
    "init",
    "initial_carry",
    "loss",
    "perplexity",
    "score",
    "states",
    "vocabulary_specs",
]


def __dir__() -> list[str]:
    return sorted(__all__)
