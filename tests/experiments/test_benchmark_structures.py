"""The benchmark of structures: its systems compute the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmark import problem_file
from experiments.benchmark.structures import baselines, run
from experiments.benchmark.structures.problem import SHAPES, TASKS, make

SMALL = {
    "projective": [2, 5],
    "nonprojective": [2, 5],
    "eisner": [2, 5],
    "arborescence": [2, 5],
    "semi_markov": [2, 6, 3, 4],
    "ctc": [2, 8, 3, 5],
    "constituency": [2, 5],
    "hmm": [1, 6, 3],
}
ARGUMENTS: dict[str, Any] = {
    "shapes": [],
    "rounds": 1,
    "threads": 1,
    "systems": [],
    "parts": ["ctc"],
    "python": None,
    "dynamax_python": None,
    "output": None,
}


def test_every_task_is_described():
    assert list(SMALL) == list(TASKS) == list(SHAPES) == list(run.DOES)
    assert {name for names in run.DOES.values() for name in names} == set(run.SYSTEMS)
    for task, sizes in SMALL.items():
        arrays = make(task, sizes).arrays.values()
        assert all(x.dtype in (np.float32, np.int32) for x in arrays)


@pytest.mark.parametrize(
    "task", [t if t == "nonprojective" else pytest.param(t, marks=pytest.mark.slow) for t in TASKS]
)
@pytest.mark.usefixtures("float32")
def test_the_systems_in_jax_agree(tmp_path: Path, task):
    problem_file.save(tmp_path / "problem.npz", make(task, SMALL[task])._replace(repeats=1))
    answers = {}
    for system in run.DOES[task]:
        if system in baselines.IN_JAX:
            train, facts = baselines.make(system, tmp_path / "problem.npz", 1)
            answers[system] = train()
            assert facts["temp_mb"] >= 0
    for answer in answers.values():
        np.testing.assert_allclose(answer, answers["ours"], rtol=1e-5)


@pytest.mark.slow
def test_workers_take_turns_and_are_told_apart(capsys):
    figures = run.run(**ARGUMENTS | {"shapes": ["2,8,3,5"], "systems": ["ours", "optax"]})
    ours, optax = figures["speed"]
    assert ours["ratio"] == 1 and ours["equal"] and optax["equal"]
    assert "CTC loss and gradient of logits: 2, 8, 3, 5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("what", "value", "message"),
    [
        ("systems", ["theano"], "theano"),
        ("parts", ["colour"], "colour"),
        ("shapes", ["3,4"], "a shape of ctc is 4 positive numbers, got '3,4'"),
    ],
)
def test_wrong_arguments(what, value, message):
    with pytest.raises(ValueError, match=message):
        run.run(**ARGUMENTS | {what: value})
