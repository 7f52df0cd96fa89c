"""The parser benchmark: its systems compute the same."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmark.parser import baselines as parser_baselines
from experiments.benchmark.parser import run as parser
from rntn_jax import data

ARGUMENTS: dict[str, Any] = {
    "corpus": "demo",
    "data_dir": None,
    "dims": [8],
    "batch_sizes": [16],
    "rounds": 1,
    "threads": 1,
    "systems": ["ours", "autodiff", "tables", "plain", "whole"],  # PyTorch may not be here
    "parts": ["training", "parsing"],
    "model": None,
    "udpipe_model": None,
    "python": None,
    "output": None,
    "max_sentences": 20,
}


def _in_this_process(baselines, systems, path, **options):
    """Instead of `interleave.take_turns`, which other benchmarks test: no workers, no clock."""
    rows = []
    for system in systems:
        train, facts = importlib.import_module(baselines).make(system, path, 1)
        row = {"system": system, "losses": train(), "last_loss": train()[-1], **facts}
        row |= {"ms": 1.0, "ms_least": 1.0, "peak_mb": 0.0, "first_seconds": 1.0}
        rows.append(json.loads(json.dumps(row)))
    return rows


@pytest.mark.slow
def test_systems_agree(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(parser_baselines, "BATCH", 16)
    monkeypatch.setattr(parser.interleave, "take_turns", _in_this_process)
    output = tmp_path / "figures.json"
    figures = parser.run(**ARGUMENTS | {"output": str(output)})
    ours, autodiff = figures["training"]
    np.testing.assert_allclose(autodiff["losses"], ours["losses"], rtol=1e-5)
    np.testing.assert_allclose(autodiff["last_loss"], ours["last_loss"], rtol=1e-4)
    assert ours["last_loss"] < ours["losses"][0] and ours["transitions_per_second"] == 16e3
    rows = figures["parsing"]
    assert [row["other_trees"] for row in rows] == [0, 0, 0]
    assert rows[0]["words_per_second"] > 20e3 and 0 <= rows[0]["las"] <= rows[0]["uas"] <= 1
    assert json.loads(output.read_text()) == figures
    printed = capsys.readouterr().out
    assert "JAX autodiff of the plain code" in printed and "no tables" in printed


def test_other_trees_are_an_error():
    [sentence] = data.demo_dependencies.sentences(1)
    heads, names = list(sentence.heads), list(sentence.relations)
    rows = [
        {"system": "tables", "trees": [[heads, names]]},
        {"system": "udpipe_greedy", "trees": [[heads, ["other"] * len(names)]]},
        {"system": "plain", "trees": [[heads, [*names[:-1], "other"]]]},
    ]
    assert parser._compare(rows[:2], [sentence])[1]["las"] == 0  # another parser may differ
    rows[0]["trees"] = [[heads, names]]
    with pytest.raises(ValueError, match="'plain' gives other trees for 1 of 1"):
        parser._compare([rows[0], rows[2]], [sentence])


@pytest.mark.parametrize(
    ("what", "value", "message"),
    [
        ("systems", ["theano"], "theano"),
        ("parts", ["colour"], "colour"),
        ("dims", [8, 16], "give as many"),
    ],
)
def test_wrong_arguments(what, value, message):
    with pytest.raises(ValueError, match=message):
        parser.run(**ARGUMENTS | {what: value})
