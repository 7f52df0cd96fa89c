"""Training of the transition parser: the readable loop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.parsing import report
from experiments.parsing.config import Config
from experiments.parsing.model import Model, evaluate, examples, save_model, vocabularies_of
from experiments.workdir import open_workdir, read_json, write_json
from rntn_jax import data
from rntn_jax.models import parser
from rntn_jax.training import (
    Checkpointer,
    MetricsWriter,
    NotFiniteError,
    ProgressBar,
    init_state,
    make_train_step,
    running_mean,
)

__all__ = ["NotFiniteError", "load_splits", "run"]

Sentences = Sequence[data.ConlluSentence]
GROUP = 20  # minibatches a dispatch


def load_splits(config: Config) -> dict[str, Sentences]:
    """Sentences of train, dev and test."""
    if config.train is not None:
        named: dict[str, Any] = {"train": config.train, "dev": config.dev}
        named["test"] = config.test or config.dev
        splits = {name: data.read_conllu(file) for name, file in named.items()}
    elif config.corpus == "demo":
        splits = data.demo_dependencies.splits()
    else:
        files = data.corpora.find(config.corpus, config.data_dir)
        splits = {name: data.read_conllu(files[name]) for name in ("train", "dev", "test")}
    return {name: sentences[: config.max_sentences] for name, sentences in splits.items()}


def make_loss(config: Config, words: int):
    """Cross-entropy of the steps; words become unknown at a rate."""

    def loss(params, batch, key):
        first, *others = batch.ids
        if config.unknown_rate:
            drawn = jax.random.bernoulli(
                jax.random.fold_in(key, 99), config.unknown_rate, first.shape
            )
            first = jnp.where(drawn & (first > 1) & (first < words), 1, first)
        return parser.loss(
            params,
            batch._replace(ids=(first, *others)),
            activation=config.activation,
            input_dropout=config.input_dropout,
            hidden_dropout=config.hidden_dropout,
            key=key,
        )

    return loss


def run(config: Config, workdir: str | Path, *, fresh: bool = False) -> dict[str, Any]:
    """Trains, or goes on training, and reports.

    Args:
        config: the settings.
        workdir: folder of the run; a run that was stopped there is resumed, and ends bit for bit
            as if it had not been.
        fresh: start over.

    Returns:
        The content of ``result.json``: attachment scores of the chosen model, and when.

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
    options = {
        "feats": config.feats,
        "suffixes": config.suffixes,
        "activation": config.activation,
    }
    relations = sorted({r for sentence in splits["train"] for r in sentence.relations})
    vocabularies = vocabularies_of(splits["train"], options, config.min_count)
    ids, steps, lifted = examples(splits["train"], vocabularies, relations, options)
    model_config = parser.Config(
        vocab_sizes=tuple(len(v) + 1 for v in vocabularies),  # and the root
        num_relations=len(relations),
        embed_dims=(config.word_dim, *(config.column_dim,) * len(vocabularies)),
        hidden_dim=config.hidden_dim,
        word_range=config.word_range,
    )
    size = min(config.batch_size, len(steps))
    per_epoch = len(steps) // size
    total = config.epochs * per_epoch
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, min(total // 10 + 1, 200), total + 1
    )
    clip = optax.identity()
    if config.clip_norm is not None:
        clip = optax.clip_by_global_norm(config.clip_norm)
    optimizer = optax.chain(clip, optax.adam(schedule, b2=0.99))
    loss = make_loss(config, len(vocabularies[0]))
    step = make_train_step(loss, optimizer, stochastic=True, several=True)
    init_key, train_key = jax.random.split(jax.random.key(config.seed))
    params = parser.init(init_key, model_config)
    state = init_state(params, optimizer, train_key)
    mean = jax.tree.map(jnp.copy, params) if config.average else None  # the state is donated
    best = jax.tree.map(jnp.copy, params)
    progress: dict[str, Any] = {"epoch": 0, "step": 0, "best_epoch": 0, "best_score": -1.0}

    checkpointer = Checkpointer(workdir / "checkpoints", keep=config.keep_checkpoints)
    restored = checkpointer.restore((state, mean, best))
    complaints: list[str] = []
    if restored is not None:
        (state, mean, best), progress, complaints = restored
        state, mean, best = jax.device_put((state, mean, best))

    def model_of(params) -> Model:
        return Model(jax.device_get(params), vocabularies, relations, model_config, options)

    tensorboard = workdir / "tensorboard" if config.tensorboard else None
    metrics = MetricsWriter(workdir / "metrics.jsonl", progress["step"], tensorboard)
    with metrics, ProgressBar(total, done=progress["step"], unit="steps") as bar:
        for complaint in complaints:
            bar.say(f"passed over: {complaint}")
        if restored is not None:
            bar.say(f"resuming after epoch {progress['epoch']}")
        while progress["epoch"] < config.epochs:
            epoch = progress["epoch"] + 1
            begun = time.monotonic()
            order = np.random.default_rng((config.seed, epoch)).permutation(len(steps))
            order = order[: per_epoch * size].reshape(per_epoch, size)
            nats: list[float] = []
            for at in range(0, per_epoch, GROUP):
                rows = order[at : at + GROUP]
                batches = parser.Batch(tuple(column[rows] for column in ids), steps[rows])
                state, out = step(state, batches)
                if mean is not None:
                    # Early on, the mean of all weights so far: no memory of the initial ones.
                    done = progress["step"]
                    decay = min(config.average ** len(rows), done / (done + len(rows)))
                    mean = running_mean(mean, state.params, jnp.float32(decay))
                progress["step"] += len(rows)
                if not out["finite"].all():
                    raise NotFiniteError(
                        f"the loss is {out['loss']} in epoch {epoch}. The last good checkpoint is "
                        f"kept in {workdir / 'checkpoints'}. A smaller --learning_rate may help."
                    )
                nats += out["loss"].tolist()
                bar.advance(len(rows), rows.size, f"epoch {epoch}", nats=nats[-1])
            seconds = time.monotonic() - begun
            current = state.params if mean is None else mean
            scores = evaluate(model_of(current), splits["dev"])
            progress["epoch"] = epoch
            row = {
                "epoch": epoch,
                "train_nats": float(np.mean(nats)),
                "dev_uas": scores.uas,
                "dev_las": scores.las,
                "seconds": round(seconds, 3),
            }
            if scores.las > progress["best_score"]:
                progress |= {"best_score": scores.las, "best_epoch": epoch}
                best = jax.tree.map(jnp.copy, current)
            metrics.write(progress["step"], **row)
            checkpointer.save(progress["step"], (state, mean, best), progress)
            bar.say(
                f"epoch {epoch}: {row['train_nats']:.4f} nats a step, dev UAS "
                f"{100 * scores.uas:.2f} LAS {100 * scores.las:.2f}, {seconds:.1f} s"
                + (" *" if progress["best_epoch"] == epoch else "")
            )

    model = model_of(best)
    save_model(workdir / "model.safetensors", model)
    result: dict[str, Any] = {
        "epoch": progress["best_epoch"],
        "epochs_run": progress["epoch"],
        "steps": len(steps),
        "lifted_arcs": lifted,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(best)),
        "seconds": float(sum(row["seconds"] for row in metrics.rows)),
    }
    for split in ("dev", "test"):
        scores = evaluate(model, splits[split])
        result |= {f"{split}_uas": scores.uas, f"{split}_las": scores.las}
        result[f"{split}_clas"] = scores.clas
    result["report"] = str(workdir / "report.html")
    report.write(workdir, config, result, metrics.rows, model, splits["test"])
    write_json(workdir / "result.json", result)
    return result
