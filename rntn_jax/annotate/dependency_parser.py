"""Dependency trees over tagged sentences, by a trained parser, of transitions or of arcs."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from rntn_jax import sequences
from rntn_jax.data import ConlluSentence, Vocabulary
from rntn_jax.models import context_parser, encoder, graph_parser, parser
from rntn_jax.shapes import shapes_repr
from rntn_jax.training import load_record, require, save_pytree, shapes_of, texts, tuples

__all__ = [
    "MORE_COLUMNS",
    "DependencyParser",
    "columns",
    "graph_batch",
    "length_groups",
    "load_dependency_parser",
    "pad_sentences",
    "parse_tagged",
    "parse_with_marginals",
    "save_dependency_parser",
]

# Columns besides form and tag, of a sentence and its forms in lower case; models may lack some.
_READERS: dict[str, Callable[[ConlluSentence, list[str]], Iterable[str]]] = {
    "feats": lambda sentence, low: sentence.feats,
    "xpos": lambda sentence, low: sentence.xpos,
    "suffixes": lambda sentence, low: [form[-3:] for form in low],
    "prefixes": lambda sentence, low: [form[:3] for form in low],
}
MORE_COLUMNS = tuple(_READERS)
AREA = 1 << 14  # words parsed at a time, with padding


class DependencyParser(NamedTuple):
    """Everything needed to parse a tagged sentence."""

    params: parser.Params | context_parser.Params | graph_parser.Params
    vocabularies: tuple[Vocabulary, ...]  # of the columns
    relations: list[str]
    config: parser.Config | context_parser.Config | graph_parser.Config
    options: dict[str, Any]  # of MORE_COLUMNS; activation, or of graphs projective

    __repr__ = shapes_repr


def columns(sentence: ConlluSentence, options: dict[str, Any]) -> list[list[str]]:
    """What the network may know of words: form and tag, and more as asked.

    Args:
        sentence: its words.
        options: of `MORE_COLUMNS`, whether these are read: features, the treebank's own tag, the
            last and the first three letters.

    Returns:
        Of each column, a value for each word.
    """
    low = [form.lower() for form in sentence.forms]
    more = [list(read(sentence, low)) for name, read in _READERS.items() if options.get(name)]
    return [low, list(sentence.upos), *more]


def pad_sentences(
    sentences: Sequence[ConlluSentence],
    vocabularies: Sequence[Vocabulary],
    options: dict[str, Any],
    rows: int,
    words: int,
) -> parser.Sentences:
    """Sentences as a batch of so many rows of so many words.

    The root has an id of its own, the last.

    Args:
        sentences: at most ``rows``.
        vocabularies: of the columns.
        options: as `columns` takes them.
        rows: ``B``.
        words: ``T``, not counting the root and the place after the last word.

    Returns:
        Ids int32 ``[B, T + 2]`` of each column, and lengths int32 ``[B]``.
    """
    ids = tuple(np.zeros((rows, words + 2), np.int32) for _ in vocabularies)
    length = np.zeros(rows, np.int32)
    for row, sentence in enumerate(sentences):
        length[row] = len(sentence.forms)
        for own, vocabulary, column in zip(ids, vocabularies, columns(sentence, options)):
            own[row, 1 : length[row] + 1] = vocabulary.encode(column)
    for own, vocabulary in zip(ids, vocabularies):
        own[:, 0] = len(vocabulary)
    return parser.Sentences(ids, length)


def length_groups(
    lengths: Sequence[int], least: int, area: int, *, parts: int = 1
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Members of batches of like length, and the rows and words to pad to; few different ones.

    Words are a power of two, at least ``least``, or as many of its ``parts`` as are needed; rows,
    as many as ``area`` words make, and at most 8 for a few sentences.

    Args:
        lengths: words of each sentence.
        least: words, a power of two.
        area: words of a batch, with padding.
        parts: a power of two: more of them, less padding and more programs.

    Yields:
        Numbers of sentences int ``[n]``, rows, and words.
    """
    most = 8 if len(lengths) <= 8 else area

    def padded(words: int) -> int:
        part = max(sequences.power_of_two(words, least=least) // parts, least)
        return -(-words // part) * part

    return sequences.padded_batches(
        lengths,
        padded,
        lambda words, _: min(max(area // words, 1), most),
    )


_decode = jax.jit(parser.decode, static_argnames=("root", "activation"))
_decode_in_context = jax.jit(context_parser.decode, static_argnames=("root", "activation"))
_precompute = jax.jit(parser.precompute)


def parse_tagged(
    model: DependencyParser, sentences: Sequence[ConlluSentence]
) -> list[tuple[np.ndarray, list[str]]]:
    """Parses sentences whose words have tags.

    Args:
        model: the parser.
        sentences: forms and tags are read, trees are not.

    Returns:
        Heads int32 ``[T]``, 0 for the root, and relations, of each sentence.
    """
    if isinstance(model.config, graph_parser.Config):
        return [answer[:2] for answer in parse_with_marginals(model, sentences)]
    root, activation = model.relations.index("root"), model.options["activation"]
    if isinstance(model.config, context_parser.Config):
        run = partial(_decode_in_context, model.params, root=root, activation=activation)
        area = AREA // 4  # the products of each word are formed
    else:
        products = _precompute(model.params)
        run = partial(_decode, model.params, root=root, activation=activation, products=products)
        area = AREA
    answers: list[Any] = [None] * len(sentences)
    for members, rows, words in length_groups([len(s.forms) for s in sentences], 32, area):
        group = [sentences[m] for m in members]
        padded = pad_sentences(group, model.vocabularies, model.options, rows, words)
        heads, labels = jax.device_get(run(padded))
        for row, member in enumerate(members):
            end = len(sentences[member].forms) + 1
            names = [model.relations[r] for r in labels[row, 1:end]]
            answers[member] = heads[row, 1:end], names
    return answers


def parse_with_marginals(
    model: DependencyParser, sentences: Sequence[ConlluSentence]
) -> list[tuple[np.ndarray, list[str], np.ndarray]]:
    """`parse_tagged` of a graph-based parser, with the probability of each arc.

    Args:
        model: the parser.
        sentences: forms and tags are read, trees are not.

    Returns:
        Heads int32 ``[T]``, relations, and the probability of each word's head ``[T]``, whatever
        the relation, of each sentence.

    Raises:
        ValueError: for a parser by transitions, which has no such probability.
    """
    if not isinstance(model.config, graph_parser.Config):
        raise ValueError("a parser by transitions has no marginals of arcs")
    root, projective = model.relations.index("root"), model.options["projective"]
    params: Any = model.params
    answers: list[Any] = [None] * len(sentences)
    for members, rows, words in length_groups([len(s.forms) for s in sentences], 16, AREA // 4):
        group = [sentences[m] for m in members]
        padded = pad_sentences(group, model.vocabularies, model.options, rows, words)
        batch = graph_batch(padded)
        found = graph_parser.decode(params, batch, root, projective=projective)
        heads, labels, probability = jax.device_get(tuple(found))
        for row, member in enumerate(members):
            end = len(sentences[member].forms)
            names = [model.relations[r] for r in labels[row, :end]]
            answers[member] = heads[row, :end], names, probability[row, :end]
    return answers


def graph_batch(sentences: parser.Sentences) -> graph_parser.Batch:
    """Sentences of `pad_sentences` without the ids of root and end, as graphs take them."""
    ids = np.stack(sentences.ids, axis=-1)[:, 1:-1]
    return graph_parser.Batch(ids, np.asarray(sentences.length))


def info_of(model: DependencyParser) -> dict[str, Any]:
    """All but the parameters, as JSON can hold it."""
    return {
        "kind": "parser",
        "config": dataclasses.asdict(model.config),
        "vocabularies": [json.loads(v.to_json()) for v in model.vocabularies],
        "relations": model.relations,
        "options": model.options,
    }


def from_info(info: dict[str, Any]) -> DependencyParser:
    """What `info_of` said; in the place of the parameters are their shapes.

    Raises:
        ValueError: when it cannot be.
    """
    sizes, options = tuples(info["config"]), info["options"]
    relations = texts(info["relations"], "relations", sizes["num_relations"])
    require("root" in relations, "there is no relation root")
    if "arc_dim" in sizes:
        reader = encoder.Config(**sizes["encoder"])
        config = graph_parser.Config(**sizes | {"encoder": reader})
        like, words = shapes_of(graph_parser.init, config), reader.vocab_sizes
    elif "encoder" in sizes:
        reader = encoder.Config(**sizes["encoder"])
        config = context_parser.Config(**sizes | {"encoder": reader})
        like, words = shapes_of(context_parser.init, config), reader.vocab_sizes
    else:
        config = parser.Config(**sizes)
        like, words = shapes_of(parser.init, config), config.vocab_sizes
    vocabularies = tuple(Vocabulary.from_json(json.dumps(v)) for v in info["vocabularies"])
    found = tuple(len(v) + 1 for v in vocabularies)  # and the root
    require(found == words, f"the vocabularies have {found} words, the model {words}")
    own = "projective" if "arc_dim" in sizes else "activation"
    known = {own, *MORE_COLUMNS}
    require({own, "feats", "suffixes"} <= set(options) <= known, f"the options are {options}")
    columns = 2 + sum(_flag(options.get(name, False)) for name in MORE_COLUMNS)
    require(
        columns == len(words), f"the options make {columns} columns, the model has {len(words)}"
    )
    if own == "projective":
        _flag(options["projective"])
        return DependencyParser(like, vocabularies, relations, config, options)
    activation = options["activation"]
    require(activation in ("relu", "cube", "tanh"), f"activation is {activation!r:.40}")
    return DependencyParser(like, vocabularies, relations, config, options)


def _flag(value: Any) -> bool:
    require(isinstance(value, bool), f"an option must be true or false, got {value!r:.40}")
    return value


def save_dependency_parser(path: str | os.PathLike[str], model: DependencyParser) -> None:
    """Writes a parser to one safetensors file.

    Args:
        path: of the file.
        model: the parser.
    """
    save_pytree(path, model.params, info_of(model))


def load_dependency_parser(path: str | os.PathLike[str]) -> DependencyParser:
    """Reads what `save_dependency_parser` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when the file is damaged or holds something else.
    """
    return load_record(path, "parser", "a parser", from_info)
