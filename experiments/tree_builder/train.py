"""Training of the tree builder: the readable loop."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import loop, optimizers
from experiments.settings import dropout_rates
from experiments.splits import read_corpus
from experiments.tree_builder import report
from experiments.tree_builder.config import Config
from experiments.workdir import run_once, write_json
from rntn_jax import data, sequences
from rntn_jax.annotate import BinaryParser, build_trees, pad, save_parser, word_features
from rntn_jax.models import encoder, span_parser
from rntn_jax.models.window import Layer
from rntn_jax.ops import linear_cross_entropy
from rntn_jax.training import NotFiniteError, make_train_step

__all__ = ["NotFiniteError", "load_splits", "run"]

SHORTEST, LONGEST = 16, 64  # words that minibatches are padded to; of sentences with phrases


def load_splits(config: Config) -> dict[str, list[data.Tree]]:
    """Trees of train, dev and test; their labels do not matter here."""
    demo = data.demo_sentiment.sentiment_splits
    splits = read_corpus(config, data.read_trees, demo, noun="trees")
    return {name: trees[: config.max_trees] for name, trees in splits.items()}


class Phrases(NamedTuple):
    """A sentence of a dependency treebank."""

    tokens: tuple[str, ...]
    phrases: list[tuple[int, int]]
    tags: tuple[str, ...]


def load_phrases(config: Config) -> list[Phrases]:
    """Sentences of a dependency treebank that have phrases."""
    if config.phrases is None or not config.phrase_epochs:
        return []
    file: Any = config.phrases
    if file == "ud_ewt":
        file = data.corpora.find("ud_ewt", config.data_dir)["train"]
    found = []
    for own in data.read_conllu(file):
        tags = own.upos if "_" in own.xpos else own.xpos
        phrases = data.dependencies.phrases(own.heads, own.relations)
        if phrases and len(own.forms) <= LONGEST:
            found.append(Phrases(own.forms, phrases, tags))
    if not found:
        raise data.DataError("no sentence has a phrase", file=str(file))
    return found


class Minibatch(NamedTuple):
    """Sentences with trees; or with phrases and tags."""

    batch: span_parser.Batch
    tags: np.ndarray | None = None  # int [B, T], -1 behind a sentence's end


class Params(NamedTuple):
    """What is trained: the parser, and a layer for tags that is needed in training only."""

    parser: span_parser.Params
    tagger: Layer  # w [F, tags], b [tags]


class Loader:
    """Minibatches of sentences of like length, in an order that depends on seed and epoch only."""

    def __init__(
        self,
        trees: list[data.Tree],
        phrases: list[Phrases],
        vocabularies: Sequence[data.Vocabulary],
        batch_size: int,
        seed: int,
    ):
        self._trees = [tree for tree in trees if tree.num_leaves > 1]
        if not self._trees:
            raise data.DataError("no tree of the training data has two words")
        self._spans = [tree.spans()[tree.num_leaves :] for tree in self._trees]
        self._phrases = phrases
        tags = sorted({tag for own in phrases for tag in own.tags})
        self.tags = {tag: number for number, tag in enumerate(tags)}
        self._vocabularies, self._rows, self._seed = vocabularies, batch_size, seed

    def batches(self, phrases: bool) -> int:
        """Minibatches of an epoch, with phrases or without."""
        found = -(-len(self._trees) // self._rows)
        return found + phrases * -(-len(self._phrases) // (2 * self._rows))

    def epoch(self, epoch: int, phrases: bool) -> Iterator[tuple[Minibatch, int]]:
        """Each minibatch and its number of sentences."""
        rng = np.random.default_rng((self._seed, epoch))
        padded = partial(sequences.power_of_two, least=SHORTEST)
        jittered = partial(sequences.jittered_batches, padded=padded)
        groups = [
            (self._of_trees, *group)
            for group in jittered([t.num_leaves for t in self._trees], self._rows, rng=rng)
        ]
        if phrases:  # which say less than trees: twice as many at a time
            lengths = [len(own.tokens) for own in self._phrases]
            groups += [
                (self._of_phrases, *group) for group in jittered(lengths, 2 * self._rows, rng=rng)
            ]
        for number in rng.permutation(len(groups)):
            make, members, words = groups[number]
            yield make(members, words), len(members)

    def _of_trees(self, members: np.ndarray, words: int) -> Minibatch:
        tokens = [self._trees[m].tokens for m in members]
        spans = np.zeros((self._rows, words - 1, 2), np.int32)
        for row, member in enumerate(members):
            spans[row, : len(self._spans[member])] = self._spans[member]
        batch = pad(self._vocabularies, tokens, self._rows, words)
        return Minibatch(batch._replace(spans=spans))

    def _of_phrases(self, members: np.ndarray, words: int) -> Minibatch:
        rows = 2 * self._rows
        tokens, phrases, tags = zip(*(self._phrases[m] for m in members))
        numbers = np.full((rows, words), -1, np.int32)
        for row, own in enumerate(tags):
            numbers[row, : len(own)] = [self.tags[tag] for tag in own]
        return Minibatch(pad(self._vocabularies, tokens, rows, words, phrases), numbers)


def run(config: Config, workdir: str | Path, *, fresh: bool = False) -> dict[str, Any]:
    """`run_once` of this experiment.

    Returns:
        The content of ``result.json``: bracketing scores of the chosen model, and when.
    """
    return run_once(config, workdir, fresh, lambda c: (load_splits(c), load_phrases(c)), _run)


def _run(config: Config, workdir: Path, loaded: tuple[Any, list[Phrases]]) -> dict[str, Any]:
    """`run` in a folder that is held."""
    splits, phrases = loaded
    builder, result, history = _train(config, workdir, splits, phrases)
    save_parser(workdir / "model.safetensors", builder)
    for split in ("dev", "test"):
        if split in splits:
            result[split] = _score(builder, splits[split])._asdict()
    result["report"] = str(workdir / "report.html")
    report.write(workdir, config, result, history, builder, splits)
    write_json(workdir / "result.json", result)
    return result


def _vocabularies(
    trees: list[data.Tree], phrases: list[Phrases], min_count: int
) -> tuple[data.Vocabulary, ...]:
    """Of the words and of their shapes."""
    sentences = [tree.tokens for tree in trees] + [own.tokens for own in phrases]
    described = [word_features(tokens) for tokens in sentences]
    return tuple(
        data.Vocabulary.build((word for columns in described for word in columns[k]), min_count)
        for k in range(2)
    )


def _sizes(config: Config, vocabularies: Sequence[data.Vocabulary]) -> span_parser.Config:
    """Of the network."""
    reader = encoder.Config(
        vocab_sizes=tuple(map(len, vocabularies)),
        embed_dims=(config.word_dim, config.shape_dim),
        rnn_layers=config.rnn_layers,
        rnn_dim=config.rnn_dim,
        cell=config.cell,
    )
    return span_parser.Config(reader, hidden_dim=config.hidden_dim)


def make_loss(config: Config):
    """Nats of a minibatch of trees; or of phrases and, beside them, their words' tags."""

    def loss(params: Params, minibatch: Minibatch, key):
        nats, aux = span_parser.loss(
            params.parser,
            minibatch.batch,
            **dropout_rates(config),
            key=key,
        )
        if minibatch.tags is not None:
            tags = jnp.asarray(minibatch.tags)
            of_tags = linear_cross_entropy(
                aux.words, *params.tagger, jnp.maximum(tags, 0), tags >= 0
            )
            sentences = jnp.maximum((tags[:, 0] >= 0).sum(), 1).astype(nats.dtype)
            nats = config.phrase_weight * nats + config.tag_weight * of_tags.sum() / sentences
        return nats, aux.nats

    return loss


def _score(builder: BinaryParser, trees: list[data.Tree]) -> data.BracketScores:
    return data.bracket_scores(trees, build_trees(builder, [tree.tokens for tree in trees]))


def _train(
    config: Config, workdir: Path, splits: dict[str, list[data.Tree]], phrases: list[Phrases]
) -> tuple[BinaryParser, dict[str, Any], list[dict[str, Any]]]:
    """The loop: the builder with the best dev score, how it was trained, and its metrics."""
    vocabularies = _vocabularies(splits["train"], phrases, config.min_count)
    sizes = _sizes(config, vocabularies)
    loader = Loader(splits["train"], phrases, vocabularies, config.batch_size, config.seed)
    total = sum(loader.batches(epoch < config.phrase_epochs) for epoch in range(config.epochs))
    rate = optimizers.warmup_cosine(config.learning_rate, total, longest=100)
    optimizer = optax.chain(optimizers.clip(config.clip_norm), optax.adam(rate, b2=0.99))
    place = loop.placement(config)
    loss = place.loss(make_loss(config), lambda own, _: (own.batch.length > 1).sum())
    step = make_train_step(loss, optimizer, stochastic=True)
    # The generator of the hardware: it compiles and runs quicker than the default.
    init_key, train_key = jax.random.split(jax.random.key(config.seed, impl="rbg"))
    tags = len(loader.tags)
    params = Params(
        span_parser.init(init_key, sizes),
        Layer(jnp.zeros((sizes.encoder.width, tags)), jnp.zeros(tags)),
    )

    def builder_of(params: Params) -> BinaryParser:
        return BinaryParser((jax.device_get(params.parser),), vocabularies, sizes)

    training = loop.start_training(
        config, workdir, params, optimizer, train_key, total=total, unit="trees", place=place
    )
    with training as (run_state, metrics, bar):
        while run_state.epoch < config.epochs:
            epoch, begun = run_state.epoch + 1, time.monotonic()
            minibatches = (
                (place.rows(own), 1, (own.tags is None, count))
                for own, count in loader.epoch(epoch, epoch <= config.phrase_epochs)
            )
            nats: list[float] = []
            steps = loop.take_steps(run_state, step, minibatches)
            for number, ((of_trees, count), out) in enumerate(steps):
                loop.check_finite(out, workdir, f"epoch {epoch}, minibatch {number}")
                if of_trees:
                    nats.append(float(out["loss"]))
                bar.advance(1, count, f"epoch {epoch}", nats=float(out["loss"]))
            seconds = time.monotonic() - begun
            scores = _score(builder_of(run_state.params), splits["dev"])
            metrics.write(
                run_state.step,
                epoch=epoch,
                train_nll=float(np.mean(nats)),
                dev_f1=scores.f1,
                dev_root=scores.root,
                seconds=round(seconds, 3),
            )
            better = run_state.finish_epoch(scores.f1, metrics.rows[-1])
            bar.say(
                f"epoch {epoch}: {np.mean(nats):.4f} nats a tree, dev F1 {100 * scores.f1:.2f}, "
                f"{seconds:.1f} s" + (" *" if better else "")
            )

    builder = builder_of(run_state.best)
    result: dict[str, Any] = {
        "epoch": run_state.best_epoch,
        "epochs_run": run_state.epoch,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(builder.params)),
        "seconds": loop.total_seconds(metrics.rows),
    }
    return builder, result, metrics.rows
