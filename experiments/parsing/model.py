"""A trained parser as one file, and its trees."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rntn_jax import data
from rntn_jax.models import parser
from rntn_jax.training import CheckpointError, load_pytree, read_info, save_pytree

__all__ = [
    "Model",
    "columns",
    "evaluate",
    "examples",
    "load_model",
    "parse",
    "save_model",
    "vocabularies_of",
]

BATCH = 256  # sentences parsed at a time


class Model(NamedTuple):
    """Everything needed to parse a tagged sentence."""

    params: parser.Params
    vocabularies: tuple[data.Vocabulary, ...]  # of the columns
    relations: list[str]
    config: parser.Config
    options: dict[str, Any]  # feats, suffixes, activation


def columns(sentence: data.ConlluSentence, options: dict[str, Any]) -> list[list[str]]:
    """What the network may know of words: form, tag, and as asked features and suffix."""
    low = [form.lower() for form in sentence.forms]
    found = [low, list(sentence.upos)]
    if options["feats"]:
        found.append(list(sentence.feats))
    if options["suffixes"]:
        found.append([form[-3:] for form in low])
    return found


def vocabularies_of(
    sentences: Sequence[data.ConlluSentence], options: dict[str, Any], min_count: int
) -> tuple[data.Vocabulary, ...]:
    """A vocabulary for each column; rare words, features and suffixes are unknown."""
    described = [columns(sentence, options) for sentence in sentences]
    return tuple(
        data.Vocabulary.build(
            (word for rows in described for word in rows[k]), 1 if k == 1 else min_count
        )
        for k in range(len(described[0]))
    )


def _padded(
    sentences: Sequence[data.ConlluSentence],
    vocabularies: Sequence[data.Vocabulary],
    options: dict[str, Any],
    steps: int,
) -> parser.Sentences:
    """Always `BATCH` rows; the root has an id of its own, the last."""
    ids = tuple(np.zeros((BATCH, steps + 2), np.int32) for _ in vocabularies)
    length = np.zeros(BATCH, np.int32)
    for row, sentence in enumerate(sentences):
        length[row] = len(sentence.forms)
        for own, vocabulary, words in zip(ids, vocabularies, columns(sentence, options)):
            own[row, 1 : length[row] + 1] = vocabulary.encode(words)
    for own, vocabulary in zip(ids, vocabularies):
        own[:, 0] = len(vocabulary)
    return parser.Sentences(ids, length)


def _groups(sentences: Sequence[data.ConlluSentence]) -> Iterator[tuple[np.ndarray, int]]:
    """Members of batches of like length, and the length to pad to; few different ones."""
    sizes = np.array([len(sentence.forms) for sentence in sentences])
    order = np.argsort(sizes, kind="stable")
    for at in range(0, len(order), BATCH):
        members = order[at : at + BATCH]
        yield members, max(32, 1 << int(sizes[members].max() - 1).bit_length())


_examples = jax.jit(parser.examples, static_argnums=3)
_decode = jax.jit(parser.decode, static_argnames=("root", "activation"))
_precompute = jax.jit(parser.precompute)


def examples(
    sentences: Sequence[data.ConlluSentence],
    vocabularies: Sequence[data.Vocabulary],
    relations: list[str],
    options: dict[str, Any],
) -> tuple[list[np.ndarray], np.ndarray, int]:
    """What the network sees before each step to the gold trees, the steps, and the arcs lifted.

    Trees that are not projective are made so first.
    """
    number = {relation: r for r, relation in enumerate(relations)}
    seen, taken, lifted = [], [], 0
    for members, steps in _groups(sentences):
        group = [sentences[m] for m in members]
        heads = np.full((BATCH, steps + 2), -1, np.int32)
        labels = heads.copy()
        for row, sentence in enumerate(group):
            projective, lifts = data.dependencies.projectivise(sentence.heads)
            lifted += lifts
            heads[row, 1 : len(projective) + 1] = projective
            labels[row, 1 : len(projective) + 1] = [number[r] for r in sentence.relations]
        padded = _padded(group, vocabularies, options, steps)
        ids, step = jax.device_get(_examples(padded, heads, labels, len(relations)))
        seen.append([column[step >= 0] for column in ids])
        taken.append(step[step >= 0])
    columns_ = [np.concatenate(parts) for parts in zip(*seen)]
    return columns_, np.concatenate(taken), lifted


def parse(
    model: Model, sentences: Sequence[data.ConlluSentence]
) -> list[tuple[np.ndarray, list[str]]]:
    """Heads and relations of each sentence, from its forms and tags."""
    products = _precompute(model.params)
    root = model.relations.index("root")
    answers: list[Any] = [None] * len(sentences)
    for members, steps in _groups(sentences):
        padded = _padded([sentences[m] for m in members], model.vocabularies, model.options, steps)
        heads, labels = jax.device_get(
            _decode(
                model.params,
                padded,
                root=root,
                products=products,
                activation=model.options["activation"],
            )
        )
        for row, member in enumerate(members):
            end = len(sentences[member].forms) + 1
            names = [model.relations[r] for r in labels[row, 1:end]]
            answers[member] = heads[row, 1:end], names
    return answers


def evaluate(
    model: Model, sentences: Sequence[data.ConlluSentence]
) -> data.dependencies.AttachmentScores:
    """UAS, LAS and CLAS by the official definition."""
    return data.dependencies.attachment_scores(sentences, parse(model, sentences))


def save_model(path: str | os.PathLike[str], model: Model) -> None:
    """Writes a model to one safetensors file."""
    info = {
        "kind": "parser",
        "config": dataclasses.asdict(model.config),
        "vocabularies": [json.loads(v.to_json()) for v in model.vocabularies],
        "relations": model.relations,
        "options": model.options,
    }
    save_pytree(path, model.params, info)


def load_model(path: str | os.PathLike[str]) -> Model:
    """Reads what `save_model` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when the file is damaged or holds something else.
    """
    info = read_info(path)
    if info.get("kind") != "parser":
        raise CheckpointError(f"{path} does not hold a parser")
    lists: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in info["config"].items()
    }
    config = parser.Config(**lists)
    like = jax.eval_shape(lambda: parser.init(jax.random.key(0), config))
    params, _ = load_pytree(path, like)
    vocabularies = [data.Vocabulary.from_json(json.dumps(v)) for v in info["vocabularies"]]
    return Model(params, tuple(vocabularies), info["relations"], config, info["options"])
