"""Training of segmenter, tagger and parser, one after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments import loop, optimizers
from experiments.splits import load_conllu
from experiments.ud_pipeline.config import Config
from experiments.ud_pipeline.stages import (
    Stage,
    folds_of,
    parser_stage,
    segmenter_stage,
    tagger_stage,
)
from experiments.workdir import run_once, write_json
from rntn_jax import data
from rntn_jax.annotate import morphology
from rntn_jax.annotate.ud import (
    LICENCES,
    UDParser,
    evaluate_text,
    load_ud_parser,
    save_ud_parser,
    with_tags,
)
from rntn_jax.training import NotFiniteError, ProgressBar, RunState, make_train_step

__all__ = ["NotFiniteError", "load_splits", "run"]

Sentences = Sequence[data.ConlluSentence]


def load_splits(config: Config) -> dict[str, Sentences]:
    """Sentences of train, dev and test."""
    return load_conllu(config, in_order=True)


def fit(
    config: Config, workdir: Path, name: str, epochs: int, stage: Stage
) -> tuple[Any, list[dict[str, Any]]]:
    """Trains one model, or goes on training it: the best on dev, and a row of metrics an epoch.

    Minibatches come in an order of their own in each epoch, from the seed.
    """
    total = epochs * len(stage.batches)
    schedule = optimizers.warmup_cosine(config.learning_rate, total)
    optimizer = optax.chain(optimizers.clip(5.0), optax.adam(schedule, b2=0.99))
    step = make_train_step(stage.loss, optimizer, stochastic=True)
    state = RunState(
        workdir / "checkpoints" / name,
        stage.model.params,
        optimizer,
        jax.random.key(config.seed + 10, impl="rbg"),  # compiles and runs quicker
        average=config.average,
        keep=config.keep_checkpoints,
    )
    bar = ProgressBar(total, done=state.begun, unit="minibatches")
    with loop.kept(state), bar:
        state.log_resume(bar.say)
        while state.epoch < epochs:
            epoch, begun = state.epoch + 1, time.monotonic()
            nats: list[float] = []
            order = np.random.default_rng((config.seed, epoch)).permutation(len(stage.batches))
            minibatches = ((stage.batches[number], 1, None) for number in order)
            for _, out in loop.take_steps(state, step, minibatches):
                loop.check_finite(out, workdir, f"epoch {epoch} of the {name}")
                nats.append(float(out["loss"]))
                bar.advance(1, 1, f"{name}, epoch {epoch}", nats=nats[-1])
            seconds = time.monotonic() - begun
            score = stage.score(stage.model._replace(params=jax.device_get(state.params)))
            row = {"epoch": epoch, "train_nll": float(np.mean(nats)), "dev_score": score}
            better = state.finish_epoch(score, row)
            bar.say(
                f"{name}, epoch {epoch}: {row['train_nll']:.4f} nats, dev {100 * score:.2f}, "
                f"{seconds:.1f} s" + (" *" if better else "")
            )
    return stage.model._replace(params=jax.device_get(state.best)), state.rows


def _retagged(model: morphology.Morphology, sentences: Sentences) -> list[data.ConlluSentence]:
    answers = morphology.predict_tags(model, [sentence.forms for sentence in sentences])
    return [with_tags(sentence, tags) for sentence, tags in zip(sentences, answers)]


def run(config: Config, workdir: str | Path, *, fresh: bool = False) -> dict[str, Any]:
    """`run_once` of this experiment.

    Returns:
        The content of ``result.json``: F1 of dev and test from raw text.
    """
    return run_once(config, workdir, fresh, load_splits, _run)


def _run(config: Config, workdir: Path, splits: dict[str, Sentences]) -> dict[str, Any]:
    """`run` in a folder that is held."""
    model, history = _train(config, workdir, splits)
    path = workdir / "model.safetensors"
    save_ud_parser(path, model)
    model = load_ud_parser(path)  # as it was rounded
    result: dict[str, Any] = {"model_bytes": path.stat().st_size, "history": history}
    for split in ("dev", "test"):
        if split in splits:
            scores = evaluate_text(model, splits[split])
            result |= {f"{split}_{name}": s.f1 for name, s in scores._asdict().items()}
    write_json(workdir / "result.json", result)
    return result


def _train(
    config: Config, workdir: Path, splits: dict[str, Sentences]
) -> tuple[UDParser, dict[str, Any]]:
    """All models, and the metrics of their epochs."""
    train, dev, history = splits["train"], splits["dev"], {}
    stage = segmenter_stage(config, train, dev)
    cut, history["segmenter"] = fit(config, workdir, "segmenter", config.segmenter_epochs, stage)
    tagged = list(train)
    for fold, (kept, held) in enumerate(folds_of(len(train), config.folds)):
        name = f"tagger-fold-{fold}"
        stage = tagger_stage(config, [train[i] for i in kept], dev, train)
        tag, history[name] = fit(config, workdir, name, config.tagger_epochs, stage)
        for i, sentence in zip(held, _retagged(tag, [train[i] for i in held])):
            tagged[i] = sentence
    stage = tagger_stage(config, train, dev)
    tag, history["tagger"] = fit(config, workdir, "tagger", config.tagger_epochs, stage)
    stage = parser_stage(config, tagged, _retagged(tag, dev))
    parse, history["parser"] = fit(config, workdir, "parser", config.parser_epochs, stage)
    corpus = "a file" if config.train is not None else config.corpus
    info = {"corpus": corpus, "licence": LICENCES.get(corpus, "that of the training data")}
    return UDParser(cut, tag, parse, info), history
