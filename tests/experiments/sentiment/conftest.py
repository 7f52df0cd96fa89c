"""Runs and models that several files ask for, made once a process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.sentiment import train
from tests.experiments.sentiment import runs


@pytest.fixture(scope="module", autouse=True)
def as_users_run() -> Iterator[None]:
    """All tests of this folder run as users run the experiment."""
    with runs.as_users_run():
        yield


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from start to end."""
    workdir = tmp_path_factory.mktemp("base")
    with runs.as_users_run():  # what belongs to a session is made before `as_users_run` begins
        train.run(runs.CONFIG, workdir)
    return workdir


@pytest.fixture(scope="session")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, stopped after two of its four epochs; to be copied."""
    workdir = tmp_path_factory.mktemp("half")
    with runs.as_users_run():
        runs.run_until(runs.CONFIG, workdir, 2)
    return workdir


@pytest.fixture
def halfway(half: Path, tmp_path: Path) -> Path:
    """A copy of `half`."""
    return Path(shutil.copytree(half, tmp_path / "run"))


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run."""
    workdir = tmp_path_factory.mktemp("run")
    with runs.as_users_run():
        train.run(runs.SHORT, workdir)
    return workdir


@pytest.fixture(scope="session")
def model(run: Path) -> Path:
    """The model of that run."""
    return run / "model.safetensors"


@pytest.fixture
def source(tmp_path: Path) -> str:
    """A file of two trees."""
    (tmp_path / "trees.txt").write_text(runs.SENTENCES)
    return str(tmp_path / "trees.txt")
