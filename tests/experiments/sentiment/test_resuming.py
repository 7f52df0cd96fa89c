"""Runs that were stopped go on as if nothing had happened."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors

from experiments.sentiment import train
from experiments.workdir import RunMismatchError, read_json, write_json
from rntn_jax.training import CheckpointError, read_metrics
from tests.experiments.sentiment.runs import (
    CONFIG,
    NOISY,
    outcome,
    run_until,
)


def test_half_and_half_is_the_whole(base: Path, halfway: Path, capsys):
    capsys.readouterr()
    train.run(CONFIG, halfway)
    told = capsys.readouterr().err
    assert "resuming after epoch 2" in told and "passed over" not in told
    assert "epoch 3: loss" in told and "epoch 2: loss" not in told
    assert outcome(halfway) == outcome(base)


def test_stopped_before_a_checkpoint_the_epoch_is_done_again(base: Path, halfway: Path):
    run_until(CONFIG, halfway, 3, saved=False)
    # The row was written, the checkpoint was not, which is noticed an epoch later; and the next row
    # was cut short.
    metrics = halfway / "metrics.jsonl"
    assert [row["epoch"] for row in read_metrics(metrics)] == [1, 2, 3, 4]
    with metrics.open("a") as file:
        file.write('{"step": 20, "epo')
    train.run(CONFIG, halfway)
    assert outcome(halfway) == outcome(base)


def test_stopped_while_reporting_nothing_is_trained_again(base: Path, tmp_path: Path, monkeypatch):
    workdir = Path(shutil.copytree(base, tmp_path / "run"))
    for name in ("result.json", "report.html", "model.safetensors"):
        (workdir / name).unlink()
    calls = []
    make = train.make_train_step
    monkeypatch.setattr(
        train, "make_train_step", lambda *a, **o: lambda *_: calls.append(make(*a, **o))
    )
    train.run(CONFIG, workdir)
    assert not calls
    assert outcome(workdir) == outcome(base)


def test_a_fresh_run_forgets_the_old_one(base: Path, halfway: Path):
    settings = read_json(halfway / "config.json")
    write_json(halfway / "config.json", settings | {"dim": 7})
    with pytest.raises(RunMismatchError):
        train.run(CONFIG, halfway)
    train.run(CONFIG, halfway, fresh=True)
    assert outcome(halfway) == outcome(base)


def test_dropout_and_averages_resume_too(tmp_path: Path):
    train.run(NOISY, tmp_path / "whole")
    run_until(NOISY, tmp_path / "parts", 1)
    run_until(NOISY, tmp_path / "parts", 3, saved=False)
    train.run(NOISY, tmp_path / "parts")
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")
    # The averaged weights, which are what is judged, are not the last ones.
    newest = max((tmp_path / "whole" / "checkpoints").iterdir())
    with safetensors.safe_open(newest, "numpy") as file:
        last, mean = map(file.get_tensor, ("[0].params.head.w", "[1].head.w"))
    assert last.shape == mean.shape and not np.allclose(last, mean)


def test_a_damaged_checkpoint_is_passed_over(base: Path, halfway: Path, capsys):
    newest = max((halfway / "checkpoints").iterdir())
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 16
    newest.write_bytes(content)
    capsys.readouterr()
    train.run(CONFIG, halfway)
    told = capsys.readouterr().err
    assert re.search(rf"passed over: .*{newest.name} is damaged", told)
    assert "resuming after epoch 1" in told
    assert outcome(halfway) == outcome(base)


def test_when_all_checkpoints_are_damaged_the_run_stops(halfway: Path, monkeypatch):
    for path in (halfway / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"no intact checkpoint.*0005.*") as caught:
        train.run(CONFIG, halfway)
    assert "0010" in str(caught.value)


def test_checkpoints_of_another_size_are_refused(half: Path, tmp_path: Path):
    shutil.copytree(half / "checkpoints", tmp_path / "checkpoints")
    with pytest.raises(CheckpointError) as caught:
        train.run(dataclasses.replace(CONFIG, dim=5), tmp_path)
    assert re.search(
        r"cell\.v is float32\[4, 8, 8\], expected float32\[5, 10, 10\]", str(caught.value)
    )
    assert "step is" not in str(caught.value)
