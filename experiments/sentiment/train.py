"""Training of sentiment models: the readable loop, and what the baselines need instead."""

from __future__ import annotations

import dataclasses
import time
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import loop
from experiments.sentiment import bag_of_words, networks, report, scores
from experiments.sentiment.batches import Dispatch, EpochLoader, placed
from experiments.sentiment.config import BAGS, Config
from experiments.sentiment.networks import make_loss, make_optimizer, model_options
from experiments.splits import read_corpus
from experiments.word_vectors import with_known_words
from experiments.workdir import run_once, write_json
from rntn_jax import data, trees
from rntn_jax.annotate import (
    SentimentClassifier,
    class_probabilities,
    label_trees,
    save_classifier,
    two_classes,
)
from rntn_jax.training import NotFiniteError, make_train_step

__all__ = ["NotFiniteError", "load_splits", "run"]


def load_splits(config: Config) -> dict[str, list[data.Tree]]:
    """Train, dev and test trees, with two classes if asked for."""
    demo = data.demo_sentiment.sentiment_splits
    splits = read_corpus(config, data.read_trees, demo, noun="trees")
    splits = {name: forest[: config.max_trees] for name, forest in splits.items()}
    if config.num_classes == 2:
        splits = {name: [two_classes(tree) for tree in f] for name, f in splits.items()}
    # Whether there is anything to choose by: the score of a model that is always right.
    right = [np.eye(config.num_classes)[tree.labels] for tree in splits["dev"]]
    if not np.isfinite(_selection(config, scores.score(scores.collect(splits["dev"], right)))):
        raise data.DataError(
            f"no dev tree has the labels that select={config.select!r} needs",
            file=_file(config, "dev"),
        )
    for name, forest in splits.items():
        if name != "dev" and not any((tree.labels >= 0).any() for tree in forest):
            raise data.DataError(
                f"no node of the {name} trees has a label", file=_file(config, name)
            )
    return splits


def _file(config: Config, split: str) -> str | None:
    """The user's own file that a split comes from."""
    own = getattr(config, split)
    return config.train if own is None and split == "dev" else own


def _selection(config: Config, dev: dict[str, float]) -> float:
    if config.select == "mean":
        return float(
            np.mean(
                [dev[c] for c in ("fine_all", "fine_root", "binary_all", "binary_root") if c in dev]
            )
        )
    return dev[config.select]


def run(config: Config, workdir: str | Path, *, fresh: bool = False) -> dict[str, Any]:
    """`run_once` of this experiment.

    Returns:
        The content of ``result.json``: scores of the chosen model on dev and test, and when.
    """
    return run_once(config, workdir, fresh, load_splits, _run)


def _run(config: Config, workdir: Path, splits: dict[str, list[data.Tree]]) -> dict[str, Any]:
    """`run` in a folder that is held."""
    vocabulary, known = _words(config, splits)
    if config.model in BAGS:
        start = time.monotonic()
        predict = bag_of_words.fit(config, splits["train"], vocabulary)
        about: dict[str, Any] = {"epoch": 1, "epochs_run": 1}
        seconds, history = time.monotonic() - start, []
    else:
        model, about, history = _train(config, workdir, splits, vocabulary, known)
        save_classifier(workdir / "model.safetensors", model)
        predict, seconds = partial(label_trees, model), loop.seconds_per_epoch(history)
    predicted = {name: predict(splits[name]) for name in ("dev", "test") if name in splits}
    found = {
        name: scores.score(scores.collect(splits[name], probabilities))
        for name, probabilities in predicted.items()
    }
    about.setdefault("chosen_by", _selection(config, found["dev"]))
    result: dict[str, Any] = {**about, **found, "seconds_per_epoch": round(seconds, 3)}
    if config.corpus == "demo" and config.train is None:
        result["best_possible"] = data.demo_sentiment.best_accuracy()
    result["report"] = str(workdir / "report.html")
    report.write(workdir, config, result, history, splits, predicted)
    write_json(workdir / "result.json", result)
    return result


def _words(
    config: Config, splits: dict[str, list[data.Tree]]
) -> tuple[data.Vocabulary, data.WordVectors | None]:
    """The words of the training trees and, with a file of vectors, all words that it knows."""
    words = {name: [w for tree in forest for w in tree.tokens] for name, forest in splits.items()}
    vocabulary = data.Vocabulary.build(words["train"], lowercase=config.lowercase)
    return with_known_words(config.vectors, vocabulary, chain.from_iterable(words.values()))


def _train(
    config: Config,
    workdir: Path,
    splits: dict[str, list[data.Tree]],
    vocabulary: data.Vocabulary,
    known: data.WordVectors | None,
) -> tuple[SentimentClassifier, dict[str, Any], list[dict[str, Any]]]:
    """Trains a network: the model, when it was best, and the metrics of each epoch."""
    banks = {name: trees.encode(splits[name], vocabulary) for name in ("train", "dev")}
    place = loop.placement(config)
    loader = EpochLoader(
        banks["train"],
        config.batch_size,
        config.lanes,
        config.updates_per_dispatch,
        config.seed,
        place.count,
    )
    optimizer = make_optimizer(config, config.epochs * loader.num_batches)
    step = make_train_step(make_loss(config, place), optimizer, stochastic=True, several=True)
    init_key, train_key = jax.random.split(jax.random.key(config.seed))
    params = networks.init(init_key, config, len(vocabulary))
    if known is not None:
        params = networks.init_words(params, vocabulary, known)
    options = model_options(config)
    total = config.epochs * loader.num_batches
    training = loop.start_training(
        config, workdir, params, optimizer, train_key, total=total, unit="trees", place=place
    )
    with closing(loader), training as (run_state, metrics, bar):
        while run_state.epoch < config.epochs and not loop.out_of_patience(
            config.patience, run_state
        ):
            epoch = run_state.epoch + 1
            start = time.monotonic()
            dispatches = loader.epoch(epoch, last=epoch == config.epochs)
            minibatches = ((placed(place, own.batch), len(own.members), own) for own in dispatches)
            losses: list[float] = []
            for dispatch, out in loop.take_steps(run_state, step, minibatches, also=("aux",)):
                loop.check_finite(out, workdir, partial(_which, epoch, dispatch))
                losses += out["aux"].tolist()
                count = sum(len(members) for members in dispatch.members)
                nats = float(np.mean(losses[-len(dispatch.members) :]))
                bar.advance(len(dispatch.members), count, f"epoch {epoch}", loss=nats)
            trained = time.monotonic() - start

            probabilities = class_probabilities(run_state.params, banks["dev"], options)
            dev = scores.score(scores.collect(splits["dev"], probabilities))
            value = _selection(config, dev)
            metrics.write(
                run_state.step,
                epoch=epoch,
                train_loss=float(np.mean(losses)),
                **{f"dev_{name}": x for name, x in dev.items()},
                seconds=round(trained, 3),
            )
            better = run_state.finish_epoch(value, metrics.rows[-1])
            bar.say(
                f"epoch {epoch}: loss {np.mean(losses):.3f}, dev {_show(dev)}, "
                f"{len(banks['train']) / trained:.0f} trees/s" + (" *" if better else "")
            )
        model = SentimentClassifier(run_state.best, vocabulary, options, dataclasses.asdict(config))
        about = {
            "epoch": run_state.best_epoch,
            "epochs_run": run_state.epoch,
            "chosen_by": run_state.best_score,
        }
        return model, about, metrics.rows


def _which(epoch: int, dispatch: Dispatch, at: int) -> str:
    """Which minibatch of a dispatch."""
    shown = ", ".join(map(str, dispatch.members[at][:10]))
    return f"epoch {epoch}, minibatch {dispatch.first + at} (training trees {shown}, ...)"


def _show(values: dict[str, float]) -> str:
    return " ".join(f"{name} {100 * x:.2f}" for name, x in values.items() if "corenlp" not in name)
