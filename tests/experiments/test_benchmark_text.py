"""The text benchmark: every system answers, and NumPy's trees are ours."""

from __future__ import annotations

import json

import pytest

from experiments.benchmark.text import baselines
from experiments.benchmark.text.numpy_pipeline import labelled_tree
from experiments.benchmark.text.run import SYSTEMS, run
from rntn_jax import data
from rntn_jax.annotate import annotate, default_model

TEXTS = ["It isn't bad.", "A gorgeous, witty, seductive movie, and Mr. Fox is in it!", "No"]


def test_numpy_finds_our_trees():
    model = default_model()
    for text, answer in zip(TEXTS, annotate(model, TEXTS), strict=True):
        tree = labelled_tree(model, data.tokenize(text))
        assert tree.to_brackets() == answer.tree.to_brackets()


@pytest.mark.parametrize(
    "system", ["ours_tokens", "nltk", "ours_ud", "udpipe_greedy", "udpipe_beam"]
)
def test_a_system_answers(system, tmp_path):
    assert system in {name for names in SYSTEMS.values() for name in names}
    model = tmp_path / "udpipe.model"
    if system == "nltk":
        pytest.importorskip("nltk", reason="NLTK is not installed")
    if system.startswith("udpipe"):
        pytest.importorskip("ufal.udpipe", reason="UDPipe is not installed")
        data.write_conllu(tmp_path / "train", data.demo_dependencies.splits()["train"])
        baselines.train_udpipe(str(tmp_path / "train"), str(model))
    problem = tmp_path / "problem.json"
    problem.write_text(json.dumps({"texts": TEXTS, "udpipe": str(model)}))
    train, facts = baselines.make(system, problem, 1)
    assert len(train()) == len(TEXTS) == len(train())
    assert len(facts["found"]) == 3 if "found" in facts else facts["sentences"] >= 3


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    output = tmp_path / "figures.json"
    figures = run(
        corpus="demo", data_dir=None, udpipe_train=None, rounds=1, threads=2, max_texts=60,
        systems=["ours", "numpy"], python=None, output=str(output),
    )  # fmt: skip
    assert json.loads(output.read_text()) == figures
    ours, numpy = figures["measured"]
    assert numpy["as_the_first"] >= 0.95 and ours["ms"] > 0 and figures["texts"] == 60
    assert "the same model in NumPy" in capsys.readouterr().out
