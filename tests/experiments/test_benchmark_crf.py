"""The CRF benchmark: its systems compute the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmark import problem_file
from experiments.benchmark.crf import baselines as crf_baselines
from experiments.benchmark.crf import run as crf

ARGUMENTS: dict[str, Any] = {
    "shapes": ["2,5,3"],
    "rounds": 1,
    "threads": 1,
    "systems": ["ours", "autodiff"],
    "parts": ["shared"],
    "python": None,
    "output": None,
}


@pytest.mark.slow
def test_two_systems_take_turns_and_agree(tmp_path: Path, capsys):
    figures = crf.run(**ARGUMENTS | {"output": str(tmp_path / "figures.json")})
    ours, autodiff = figures["speed"]
    np.testing.assert_allclose(ours["losses"], autodiff["losses"], rtol=1e-5)
    assert ours["ratio"] == 1 and ours["ms"] > 0 <= ours["temp_mb"]
    assert json.loads((tmp_path / "figures.json").read_text()) == figures
    assert "JAX autodiff of the plain scan" in capsys.readouterr().out


@pytest.mark.parametrize("task", crf.TASKS)
def test_all_systems_agree(tmp_path: Path, task):
    problem = crf._problem(task, (3, 6, 4))._replace(repeats=1)
    problem_file.save(tmp_path / "problem.npz", problem)
    answers = {}
    for system in crf._systems(task, (3, 6, 4)):
        if system in ("pytorch_crf", "torch_struct"):
            continue  # in an interpreter of their own
        train, facts = crf_baselines.make(system, tmp_path / "problem.npz", 1)
        answers[system] = train()
        assert facts["temp_mb"] >= 0
    assert len(answers) >= 2
    for answer in answers.values():
        np.testing.assert_allclose(answer, answers["ours"], rtol=1e-5)


@pytest.mark.parametrize(
    ("what", "value", "message"),
    [
        ("systems", ["theano"], "theano"),
        ("parts", ["colour"], "colour"),
        ("shapes", ["3,4"], "B,T,C"),
        ("shapes", ["3,4,0"], "B,T,C"),
    ],
)
def test_wrong_arguments(what, value, message):
    with pytest.raises(ValueError, match=message):
        crf.run(**ARGUMENTS | {what: value})
