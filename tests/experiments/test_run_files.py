"""The small files of a run: JSON that says when it is damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.workdir import (
    environment,
    read_json,
    write_json,
)
from rntn_jax.training import DamagedFileError
from tests.experiments.folder_runs import CHECKPOINT, start


def test_json_comes_back(tmp_path: Path):
    value = {"a": [1, 2.5, None, True], "é": {"b": "\n"}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert (tmp_path / "a.json").read_bytes().endswith(b"}\n")
    write_json(tmp_path / "a.json", {"t": (1, 2), "3": float("inf")})
    assert read_json(tmp_path / "a.json") == {"t": [1, 2], "3": float("inf")}


def test_damaged_json_is_named(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"dim": ')
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        start(tmp_path)


def test_flipped_bits_and_truncations_are_noticed(tmp_path: Path):
    path = tmp_path / "result.json"
    write_json(path, {"epoch": 3, "dev": [0.8, "é"]})
    value, content = read_json(path), bytearray(path.read_bytes())
    for at in range(len(content)):
        for bit in (0, 2, 5):
            content[at] ^= 1 << bit
            path.write_bytes(content)
            try:
                assert read_json(path) == value  # white space for white space
            except DamagedFileError as error:
                assert str(path) in str(error)
            content[at] ^= 1 << bit
    for length in range(len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DamagedFileError, match=r"result\.json"):
            read_json(path)


@pytest.mark.parametrize("content", ["{}", "[]", "3", "", '{"epoch": 3}', "\xff", "[" * 99999])
def test_what_is_no_result_is_named(tmp_path: Path, content: str):
    start(tmp_path, leave={CHECKPOINT: ""})
    (tmp_path / "result.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(DamagedFileError, match=r"result\.json is damaged"):
        start(tmp_path)


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
