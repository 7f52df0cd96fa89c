"""The parsing experiment, on a few sentences."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.parsing import predict, train
from experiments.parsing.config import PRESETS, Config
from experiments.workdir import read_json
from rntn_jax import data
from rntn_jax.annotate.dependency_parser import (
    columns,
    load_dependency_parser,
    parse_tagged,
    parse_with_marginals,
)
from rntn_jax.training import CheckpointError, MetricsWriter, read_metrics, save_pytree
from tests.helpers import enable_x64

CONFIG = Config(
    max_sentences=40,
    epochs=4,
    word_dim=8,
    column_dim=4,
    hidden_dim=24,
    batch_size=32,
    learning_rate=0.02,
    unknown_rate=0.1,
    average=0.9,
)


@pytest.fixture(autouse=True)
def as_users_run_it(float32):
    """In float32."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A finished run."""
    workdir = tmp_path_factory.mktemp("run")
    with enable_x64(False):
        train.run(CONFIG, workdir)
    return workdir


def test_a_run_learns_and_leaves_everything_behind(trained):
    result = read_json(trained / "result.json")
    rows = read_metrics(trained / "metrics.jsonl")
    assert rows[-1]["train_nll"] < rows[0]["train_nll"] / 3
    assert result["test_uas"] > 0.85 and result["test_uas"] >= result["test_las"] > 0.8
    sentences = data.demo_dependencies.splits()["train"][:40]
    assert result["steps"] == 2 * sum(len(sentence.forms) for sentence in sentences)
    assert result["lifted_arcs"] == 0
    page = (trained / "report.html").read_text()
    assert "By relation" in page and "nsubj" in page
    assert train.run(CONFIG, trained) == result


def test_training_resumes_bit_for_bit(trained, tmp_path, monkeypatch):
    written = MetricsWriter.write

    def stop(*args, **options):
        if options["epoch"] == 3:
            raise KeyboardInterrupt
        written(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsWriter, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            train.run(CONFIG, tmp_path)
    train.run(CONFIG, tmp_path)
    first, second = (
        load_dependency_parser(path / "model.safetensors") for path in (trained, tmp_path)
    )
    for left, right in zip(jax.tree.leaves(first.params), jax.tree.leaves(second.params)):
        np.testing.assert_array_equal(left, right)


def test_columns_are_those_that_are_asked_for():
    rows = (("1", "Dogs", "dog", "NOUN", "NNS", "Number=Plur", "0", "root", "_", "_"),)
    sentence = data.ConlluSentence((), rows)
    every = {"feats": True, "xpos": True, "suffixes": True, "prefixes": True}
    words = [["dogs"], ["NOUN"], ["Number=Plur"], ["NNS"], ["ogs"], ["dog"]]
    assert columns(sentence, every) == words
    # Models of before know nothing of two of them.
    assert columns(sentence, {"feats": False, "suffixes": True}) == [words[n] for n in (0, 1, 4)]


def test_a_parser_of_all_columns_is_kept_and_reads_them(tmp_path):
    every = dataclasses.replace(CONFIG, epochs=1, feats=True, xpos=True, prefixes=True)
    train.run(every, tmp_path)
    model = load_dependency_parser(tmp_path / "model.safetensors")
    assert len(model.vocabularies) == 6
    sentences = data.demo_dependencies.sentences(7, seed=99)
    assert len(parse_tagged(model, sentences)) == 7
    assert {name for name, read in model.options.items() if read is True} == {
        "feats", "xpos", "suffixes", "prefixes",
    }  # fmt: skip


def test_parsing_a_file(trained, tmp_path, capsys):
    gold = data.demo_dependencies.sentences(7, seed=99)
    file = tmp_path / "in.conllu"
    data.write_conllu(file, gold)
    predict.parse(trained / "model.safetensors", str(file))
    out, err = capsys.readouterr()
    parsed = data.read_conllu(io.StringIO(out))  # trees, each with one root
    assert [s.forms for s in parsed] == [s.forms for s in gold]
    assert [s.comments for s in parsed] == [s.comments for s in gold]
    assert "UAS" in err and "LAS" in err
    # Without trees in the file: the same answers, and no scores.
    bare = "".join(
        "\n".join("\t".join((*row[:6], "_", "_", *row[8:])) for row in s.rows) + "\n\n"
        for s in gold
    )
    file.write_text(bare)
    predict.parse(trained / "model.safetensors", str(file))
    out, err = capsys.readouterr()
    again = data.read_conllu(io.StringIO(out))
    assert [s.relations for s in again] == [s.relations for s in parsed] and not err
    assert all((a.heads == b.heads).all() for a, b in zip(again, parsed))


@pytest.mark.slow
@pytest.mark.parametrize("projective", [False, True])
def test_trees_by_scores_of_arcs(tmp_path, capsys, projective):
    config = dataclasses.replace(
        CONFIG, model="graph", rnn_layers=1, rnn_dim=12, batch_size=128, projective=projective
    )
    result = train.run(config, tmp_path)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert rows[-1]["train_nll"] < rows[0]["train_nll"] / 2
    assert result["test_uas"] > 0.75 and result["test_nonprojective_sentences"] == 0
    counts = [row[1] for row in result["test_calibration"]]
    gold = data.demo_dependencies.splits()["test"][:40]
    assert sum(counts) == sum(len(s.forms) for s in gold)
    assert 0 <= result["test_calibration_error"] < 0.3
    assert "Calibration" in (tmp_path / "report.html").read_text()
    file, model = tmp_path / "in.conllu", load_dependency_parser(tmp_path / "model.safetensors")
    data.write_conllu(file, gold[:3])
    predict.parse(tmp_path / "model.safetensors", str(file), marginals=True)
    parsed = data.read_conllu(io.StringIO(capsys.readouterr().out))
    for sentence, (heads, _, p) in zip(parsed, parse_with_marginals(model, gold[:3])):
        np.testing.assert_array_equal(sentence.heads, heads)
        assert [row[9] for row in sentence.rows] == [f"ArcProbability={x:.4f}" for x in p]


def test_transitions_have_no_marginals(trained):
    model = load_dependency_parser(trained / "model.safetensors")
    with pytest.raises(ValueError, match="no marginals of arcs"):
        parse_with_marginals(model, [])


def test_other_tags_words_and_lengths(trained):
    tagger = load_dependency_parser(trained / "model.safetensors")
    rows = [(str(n), "ü", "_", "ZZ", "_", "A=b", "_", "_", "_", "_") for n in range(1, 71)]
    strange = [data.ConlluSentence((), tuple(rows)), data.ConlluSentence((), tuple(rows[:1]))]
    for sentence, (heads, names) in zip(strange, parse_tagged(tagger, strange)):
        data.dependencies.check_tree(heads)
        assert names.count("root") == 1 and len(names) == len(sentence.forms)


def test_own_files_and_their_faults(tmp_path):
    file = tmp_path / "a.conllu"
    data.write_conllu(file, data.demo_dependencies.sentences(5))
    config = Config(train=str(file), dev=str(file))
    assert len(train.load_splits(config)["dev"]) == 5
    text = file.read_text()
    file.write_text(text.replace("\troot\t", "\tROOT\t"))
    with pytest.raises(data.DataError, match=r"a\.conllu: no word has the relation root"):
        train.load_splits(config)
    file.write_text(text)
    file.write_text(file.read_text().replace("\troot\t", "\tdep\t", 1).replace("\t0\t", "\t1\t", 1))
    with pytest.raises(data.DataError, match=r"a\.conllu:"):
        train.load_splits(config)


def test_presets_and_bad_settings():
    for preset in PRESETS.values():
        Config(**preset)
    for options, message in (
        ({"dev": "x"}, "dev needs train"),
        ({"activation": "swish"}, "activation must be one of"),
        ({"model": "graph"}, "rnn_layers must be at least 1"),
        ({"hidden_dropout": 1.0}, "hidden_dropout must be in"),
        ({"epochs": 0}, "epochs must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            Config(**options)
    assert dataclasses.replace(CONFIG, feats=True).feats


def test_other_files_are_no_models(tmp_path):
    save_pytree(tmp_path / "x", {"w": np.ones(1)}, {"kind": "other"})
    with pytest.raises(CheckpointError, match="does not hold a parser"):
        load_dependency_parser(tmp_path / "x")
