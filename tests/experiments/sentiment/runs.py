"""Runs of the sentiment experiment, small ones: settings, stopping them, what they leave."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import pytest
import safetensors

from experiments.sentiment import train
from experiments.sentiment.config import Config
from experiments.workdir import read_json
from rntn_jax import data
from rntn_jax.annotate import SentimentClassifier
from rntn_jax.models import rntn
from rntn_jax.training import Checkpointer, read_metrics, run_state
from tests.helpers import enable_x64

ROOT = Path(__file__).resolve().parents[3]
# 40 trees in minibatches of 9: five an epoch, two calls with two of them and one with one.
CONFIG = Config(max_trees=40, dim=4, epochs=4, batch_size=9, lanes=4, updates_per_dispatch=2)
NOISY = dataclasses.replace(
    CONFIG, leaf_dropout=0.1, hidden_dropout=0.2, average=0.9, optimizer="adam", schedule="cosine"
)
SHORT = dataclasses.replace(CONFIG, epochs=1, batch_size=10)  # one program less to compile
SENTENCES = "(3 (2 not) (4 (2 very) (0 bad)))\n(1 (2 a) (3 (4 good) (-1 film)))\n"
SCORES = {
    f"{name}_{place}" for name in ("fine", "binary", "binary_corenlp") for place in ("all", "root")
}
SHARED = {
    name: functools.cache(getattr(train, name))
    for name in ("make_loss", "make_optimizer", "make_train_step")
}


@contextmanager
def as_users_run() -> Iterator[None]:
    """Without 64-bit types; and equal settings share a compiled step, to save time."""
    with enable_x64(False), pytest.MonkeyPatch.context() as patch:
        for name, make in SHARED.items():
            patch.setattr(train, name, make)
        yield


def environment_of_a_process(factory: pytest.TempPathFactory) -> dict[str, str]:
    """For Pythons of their own: bytecode and XLA programs are kept, for all of a test session."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(factory.getbasetemp() / "bytecode"),
        "JAX_COMPILATION_CACHE_DIR": str(factory.getbasetemp() / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


class Stop(Exception):
    """The run is stopped here."""


def run_until(config: Config, workdir: Path, epoch: int, *, saved: bool = True) -> None:
    """Runs, and stops just after (or just before) the checkpoint of an epoch is written."""

    class Stopping(Checkpointer):
        def save(self, step: int, tree: Any, info: dict[str, Any], drop: Any = ()) -> Path:
            if info["epoch"] == epoch and not saved:
                raise Stop
            path = super().save(step, tree, info, drop)
            if info["epoch"] == epoch:
                raise Stop
            return path

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(run_state, "Checkpointer", Stopping)
        train.run(config, workdir)


def digest(path: Path) -> str:
    """The checksum of a file's arrays and of what was stored with them."""
    with safetensors.safe_open(path, "numpy") as file:
        return file.metadata()["sha256"]


def outcome(workdir: Path) -> dict[str, Any]:
    """All that a run has to reproduce: everything but times and its own folder."""
    result = read_json(workdir / "result.json")
    rows = read_metrics(workdir / "metrics.jsonl")
    for times in (result, *rows):
        del times["seconds_per_epoch" if times is result else "seconds"]
    assert result.pop("report") == str(workdir / "report.html")
    return {
        "model": digest(workdir / "model.safetensors"),
        "states": {p.name: digest(p) for p in (workdir / "checkpoints").iterdir()},
        "rows": rows,
        "result": result,
    }


def no_training(patch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("trained")

    patch.setattr(train, "make_train_step", fail)


def small_model(**sizes: Any) -> SentimentClassifier:
    """An untrained classifier that knows five words."""
    vocabulary = data.Vocabulary.build(["not", "very", "good", "bad", "film"], lowercase=True)
    config = rntn.Config(**{"vocab_size": len(vocabulary), "dim": 3} | sizes)
    params = rntn.init(jax.random.key(0), config)
    options = {"activation": "sigmoid", "leaf_activation": "identity"}
    return SentimentClassifier(params, vocabulary, options, {"note": "é"})
