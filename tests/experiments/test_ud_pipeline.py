"""The experiment from raw text to Universal Dependencies, on a few sentences."""

from __future__ import annotations

import collections
import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.ud_pipeline import train
from experiments.ud_pipeline.config import PRESETS, Config
from experiments.ud_pipeline.stages import folds_of, segmenter_stage
from rntn_jax import annotate, data
from rntn_jax.cli import parse
from rntn_jax.training import CheckpointError, save_pytree
from tests.helpers import enable_x64

CONFIG = Config(
    max_sentences=30,
    segmenter_epochs=2,
    tagger_epochs=2,
    parser_epochs=2,
    segmenter_dim=8,
    tagger_dim=8,
    parser_rnn_dim=8,
    parser_dim=16,
    word_dim=8,
    column_dim=4,
    average=0.9,
    learning_rate=0.02,
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


@pytest.mark.slow
def test_a_run_leaves_a_model_and_its_scores(trained):
    result = train.run(CONFIG, trained)
    names = {"segmenter", "tagger-fold-0", "tagger-fold-1", "tagger", "parser"}
    assert {*result["history"]} == names
    for rows in result["history"].values():
        assert [row["epoch"] for row in rows] == [1, 2]
        assert rows[1]["train_nll"] < rows[0]["train_nll"] * 1.1
    for split in ("dev", "test"):
        assert 0 <= result[f"{split}_las"] <= result[f"{split}_uas"] <= result[f"{split}_words"]
    model = annotate.load_ud_parser(trained / "model.safetensors")
    assert model.info == {"corpus": "demo", "licence": "that of the training data"}
    assert result["model_bytes"] == (trained / "model.safetensors").stat().st_size


@pytest.mark.slow
def test_training_resumes_bit_for_bit(trained, tmp_path, monkeypatch):
    fitted = train.fit

    def stop(config, workdir, name, epochs, stage):
        if name == "tagger-fold-1":
            raise KeyboardInterrupt
        return fitted(config, workdir, name, epochs, stage)

    with monkeypatch.context() as patch:
        patch.setattr(train, "fit", stop)
        with pytest.raises(KeyboardInterrupt):
            train.run(CONFIG, tmp_path)
    train.run(CONFIG, tmp_path)
    first, second = (
        annotate.load_ud_parser(path / "model.safetensors") for path in (trained, tmp_path)
    )
    for one, two in zip(first[:3], second[:3]):
        for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(two.params)):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_text_from_the_command(trained, tmp_path, capsys):
    model, text, out = str(trained / "model.safetensors"), tmp_path / "t.txt", tmp_path / "out"
    text.write_text("the dog sees.\n\nthe cat\n")
    for form, holds in (("conllu", "# text = "), ("text", " root"), ("svg", "<svg"),
                        ("json", '"heads": ['), ("html", "Dependency trees of t.txt")):  # fmt: skip
        parse.parse(model, str(text), form, None)
        printed = capsys.readouterr().out
        assert holds in printed and printed.endswith("\n")
        parse.parse(model, str(text), form, str(out))
        assert out.read_text() == printed and not capsys.readouterr().out
    parse.parse(model, str(text), "conllu", str(out))
    read = data.read_conllu(out)
    parse.parse(model, str(text), "json", str(out))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    for number, (row, sentence) in enumerate(zip(rows, read, strict=True), 1):
        assert row["id"] == number and row["words"] == list(sentence.forms)
        assert row["heads"] == sentence.heads.tolist() and row["upos"] == list(sentence.upos)
        for token in row["tokens"]:
            form = text.read_text()[token["begin"] : token["end"]]
            assert "".join(token["words"]) == form and form in row["text"]
    parse.parse(model, "the dog", "json", None)  # a text, which is no file
    assert json.loads(capsys.readouterr().out.splitlines()[0])["text"].startswith("the")


@pytest.mark.slow
def test_faults_of_texts_from_the_command(trained, tmp_path):
    model, text = str(trained / "model.safetensors"), tmp_path / "t.txt"
    for content, message in ((" \n\n", r"t\.txt: there are no words"), ("a\0", "NUL")):
        text.write_text(content)
        with pytest.raises(data.DataError, match=message):
            parse.parse(model, str(text), "conllu", None)
    data.write_conllu(text, data.demo_dependencies.sentences(2))
    with pytest.raises(data.DataError, match=r"t\.txt: this is CoNLL-U, and raw text is wanted"):
        parse.parse(model, str(text), "conllu", None)
    with pytest.raises(FileNotFoundError, match=r"there is no file 'none\.txt'"):
        parse.parse(model, "none.txt", "conllu", None)
    save_pytree(text, np.ones(1), {"kind": "parser"})
    with pytest.raises(CheckpointError, match="does not hold a parser of raw text"):
        parse.parse(str(text), "a", "conllu", None)


@pytest.mark.slow
def test_scores_from_the_command(trained, tmp_path, capsys):
    file, model = tmp_path / "a.conllu", str(trained / "model.safetensors")
    data.write_conllu(file, data.demo_dependencies.sentences(4))
    parse.evaluate(model, str(file))
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1].startswith("LAS ")
    parse.evaluate(model, str(file), str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == printed


def test_the_segmenter_knows_frequent_parts_only():
    gold = data.demo_dependencies.sentences(12)
    counts = collections.Counter(data.treebank_text(gold).text.lower().split())
    known = segmenter_stage(CONFIG, gold, gold[:1]).model.vocabularies[2]
    assert {part for part, count in counts.items() if count > CONFIG.min_count} == {
        part for part in counts if part in known
    }
    assert 1 in counts.values(), "a part of many characters that occurs once"


def test_folds_hold_every_sentence_out_once():
    for count, folds in ((30, 2), (1234, 3), (5, 5)):
        held = [i for _, own in folds_of(count, folds) for i in own]
        assert sorted(held) == list(range(count))
        for kept, own in folds_of(count, folds):
            assert own and sorted(kept + own) == list(range(count))
    assert not list(folds_of(9, 0))


def test_own_files_and_their_faults(tmp_path):
    file = tmp_path / "a.conllu"
    data.write_conllu(file, data.demo_dependencies.sentences(5))
    config = Config(train=str(file), dev=str(file))
    assert len(train.load_splits(config)["dev"]) == 5
    file.write_text(file.read_text().replace("\troot\t", "\tdep\t"))
    with pytest.raises(data.DataError, match="no word has the relation root"):
        train.load_splits(config)


def test_presets_and_bad_settings():
    for preset in PRESETS.values():
        Config(**preset)
    for options, message in (
        ({"test": "x"}, "test needs train"),
        ({"folds": 1}, "folds must be 0, or at least 2, got 1"),
        ({"hidden_dropout": 1.0}, "hidden_dropout must be in"),
        ({"parser_epochs": 0}, "parser_epochs must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            Config(**options)
    assert json.dumps(dataclasses.asdict(CONFIG))
