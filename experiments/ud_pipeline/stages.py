"""The three models of the pipeline: their data, initial parameters, losses and scores."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import parser_data
from experiments.settings import dropout_rates
from experiments.ud_pipeline.config import Config
from rntn_jax import data
from rntn_jax.annotate import dependency_parser, morphology, segmenter
from rntn_jax.models import context_parser, encoder, tagger

__all__ = ["Stage", "folds_of", "parser_stage", "segmenter_stage", "tagger_stage"]

Sentences = Sequence[data.ConlluSentence]
WORDS, STEPS = 1024, 2048  # of a minibatch, with padding: of the tagger; of the parser


class Stage(NamedTuple):
    """What it takes to train a model."""

    model: Any  # with random parameters
    batches: list[Any]
    loss: Callable[..., Any]
    score: Callable[[Any], float]  # of a model on dev; larger is better


def segmenter_stage(config: Config, train: Sentences, dev: Sentences) -> Stage:
    """Characters of the treebank's text and their labels."""
    found = data.treebank_text(train)
    labels, splits = segmenter.character_labels(found)
    characters, kinds, parts = segmenter.character_columns(found.text)
    counted = (  # a part counts once, however many characters it has
        (characters, 4),
        (kinds, 1),
        ([part for part, _ in itertools.groupby(parts)], config.min_count + 1),
    )
    vocabularies = tuple(data.Vocabulary.build((*c, "\n"), count) for c, count in counted)
    sizes = tagger.Config(
        vocab_sizes=tuple(map(len, vocabularies)),
        embed_dims=(config.column_dim, 8, config.column_dim),
        num_classes=len(segmenter.LABELS),
        windows=(9,),
        rnn_layers=1,
        hidden_dim=config.segmenter_dim,
    )
    model = segmenter.Segmenter(
        tagger.init(jax.random.key(config.seed), sizes), vocabularies, sizes, splits
    )
    ids, targets = [], []
    bordered = np.concatenate([labels, [segmenter.OUTSIDE]])
    for place, own, _ in segmenter.pieces(found.text, vocabularies, context=0):
        ids.append(own)
        targets.append(bordered[np.arange(place, place + len(own))])
    order = np.random.default_rng(config.seed).permutation(len(ids))
    batches = [
        segmenter.padded(32, [ids[i] for i in chosen], [targets[i] for i in chosen])
        for chosen in (order[at : at + 32] for at in range(0, len(order), 32))
    ]
    gold = data.treebank_text(dev)

    def loss(params, batch, key):
        rate = config.character_dropout
        return tagger.loss(
            params, batch, unknown_rate=0.01, input_dropout=rate, hidden_dropout=rate, key=key
        )

    def score(model: segmenter.Segmenter) -> float:
        answer = segmenter.segment(model, gold.text)
        scores = data.segmentation_scores(gold.sentences, answer, gold.text)
        return (scores.words.f1 + scores.sentences.f1) / 2

    return Stage(model, batches, loss, score)


def tagger_stage(
    config: Config, train: Sentences, dev: Sentences, corpus: Sentences | None = None
) -> Stage:
    """Words of the treebank and their tags.

    With ``corpus``, of which ``train`` is a part, the parameters have the shapes that the whole
    would have, so that the taggers of all folds are one compiled program.
    """
    vocabularies = _word_vocabularies(config, train)
    whole = vocabularies if corpus is None else _word_vocabularies(config, corpus)
    forms = [sentence.forms for sentence in train]
    gold = [list(zip(sentence.upos, sentence.feats)) for sentence in train]
    tags = sorted({tag for s in corpus or train for tag in zip(s.upos, s.feats)})
    number = {tag: k for k, tag in enumerate(tags)}
    sizes = encoder.Config(
        tuple(map(len, whole)),
        (config.word_dim, *[config.column_dim] * (len(vocabularies) - 1)),
        rnn_layers=2,
        rnn_dim=config.tagger_dim,
    )
    params = morphology.init(jax.random.key(config.seed + 1), sizes, len(tags))
    model = morphology.Morphology(params, vocabularies, sizes, tags)
    batches = []
    lengths = list(map(len, forms))
    for members, rows, words in dependency_parser.length_groups(lengths, 16, WORDS):
        batch = morphology.padded(model, [forms[m] for m in members], rows, words)
        for row, member in enumerate(members):
            batch.labels[row, : lengths[member]] = [number[tag] for tag in gold[member]]
        batches.append(batch)

    def loss(params, batch, key):
        return morphology.loss(params, batch, **dropout_rates(config), key=key)

    def score(model: morphology.Morphology) -> float:
        answers = morphology.predict_tags(model, [sentence.forms for sentence in dev])
        right = total = 0
        for sentence, answer in zip(dev, answers):
            for upos, feats, guess in zip(sentence.upos, sentence.feats, answer):
                right += (upos == guess[0]) + (feats == guess[1])
                total += 2
        return right / total

    return Stage(model, batches, loss, score)


def _word_vocabularies(config: Config, train: Sentences) -> tuple[data.Vocabulary, ...]:
    described = [morphology.word_columns(sentence.forms) for sentence in train]
    return tuple(
        data.Vocabulary.build((x for rows in described for x in rows[k]), config.min_count)
        for k in range(len(described[0]))
    )


def folds_of(count: int, folds: int) -> Iterator[tuple[list[int], list[int]]]:
    """Sentences to train on and the others, of each fold; neighbours mostly stay together."""
    block = max(min(100, count // max(folds, 1)), 1)
    for fold in range(folds):
        held = [i for i in range(count) if i // block % folds == fold]
        yield sorted({*range(count)} - {*held}), held


def parser_stage(config: Config, train: Sentences, dev: Sentences) -> Stage:
    """Trees over words, tagged as they will be when the parser is used."""
    options = {"feats": True, "suffixes": True, "activation": "relu"}
    relations = sorted({relation for sentence in train for relation in sentence.relations})
    vocabularies = parser_data.vocabularies_of(train, options, config.min_count)
    sizes = context_parser.Config(
        encoder.Config(
            tuple(len(v) + 1 for v in vocabularies),  # and the root
            (config.word_dim, *[config.column_dim] * (len(vocabularies) - 1)),
            rnn_layers=1,
            rnn_dim=config.parser_rnn_dim,
            word_range=0.2,
        ),
        num_relations=len(relations),
        relation_dim=config.column_dim,
        hidden_dim=config.parser_dim,
    )
    params = context_parser.init(jax.random.key(config.seed + 2), sizes)
    model = dependency_parser.DependencyParser(params, vocabularies, relations, sizes, options)
    batches, _ = parser_data.batches_in_context(train, vocabularies, relations, options, STEPS)

    def loss(params, batch, key):
        return context_parser.loss(params, batch, **dropout_rates(config), key=key)

    return Stage(model, batches, loss, lambda model: parser_data.evaluate(model, dev).las)
