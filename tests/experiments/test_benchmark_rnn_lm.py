"""The language model benchmark: its systems train the same model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmark import problem_file
from experiments.benchmark.rnn_lm import baselines as rnn_lm_baselines
from experiments.benchmark.rnn_lm import layers
from experiments.benchmark.rnn_lm import run as rnn_lm

ARGUMENTS: dict[str, Any] = {
    "dims": [8],
    "batch_sizes": [3],
    "chunks": [7],
    "steps": 5,
    "vocab_size": 30,
    "rounds": 1,
    "threads": 1,
    "systems": ["ours", "autodiff", "ours_bf16"],
    "parts": ["speed"],
    "output": None,
}


@pytest.mark.slow
def test_the_systems_take_turns_and_agree(tmp_path: Path, capsys):
    figures = rnn_lm.run(**ARGUMENTS | {"output": str(tmp_path / "figures.json")})
    ours, autodiff, bf16 = figures["speed"]
    assert len(ours["losses"]) == 20 and ours["ratio"] == 1
    np.testing.assert_allclose(autodiff["losses"], ours["losses"], rtol=1e-5)
    np.testing.assert_allclose(bf16["losses"], ours["losses"], rtol=1e-2)
    assert not np.array_equal(bf16["losses"], ours["losses"])
    assert ours["last_loss"] < ours["losses"][0]  # it learns
    assert 0 < ours["temp_mb"] < autodiff["temp_mb"] and ours["ms"] > 0
    assert json.loads((tmp_path / "figures.json").read_text()) == figures
    assert "JAX autodiff of the plain scan" in capsys.readouterr().out


@pytest.mark.usefixtures("float32")
def test_flax_trains_the_same_model(tmp_path: Path):
    problem_file.save(tmp_path / "problem.npz", rnn_lm._problem(8, 3, 5, 30, 7))
    systems = [rnn_lm_baselines.make(s, tmp_path / "problem.npz", 1)[0] for s in ("ours", "flax")]
    ours, flax = (train() for train in systems)
    np.testing.assert_allclose(flax, ours, rtol=1e-5)


def test_pytorch_trains_the_same_model(tmp_path: Path):
    pytest.importorskip("torch", reason="PyTorch is in the extra `benchmark`")
    problem = rnn_lm._problem(8, 3, 5, 30, 7)
    problem_file.save(tmp_path / "problem.npz", problem)
    losses = {}
    for system in ("ours", "torch", "torch_chunked"):
        train, _ = rnn_lm_baselines.make(system, tmp_path / "problem.npz", 1)
        losses[system] = train() + train()
    np.testing.assert_allclose(losses["torch"], losses["ours"], rtol=1e-4)
    np.testing.assert_allclose(losses["torch_chunked"], losses["ours"], rtol=1e-4)


def test_growth_is_linear_in_memory_and_segments_bound_it():
    rows = rnn_lm._growth(lengths=(200, 2000))
    memory = {(row["steps"], row["segment"] is None): row["temp_mb"] for row in rows}
    assert 8 < memory[2000, True] / memory[200, True] < 12
    assert memory[2000, False] < memory[2000, True] / 5


@pytest.mark.parametrize(
    ("what", "value", "message"),
    [
        ("systems", ["theano"], "theano"),
        ("parts", ["colour"], "colour"),
        ("batch_sizes", [1, 2], "give as many"),
    ],
)
def test_wrong_arguments(what, value, message):
    with pytest.raises(ValueError, match=message):
        rnn_lm.run(**ARGUMENTS | {what: value})


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("system", list(layers.SYSTEMS))
def test_gated_layers_are_the_same(system, tmp_path: Path):
    """PyTorch's and flax's columns stand in another order."""
    if system == "lstm_torch":
        pytest.importorskip("torch", reason="PyTorch is in the extra `benchmark`")
    given = layers.problem(2, 5, 3, 4)
    problem_file.save(tmp_path / "problem.npz", given)
    (loss,) = layers.make(system, tmp_path / "problem.npz", 1)[0]()
    h = c = np.zeros((2, 4))
    found = []
    for t in range(5):
        *z, u = np.split(h @ given.h + given.x[:, t] @ given.i, 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in z)
        c = f * c + i * np.tanh(u)
        h = o * np.tanh(c)
        found.append(h)
    np.testing.assert_allclose(loss, np.square(found).mean(), rtol=1e-5)
