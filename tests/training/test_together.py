"""Processes that train together: what one trains, whatever their number, and always the same."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.training.device_cases import CASES, STEPS

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]


def run(folder: Path, programs: Path, count: int) -> Path:
    """Trains every model in so many processes; the folder of the results."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": "",
        "JAX_COMPILATION_CACHE_DIR": str(programs),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-m", "tests.training.train_in_processes", str(folder), str(count)]
    started = [
        subprocess.Popen([*command, str(number), str(port)], cwd=ROOT, env=environment)
        for number in range(count)
    ]
    try:
        for process in started:
            assert process.wait(timeout=3600) == 0
    finally:
        for process in started:
            process.kill()
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("together")
    counts = {"1": 1, "2": 2, "4": 4, "2 again": 2}
    return {name: run(folder / name, folder / "programs", n) for name, n in counts.items()}


@pytest.mark.parametrize("name", CASES)
def test_processes_train_as_one_and_again_to_the_bit(name, trained):
    found = {count: dict(np.load(folder / f"{name}.npz")) for count, folder in trained.items()}
    assert len({*found["1"]["losses"].tolist()}) > STEPS // 2  # something is learnt
    for count in ("2", "4"):
        for key, own in found["1"].items():
            np.testing.assert_allclose(
                found[count][key], own, rtol=1e-5, atol=1e-5 * np.abs(own).max(), err_msg=key
            )
    for key, own in found["2"].items():
        np.testing.assert_array_equal(found["2 again"][key], own)
