"""Training data of the dependency parsers, `rntn_jax.annotate`'s: for parsing and ud_pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rntn_jax import data
from rntn_jax.annotate.dependency_parser import (
    AREA,
    DependencyParser,
    columns,
    graph_batch,
    length_groups,
    pad_sentences,
    parse_tagged,
)
from rntn_jax.models import context_parser, graph_parser, parser

MANY = 4000  # sentences, which repay more programs with less padding

__all__ = ["batches_in_context", "evaluate", "graph_batches", "vocabularies_of", "windows"]


def vocabularies_of(
    sentences: Sequence[data.ConlluSentence], options: dict[str, Any], min_count: int
) -> tuple[data.Vocabulary, ...]:
    """A vocabulary for each column; what is rare, but for tags, is unknown."""
    described = [columns(sentence, options) for sentence in sentences]
    return tuple(
        data.Vocabulary.build(
            (word for rows in described for word in rows[k]), 1 if k == 1 else min_count
        )
        for k in range(len(described[0]))
    )


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
    projective: bool = True,
    parts: int = 1,
) -> Iterator[Gold]:
    number = {relation: r for r, relation in enumerate(relations)}
    lengths = [len(sentence.forms) for sentence in sentences]
    for members, rows, words in length_groups(lengths, least, area, parts=parts):
        group = [sentences[m] for m in members]
        heads = np.full((rows, words + 2), -1, np.int32)
        labels, lifted = heads.copy(), 0
        for row, sentence in enumerate(group):
            own, lifts = np.asarray(sentence.heads), 0
            if projective:
                own, lifts = data.dependencies.projectivise(own)
            lifted += lifts
            heads[row, 1 : len(own) + 1] = own
            labels[row, 1 : len(own) + 1] = [number[r] for r in sentence.relations]
        yield Gold(pad_sentences(group, vocabularies, options, rows, words), heads, labels, lifted)


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
            parser.oracle_transitions(gold.sentences, gold.heads, gold.relations, len(relations))
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
            parser.oracle_transitions(places, gold.heads, gold.relations, len(relations))
        )
        found.append(context_parser.Batch(gold.sentences, seen, labels, step))
        lifted += gold.lifted
    return found, lifted


def graph_batches(
    sentences: Sequence[data.ConlluSentence],
    vocabularies: Sequence[data.Vocabulary],
    relations: list[str],
    options: dict[str, Any],
    words: int,
) -> tuple[list[graph_parser.Batch], int]:
    """Minibatches of sentences of like length, of so many words each, and the arcs lifted.

    Each length is a program to compile: few sentences are padded to a few lengths.
    """
    found, lifted, projective = [], 0, options["projective"]
    parts = 4 if len(sentences) > MANY else 1
    for gold in _gold(sentences, vocabularies, relations, options, 8, words, projective, parts):
        heads, labels = (np.maximum(x[:, 1:-1], 0) for x in (gold.heads, gold.relations))
        found.append(graph_batch(gold.sentences)._replace(heads=heads, relations=labels))
        lifted += gold.lifted
    return found, lifted


def evaluate(
    model: DependencyParser, sentences: Sequence[data.ConlluSentence]
) -> data.dependencies.AttachmentScores:
    """UAS, LAS and CLAS by the official definition."""
    return data.dependencies.attachment_scores(sentences, parse_tagged(model, sentences))
