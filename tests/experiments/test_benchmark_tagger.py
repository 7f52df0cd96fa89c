"""The tagger benchmark: both systems train on the same columns, by any of the algorithms."""

from __future__ import annotations

import json

import pytest

from experiments.benchmark.tagger import baselines
from experiments.benchmark.tagger.run import SYSTEMS
from rntn_jax import data


@pytest.mark.parametrize("system", ["ours_ap", "ours_pa", "crfsuite_ap"])
def test_a_system_trains_and_is_scored(system, tmp_path, float32):
    if system.startswith("crfsuite"):
        pytest.importorskip("pycrfsuite", reason="python-crfsuite is not installed")
    assert system in SYSTEMS
    sentences = data.demo_tags.splits(40, 0, 10)
    paths = {split: str(tmp_path / split) for split in ("train", "test")}
    for split, path in paths.items():
        data.write_columns(path, sentences[split])
    (tmp_path / "problem.json").write_text(json.dumps(paths))
    train, facts = baselines.make(system, tmp_path / "problem.json", 1)
    (loss,) = train()
    assert 0 <= loss < 40 and facts["iterations"] == baselines.EPOCHS
    assert facts["seconds"] > 0 and 0.5 < facts["f1"] <= 1 and 0.7 < facts["accuracy"] <= 1
