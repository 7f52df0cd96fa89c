"""A trained tagger as one file, and its answers for sentences."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.chunking.features import attributes, columns
from rntn_jax import data, sequences, tagger
from rntn_jax.crf import chain
from rntn_jax.training import CheckpointError, load_pytree, read_info, save_pytree

__all__ = [
    "Neural",
    "Sparse",
    "batches",
    "evaluate",
    "load_model",
    "log_prob",
    "predict",
    "save_model",
]

Sentence = Sequence[Sequence[str]]


class Sparse(NamedTuple):
    """A CRF over sparse features."""

    crf: tagger.CRF
    info: dict[str, Any]  # template, columns, and how it was trained

    @property
    def labels(self) -> list[str]:
        """The tags."""
        return self.crf.classes_

    @property
    def edge(self) -> np.ndarray:
        """Scores ``[C, C]`` of a tag followed by a tag."""
        found = self.crf.transition_features_
        return np.array([[found.get((i, j), 0.0) for j in self.labels] for i in self.labels])


class Neural(NamedTuple):
    """A neural tagger."""

    params: tagger.Params
    vocabularies: tuple[data.Vocabulary, ...]  # of the columns
    labels: list[str]
    config: tagger.Config
    info: dict[str, Any]  # columns, and how it was trained

    @property
    def edge(self) -> np.ndarray:
        """Scores ``[C, C]`` of a tag followed by a tag."""
        return np.asarray(self.params.edge)


Model = Sparse | Neural


def save_model(path: str | os.PathLike[str], model: Model) -> None:
    """Writes a model to one safetensors file."""
    if isinstance(model, Sparse):
        model.crf.save(path, info=model.info)
        return
    info = {
        "kind": "tagger",
        "config": dataclasses.asdict(model.config),
        "vocabularies": [json.loads(v.to_json()) for v in model.vocabularies],
        "labels": model.labels,
        "info": model.info,
    }
    save_pytree(path, model.params, info)


def load_model(path: str | os.PathLike[str]) -> Model:
    """Reads what `save_model` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when the file is damaged or holds something else.
    """
    info = read_info(path)
    if info.get("kind") == "sparse_crf":
        return Sparse(tagger.CRF.load(path), info["info"])
    if info.get("kind") != "tagger":
        raise CheckpointError(f"{path} does not hold a tagger")
    lists = {k: tuple(v) if isinstance(v, list) else v for k, v in info["config"].items()}
    config = tagger.Config(**lists)
    like = jax.eval_shape(lambda: tagger.init(jax.random.key(0), config))
    params, _ = load_pytree(path, like)
    vocabularies = [data.Vocabulary.from_json(json.dumps(v)) for v in info["vocabularies"]]
    return Neural(params, tuple(vocabularies), info["labels"], config, info["info"])


def batches(
    sentences: Sequence[Sentence],
    vocabularies: Sequence[data.Vocabulary],
    labels: list[str] | None,
    batch_size: int,
    seed: int | None = None,
):
    """Members and padded arrays of minibatches of like length; the last column is the tag.

    Without ``labels`` no column is a tag. Always ``batch_size`` rows, so that a length compiles
    once; tags that are not among the labels count as the first.
    """
    described = [columns([r[:-1] for r in s] if labels is not None else s) for s in sentences]
    ids = [
        np.stack([v.encode(column) for v, column in zip(vocabularies, zip(*rows))], axis=1)
        for rows in described
    ]
    number = {label: i for i, label in enumerate(labels or ())}
    lengths = [len(rows) for rows in ids]
    for members, steps in sequences.buckets(lengths, batch_size, seed, granularity=16):
        batch = tagger.Batch(
            np.zeros((batch_size, steps, len(vocabularies)), np.int32),
            np.zeros((batch_size, steps), np.int32),
            np.zeros((batch_size, steps), bool),
        )
        for row, member in enumerate(members):
            size = lengths[member]
            batch.ids[row, :size] = ids[member]
            batch.mask[row, :size] = True
            if labels is not None:
                tags = [number.get(columns_[-1], 0) for columns_ in sentences[member]]
                batch.labels[row, :size] = tags
        yield members, batch


@jax.jit
def _answer(params: tagger.Params, batch: tagger.Batch, constraints: tuple[Any, Any, Any]):
    """Best labels, and marginals."""
    scores = tagger.apply(params, batch)
    best, _ = chain.argmax(chain.constrain(scores, *constraints))
    return best, chain.marginals(scores).node


def constraints_of(labels: list[str], scheme: str) -> tuple[Any, Any, Any]:
    """Transitions, starts and ends that a scheme allows; "none": all."""
    if scheme == "none":
        c = len(labels)
        return np.ones((c, c), bool), np.ones(c, bool), np.ones(c, bool)
    rules = data.chunks.allowed_transitions, data.chunks.allowed_start, data.chunks.allowed_end
    return tuple(rule(labels, scheme) for rule in rules)  # pyright: ignore[reportReturnType, reportArgumentType]


def predict(
    model: Model, sentences: Sequence[Sentence], scheme: str = "none", batch_size: int = 64
) -> tuple[list[list[str]], list[np.ndarray]]:
    """Tags of sentences without a tag column, and marginals ``[T, C]`` in the order of the labels.

    Args:
        model: the tagger.
        sentences: rows without tags.
        scheme: only sequences that are well-formed in it are decoded; "none": any.
        batch_size: sentences at a time.
    """
    constraints = constraints_of(model.labels, scheme)
    if isinstance(model, Sparse):
        X = [attributes(rows, model.info["template"]) for rows in sentences]
        marginals = [
            np.array([[token[label] for label in model.labels] for token in sentence])
            for sentence in model.crf.predict_marginals(X)
        ]
        return model.crf.predict(X, constraints), marginals
    tags: list[list[str]] = [[]] * len(sentences)
    probabilities: list[np.ndarray] = [np.zeros((0, len(model.labels)))] * len(sentences)
    for members, batch in batches(sentences, model.vocabularies, None, batch_size):
        best, marginals = jax.device_get(_answer(model.params, batch, constraints))
        for row, member in enumerate(members):
            size = len(sentences[member])
            tags[member] = [model.labels[c] for c in best[row, :size]]
            probabilities[member] = marginals[row, :size]
    return tags, probabilities


@jax.jit
def _log_prob(params: tagger.Params, batch: tagger.Batch):
    return chain.log_prob(tagger.apply(params, batch), batch.labels)


def log_prob(model: Model, sentences: Sequence[Sentence], batch_size: int = 64) -> np.ndarray:
    """Log-probability ``[S]`` of the tags, the last column; ``-inf`` of a tag never seen."""
    gold = [[row[-1] for row in rows] for rows in sentences]
    if isinstance(model, Sparse):
        X = [attributes([row[:-1] for row in rows], model.info["template"]) for rows in sentences]
        return model.crf.log_prob(X, gold)
    nats = np.zeros(len(sentences))
    for members, batch in batches(sentences, model.vocabularies, model.labels, batch_size):
        nats[members] = np.asarray(_log_prob(model.params, batch))[: len(members)]
    unseen = [not set(tags) <= set(model.labels) for tags in gold]
    return np.where(unseen, -np.inf, nats)


def evaluate(model: Model, sentences: Sequence[Sentence], scheme: str = "none"):
    """Tags, marginals, and `data.chunks.evaluate` of sentences whose last column is the tag."""
    tags, marginals = predict(model, [[row[:-1] for row in rows] for rows in sentences], scheme)
    gold = [[row[-1] for row in rows] for rows in sentences]
    return tags, marginals, data.chunks.evaluate(gold, tags)
