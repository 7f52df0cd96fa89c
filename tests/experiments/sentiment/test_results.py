"""What a run of the sentiment experiment leaves."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.sentiment import train
from experiments.sentiment.config import Config
from experiments.sentiment.summary import summarize
from experiments.workdir import RunMismatchError, read_json
from rntn_jax.annotate import load_classifier
from rntn_jax.training import read_metrics
from tests.experiments.sentiment.runs import (
    CONFIG,
    SCORES,
    no_training,
)
from tests.plots.browser import needs_driver, open_driver


def test_result_holds_scores_and_when(base: Path):
    result = read_json(base / "result.json")
    assert set(result) >= {
        "epoch", "epochs_run", "dev", "test", "seconds_per_epoch", "best_possible", "report"
    }  # fmt: skip
    assert result["epochs_run"] == 4 and 1 <= result["epoch"] <= 4
    assert result["best_possible"] == 1.0
    for split in ("dev", "test"):
        assert set(result[split]) == SCORES
        assert all(0 <= value <= 1 for value in result[split].values())


def test_metrics_have_a_row_an_epoch(base: Path):
    rows = read_metrics(base / "metrics.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    for row in rows:
        assert set(row) == {"step", "epoch", "train_loss", "seconds"} | {
            f"dev_{name}" for name in SCORES
        }
        assert np.isfinite(row["train_loss"]) and row["seconds"] >= 0
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


def test_the_chosen_epoch_is_the_best_on_dev(base: Path):
    rows, result = read_metrics(base / "metrics.jsonl"), read_json(base / "result.json")
    best = max(rows, key=lambda row: row["dev_fine_all"])  # the first of equals
    assert result["epoch"] == best["epoch"]
    assert result["dev"] == {name: best[f"dev_{name}"] for name in SCORES}


def test_settings_and_environment_are_kept(base: Path):
    assert Config(**read_json(base / "config.json")) == CONFIG
    environment = read_json(base / "environment.json")
    assert environment["jax"] == jax.__version__ and "command" in environment
    model = load_classifier(base / "model.safetensors")
    assert Config(**model.info) == CONFIG
    assert model.params.cell.v.shape == (4, 8, 8) and model.params.cell.v.dtype == np.float32
    splits = train.load_splits(CONFIG)
    words = {word.lower() for tree in splits["train"] for word in tree.tokens}
    assert set(model.vocabulary.words) == words | {"<pad>", "<unk>"}


def test_as_many_checkpoints_as_asked_for(base: Path):
    assert sorted(path.name for path in (base / "checkpoints").iterdir()) == [
        "step-0000000015.safetensors",
        "step-0000000020.safetensors",
    ]


def test_the_report_holds_scores_curves_and_trees(base: Path):
    page = (base / "report.html").read_text("utf-8")
    result = read_json(base / "result.json")
    assert page[:15].lower() == "<!doctype html>"
    assert f"{100 * result['test']['fine_all']:.1f}%" in page
    for words in ("Training loss", "Dev accuracy", "neutral wrong", "max_trees", jax.__version__):
        assert words in page
    assert not re.search(r"""(src|href)\s*=\s*["']?https?://""", page)


@needs_driver
def test_the_report_opens_in_a_browser(base: Path):
    with open_driver() as driver:
        driver.open(base / "report.html")
        state = "return [document.body.dataset.rj, document.body.dataset.rjError ?? null]"
        assert driver.script(state) == ["ready", None]
        assert driver.script("return document.querySelectorAll('svg.rj-tree').length") >= 4
        assert driver.script("return document.querySelectorAll('.rj-node').length") > 40
        assert driver.console_errors() == []


def test_finished_runs_are_summed_up(base: Path, capsys):
    summarize(str(base.parent / "base*"))
    printed = capsys.readouterr().out
    result = read_json(base / "result.json")
    for words in (base.name, "mean", "best", "RNTN, Socher et al. 2013"):
        assert words in printed
    assert f"{100 * result['test']['fine_all']:.2f}" in printed
    assert f"{100 * result['dev']['fine_all']:.2f} @{result['epoch']}" in printed
    with pytest.raises(FileNotFoundError, match=r"no finished run matches '.*nothing'"):
        summarize(str(base.parent / "nothing"))


def test_running_again_returns_the_result_without_training(base: Path, monkeypatch):
    before = {path: path.read_bytes() for path in base.glob("*.*") if path.suffix != ".json"}
    no_training(monkeypatch)
    assert train.run(CONFIG, base) == read_json(base / "result.json")
    assert train.run(CONFIG, str(base)) == read_json(base / "result.json")
    assert all(path.read_bytes() == content for path, content in before.items())


def test_other_settings_are_refused_by_name_and_value(base: Path, monkeypatch):
    no_training(monkeypatch)
    other = dataclasses.replace(CONFIG, dim=5, learning_rate=0.5)
    with pytest.raises(RunMismatchError) as caught:
        train.run(other, base)
    assert "dim was 4 and is now 5" in str(caught.value)
    assert "learning_rate was 0.05 and is now 0.5" in str(caught.value)
    assert "epochs" not in str(caught.value)
