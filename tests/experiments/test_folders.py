"""Names of the folders of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.folders import default_folder, use_model


def test_a_run_on_own_data_has_a_folder_of_its_own(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert default_folder("chunking", "demo") == Path("runs/chunking/demo")
    (tmp_path / "my train.txt").write_text("a O\n")
    found = default_folder("chunking", "demo", "my train.txt")
    assert found.parent == Path("runs/chunking") and found.name.startswith("my_train-")
    assert len(found.name) == len("my_train-") + 8
    # The same by another name of the same file; another for another preset or content.
    assert default_folder("chunking", "demo", str(tmp_path / "my train.txt")) == found
    assert default_folder("chunking", "paper", "my train.txt") != found
    (tmp_path / "my train.txt").write_text("b O\n")
    assert default_folder("chunking", "demo", "my train.txt") != found
    with pytest.raises(FileNotFoundError, match=r"nosuch\.txt"):
        default_folder("chunking", "demo", "nosuch.txt")
    assert not (tmp_path / "runs").exists()


def test_the_command_to_use_a_model_can_be_typed():
    assert use_model("parsing", Path("runs/a b"), "--parse=FILE") == (
        "./launch.sh parsing '--workdir=runs/a b' --parse=FILE"
    )
