"""Training of sentiment networks: faults, other settings, other corpora."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.sentiment import train
from experiments.sentiment.batches import EpochLoader
from experiments.sentiment.config import Config
from rntn_jax import data
from rntn_jax.annotate import load_classifier, two_classes
from rntn_jax.training import read_metrics
from tests.experiments.sentiment.runs import (
    CONFIG,
    ROOT,
    SHORT,
    outcome,
)


def test_a_loss_that_is_no_number_stops_the_run(base: Path, tmp_path: Path):
    seen: dict[int, list[Any]] = {}

    class Loader(EpochLoader):
        def epoch(self, number: int, last: bool = False) -> Iterator[Any]:
            seen[number] = list(super().epoch(number, last))
            return iter(seen[number])

    make = train.make_train_step
    failing_update = 5 + 3  # minibatch 3 of epoch 2, counted from 0

    def make_failing(*args: Any, **options: Any) -> Any:
        step, done = make(*args, **options), 0

        def failing(state: Any, batch: Any) -> Any:
            nonlocal done
            state, out = step(state, batch)
            updates = np.arange(done, done + len(out["loss"]))
            done += len(updates)
            bad = jnp.asarray(updates == failing_update)
            return state, out | {
                "loss": jnp.where(bad, jnp.nan, out["loss"]),
                "finite": out["finite"] & ~bad,
            }

        return failing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "EpochLoader", Loader)
        patch.setattr(train, "make_train_step", make_failing)
        with pytest.raises(train.NotFiniteError) as caught:
            train.run(CONFIG, tmp_path)
    message = str(caught.value)
    assert "loss is nan" in message and "epoch 2, minibatch 3 " in message
    members = [m for dispatch in seen[2] for m in dispatch.members][3]
    assert f"training trees {', '.join(map(str, members))}" in message
    assert str(tmp_path / "checkpoints") in message and "--learning_rate" in message
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-0000000005.safetensors"]
    assert not (tmp_path / "result.json").exists()
    # Whatever it was, when it is gone the run goes on from the good checkpoint.
    train.run(CONFIG, tmp_path)
    assert outcome(tmp_path) == outcome(base)


def test_a_step_size_out_of_all_reason_is_noticed(tmp_path: Path):
    config = dataclasses.replace(SHORT, learning_rate=1e30)
    with pytest.raises(train.NotFiniteError, match=r"in epoch 1, minibatch [0-3] \(training trees"):
        train.run(config, tmp_path)


def test_faults_in_the_data_are_placed(tmp_path: Path):
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.txt").write_text("(3 (2 a) (4 b))\n")
    (tmp_path / "dev.txt").write_text("(3 (2 a) (4 b))\n(3 (2 a) (9 b))\n")
    config = dataclasses.replace(CONFIG, corpus="sst", data_dir=str(tmp_path))
    with pytest.raises(data.DataError) as caught:
        train.run(config, tmp_path / "run")
    error = caught.value
    assert (error.file, error.line, error.column) == (str(tmp_path / "dev.txt"), 2, 11)
    with pytest.raises(data.DataError, match=r"train\.txt"):
        missing = dataclasses.replace(config, data_dir=str(tmp_path / "none"))
        train.run(missing, tmp_path / "run 2")


def test_a_corpus_of_ones_own(tmp_path: Path):
    forest = data.demo_sentiment.sentiment_trees(12, seed=3)
    for name in ("train", "dev", "test"):
        data.write_trees(tmp_path / f"{name}.txt", forest)
    config = dataclasses.replace(SHORT, corpus="sst", data_dir=str(tmp_path))
    result = train.run(config, tmp_path / "run")
    assert "best_possible" not in result and result["dev"] == result["test"]
    assert "Socher" in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_two_classes_leave_neutral_nodes_unlabelled(tmp_path: Path):
    config = dataclasses.replace(SHORT, num_classes=2)
    five, two = train.load_splits(CONFIG), train.load_splits(config)
    relabelled = {0: 0, 1: 0, 2: -1, 3: 1, 4: 1}
    for name in ("train", "dev", "test"):
        for a, b in zip(five[name], two[name], strict=True):
            assert a.tokens == b.tokens
            assert b.labels.tolist() == [relabelled[label] for label in a.labels.tolist()]
    half_labelled = data.parse_tree("(4 (-1 a) (1 b))")
    assert two_classes(half_labelled).labels.tolist() == [-1, 0, 1]
    result = train.run(config, tmp_path)
    assert set(result["test"]) == {"fine_all", "fine_root"}
    assert load_classifier(tmp_path / "model.safetensors").params.head.w.shape == (4, 2)
    assert "very negative" not in (tmp_path / "report.html").read_text("utf-8")


def test_no_dev_label_to_select_by_is_an_error_before_the_model_is_chosen(tmp_path: Path):
    forest = data.demo_sentiment.sentiment_trees(12, seed=3)
    data.write_trees(tmp_path / "train.txt", forest)
    nameless = [dataclasses.replace(t, labels=np.full_like(t.labels, -1)) for t in forest]
    for name in ("dev", "test"):
        data.write_trees(tmp_path / f"{name}.txt", nameless)
    config = dataclasses.replace(SHORT, corpus="sst", data_dir=str(tmp_path))
    with pytest.raises(data.DataError, match="fine_all"):
        train.run(config, tmp_path / "run")


def test_the_plain_recursive_net_runs(tmp_path: Path):
    train.run(dataclasses.replace(SHORT, model="rnn"), tmp_path)
    assert load_classifier(tmp_path / "model.safetensors").params.cell.v is None


def test_other_activations_dropout_and_clipping_run(tmp_path: Path):
    config = dataclasses.replace(
        SHORT,
        epochs=2,
        activation="relu",
        leaf_activation="identity",
        optimizer="momentum",
        schedule="linear",
        learning_rate=0.001,
        clip_norm=1.0,
        select="mean",
        lowercase=False,
    )
    result = train.run(config, tmp_path)
    columns = ("fine_all", "fine_root", "binary_all", "binary_root")
    best = max(
        np.mean([row[f"dev_{c}"] for c in columns])
        for row in read_metrics(tmp_path / "metrics.jsonl")
    )
    assert np.mean([result["dev"][c] for c in columns]) == best
    model = load_classifier(tmp_path / "model.safetensors")
    assert model.options == {"activation": "relu", "leaf_activation": "identity"}
    assert not model.vocabulary.lowercase


def test_without_a_better_score_it_stops(tmp_path: Path):
    config = dataclasses.replace(SHORT, epochs=9, patience=2, learning_rate=1e-12)
    result = train.run(config, tmp_path)
    assert result["epoch"] == 1 and result["epochs_run"] == 3
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3


def test_tensorboard_events_on_request(tmp_path: Path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    train.run(dataclasses.replace(SHORT, tensorboard=True), tmp_path)
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"train_loss" in events.read_bytes() and b"dev_fine_all" in events.read_bytes()


def test_the_demo_is_learnt(tmp_path: Path):
    config = Config(max_trees=600, epochs=6, dim=12)
    result = train.run(config, tmp_path)
    labels = np.concatenate([tree.labels for tree in train.load_splits(config)["dev"]])
    majority = np.bincount(labels).max() / len(labels)
    assert result["dev"]["fine_all"] > majority + 0.1
    assert result["test"]["binary_all"] > 0.7


@pytest.mark.slow
def test_one_epoch_of_the_paper_preset(tmp_path: Path):
    from experiments.sentiment.config import PRESETS

    folder = ROOT.parent / "shared" / "data"
    if not (folder / "sst" / "train.txt").exists():
        pytest.skip(f"there is no {folder / 'sst' / 'train.txt'}")
    config = Config(**{**PRESETS["paper"], "epochs": 1, "data_dir": str(folder)})
    result = train.run(config, tmp_path)
    assert result["dev"]["fine_all"] > 0.70
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["dev_fine_all"] > 0.70
