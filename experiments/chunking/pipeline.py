"""What is asked of a tagger in training: tags in other schemes, log-probabilities, scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from rntn_jax import data, tagger
from rntn_jax.crf import chain, semi_markov
from rntn_jax.models import segment_tagger
from rntn_jax.tagger.column_features import attributes
from rntn_jax.tagger.column_segments import as_segments
from rntn_jax.tagger.column_tagger import (
    Model,
    Segmental,
    Sentence,
    Sparse,
    batches,
    compare,
    encode,
    predict,
)

__all__ = ["evaluate", "figures", "log_prob", "recode"]


def recode(sentences: Sequence[Sentence], source: Any, target: Any) -> list[list[Any]]:
    """Rows with their last column, the tag, in another scheme."""
    if source == target:
        return [list(rows) for rows in sentences]
    recoded = []
    for rows in sentences:
        tags = data.chunks.convert([row[-1] for row in rows], source, target)
        recoded.append([(*row[:-1], tag) for row, tag in zip(rows, tags)])
    return recoded


@jax.jit
def _log_prob(params: tagger.Params, batch: tagger.Batch):
    return chain.log_prob(tagger.apply(params, batch), batch.labels)


@jax.jit
def _log_prob_of_segments(params: segment_tagger.Params, batch: tagger.Batch):
    of_segments = as_segments(batch)
    scores = segment_tagger.apply(params, of_segments, singles=1)
    return semi_markov.log_prob(scores, of_segments.segments)


def log_prob(model: Model, sentences: Sequence[Sentence], batch_size: int = 64) -> np.ndarray:
    """Log-probability ``[S]`` of the tags, the last column; ``-inf`` of a tag never seen."""
    sentences = recode(sentences, model.info["scheme"], model.info["inner"])
    gold = [[row[-1] for row in rows] for rows in sentences]
    bare = [[row[:-1] for row in rows] for rows in sentences]
    if isinstance(model, Sparse):
        X = [attributes(rows, model.info["template"]) for rows in bare]
        return model.crf.log_prob(X, gold)
    number = {label: i for i, label in enumerate(model.labels)}
    labels = [np.array([number.get(tag, 0) for tag in tags]) for tags in gold]
    of_batch: Any = _log_prob_of_segments if isinstance(model, Segmental) else _log_prob
    nats = np.zeros(len(sentences))
    for members, batch in batches(encode(bare, model.vocabularies), labels, batch_size):
        nats[members] = np.asarray(of_batch(model.params, batch))[: len(members)]
    unseen = [not set(tags) <= set(model.labels) for tags in gold]
    return np.where(unseen, -np.inf, nats)


def evaluate(
    model: Model, sentences: Sequence[Sentence], constrained: bool = False
) -> tuple[list[list[str]], list[np.ndarray], data.chunks.Scores]:
    """Tags, marginals, and the scores of sentences whose last column is the tag."""
    tags, marginals = predict(model, [[r[:-1] for r in rows] for rows in sentences], constrained)
    return tags, marginals, compare(sentences, tags, model.info["scheme"])


def figures(scores: data.chunks.Scores, scheme: str) -> dict[str, float]:
    """The scores to show, as fractions: F1 where the tags are chunk tags, and token accuracy."""
    return ({"f1": scores.overall.f1} if scheme != "none" else {}) | {"accuracy": scores.accuracy}
