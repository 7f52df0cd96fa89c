"""Taggers of files of columns, sparse, neural or of segments: a file each, and their answers.

A sentence is a list of rows, a token each: the word, the part of speech if there is one, and
whatever else. The last column is the tag where tags are given.
"""

from __future__ import annotations

import dataclasses
import json
import os
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rntn_jax import data, sequences
from rntn_jax.crf import chain
from rntn_jax.models import segment_tagger, tagger
from rntn_jax.tagger.column_features import TEMPLATES, attributes, columns
from rntn_jax.tagger.column_segments import OUTSIDE, Segmental, answer, tags_of
from rntn_jax.tagger.estimator import CRF
from rntn_jax.training import (
    CheckpointError,
    read_info,
    require,
    save_pytree,
    shapes_of,
    texts,
    tuples,
)
from rntn_jax.training import load_model as load_model_file

__all__ = [
    "Model",
    "Neural",
    "Segmental",
    "Sparse",
    "batches",
    "compare",
    "constraints_of",
    "encode",
    "load_model",
    "predict",
    "save_model",
]

SCHEMES = typing.get_args(data.chunks.Scheme)

Sentence = Sequence[Sequence[str]]


class Sparse(NamedTuple):
    """A CRF over sparse features."""

    crf: CRF
    info: dict[str, Any]  # template, columns, and how it was trained

    @property
    def labels(self) -> list[str]:
        """The tags."""
        return self.crf.classes_

    @property
    def edge_labels(self) -> list[str]:
        """Of the rows and columns of `edge`."""
        return self.labels

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
    def edge_labels(self) -> list[str]:
        """Of the rows and columns of `edge`."""
        return self.labels

    @property
    def edge(self) -> np.ndarray:
        """Scores ``[C, C]`` of a tag followed by a tag."""
        return np.asarray(self.params.edge)


Model = Sparse | Neural | Segmental


def save_model(path: str | os.PathLike[str], model: Model) -> None:
    """Writes a model to one safetensors file.

    Args:
        path: the file; it is replaced if it exists.
        model: what is written.
    """
    if isinstance(model, Sparse):
        model.crf.save(path, info=model.info)
        return
    info = {
        "kind": "segment_tagger" if isinstance(model, Segmental) else "tagger",
        "config": dataclasses.asdict(model.config),
        "vocabularies": [json.loads(v.to_json()) for v in model.vocabularies],
        "labels": model.types if isinstance(model, Segmental) else model.labels,
        "info": model.info,
    }
    save_pytree(path, model.params, info)


def load_model(path: str | os.PathLike[str]) -> Model:
    """Reads what `save_model` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when the file is damaged or holds something else.
    """
    content = read_info(path)
    if content.get("kind") == "sparse_crf":
        crf, info = CRF.load(path), content["info"]
        try:
            _check_info(info, crf.classes_)
            require(info["template"] in TEMPLATES, f"template is {info['template']!r}")
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"{path} does not hold a tagger that can be: {error}") from error
        return Sparse(crf, info)
    if content.get("kind") == "segment_tagger":
        return load_model_file(path, "segment_tagger", "a tagger", _describe_segments)
    return load_model_file(path, "tagger", "a tagger", _describe)


def _describe(info: dict[str, Any]) -> tuple[Any, Callable[[Any], Neural]]:
    """Shapes of the parameters of a neural tagger, and the tagger that they make."""
    config = tagger.Config(**tuples(info["config"]))
    labels = texts(info["labels"], "labels", config.num_classes)
    vocabularies, how = _known(info, config, labels)
    return shapes_of(tagger.init, config), lambda params: Neural(
        params, vocabularies, labels, config, how
    )


def _describe_segments(info: dict[str, Any]) -> tuple[Any, Callable[[Any], Segmental]]:
    """Likewise of a tagger of segments."""
    config = segment_tagger.Config(**tuples(info["config"]))
    types = texts(info["labels"], "labels", config.num_labels)
    require(types[0] == OUTSIDE, f"the first type is {types[0]!r:.40}")
    vocabularies, how = _known(info, config, tags_of(types))
    require(how["inner"] == "bio", f"inner is {how['inner']!r:.40}")
    return shapes_of(segment_tagger.init, config), lambda params: Segmental(
        params, vocabularies, types, config, how
    )


def _known(
    info: dict[str, Any], config: tagger.Config | segment_tagger.Config, labels: list[str]
) -> tuple[tuple[data.Vocabulary, ...], dict[str, Any]]:
    """Vocabularies, and how the tagger was trained."""
    vocabularies = tuple(data.Vocabulary.from_json(json.dumps(v)) for v in info["vocabularies"])
    words = tuple(map(len, vocabularies))
    require(
        words == config.vocab_sizes,
        f"the vocabularies have {words} words, the model {config.vocab_sizes}",
    )
    how = info["info"]
    _check_info(how, labels)
    require(how["columns"] <= len(words) + 1, f"the number of columns is {how['columns']}")
    described = columns([("a",) * (how["columns"] - 1)])[0]
    require(
        len(described) == len(words),
        f"{how['columns']} columns make {len(described)} of the network, which has {len(words)}",
    )
    return vocabularies, how


def _check_info(info: dict[str, Any], labels: list[str]) -> None:
    """Whether the columns can be, and the labels be decoded in the schemes that are named."""
    count = info["columns"]
    require(
        isinstance(count, int) and not isinstance(count, bool) and count >= 2,
        f"the number of columns is {str(count)[:40]}",
    )
    for name in ("scheme", "inner"):
        scheme = info[name]
        require(scheme in (*SCHEMES, "none"), f"{name} is {scheme!r:.40}")
        if name == "inner" and scheme != "none":
            constraints_of(labels, scheme)


def encode(
    sentences: Sequence[Sentence], vocabularies: Sequence[data.Vocabulary]
) -> list[np.ndarray]:
    """Ids ``[T, columns]`` of sentences without a tag column.

    Args:
        sentences: rows without a tag column.
        vocabularies: of the columns that `columns` makes of them.

    Returns:
        int ``[T, columns]`` of each sentence.
    """
    described = [zip(*columns(rows)) for rows in sentences]
    return [
        np.stack([v.encode(column) for v, column in zip(vocabularies, rows)], axis=1)
        for rows in described
    ]


def batches(
    ids: Sequence[np.ndarray],
    tags: Sequence[np.ndarray] | None,
    batch_size: int,
    seed: int | None = None,
    granularity: int = 32,
) -> Iterator[tuple[np.ndarray, tagger.Batch]]:
    """Members and padded arrays of minibatches of like length.

    Always ``batch_size`` rows, so that a length compiles once.

    Args:
        ids: int32 ``[T, columns]`` of each sentence.
        tags: int ``[T]`` of each; None: not known.
        batch_size: rows.
        seed: as `rntn_jax.sequences.buckets` takes it.
        granularity: likewise.

    Yields:
        Numbers of sentences, and a `Batch` whose other rows are masked.
    """
    lengths = [len(rows) for rows in ids]
    for members, steps in sequences.buckets(lengths, batch_size, seed, granularity):
        batch = tagger.Batch(
            np.zeros((batch_size, steps, ids[0].shape[1]), np.int32),
            np.zeros((batch_size, steps), np.int32),
            np.zeros((batch_size, steps), bool),
        )
        for row, member in enumerate(members):
            size = lengths[member]
            batch.ids[row, :size] = ids[member]
            batch.mask[row, :size] = True
            if tags is not None:
                batch.labels[row, :size] = tags[member]
        yield members, batch


@jax.jit
def _answer(
    params: tagger.Params, batch: tagger.Batch, constraints: tuple[Any, Any, Any]
) -> tuple[jax.Array, jax.Array]:
    """Best labels, and marginals."""
    scores = tagger.apply(params, batch)
    best, _ = chain.argmax(chain.constrain(scores, *constraints))
    return best, chain.marginals(scores).node


def constraints_of(labels: list[str], scheme: Any) -> tuple[Any, Any, Any]:
    """Transitions, starts and ends that a scheme allows.

    Args:
        labels: the C labels.
        scheme: theirs.

    Returns:
        bool ``[C, C]``, ``[C]`` and ``[C]``.
    """
    rules = data.chunks.allowed_transitions, data.chunks.allowed_start, data.chunks.allowed_end
    edge, start, end = (rule(labels, scheme) for rule in rules)
    return edge, start, end


def predict(
    model: Model, sentences: Sequence[Sentence], constrained: bool = False, batch_size: int = 64
) -> tuple[list[list[str]], list[np.ndarray]]:
    """Tags of sentences without a tag column, and marginals ``[T, C]`` in the order of the labels.

    Args:
        model: the tagger.
        sentences: rows without tags.
        constrained: decode only what is well-formed in the labels' scheme; always so when that is
            not the scheme of the tags, and of segments.
        batch_size: sentences at a time.

    Returns:
        Of each sentence a list of tags, and ``[T, C]`` probabilities.
    """
    c = len(model.labels)
    scheme: Any = model.info["scheme"]
    inner: Any = model.info["inner"]
    constraints: Any = np.ones((c, c), bool), np.ones(c, bool), np.ones(c, bool)
    if (constrained and str(inner) != "none") or inner != scheme:
        constraints = constraints_of(model.labels, inner)
    if isinstance(model, Sparse):
        X = [attributes(rows, model.info["template"]) for rows in sentences]
        probabilities = [
            np.array([[token[label] for label in model.labels] for token in sentence])
            for sentence in model.crf.predict_marginals(X)
        ]
        tags = model.crf.predict(X, constraints)
    else:
        tags = [[] for _ in sentences]
        probabilities = [np.zeros((0, c)) for _ in sentences]
        ids = encode(sentences, model.vocabularies)
        for members, batch in batches(ids, None, batch_size):
            if isinstance(model, Segmental):
                found = answer(model.params, batch)
            else:
                found = _answer(model.params, batch, constraints)
            best, marginals = jax.device_get(found)
            for row, member in enumerate(members):
                size = len(sentences[member])
                tags[member] = [model.labels[c] for c in best[row, :size]]
                probabilities[member] = marginals[row, :size]
    if inner != scheme:
        tags = [data.chunks.convert(row, inner, scheme) for row in tags]
    return tags, probabilities


def compare(
    sentences: Sequence[Sentence], tags: Sequence[Sequence[str]], scheme: str
) -> data.chunks.Scores:
    """Scores of predicted tags of chunks and tokens; with the scheme ``none``, of tokens alone.

    Args:
        sentences: rows whose last column is the tag.
        tags: of each sentence, the predicted ones.
        scheme: of both.

    Returns:
        The scores.
    """
    gold = [[row[-1] for row in rows] for rows in sentences]
    if scheme != "none":
        return data.chunks.evaluate(gold, tags)
    pairs = [pair for rows in zip(gold, tags) for pair in zip(*rows)]
    right = sum(tag == guess for tag, guess in pairs)
    return data.chunks.Scores(data.chunks.Counts(0, 0, 0), {}, len(pairs), right)
