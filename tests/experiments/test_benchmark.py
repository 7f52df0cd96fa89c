"""The RNTN benchmark: its processes answer, and all systems train the same network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmark.interleave import ROOT
from experiments.benchmark.rntn import run as rntn

ARGUMENTS: dict[str, Any] = {
    "corpus": "demo",
    "data_dir": None,
    "cell": "rntn",
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


@pytest.mark.slow
def test_tree_lstms_take_turns_and_agree():
    systems = ["ours", "autodiff"]
    figures = rntn.run(**ARGUMENTS | {"cell": "tree_lstm", "systems": systems, "rounds": 1})
    ours, autodiff = (row["losses"] for row in figures["speed"])
    np.testing.assert_allclose(ours, autodiff, rtol=1e-4)
    assert ours[-1] < ours[0]


@pytest.mark.parametrize("cell", ["mv_rnn", pytest.param("child_sum", marks=pytest.mark.slow)])
def test_rules_of_cells_are_measured_against_autodiff(cell: str):
    figures = rntn.run(
        **ARGUMENTS | {"cell": cell, "systems": [], "parts": ["rule"], "batch_sizes": [3]}
    )
    rule, autodiff = figures["rule"]
    assert (rule["gradient"], autodiff["gradient"]) == ("rule", "autodiff")
    assert rule["ratio"] == 1 and autodiff["ms"] > 0 < autodiff["temp_mb"]
    assert autodiff["difference"] < 1e-4
    with pytest.raises(ValueError, match="'speed'"):
        rntn.run(**ARGUMENTS | {"cell": cell, "systems": []})


@pytest.mark.parametrize(
    "baselines",
    ["rntn.other_baselines", "structures.peers", "text.baselines", "parser.baselines"],
)
def test_workers_of_peers_need_numpy_alone(baselines: str):
    """Their interpreters hold neither JAX nor what saves our models."""
    code = (
        f"import experiments.benchmark.worker, experiments.benchmark.problem_file\n"
        f"import experiments.benchmark.{baselines}\n"
        "import sys; print(sorted({'jax', 'safetensors', 'rich', 'orbax'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
