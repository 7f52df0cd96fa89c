"""Training of taggers: the readable loops."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments import loop, optimizers
from experiments.chunking import report
from experiments.chunking.config import Config
from experiments.chunking.pipeline import evaluate, figures, log_prob, recode
from experiments.settings import dropout_rates
from experiments.splits import check_tagged
from experiments.word_vectors import begin_with, scale_words, with_known_words
from experiments.workdir import run_once, write_json
from rntn_jax import data, tagger
from rntn_jax.models import segment_tagger
from rntn_jax.tagger.column_features import attributes, columns
from rntn_jax.tagger.column_segments import Segmental, as_segments, tags_of, types_of
from rntn_jax.tagger.column_tagger import Model, Neural, Sparse, batches, encode, save_model
from rntn_jax.training import NotFiniteError, make_train_step

__all__ = ["NotFiniteError", "load_splits", "run"]

Sentences = list[list[tuple[str, ...]]]


def load_splits(config: Config) -> dict[str, Sentences]:
    """Sentences of train and, where there are, dev and test: rows whose last column is the tag."""
    if config.train is not None:
        named = {"train": config.train, "dev": config.dev, "test": config.test}
        splits = {n: data.read_columns(f) for n, f in named.items() if f is not None}
    elif config.corpus == "demo":
        splits = data.demo_tags.splits()
    else:
        files = data.corpora.find(config.corpus, config.data_dir)
        splits = {n: data.read_columns(f) for n, f in files.items()}
    return check_tagged(
        splits,
        config.train or f"train of {config.corpus}",
        max_sentences=config.max_sentences,
        dev_sentences=config.dev_sentences,
        scheme=config.scheme,
    )


def run(config: Config, workdir: str | Path, *, fresh: bool = False) -> dict[str, Any]:
    """`run_once` of this experiment.

    Returns:
        The content of ``result.json``: F1, accuracy and nats of dev and test.
    """
    return run_once(config, workdir, fresh, load_splits, _run)


def _run(config: Config, workdir: Path, splits: dict[str, Sentences]) -> dict[str, Any]:
    """`run` in a folder that is held."""
    start = time.monotonic()
    train = _train_sparse if config.model == "crf" else _train_neural
    # Within the model the tags may be of another scheme.
    own = "bio" if config.model == "segments" else config.inner or config.scheme
    info = {"scheme": config.scheme, "inner": own}
    inner = recode(splits["train"], info["scheme"], info["inner"])
    model, history, result = train(config, workdir, inner, splits.get("dev"), info)
    result["seconds"] = round(time.monotonic() - start, 3)
    save_model(workdir / "model.safetensors", model)

    answers = {}
    for split in ("dev", "test"):
        if split in splits:
            answers[split] = evaluate(model, splits[split], config.constrained)
            measured = measure(model, splits[split], answers[split][2])
            result |= {f"{split}_{name}": value for name, value in measured.items()}
    if config.corpus == "demo" and config.train is None:
        best = data.demo_tags.best_accuracy(splits["test"])
        result |= {"best_test_accuracy": best.accuracy, "best_test_nats": best.nats}
    result["report"] = str(workdir / "report.html")
    report.write(workdir, config, result, history, model, splits, answers)
    write_json(workdir / "result.json", result)
    return result


def measure(model: Model, sentences: Sentences, scores: data.chunks.Scores) -> dict[str, float]:
    """`figures`, and ``-ln P(tags)`` a token of sentences whose tags all occurred in training."""
    nats = -log_prob(model, sentences)
    known = np.isfinite(nats)
    tokens = sum(len(rows) for rows, is_known in zip(sentences, known) if is_known)
    nats_a_token = float(nats[known].sum() / max(tokens, 1))
    return figures(scores, model.info["scheme"]) | {"nats": nats_a_token}


def _train_sparse(config: Config, workdir: Path, sentences, dev, info: dict[str, Any]):
    X = [attributes([row[:-1] for row in rows], config.template) for rows in sentences]
    y = [[row[-1] for row in rows] for rows in sentences]
    crf = tagger.CRF(
        c1=config.c1, c2=config.c2, min_freq=config.min_freq, max_iterations=config.max_iterations
    )
    tokens = sum(map(len, y))
    with loop.logs(workdir, [], 0, 0, config.max_iterations, "tokens") as (metrics, bar):

        def report(row: dict[str, Any]) -> None:
            bar.advance(1, tokens, f"iteration {row['num']}", loss=row["loss"])
            metrics.write(row["num"], loss=row["loss"], grad_norm=row["error_norm"])

        crf.fit(X, y, report=report, checkpoints=workdir / "checkpoints")
        last = crf.training_log_[-1]
        bar.say(f"done after {last['num']} iterations, loss {last['loss']:.3f}")
    info |= {"template": config.template, "columns": len(sentences[0][0])}
    result = {
        "features": len(crf.state_features_) + len(crf.transition_features_),
        "attributes": crf.num_attributes_,
        "iterations": last["num"],
        "loss": last["loss"],
    }
    return Sparse(crf, info), metrics.rows, result


def _train_neural(config: Config, workdir: Path, sentences, dev, info: dict[str, Any]):
    bare = [[row[:-1] for row in rows] for rows in sentences]
    described = [columns(rows) for rows in bare]
    width = len(described[0][0])
    vocabularies = tuple(
        data.Vocabulary.build((token[k] for rows in described for token in rows), config.min_count)
        for k in range(width)
    )
    of_dev = (columns([row[:-1] for row in rows]) for rows in dev or [])  # made where it is read
    everywhere = (token[0] for rows in itertools.chain(described, of_dev) for token in rows)
    words, known = with_known_words(config.vectors, vocabularies[0], everywhere)
    vocabularies = (words, *vocabularies[1:])
    sizes: dict[str, Any] = {
        "vocab_sizes": tuple(map(len, vocabularies)),
        "embed_dims": (config.word_dim, *(config.column_dim,) * (width - 1)),
        "windows": config.window_sizes(),
        "rnn_layers": config.rnn_layers,
        "hidden_dim": config.hidden_dim,
        "cell": config.cell,
    }
    gold = [[row[-1] for row in rows] for rows in sentences]
    by_segments = config.model == "segments"
    if by_segments:
        types, widest = types_of(gold)
        labels, names = tags_of(types), types
        model_config = segment_tagger.Config(**sizes, num_labels=len(types), max_width=widest)
    else:
        labels = names = sorted({tag for tags in gold for tag in tags})
        model_config = tagger.Config(**sizes, num_classes=len(labels))
    info |= {"columns": len(sentences[0][0])}
    ids = encode(bare, vocabularies)
    tags = [np.array([labels.index(tag) for tag in own]) for own in gold]
    shape = {"batch_size": config.batch_size, "granularity": config.granularity}
    per_epoch = sum(1 for _ in batches(ids, tags, **shape))
    total = config.epochs * per_epoch
    schedule = optimizers.warmup_cosine(config.learning_rate, total)
    optimizer = optax.chain(
        optimizers.clip(config.clip_norm),
        optax.adamw(schedule, weight_decay=config.weight_decay),
        scale_words(config.word_learning_rate),
    )

    def loss(params, batch, key):
        options = {**dropout_rates(config), "key": key}
        if by_segments:
            return segment_tagger.loss(params, as_segments(batch), singles=1, **options)
        return tagger.loss(params, batch, **options)

    place = loop.placement(config)
    of_pieces = place.loss(loss, lambda batch, _: batch.mask.any(axis=1).sum())
    step = make_train_step(of_pieces, optimizer, stochastic=True)
    init_key, train_key = jax.random.split(jax.random.key(config.seed))
    network: Any = segment_tagger if by_segments else tagger
    params: Any = network.init(init_key, model_config)
    if known is not None:
        first, *others = params.embeddings
        first = begin_with(known, first, words, config.word_dim, "--word_dim")
        params = params._replace(embeddings=(first, *others))

    def model_of(params) -> Model:
        kind: Any = Segmental if by_segments else Neural
        return kind(jax.device_get(params), vocabularies, names, model_config, info)

    training = loop.start_training(
        config, workdir, params, optimizer, train_key, total=total, unit="sentences", place=place
    )
    with training as (run_state, metrics, bar):
        while run_state.epoch < config.epochs:
            epoch = run_state.epoch + 1
            start = time.monotonic()
            seed = config.seed * config.epochs + epoch
            shuffled = batches(ids, tags, seed=seed, **shape)
            minibatches = ((place.rows(batch), 1, len(members)) for members, batch in shuffled)
            nats: list[float] = []
            for count, out in loop.take_steps(run_state, step, minibatches):
                loop.check_finite(out, workdir, f"epoch {epoch}, minibatch {len(nats)}")
                nats.append(float(out["loss"]))
                bar.advance(1, count, f"epoch {epoch}", nats=nats[-1])
            trained = time.monotonic() - start
            row = {"epoch": epoch, "train_nll": float(np.mean(nats)), "seconds": round(trained, 3)}
            if dev is not None:
                _, _, scores = evaluate(model_of(run_state.params), dev, config.constrained)
                found = figures(scores, info["scheme"])
                row |= {f"dev_{name}": value for name, value in found.items()}
            metrics.write(run_state.step, **row)
            # Best on dev; without one, the last.
            score = row.get("dev_f1", row.get("dev_accuracy", epoch))
            run_state.finish_epoch(score, metrics.rows[-1])
            bar.say(
                "  ".join(
                    f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
                    for name, value in row.items()
                )
            )
    result = {
        "epoch": run_state.best_epoch,
        "epochs_run": run_state.epoch,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(run_state.best)),
        "seconds_per_epoch": loop.seconds_per_epoch(metrics.rows),
    }
    return model_of(run_state.best), metrics.rows, result
