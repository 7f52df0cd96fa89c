"""Taggers: the neural one's functions, and `CRF`, an estimator over sparse features."""

from rntn_jax.models.tagger import Batch, Config, Params, apply, init, loss
from rntn_jax.tagger.estimator import CRF, NotFittedError
from rntn_jax.tagger.training_log import TrainingLog

__all__ = [
    "CRF",
    "Batch",
    "Config",
    "NotFittedError",
    "Params",
    "TrainingLog",
    "apply",
    "init",
    "loss",
]


def __dir__() -> list[str]:
    return sorted(__all__)
