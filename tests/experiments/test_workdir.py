"""The folder of a run."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.workdir import RunMismatchError, environment, open_workdir, read_json, write_json


@dataclasses.dataclass(frozen=True)
class Settings:
    """Two settings and an optional one."""

    dim: int = 3
    rate: float = 0.1
    data_dir: str | None = None


def test_json_comes_back(tmp_path: Path):
    value = {"a": [1, 2.5, None, True], "é": {"b": "\n"}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert (tmp_path / "a.json").read_bytes().endswith(b"}\n")


def test_damaged_json_is_named(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"dim": ')
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        open_workdir(tmp_path, Settings())


def test_json_is_replaced_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": np.ones(2)})
    assert read_json(path) == {"a": 1}
    write_json(path, {"a": 2})
    assert read_json(path) == {"a": 2} and os.listdir(tmp_path) == ["a.json"]


def test_the_environment_is_json_and_names_versions_and_devices():
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["jax"] == jax.__version__ and found["numpy"] == np.__version__
    assert len(found["devices"]) == jax.device_count() and found["cpus"] >= 1


def test_a_new_folder_gets_settings_and_environment(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["main.py", "--dim=3"])
    workdir = tmp_path / "runs" / "a"
    open_workdir(workdir, Settings())
    assert read_json(workdir / "config.json") == {"dim": 3, "rate": 0.1, "data_dir": None}
    assert read_json(workdir / "environment.json")["command"] == "main.py --dim=3"
    assert sorted(os.listdir(workdir)) == ["config.json", "environment.json"]


def test_the_same_settings_may_come_again(tmp_path: Path):
    assert open_workdir(tmp_path, Settings()) is None
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    assert open_workdir(tmp_path, Settings()) is None
    assert (tmp_path / "metrics.jsonl").exists()
    (tmp_path / "result.json").write_text('{"epoch": 3}')
    assert open_workdir(tmp_path, Settings()) == {"epoch": 3}
    assert open_workdir(tmp_path, Settings(), fresh=True) is None


def test_other_settings_are_refused_by_name_and_value(tmp_path: Path):
    open_workdir(tmp_path, Settings())
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(RunMismatchError) as caught:
        open_workdir(tmp_path, Settings(rate=0.2, data_dir="x"))
    message = str(caught.value)
    assert str(tmp_path) in message and "--workdir" in message and "--fresh" in message
    assert "rate was 0.1 and is now 0.2" in message
    assert "data_dir was None and is now 'x'" in message
    assert "dim" not in message
    assert (tmp_path / "config.json").read_bytes() == before


def test_settings_of_another_version_are_refused(tmp_path: Path):
    open_workdir(tmp_path, Settings())
    write_json(tmp_path / "config.json", {"dim": 3, "rate": 0.1, "data_dir": None, "size": 7})
    with pytest.raises(RunMismatchError, match="size was 7"):
        open_workdir(tmp_path, Settings())


def test_fresh_starts_over(tmp_path: Path):
    workdir = tmp_path / "run"
    open_workdir(workdir, Settings(), fresh=True)
    (workdir / "checkpoints").mkdir()
    (workdir / "checkpoints" / "x").write_text("old")
    open_workdir(workdir, Settings(dim=4), fresh=True)
    assert sorted(os.listdir(workdir)) == ["config.json", "environment.json"]
    assert read_json(workdir / "config.json")["dim"] == 4


def test_fresh_deletes_no_folder_that_is_not_a_run(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("mine")
    open_workdir(tmp_path, Settings(), fresh=True)
    assert (tmp_path / "thesis.tex").read_text() == "mine"
