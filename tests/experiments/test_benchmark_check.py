"""Ratios against those that are committed: what fell, and fell again, is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.benchmark import interleave
from experiments.benchmark.check import run as check
from experiments.benchmark.worker import versions


def test_four_fifths_are_enough_and_what_is_new_cannot_fall():
    committed = {"a": 2.0, "b": 2.0}
    assert check.fallen({"a": 1.61, "b": 1.59, "c": 0.1}, committed) == ["b"]


def test_what_falls_twice_is_named(tmp_path: Path, monkeypatch, capsys):
    answers = {"steady": iter([2.9]), "shaken": iter([1.0, 2.8]), "lost": iter([1.0, 1.1])}
    parts = {name: lambda _, name=name: {"autodiff": next(answers[name])} for name in answers}
    committed = tmp_path / "check.json"
    committed.write_text(json.dumps({"ratios": {name: {"autodiff": 3.0} for name in answers}}))
    monkeypatch.setattr(check, "PARTS", parts)
    monkeypatch.setattr(check, "COMMITTED", committed)
    output = tmp_path / "now.json"
    assert check.run(only=[], rounds=1, output=str(output)) == ["lost autodiff"]
    printed = capsys.readouterr().out
    assert [line.split() for line in printed.splitlines()[-3:]] == [
        ["steady", "autodiff", "3.00", "2.90"],
        ["shaken", "autodiff", "3.00", "2.80"],
        ["lost", "autodiff", "3.00", "1.10", "FELL"],
    ]
    written = json.loads(output.read_text())
    assert written["ratios"]["lost"] == {"autodiff": 1.1} and written["rounds"] == 1
    with pytest.raises(ValueError, match="'speed' is none of steady, shaken, lost"):
        check.run(only=["speed"], rounds=1, output=None)


def test_every_part_has_committed_ratios_of_these_names():
    committed = json.loads(check.COMMITTED.read_text())["ratios"]
    assert set(committed) == set(check.PARTS)
    assert all(ratio > 0 for own in committed.values() for ratio in own.values())


def test_a_part_is_measured():
    found = check.PARTS["recursive"](1)
    assert set(found) == set(json.loads(check.COMMITTED.read_text())["ratios"]["recursive"])
    assert all(ratio > 0 for ratio in found.values())


def test_the_machine_is_described(capsys):
    import jax

    found = interleave.machine()
    assert found["versions"]["jax"] == jax.__version__ == versions(["jax"])["jax"]
    assert found["cores"] >= 1 and found["processor"]
    assert found["processor"] in capsys.readouterr().out
    assert versions(["no-such-package"]) == {}
