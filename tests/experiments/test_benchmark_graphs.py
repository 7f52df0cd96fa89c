"""The benchmark of trees and graphs: its systems compute the same."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmark.graphs import run as graphs
from experiments.benchmark.graphs.baselines import _spins
from experiments.benchmark.graphs.problem import split

ARGUMENTS: dict[str, Any] = {
    "shapes": ["trees,2,20,3", "grids,2,3,5,2", "loopy,1,4,5,2", "gibbs,3,4,5,2"],
    "rounds": 1,
    "threads": 1,
    "systems": ["forest", "graph", "loopy", "gibbs"],  # others may not be here
    "parts": ["trees", "grids", "loopy", "gibbs"],
    "python": None,
    "output": None,
}


def _in_this_process(baselines, systems, path, **options):
    """Instead of `interleave.take_turns`, which other benchmarks test: no workers, no clock."""
    rows = []
    for system in systems:
        train, facts = importlib.import_module(baselines).make(system, path, 1)
        row = {"system": system, "losses": train(), **facts, "ratio": 1.0}
        rows.append(json.loads(json.dumps(row | {"ms": 1.0, "ms_least": 1.0})))
    return rows


@pytest.mark.slow
def test_systems_agree(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(graphs, "ITERATIONS", 5)
    monkeypatch.setattr(graphs, "SITE_UPDATES", 120)
    monkeypatch.setattr(graphs.interleave, "take_turns", _in_this_process)
    output = tmp_path / "figures.json"
    figures = graphs.run(**ARGUMENTS | {"output": str(output)})
    rows = figures["speed"]
    assert [row["system"] for row in rows] == ["forest", "graph", "graph", "loopy", "gibbs"]
    assert all(row["equal"] for row in rows)
    assert rows[1]["log_z_off"] < 1e-6 and rows[1]["edge_off"] < 1e-6
    assert rows[3]["iterations_per_second"] == 5e3 and rows[4]["sites_per_second"] == 120e3
    assert json.loads(output.read_text()) == figures
    printed = capsys.readouterr().out
    assert "exact, trees: 2, 20, 3" in printed and "Gibbs" in printed


@pytest.mark.slow
def test_growth_is_drawn(tmp_path: Path):
    output, curves = tmp_path / "figures.json", {"trees nodes": [5, 9], "grids width": [2]}
    arguments: dict[str, Any] = {"parts": ["growth"], "output": str(output), "growth": curves}
    figures = graphs.run(**ARGUMENTS | arguments)
    assert [row["size"] for row in figures["growth"]] == [5, 9, 2]
    assert all(row["ms"] > 0 and row["compile_seconds"] > 0 for row in figures["growth"])
    assert (tmp_path / "figures.svg").read_text().count("trees: nodes") >= 1


def test_other_answers_are_an_error_of_ours_and_a_mark_of_others(tmp_path: Path):
    path = tmp_path / "problem.npz"
    for name, value in (("forest", 0.5), ("pgmpy", np.nan), ("graph", 0.6)):
        np.savez(tmp_path / f"problem-{name}.npz", node=np.full((3, 2), value))
    rows: list[dict[str, Any]] = [{"system": "forest"}, {"system": "pgmpy"}]
    graphs._compare(path, "trees", rows)
    assert rows[0]["equal"] and not rows[1]["equal"]
    with pytest.raises(ValueError, match="graph differs from forest"):
        graphs._compare(path, "trees", [rows[0], {"system": "graph"}])


def test_spins_and_graphs_of_a_batch_are_those_of_the_problem():
    problem = graphs._problem("grids", [2, 3, 4, 2])
    assert problem.part.tolist() == [0] * 12 + [1] * 12
    labels = np.random.default_rng(0).integers(0, 2, 24)
    ends = labels[problem.edges]
    value = problem.node[np.arange(24), labels].sum()
    value += problem.edge[np.arange(len(ends)), ends[:, 0], ends[:, 1]].sum()
    spins, (h, j, const) = 2 * labels - 1, _spins(problem)
    pairs = spins[problem.edges].prod(axis=1)
    np.testing.assert_allclose(const + h @ spins + j @ pairs, value, rtol=1e-6)
    parts = split(problem)
    assert sum(len(part.edges) for _, _, part in parts) == len(problem.edges)
    nodes, on, second = parts[1]
    np.testing.assert_array_equal(nodes[second.edges], problem.edges[on])
    np.testing.assert_array_equal(problem.edge[on], second.edge)


@pytest.mark.parametrize(
    ("what", "value", "message"),
    [
        ("systems", ["theano"], "theano"),
        ("parts", ["colour"], "colour"),
        ("shapes", ["trees,3,4"], "3 or 4 positive numbers"),
        ("shapes", ["grids,1,2,0,2"], "3 or 4 positive numbers"),
        ("shapes", ["rings,1,2,3"], "3 or 4 positive numbers"),
    ],
)
def test_wrong_arguments(what, value, message):
    with pytest.raises(ValueError, match=message):
        graphs.run(**ARGUMENTS | {what: value})
