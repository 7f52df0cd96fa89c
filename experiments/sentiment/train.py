"""Training of sentiment networks: the readable loop."""

from __future__ import annotations

import dataclasses
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments.sentiment import report, scores
from experiments.sentiment.batches import EpochLoader
from experiments.sentiment.config import Config
from experiments.splits import read_splits
from experiments.workdir import open_workdir, write_json
from rntn_jax import data, trees
from rntn_jax.annotate import Labeller, predict, save_labeller, two_classes
from rntn_jax.models import rntn
from rntn_jax.training import MetricsWriter, NotFiniteError, ProgressBar, RunState, make_train_step

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
    rate: Any = config.learning_rate
    if config.schedule == "cosine":
        rate = optax.cosine_decay_schedule(rate, num_updates)
    elif config.schedule == "linear":
        rate = optax.linear_schedule(rate, 0.0, num_updates)

    def slow_tensor(updates: Any, _: Any) -> Any:
        if updates.cell.v is None:
            return updates
        return updates._replace(
            cell=updates.cell._replace(v=config.tensor_learning_rate * updates.cell.v)
        )

    direction = {
        "adagrad": lambda: optax.scale_by_rss(config.initial_accumulator),
        "sgd": optax.identity,
        "momentum": lambda: optax.trace(0.9),
        "adam": optax.scale_by_adam,
    }[config.optimizer]()
    clip = (
        optax.identity()
        if config.clip_norm is None
        else optax.clip_by_global_norm(config.clip_norm)
    )
    return optax.chain(
        clip, direction, optax.stateless(slow_tensor), optax.scale_by_learning_rate(rate)
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
    """Trains, or goes on training, and reports.

    Args:
        config: the settings.
        workdir: folder of the run; a run that was stopped there is resumed, and ends bit for bit
            as if it had not been.
        fresh: start over.

    Returns:
        The content of ``result.json``: scores of the chosen model on dev and test, and when.

    Raises:
        DataError: when the corpus is not there or faulty.
        RunMismatchError: when ``workdir`` holds a run with other settings.
        NotFiniteError: when the loss stops being a number.
    """
    workdir = Path(workdir)
    if (done := open_workdir(workdir, config, fresh)) is not None:
        return done

    splits = load_splits(config)
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
    session = RunState(
        workdir / "checkpoints",
        params,
        optimizer,
        train_key,
        average=config.average,
        keep=config.keep_checkpoints,
    )

    total = config.epochs * loader.num_batches
    metrics = MetricsWriter(
        workdir / "metrics.jsonl",
        session.step,
        workdir / "tensorboard" if config.tensorboard else None,
    )
    with closing(loader), metrics, ProgressBar(total, done=session.step, unit="trees") as bar:
        session.announce(bar.say)
        while session.epoch < config.epochs and not _out_of_patience(config, session):
            epoch = session.epoch + 1
            start = time.monotonic()
            losses: list[float] = []
            pending = None
            for dispatch in loader.epoch(epoch, last=epoch == config.epochs):
                session.state, out = step(session.state, dispatch.batch)
                session.advance(len(dispatch.members))
                # Look at the call before this one, so that the device never waits for us.
                if pending is not None:
                    losses += _collect(pending, epoch, workdir, bar)
                pending = dispatch, out
            losses += _collect(pending, epoch, workdir, bar)
            trained = time.monotonic() - start

            dev = _evaluate(session.params, banks["dev"], splits["dev"], config)
            value = _selection(config, dev)
            metrics.write(
                session.step,
                epoch=epoch,
                train_loss=float(np.mean(losses)),
                **{f"dev_{name}": x for name, x in dev.items()},
                seconds=round(trained, 3),
            )
            better = session.finish_epoch(value)
            bar.say(
                f"epoch {epoch}: loss {np.mean(losses):.3f}, dev {_show(dev)}, "
                f"{len(banks['train']) / trained:.0f} trees/s" + (" *" if better else "")
            )

    model = Labeller(session.best, vocabulary, model_options(config), dataclasses.asdict(config))
    save_labeller(workdir / "model.safetensors", model)
    result: dict[str, Any] = {
        "epoch": session.best_epoch,
        "epochs_run": session.epoch,
        "chosen_by": session.best_score,
        **{
            name: _evaluate(session.best, banks[name], splits[name], config)
            for name in ("dev", "test")
            if name in splits
        },
        "seconds_per_epoch": float(np.median([row["seconds"] for row in metrics.rows])),
    }
    if config.corpus == "demo" and config.train is None:
        result["best_possible"] = data.demo_sentiment.best_accuracy()
    result["report"] = str(workdir / "report.html")
    report.write(workdir, config, result, metrics.rows, splits, model)
    write_json(workdir / "result.json", result)
    return result


def _out_of_patience(config: Config, session: RunState) -> bool:
    return config.patience is not None and session.waited >= config.patience


def _collect(pending: Any, epoch: int, workdir: Path, bar: ProgressBar) -> list[float]:
    """Losses of a dispatch, checked and shown."""
    dispatch, out = pending
    finite = np.asarray(out["finite"])
    if not finite.all():
        at = int(np.argmin(finite))
        shown = ", ".join(map(str, dispatch.members[at][:10]))
        raise NotFiniteError(
            f"the loss is {float(out['loss'][at])} and the gradient's norm "
            f"{float(out['grad_norm'][at])} in epoch {epoch}, minibatch {dispatch.first + at} "
            f"(training trees {shown}, ...). The last good checkpoint is kept in "
            f"{workdir / 'checkpoints'}. A smaller --learning_rate or --clip_norm may help."
        )
    nats = np.asarray(out["aux"])
    count = sum(len(members) for members in dispatch.members)
    bar.advance(len(nats), count, f"epoch {epoch}", loss=float(nats.mean()))
    return nats.tolist()


def _evaluate(
    params: rntn.Params, bank: trees.Treebank, forest: list[data.Tree], config: Config
) -> dict[str, float]:
    probabilities = predict(params, bank, model_options(config))
    return scores.score(scores.collect(forest, probabilities))


def _show(values: dict[str, float]) -> str:
    return " ".join(f"{name} {100 * x:.2f}" for name, x in values.items() if "corenlp" not in name)
