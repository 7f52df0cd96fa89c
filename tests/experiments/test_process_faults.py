"""Processes that train together, struck again and again, end as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors

from experiments.workdir import read_json
from rntn_jax.training import read_metrics
from tests.experiments.supervised import (
    PATIENCE,
    command_environment,
    finish,
    newest,
    printed,
    start_command,
    wait_for,
    workers,
)

ROUNDS = int(os.environ.get("RNTN_JAX_FAULTS", "20"))
FLAGS = (
    "--preset=smoke", "--max_sentences=40", "--embed_dim=6", "--hidden_dim=8", "--batch_size=4",
    "--steps=12", "--epochs=50", "--output_dropout=0.1", "--average=0.9", "--processes=2",
    "--heartbeat=10", f"--restarts={2 * ROUNDS}", "--pause=0.02",
)  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3 * 3600),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """Programs are compiled once for all runs."""
    return command_environment(tmp_path_factory.mktemp("programs"))


def start(workdir: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return start_command("language_model", workdir, environment, *FLAGS)


def outcome(workdir: Path) -> dict[str, Any]:
    """All that a run has to reproduce."""
    rows = read_metrics(workdir / "metrics.jsonl")
    result = read_json(workdir / "result.json")
    for name in ("seconds_per_epoch", "report"):
        del result[name]
    for row in rows:
        row.pop("seconds", None)
    digests = {}
    for path in (workdir / "model.safetensors", *(workdir / "checkpoints").iterdir()):
        with safetensors.safe_open(path, "numpy") as file:
            digests[path.name] = file.metadata()["sha256"]
    return {"rows": rows, "result": result, "digests": digests}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, environment) -> dict[str, Any]:
    """What an undisturbed run ends with; and so does the next one, bit for bit."""
    found = []
    for _ in range(2):
        workdir = tmp_path_factory.mktemp("whole") / "run"
        finish(start(workdir, environment), workdir)
        found.append(outcome(workdir))
    assert found[0] == found[1]
    return found[0]


STRIKES: dict[str, tuple[int, signal.Signals]] = {
    "a worker is killed": (1, signal.SIGKILL),
    "the coordinator is killed": (0, signal.SIGKILL),
    "a worker is stopped": (1, signal.SIGSTOP),
    "the coordinator is stopped": (0, signal.SIGSTOP),
}


@pytest.mark.parametrize("name", STRIKES)
def test_a_run_that_is_struck_ends_as_if_it_had_not_been(name, tmp_path, environment, whole):
    number, what = STRIKES[name]
    chance, struck, seen = random.Random(name), 0, ""
    workdir = tmp_path / "run"
    process = start(workdir, environment)
    try:
        for round_ in range(ROUNDS):
            # Mostly in training; each fourth one whenever, before there is anything to go on from.
            condition = lambda: round_ % 4 == 3 or newest(workdir) > seen  # noqa: B023
            if not wait_for(lambda: condition() and workers(process.pid), process):  # noqa: B023
                break
            time.sleep(chance.uniform(0, 0.5 if round_ % 4 != 3 else 10.0))
            seen = newest(workdir)
            if pids := workers(process.pid):
                os.kill(pids[number], what)
                struck += 1
                gone = lambda: pids[number] not in workers(process.pid)
                wait_for(gone, process)
        finish(process, workdir)
    finally:
        process.kill()
    print(json.dumps({"fault": name, "struck": struck}))
    assert struck >= min(ROUNDS, 3)
    assert outcome(workdir) == whole


def test_sigterm_saves_within_the_epoch_and_the_run_goes_on(tmp_path, environment, whole):
    chance, struck, within, runs = random.Random(0), 0, 0, 0
    while struck < ROUNDS:  # a run is over before it has been struck so often: the next one
        workdir, runs = tmp_path / str(runs), runs + 1
        while not (workdir / "result.json").exists():
            seen = newest(workdir)
            process = start(workdir, environment)
            try:
                ready = lambda: newest(workdir) > seen and workers(process.pid)  # noqa: B023
                running = struck < ROUNDS and wait_for(ready, process)
                if running:
                    time.sleep(chance.uniform(0, 0.5))
                    # To the supervisor, or to one process, as a cluster does.
                    target = [process.pid, *workers(process.pid)][struck % 3 :][:1]
                    if target and process.poll() is None:
                        os.kill(target[0], signal.SIGTERM)
                process.wait(timeout=PATIENCE)
                told = printed(workdir)
                assert process.returncode in (0, 143), told[-5000:]
                struck += process.returncode == 143
                within += "and" in told.partition("resuming")[2].partition("\n")[0]
            finally:
                process.kill()
        assert outcome(workdir) == whole
    print(json.dumps({"fault": "SIGTERM", "struck": struck, "within an epoch": within}))
