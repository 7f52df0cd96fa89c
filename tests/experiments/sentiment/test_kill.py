"""Runs that are killed at any moment, and resumed, end as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.experiments.sentiment.runs import ROOT, environment_of_a_process, outcome

FLAGS = (
    "--preset=smoke",
    "--max_trees=40",
    "--dim=4",
    "--epochs=12",
    "--batch_size=10",
    "--lanes=4",
    "--updates_per_dispatch=2",
    "--hidden_dropout=0.1",
    "--average=0.9",
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")


def start(workdir: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.sentiment.main", *FLAGS, f"--workdir={workdir}"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(workdir: Path, environment: dict[str, str]) -> str:
    """Runs to the end, and returns what was printed."""
    process = start(workdir, environment)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    return printed


def kill_when(
    moment: Callable[[], bool], delay: float, workdir: Path, environment: dict[str, str]
) -> None:
    """Kills a run some time after a moment has come, unless it has ended before."""
    process = start(workdir, environment)
    try:
        deadline = time.monotonic() + 120
        while process.poll() is None and not moment() and time.monotonic() < deadline:
            time.sleep(0.0005)
        time.sleep(delay)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_like_an_undisturbed_one(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    environment = environment_of_a_process(tmp_path_factory)
    printed = finish(whole, environment)
    assert "best epoch on dev" in printed and f"report: {whole / 'report.html'}" in printed

    def rows() -> int:
        try:
            return (parts / "metrics.jsonl").read_bytes().count(b"\n")
        except FileNotFoundError:
            return 0

    def half_written() -> set[Path]:
        return set((parts / "checkpoints").glob(".*.tmp"))

    # What follows holds whenever the kill comes: before the first checkpoint or after the end.
    moments: list[Callable[[], bool]] = [
        lambda: rows() > 0,
        lambda: bool(half_written() - seen_files),
        lambda: rows() > seen_rows + 1,
        (parts / "model.safetensors").exists,
    ]
    chance = random.Random(0)
    for moment in moments:
        seen_rows, seen_files = rows(), half_written()
        kill_when(moment, chance.uniform(0, 0.03), parts, environment)
    finish(parts, environment)
    assert outcome(parts) == outcome(whole)
    assert not half_written()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_says_so_in_one_line_and_goes_on(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, number: signal.Signals, code: int
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    environment = environment_of_a_process(tmp_path_factory)
    finish(whole, environment)
    process = start(parts, environment)
    deadline = time.monotonic() + 120
    while not list(parts.glob("checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == code, printed
    last = printed.strip().splitlines()[-1]
    name = {130: "Ctrl-C", 143: "SIGTERM"}[code]
    assert last == (
        f"stopped by {name}: the same command goes on from the last checkpoint in {parts}"
    )
    assert "Traceback" not in printed and not (parts / "lock").exists()
    finish(parts, environment)
    assert outcome(parts) == outcome(whole)
