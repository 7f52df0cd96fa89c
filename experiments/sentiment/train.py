"""Training of sentiment networks: the readable loop."""

from __future__ import annotations

import dataclasses
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments import loop, optimizers
from experiments.sentiment import report, scores
from experiments.sentiment.batches import Dispatch, EpochLoader
from experiments.sentiment.config import Config
from experiments.splits import read_splits
from experiments.workdir import run_once, write_json
from rntn_jax import data, trees
from rntn_jax.annotate import SentimentClassifier, class_probabilities, save_classifier, two_classes
from rntn_jax.models import rntn
from rntn_jax.training import NotFiniteError, make_train_step

__all__ = ["NotFiniteError", "load_splits", "run"]


def load_splits(config: Config) -> dict[str, list[data.Tree]]:
    """Train, dev and test trees, with two classes if asked for."""
    if config.train is not None:
        files = config.train, config.dev, config.test
        splits = read_splits(data.read_trees, *files, noun="trees")
    elif config.corpus == "demo":
        splits = data.demo_sentiment.sentiment_splits()
    else:
        files = data.corpora.find(config.corpus, config.data_dir)
        splits = {name: data.read_trees(files[name]) for name in ("train", "dev", "test")}
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


def make_optimizer(config: Config, num_updates: int) -> optax.GradientTransformation:
    """The optimiser, with a step size of its own for the tensor."""

    def slow_tensor(updates: Any, _: Any) -> Any:
        if updates.cell.v is None:
            return updates
        return updates._replace(
            cell=updates.cell._replace(v=config.tensor_learning_rate * updates.cell.v)
        )

    rate = optimizers.schedule(config.schedule, config.learning_rate, num_updates)
    return optax.chain(
        optimizers.clip(config.clip_norm),
        optimizers.direction(config.optimizer, config.initial_accumulator),
        optax.stateless(slow_tensor),
        optax.scale_by_learning_rate(rate),
    )


def model_options(config: Config) -> dict[str, Any]:
    """Keyword arguments of `rntn.apply` that training and prediction share."""
    return {"activation": config.activation, "leaf_activation": config.leaf_activation}


def make_loss(config: Config):
    """Cross-entropy plus L2; the cross-entropy alone is what is reported."""

    def loss(params, forest, key):
        nats, _ = rntn.loss(
            params,
            forest,
            leaf_dropout=config.leaf_dropout,
            hidden_dropout=config.hidden_dropout,
            key=key,
            **model_options(config),
        )
        penalty = rntn.l2_penalty(
            params,
            forest,
            tensor=config.l2_tensor,
            weights=config.l2_weights,
            head=config.l2_head,
            words=config.l2_words,
        )
        return nats + penalty, nats

    return loss


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
    vocabulary = data.Vocabulary.build(
        (word for tree in splits["train"] for word in tree.tokens), lowercase=config.lowercase
    )
    banks = {name: trees.encode(forest, vocabulary) for name, forest in splits.items()}
    loader = EpochLoader(
        banks["train"], config.batch_size, config.lanes, config.updates_per_dispatch, config.seed
    )

    optimizer = make_optimizer(config, config.epochs * loader.num_batches)
    step = make_train_step(make_loss(config), optimizer, stochastic=True, several=True)
    init_key, train_key = jax.random.split(jax.random.key(config.seed))
    params = rntn.init(
        init_key,
        rntn.Config(
            vocab_size=len(vocabulary),
            dim=config.dim,
            num_classes=config.num_classes,
            tensor=config.tensor,
            tensor_scale=config.tensor_scale,
            word_scale=config.word_scale,
        ),
    )
    total = config.epochs * loader.num_batches
    training = loop.start_training(
        config, workdir, params, optimizer, train_key, total=total, unit="trees"
    )
    with closing(loader), training as (run_state, metrics, bar):
        while run_state.epoch < config.epochs and not loop.out_of_patience(
            config.patience, run_state
        ):
            epoch = run_state.epoch + 1
            start = time.monotonic()
            dispatches = loader.epoch(epoch, last=epoch == config.epochs)
            minibatches = ((own.batch, len(own.members), own) for own in dispatches)
            losses: list[float] = []
            for dispatch, out in loop.take_steps(run_state, step, minibatches):
                loop.check_finite(out, workdir, partial(_which, epoch, dispatch))
                losses += np.asarray(out["aux"]).tolist()
                count = sum(len(members) for members in dispatch.members)
                nats = float(np.mean(losses[-len(dispatch.members) :]))
                bar.advance(len(dispatch.members), count, f"epoch {epoch}", loss=nats)
            trained = time.monotonic() - start

            dev = _evaluate(run_state.params, banks["dev"], splits["dev"], config)
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

    model = SentimentClassifier(
        run_state.best, vocabulary, model_options(config), dataclasses.asdict(config)
    )
    save_classifier(workdir / "model.safetensors", model)
    result: dict[str, Any] = {
        "epoch": run_state.best_epoch,
        "epochs_run": run_state.epoch,
        "chosen_by": run_state.best_score,
        **{
            name: _evaluate(run_state.best, banks[name], splits[name], config)
            for name in ("dev", "test")
            if name in splits
        },
        "seconds_per_epoch": loop.seconds_per_epoch(metrics.rows),
    }
    if config.corpus == "demo" and config.train is None:
        result["best_possible"] = data.demo_sentiment.best_accuracy()
    result["report"] = str(workdir / "report.html")
    report.write(workdir, config, result, metrics.rows, splits, model)
    write_json(workdir / "result.json", result)
    return result


def _which(epoch: int, dispatch: Dispatch, at: int) -> str:
    """Which minibatch of a dispatch."""
    shown = ", ".join(map(str, dispatch.members[at][:10]))
    return f"epoch {epoch}, minibatch {dispatch.first + at} (training trees {shown}, ...)"


def _evaluate(
    params: rntn.Params, bank: trees.Treebank, forest: list[data.Tree], config: Config
) -> dict[str, float]:
    probabilities = class_probabilities(params, bank, model_options(config))
    return scores.score(scores.collect(forest, probabilities))


def _show(values: dict[str, float]) -> str:
    return " ".join(f"{name} {100 * x:.2f}" for name, x in values.items() if "corenlp" not in name)
