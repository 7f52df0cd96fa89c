"""The folder of a run."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.command import Command
from experiments.flags import entry_point
from experiments.lock import WorkdirInUseError
from experiments.workdir import (
    RunMismatchError,
    open_workdir,
    read_json,
    run_once,
    write_json,
)
from rntn_jax import compilation
from tests.experiments.folder_runs import CHECKPOINT, Settings, start

ROOT = Path(__file__).resolve().parents[2]


# --- the same run, or another ---


def test_a_new_folder_gets_settings_and_environment(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["main.py", "--dim=3"])
    workdir = tmp_path / "runs" / "a"
    start(workdir)
    assert read_json(workdir / "config.json") == {"dim": 3, "rate": 0.1, "data_dir": None}
    assert read_json(workdir / "environment.json")["command"] == "main.py --dim=3"
    assert sorted(os.listdir(workdir)) == ["config.json", "environment.json"]


def test_the_same_settings_may_come_again(tmp_path: Path):
    assert start(tmp_path) is None
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    assert start(tmp_path) is None
    assert (tmp_path / "metrics.jsonl").exists()
    write_json(tmp_path / "result.json", {"epoch": 3})
    assert start(tmp_path) == {"epoch": 3}
    assert start(tmp_path, fresh=True) is None


@pytest.mark.parametrize("made", [CHECKPOINT, "checkpoints/exact/step-0000000001.safetensors",
                                  "model.safetensors", "result.json"])  # fmt: skip
def test_other_settings_are_refused_by_name_and_value(tmp_path: Path, made: str):
    start(tmp_path, leave={made: "x"})
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(RunMismatchError) as caught:
        start(tmp_path, Settings(rate=0.2, data_dir="x"))
    message = str(caught.value)
    assert str(tmp_path) in message and "--workdir" in message and "--fresh" in message
    assert "rate was 0.1 and is now 0.2" in message
    assert "data_dir was None and is now 'x'" in message
    assert "dim" not in message
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_folder_in_which_nothing_was_trained_takes_any_settings(tmp_path: Path):
    start(tmp_path, leave={"metrics.jsonl": "", "notes.txt": "mine"})
    start(tmp_path, Settings(dim=4))
    assert read_json(tmp_path / "config.json")["dim"] == 4
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_settings_of_another_version_are_refused(tmp_path: Path):
    start(tmp_path, leave={CHECKPOINT: ""})
    write_json(tmp_path / "config.json", {"dim": 3, "rate": 0.1, "data_dir": None, "size": 7})
    with pytest.raises(RunMismatchError, match="size was 7"):
        start(tmp_path)


def test_the_folder_of_another_experiment_is_refused_in_one_line(tmp_path: Path):
    from experiments.chunking.config import Config

    start(tmp_path, Config(), leave={CHECKPOINT: ""})
    with pytest.raises(RunMismatchError) as caught:
        start(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds a run of chunking, not of tests: choose another --workdir"
    )


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()], ids=repr)
def test_a_failed_first_start_leaves_nothing(tmp_path: Path, error: BaseException):
    workdir = tmp_path / "runs" / "a"
    with pytest.raises(type(error)), open_workdir(workdir, Settings()):
        (workdir / "metrics.jsonl").write_text("")
        (workdir / "checkpoints").mkdir()
        raise error
    assert not workdir.exists()
    # In a folder that was there before, other files stay.
    workdir.mkdir()
    (workdir / "notes.txt").write_text("mine")
    with pytest.raises(type(error)), open_workdir(workdir, Settings()):
        raise error
    assert os.listdir(workdir) == ["notes.txt"]


def test_what_was_trained_stays_when_a_run_fails(tmp_path: Path):
    with pytest.raises(ValueError, match="later"), open_workdir(tmp_path, Settings()):
        (tmp_path / "model.safetensors").write_text("")
        raise ValueError("later")
    assert {"config.json", "model.safetensors"} <= {*os.listdir(tmp_path)}
    with pytest.raises(KeyboardInterrupt, match="goes on from the last"):
        with open_workdir(tmp_path, Settings()):
            raise KeyboardInterrupt


# --- starting over ---


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_fresh_starts_over(tmp_path: Path):
    workdir = tmp_path / "run"
    start(workdir, fresh=True)
    ours = (
        CHECKPOINT,
        "checkpoints/.step-0000000002.safetensors.4711.tmp",
        "checkpoints/exact/step-0000000007.safetensors",
        "tensorboard/events.out.tfevents.1.host",
        "metrics.jsonl",
        "model.safetensors",
        "report.html",
        ".result.json.4711.tmp",
    )
    start(workdir, leave=dict.fromkeys(ours, "old"))
    assert len(files(workdir)) == len(ours) + 2
    start(workdir, Settings(dim=4), fresh=True)
    assert sorted(os.listdir(workdir)) == ["config.json", "environment.json"]
    assert read_json(workdir / "config.json")["dim"] == 4


def test_fresh_deletes_only_what_a_run_has_written(tmp_path: Path):
    mine = (
        "precious/thesis.txt", "precious/model.safetensors", "notes.txt", ".notes.tmp",
        "checkpoints/mine.safetensors", "checkpoints/.mine.tmp", "checkpoints/old/thesis.txt",
        "tensorboard/notes.txt", "report.html.bak", "checkpoints/step-1.safetensors",
    )  # fmt: skip
    start(tmp_path, leave=dict.fromkeys((*mine, CHECKPOINT, "model.safetensors"), "mine"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "step-0000000003.safetensors").write_text("mine")
    link = tmp_path / "checkpoints" / "step-0000000004.safetensors"
    link.symlink_to(tmp_path / "precious" / "thesis.txt")
    start(tmp_path, fresh=True)
    left = {*files(tmp_path)} - {"config.json", "environment.json"}
    assert left == {*mine, "elsewhere/step-0000000003.safetensors"}
    assert all((tmp_path / name).read_text() == "mine" for name in left)


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("content", ['{"name": "site"}', "[]", "not json"])
def test_a_config_that_is_not_a_runs_is_left_alone(tmp_path: Path, content: str, fresh: bool):
    for name in ("config.json", "metrics.jsonl", "notes.txt"):
        (tmp_path / name).write_text(content)
    with pytest.raises(RunMismatchError, match=r"config\.json is damaged.*Nothing was changed"):
        start(tmp_path, fresh=fresh)
    assert files(tmp_path) == ["config.json", "metrics.jsonl", "notes.txt"]
    assert {(tmp_path / name).read_text() for name in os.listdir(tmp_path)} == {content}


@pytest.mark.parametrize("fresh", [True, False])
def test_a_folder_that_is_not_a_runs_is_not_written_over(tmp_path: Path, fresh: bool):
    (tmp_path / "thesis.tex").write_text("mine")
    start(tmp_path, fresh=fresh)  # nothing of ours stands there: welcome
    other = tmp_path / "other"
    other.mkdir()
    (other / "report.html").write_text("mine")
    with pytest.raises(RunMismatchError, match=r"not the folder of a run.*its report\.html would"):
        start(other, fresh=fresh)
    assert os.listdir(other) == ["report.html"]
    assert (other / "report.html").read_text() == (tmp_path / "thesis.tex").read_text() == "mine"


# --- one process at a time ---

HOLDER = """
import sys, time
from pathlib import Path
from experiments.command import Command
from experiments.flags import entry_point
from experiments.folders import default_folder, use_model
from experiments.lock import held
with held(Path(sys.argv[1]) / "lock"):
    (Path(sys.argv[1]) / ".result.json.1.tmp").write_text("half written")
    print("held", flush=True)
    time.sleep(600)
"""


def hold(workdir: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, workdir],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_second_start_says_who_holds_the_folder_and_touches_nothing(tmp_path: Path):
    workdir = tmp_path / "run"
    start(workdir)
    process = hold(workdir)
    try:
        before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*")}
        for fresh in (False, True):
            with pytest.raises(
                WorkdirInUseError, match=rf"in use by process {process.pid} on .*-c"
            ):
                start(workdir, Settings(dim=4), fresh=fresh)
        assert {p: p.stat().st_mtime_ns for p in workdir.rglob("*")} == before
    finally:
        process.kill()
        process.communicate()
    # The kernel has let go; what the killed process was writing is swept out.
    assert (workdir / "lock").exists()
    start(workdir)
    assert sorted(os.listdir(workdir)) == ["config.json", "environment.json"]


def test_the_same_process_does_not_get_the_folder_twice(tmp_path: Path):
    with open_workdir(tmp_path, Settings()):
        with pytest.raises(WorkdirInUseError, match=rf"process {os.getpid()}"):
            start(tmp_path)
        assert (tmp_path / "config.json").exists()
    start(tmp_path)


# --- stopped from outside ---


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize(
    ("number", "code", "name"),
    [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")],
)
@pytest.mark.parametrize("trained", [True, False])
def test_a_command_that_is_stopped_ends_in_one_line(
    tmp_path: Path, capsys, number: signal.Signals, code: int, name: str, trained: bool, request
):
    # As in a terminal: who starts the tests in the background of a script has Ctrl-C ignored.
    own = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, own))
    workdir = tmp_path / "run"

    def body() -> None:
        with open_workdir(workdir, Settings()):
            if trained:
                (workdir / "model.safetensors").write_text("")
            os.kill(os.getpid(), number)
            time.sleep(60)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        entry_point(body, Command("x", "about", ()))(["main.py"])
    assert stop.value.code == code and signal.getsignal(signal.SIGTERM) == before
    kept = f"the same command goes on from the last checkpoint in {workdir}"
    said = kept if trained else "nothing had been saved yet"
    assert capsys.readouterr().err == f"stopped by {name}: {said}\n"
    assert workdir.exists() == trained


def test_training_keeps_what_it_compiles_and_tells_of_it(tmp_path: Path):
    within: list[int] = []

    def train(config: Settings, workdir: Path, loaded: None) -> dict[str, Any]:
        within.append(compilation._users)
        return {}

    before = compilation._users
    run_once(Settings(), tmp_path / "run", False, lambda config: None, train)
    assert within == [before + 1] and compilation._users == before


@pytest.mark.parametrize("name", ["sentiment", "language_model", "parsing", "tree_builder"])
def test_so_do_the_verbs_that_compute(name: str):
    predict = importlib.import_module(f"experiments.{name}.predict")
    verbs = {"evaluate", "score", "write_text", "parse"} & set(predict.__all__)
    assert verbs and all(hasattr(getattr(predict, verb), "__wrapped__") for verb in verbs)
