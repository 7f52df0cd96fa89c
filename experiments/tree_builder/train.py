"""Training of the tree builder: the readable loop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments.tree_builder import report
from experiments.tree_builder.config import Config
from experiments.workdir import open_workdir, read_json, write_json
from rntn_jax import data
from rntn_jax.annotate import TreeBuilder, build_trees, describe, pad, save_builder
from rntn_jax.models import encoder, span_parser
from rntn_jax.training import MetricsWriter, NotFiniteError, ProgressBar, Session, make_train_step

__all__ = ["NotFiniteError", "load_splits", "run"]

LENGTHS = (16, 32, 64)  # that minibatches are padded to


def load_splits(config: Config) -> dict[str, list[data.Tree]]:
    """Trees of train, dev and test; their labels do not matter here."""
    if config.train is not None:
        named: dict[str, Any] = {"train": config.train, "dev": config.dev}
        named["test"] = config.test or config.dev
        splits = {name: data.read_trees(file) for name, file in named.items()}
    elif config.corpus == "demo":
        splits = data.demo.sentiment_splits()
    else:
        files = data.corpora.find(config.corpus, config.data_dir)
        splits = {name: data.read_trees(files[name]) for name in ("train", "dev", "test")}
    return {name: trees[: config.max_trees] for name, trees in splits.items()}


class Loader:
    """Minibatches of trees of like size, in an order that depends on seed and epoch only."""

    def __init__(self, trees: list[data.Tree], vocabularies, batch_size: int, seed: int):
        self._trees = [tree for tree in trees if tree.num_leaves > 1]
        if not self._trees:
            raise data.DataError("no tree of the training data has two words")
        self._sizes = np.array([tree.num_leaves for tree in self._trees])
        self._spans = [tree.spans()[tree.num_leaves :] for tree in self._trees]
        self._vocabularies, self._rows, self._seed = vocabularies, batch_size, seed
        self.batches = -(-len(self._trees) // batch_size)

    def epoch(self, epoch: int) -> Iterator[tuple[span_parser.Batch, int]]:
        """Each minibatch and its number of trees."""
        rng = np.random.default_rng((self._seed, epoch))
        order = np.argsort(self._sizes + rng.uniform(0, 4, len(self._sizes)), kind="stable")
        groups = [order[at : at + self._rows] for at in range(0, len(order), self._rows)]
        rng.shuffle(groups)
        for members in groups:
            longest = int(self._sizes[members].max())
            words = next((n for n in LENGTHS if n >= longest), 1 << (longest - 1).bit_length())
            trees = [self._trees[m] for m in members]
            batch = pad(self._vocabularies, [t.tokens for t in trees], self._rows, words)
            spans = np.zeros((self._rows, words - 1, 2), np.int32)
            for row, member in enumerate(members):
                spans[row, : len(self._spans[member])] = self._spans[member]
            yield batch._replace(spans=spans), len(members)


def run(config: Config, workdir: str | Path, *, fresh: bool = False) -> dict[str, Any]:
    """Trains, or goes on training, and reports.

    Args:
        config: the settings.
        workdir: folder of the run; a run that was stopped there is resumed, and ends bit for bit
            as if it had not been.
        fresh: start over.

    Returns:
        The content of ``result.json``: bracketing scores of the chosen model, and when.

    Raises:
        DataError: when the corpus is not there or faulty.
        RunMismatchError: when ``workdir`` holds a run with other settings.
        NotFiniteError: when the loss stops being a number.
    """
    workdir = Path(workdir)
    open_workdir(workdir, config, fresh)
    if (workdir / "result.json").exists():
        return read_json(workdir / "result.json")

    splits = load_splits(config)
    described = [describe(tree.tokens) for tree in splits["train"]]
    vocabularies = tuple(
        data.Vocabulary.build(
            (word for columns in described for word in columns[k]), config.min_count
        )
        for k in range(2)
    )
    reader = encoder.Config(
        vocab_sizes=tuple(map(len, vocabularies)),
        embed_dims=(config.word_dim, config.look_dim),
        rnn_layers=config.rnn_layers,
        rnn_dim=config.rnn_dim,
    )
    sizes = span_parser.Config(reader, hidden_dim=config.hidden_dim)
    loader = Loader(splits["train"], vocabularies, config.batch_size, config.seed)
    total = config.epochs * loader.batches
    rate = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, min(total // 10 + 1, 100), total + 1
    )
    clip = optax.identity()
    if config.clip_norm is not None:
        clip = optax.clip_by_global_norm(config.clip_norm)
    optimizer = optax.chain(clip, optax.adam(rate, b2=0.99))

    def loss(params, batch, key):
        return span_parser.loss(
            params,
            batch,
            unknown_rate=config.unknown_rate,
            input_dropout=config.input_dropout,
            hidden_dropout=config.hidden_dropout,
            key=key,
        )

    step = make_train_step(loss, optimizer, stochastic=True)
    # The generator of the hardware: it compiles and runs quicker than the default.
    init_key, train_key = jax.random.split(jax.random.key(config.seed, impl="rbg"))
    session = Session(
        workdir / "checkpoints",
        span_parser.init(init_key, sizes),
        optimizer,
        train_key,
        average=config.average,
        keep=config.keep_checkpoints,
    )

    def builder_of(params) -> TreeBuilder:
        return TreeBuilder((jax.device_get(params),), vocabularies, sizes)

    def score(params, trees: list[data.Tree]) -> data.BracketScores:
        built = build_trees(builder_of(params), [tree.tokens for tree in trees])
        return data.bracket_scores(trees, built)

    tensorboard = workdir / "tensorboard" if config.tensorboard else None
    metrics = MetricsWriter(workdir / "metrics.jsonl", session.step, tensorboard)
    with metrics, ProgressBar(total, done=session.step, unit="trees") as bar:
        session.announce(bar.say)
        while session.epoch < config.epochs:
            epoch, begun = session.epoch + 1, time.monotonic()
            nats: list[float] = []
            for batch, count in loader.epoch(epoch):
                session.state, out = step(session.state, batch)
                session.advance(1)
                if not out["finite"]:
                    raise NotFiniteError(
                        f"the loss is {out['loss']} in epoch {epoch}. The last good checkpoint is "
                        f"kept in {workdir / 'checkpoints'}. A smaller --learning_rate may help."
                    )
                nats.append(float(out["loss"]))
                bar.advance(1, count, f"epoch {epoch}", nats=nats[-1])
            seconds = time.monotonic() - begun
            scores = score(session.params, splits["dev"])
            metrics.write(
                session.step,
                epoch=epoch,
                train_nats=float(np.mean(nats)),
                dev_f1=scores.f1,
                dev_root=scores.root,
                seconds=round(seconds, 3),
            )
            better = session.finish_epoch(scores.f1)
            bar.say(
                f"epoch {epoch}: {np.mean(nats):.4f} nats a tree, dev F1 {100 * scores.f1:.2f}, "
                f"{seconds:.1f} s" + (" *" if better else "")
            )

    builder = builder_of(session.best)
    save_builder(workdir / "model.safetensors", builder)
    result: dict[str, Any] = {
        "epoch": session.best_epoch,
        "epochs_run": session.epoch,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(builder.params)),
        "seconds": float(sum(row["seconds"] for row in metrics.rows)),
    }
    for split in ("dev", "test"):
        result[split] = score(session.best, splits[split])._asdict()
    result["report"] = str(workdir / "report.html")
    report.write(workdir, config, result, metrics.rows, builder, splits["test"])
    write_json(workdir / "result.json", result)
    return result
