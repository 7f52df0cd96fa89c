"""A trained parser as one file, and its trees."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from rntn_jax import data, sequences
from rntn_jax.models import context_parser, encoder, parser
from rntn_jax.training import load_model as load_model_file
from rntn_jax.training import require, save_pytree, shapes_of, texts, tuples

__all__ = [
    "Model",
    "batches_in_context",
    "columns",
    "evaluate",
    "load_model",
    "parse",
    "save_model",
    "vocabularies_of",
    "windows",
]

AREA = 1 << 14  # words parsed at a time, with padding


class Model(NamedTuple):
    """Everything needed to parse a tagged sentence."""

    params: parser.Params | context_parser.Params
    vocabularies: tuple[data.Vocabulary, ...]  # of the columns
    relations: list[str]
    config: parser.Config | context_parser.Config
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
    rows: int,
    words: int,
) -> parser.Sentences:
    """So many rows of so many words; the root has an id of its own, the last."""
    ids = tuple(np.zeros((rows, words + 2), np.int32) for _ in vocabularies)
    length = np.zeros(rows, np.int32)
    for row, sentence in enumerate(sentences):
        length[row] = len(sentence.forms)
        for own, vocabulary, column in zip(ids, vocabularies, columns(sentence, options)):
            own[row, 1 : length[row] + 1] = vocabulary.encode(column)
    for own, vocabulary in zip(ids, vocabularies):
        own[:, 0] = len(vocabulary)
    return parser.Sentences(ids, length)


def _batches(
    sentences: Sequence[data.ConlluSentence], least: int, area: int
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Members of batches of like length, and the rows and words to pad to; few different ones.

    Words are a power of two, at least ``least``; rows, as many as ``area`` words make.
    """
    return sequences.padded_batches(
        [len(sentence.forms) for sentence in sentences],
        partial(sequences.power_of_two, least=least),
        lambda words, _: max(area // words, 1),
    )


_oracle_transitions = jax.jit(parser.oracle_transitions, static_argnums=3)
_decode = jax.jit(parser.decode, static_argnames=("root", "activation"))
_decode_in_context = jax.jit(context_parser.decode, static_argnames=("root", "activation"))
_precompute = jax.jit(parser.precompute)


class Gold(NamedTuple):
    """Sentences and the steps to their trees, padded."""

    sentences: parser.Sentences
    heads: np.ndarray  # int [B, T + 2], -1 where there is no word
    relations: np.ndarray  # int [B, T + 2]
    lifted: int  # arcs, to make the trees projective


def _gold(
    sentences: Sequence[data.ConlluSentence],
    vocabularies: Sequence[data.Vocabulary],
    relations: list[str],
    options: dict[str, Any],
    least: int,
    area: int,
) -> Iterator[Gold]:
    number = {relation: r for r, relation in enumerate(relations)}
    for members, rows, words in _batches(sentences, least, area):
        group = [sentences[m] for m in members]
        heads = np.full((rows, words + 2), -1, np.int32)
        labels, lifted = heads.copy(), 0
        for row, sentence in enumerate(group):
            projective, lifts = data.dependencies.projectivise(sentence.heads)
            lifted += lifts
            heads[row, 1 : len(projective) + 1] = projective
            labels[row, 1 : len(projective) + 1] = [number[r] for r in sentence.relations]
        yield Gold(_padded(group, vocabularies, options, rows, words), heads, labels, lifted)


def windows(
    sentences: Sequence[data.ConlluSentence],
    vocabularies: Sequence[data.Vocabulary],
    relations: list[str],
    options: dict[str, Any],
) -> tuple[list[np.ndarray], np.ndarray, int]:
    """What the network sees before each step to the gold trees, the steps, and the arcs lifted.

    Trees that are not projective are made so first.
    """
    seen, taken, lifted = [], [], 0
    for gold in _gold(sentences, vocabularies, relations, options, 32, AREA):
        ids, step = jax.device_get(
            _oracle_transitions(gold.sentences, gold.heads, gold.relations, len(relations))
        )
        seen.append([column[step >= 0] for column in ids])
        taken.append(step[step >= 0])
        lifted += gold.lifted
    columns_ = [np.concatenate(parts) for parts in zip(*seen)]
    return columns_, np.concatenate(taken), lifted


def batches_in_context(
    sentences: Sequence[data.ConlluSentence],
    vocabularies: Sequence[data.Vocabulary],
    relations: list[str],
    options: dict[str, Any],
    steps: int,
) -> tuple[list[context_parser.Batch], int]:
    """Minibatches of sentences of like length, of so many steps each, and the arcs lifted."""
    found, lifted = [], 0
    for gold in _gold(sentences, vocabularies, relations, options, 16, steps // 2):
        rows, size = gold.heads.shape
        positions = np.broadcast_to(np.arange(size, dtype=np.int32), (rows, size))
        places = parser.Sentences((positions,), gold.sentences.length)
        (seen, labels), step = jax.device_get(
            _oracle_transitions(places, gold.heads, gold.relations, len(relations))
        )
        found.append(context_parser.Batch(gold.sentences, seen, labels, step))
        lifted += gold.lifted
    return found, lifted


def parse(
    model: Model, sentences: Sequence[data.ConlluSentence]
) -> list[tuple[np.ndarray, list[str]]]:
    """Heads and relations of each sentence, from its forms and tags."""
    root, activation = model.relations.index("root"), model.options["activation"]
    if isinstance(model.config, context_parser.Config):
        run = partial(_decode_in_context, model.params, root=root, activation=activation)
        area = AREA // 4  # the products of each word are formed
    else:
        products = _precompute(model.params)
        run = partial(_decode, model.params, root=root, activation=activation, products=products)
        area = AREA
    answers: list[Any] = [None] * len(sentences)
    for members, rows, words in _batches(sentences, 32, area):
        group = [sentences[m] for m in members]
        padded = _padded(group, model.vocabularies, model.options, rows, words)
        heads, labels = jax.device_get(run(padded))
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
    return load_model_file(path, "parser", "a parser", _describe)


def _describe(info: dict[str, Any]) -> tuple[Any, Callable[[Any], Model]]:
    """Shapes of the parameters, and the model that they make."""
    sizes, options = tuples(info["config"]), info["options"]
    relations = texts(info["relations"], "relations", sizes["num_relations"])
    require("root" in relations, "there is no relation root")
    if "encoder" in sizes:
        reader = encoder.Config(**sizes["encoder"])
        config = context_parser.Config(**sizes | {"encoder": reader})
        like, words = shapes_of(context_parser.init, config), reader.vocab_sizes
    else:
        config = parser.Config(**sizes)
        like, words = shapes_of(parser.init, config), config.vocab_sizes
    vocabularies = tuple(data.Vocabulary.from_json(json.dumps(v)) for v in info["vocabularies"])
    found = tuple(len(v) + 1 for v in vocabularies)  # and the root
    require(found == words, f"the vocabularies have {found} words, the model {words}")
    require(set(options) == {"feats", "suffixes", "activation"}, f"the options are {options}")
    columns = 2 + sum(map(_flag, (options["feats"], options["suffixes"])))
    require(
        columns == len(words), f"the options make {columns} columns, the model has {len(words)}"
    )
    activation = options["activation"]
    require(activation in ("relu", "cube", "tanh"), f"activation is {activation!r:.40}")
    return like, lambda params: Model(params, vocabularies, relations, config, options)


def _flag(value: Any) -> bool:
    require(isinstance(value, bool), f"an option must be true or false, got {value!r:.40}")
    return value
