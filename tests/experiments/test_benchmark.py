"""The RNTN benchmark: its processes answer, and all systems train the same network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmark.rntn import run as rntn

ARGUMENTS: dict[str, Any] = {
    "corpus": "demo",
    "data_dir": None,
    "dims": [4],
    "batch_sizes": [128],
    "rounds": 2,
    "threads": 1,
    "systems": ["ours", "autodiff"],
    "parts": ["speed"],
    "pythons": {},
    "output": None,
}


def test_two_systems_take_turns_and_agree(tmp_path: Path, capsys):
    figures = rntn.run(**ARGUMENTS | {"output": str(tmp_path / "figures.json")})
    ours, autodiff = figures["speed"]
    assert (ours["system"], autodiff["system"]) == ("ours", "autodiff")
    assert len(ours["losses"]) == 4
    np.testing.assert_allclose(ours["losses"], autodiff["losses"], rtol=1e-4)
    np.testing.assert_allclose(ours["last_loss"], autodiff["last_loss"], rtol=1e-3)
    assert ours["last_loss"] < ours["losses"][0]  # it learns
    assert ours["ratio"] == 1 and ours["ms"] > 0 < ours["peak_mb"]
    assert json.loads((tmp_path / "figures.json").read_text()) == figures
    assert "JAX autodiff, same forward" in capsys.readouterr().out


def test_a_worker_that_fails_says_why(tmp_path: Path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho it is broken >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(ValueError, match=r"(?s)'ours' failed.*it is broken"):
        rntn.run(**ARGUMENTS | {"systems": ["ours"], "pythons": {"ours": str(python)}})


@pytest.mark.parametrize(("what", "value"), [("systems", ["theano"]), ("parts", ["colour"])])
def test_unknown_words(what, value):
    with pytest.raises(ValueError, match=value[0]):
        rntn.run(**ARGUMENTS | {what: value})
