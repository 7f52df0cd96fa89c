"""The chunking experiment, on a few sentences."""

from __future__ import annotations

import dataclasses
import io
import itertools
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments.chunking import pipeline, train
from experiments.chunking.config import PRESETS, Config
from experiments.workdir import RunMismatchError, read_json
from rntn_jax import data
from rntn_jax.cli import tag
from rntn_jax.tagger import column_features, column_tagger
from rntn_jax.training import CheckpointError, MetricsWriter, read_info, read_metrics, save_pytree
from tests.helpers import enable_x64

SPARSE = Config(max_sentences=40, template="token", c2=0.1, max_iterations=30)
NEURAL = Config(
    model="neural",
    max_sentences=40,
    epochs=4,
    word_dim=6,
    column_dim=3,
    windows="3",
    rnn_layers=1,
    hidden_dim=8,
    batch_size=8,
    learning_rate=0.05,
    unknown_rate=0.1,
    average=0.5,
    inner="bioes",
    granularity=32,
)
SEGMENTS = dataclasses.replace(NEURAL, model="segments", inner=None, epochs=6)


@pytest.fixture(autouse=True)
def as_users_run_it(float32):
    """In float32."""


def run_in(tmp_path_factory, config) -> Path:
    workdir = tmp_path_factory.mktemp(config.model)
    with enable_x64(False):
        train.run(config, workdir)
    return workdir


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    return run_in(tmp_path_factory, SPARSE)


@pytest.fixture(scope="module")
def neural(tmp_path_factory):
    return run_in(tmp_path_factory, NEURAL)


@pytest.fixture(scope="module")
def segments(tmp_path_factory):
    return run_in(tmp_path_factory, SEGMENTS)


RUNS = {"sparse": SPARSE, "neural": NEURAL, "segments": SEGMENTS}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_learns_and_leaves_everything_behind(name, request):
    workdir = request.getfixturevalue(name)
    result = read_json(workdir / "result.json")
    rows = read_metrics(workdir / "metrics.jsonl")
    losses = [row.get("loss", row.get("train_nll")) for row in rows]
    assert losses[-1] < losses[0] / 1.5
    assert result["test_accuracy"] > 0.5 and 0 < result["test_f1"] < 1
    # No tagger says more about the tags, in the mean, than the chain they come from.
    assert result["test_nats"] > result["best_test_nats"] > 0
    assert result["best_test_accuracy"] > 0.85
    page = (workdir / "report.html").read_text()
    assert "Scores of transitions" in page and "Most confident mistakes" in page
    assert "rj-framed" in page and "B-NP" in page
    # The same command again only reads the result.
    assert train.run(RUNS[name], workdir) == result


def test_training_resumes_bit_for_bit(neural, tmp_path, monkeypatch):
    def stop(*_, **options):
        if options["epoch"] == 2:
            raise KeyboardInterrupt

    written = MetricsWriter.write
    with monkeypatch.context() as patch:
        patch.setattr(MetricsWriter, "write", lambda *a, **o: (stop(*a, **o), written(*a, **o)))
        with pytest.raises(KeyboardInterrupt):
            train.run(NEURAL, tmp_path)
    train.run(NEURAL, tmp_path)
    files = [path / "model.safetensors" for path in (neural, tmp_path)]
    first, second = map(column_tagger.load_model, files)
    for left, right in zip(jax.tree.leaves(first.params), jax.tree.leaves(second.params)):
        np.testing.assert_array_equal(left, right)


def test_other_settings_are_refused(sparse):
    with pytest.raises(RunMismatchError, match=r"c2 was 0.1 and is now 0.2"):
        train.run(dataclasses.replace(SPARSE, c2=0.2), sparse)


@pytest.mark.parametrize("name", RUNS)
def test_tagging_a_file(name, request, tmp_path, capsys):
    workdir = request.getfixturevalue(name)
    sentences = data.demo_tags.splits()["test"][:5]
    file = tmp_path / "in.txt"
    data.write_columns(file, sentences)
    tag.tag(workdir / "model.safetensors", str(file), marginals=True, constrained=True)
    out, err = capsys.readouterr()
    head, *lines = out.split("\n")
    labels = head.split("\t")[2:]
    assert {label[2:] for label in labels} == {"", "NP", "PP", "VP"}
    assert any(label.startswith("S-") for label in labels) == (name == "neural")
    rows = [line.split("\t") for line in lines if line]
    assert [row[:3] for row in rows] == [list(row) for rows in sentences for row in rows]
    shares = np.array([row[4:] for row in rows], float)
    np.testing.assert_allclose(shares.sum(1), 1, atol=0.002)
    assert "token accuracy" in err
    again = data.read_columns(
        io.StringIO("\n".join("\t".join(line.split("\t")[:4]) for line in lines))
    )
    for rows in again:
        data.chunks.validate([row[3] for row in rows], "bio")
    # Without the gold column: the same tags, and no scores.
    data.write_columns(file, [[row[:2] for row in rows] for rows in sentences])
    tag.tag(workdir / "model.safetensors", str(file), marginals=False, constrained=True)
    out, err = capsys.readouterr()
    tags = [line.split("\t")[2] for line in out.split("\n") if line]
    assert tags == [row[3] for rows in again for row in rows] and not err


def test_tagging_a_file_of_other_columns(sparse, tmp_path):
    file = tmp_path / "in.txt"
    file.write_text("a b c d\n")
    with pytest.raises(data.DataError, match=r"in.txt: 4 columns; .* trained on 2 and the tag"):
        tag.tag(sparse / "model.safetensors", str(file), marginals=False, constrained=False)


def test_log_probabilities_are_those_of_the_marginals(neural):
    """Of sentences of one token they are the same."""
    tagger = column_tagger.load_model(neural / "model.safetensors")
    rows = [[(*s[0][:-1], tag)] for s, tag in zip(data.demo_tags.splits()["test"], ["O", "B-NP"])]
    inner = pipeline.recode(rows, "bio", "bioes")
    assert [r[0][-1] for r in inner] == ["O", "S-NP"]
    _, marginals = column_tagger.predict(tagger, [[row[:-1] for row in r] for r in rows])
    expected = [np.log(p[0, tagger.labels.index(r[0][-1])]) for p, r in zip(marginals, inner)]
    np.testing.assert_allclose(pipeline.log_prob(tagger, rows), expected, rtol=1e-4)
    unseen = [(*rows[0][0][:-1], "B-XX")]
    assert pipeline.log_prob(tagger, [unseen])[0] == -np.inf


def test_marginals_of_segments_are_those_of_their_tags(segments):
    """Of all taggings of a short sentence, by their log-probabilities one by one."""
    tagger = column_tagger.load_model(segments / "model.safetensors")
    bare = [row[:-1] for row in data.demo_tags.splits()["test"][0][:3]]
    _, [marginals] = column_tagger.predict(tagger, [bare])
    every = [
        tags
        for tags in itertools.product(tagger.labels, repeat=3)
        if all(
            after[0] != "I" or (before != "O" and before[1:] == after[1:])
            for before, after in itertools.pairwise(("O", *tags))
        )
    ]
    rows = [[(*row, tag) for row, tag in zip(bare, tags)] for tags in every]
    p = np.exp(pipeline.log_prob(tagger, rows))
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-5)
    for t in range(3):
        for c, label in enumerate(tagger.labels):
            share = p[[tags[t] == label for tags in every]].sum()
            np.testing.assert_allclose(marginals[t, c], share, atol=1e-5)


def test_own_files_and_their_faults(tmp_path):
    train_file, test_file = tmp_path / "train.txt", tmp_path / "test.txt"
    train_file.write_text("a B-X\nb I-X\n\nc O\n" * 8)
    test_file.write_text("a B-X\nb O\n")
    config = Config(train=str(train_file), test=str(test_file), max_iterations=5)
    assert train.run(config, tmp_path / "run")["test_accuracy"] == 0.5
    with pytest.raises(data.DataError, match=r"'B-X' .* in iob1; --scheme names another, or none"):
        train.load_splits(dataclasses.replace(config, scheme="iob1"))
    assert len(train.load_splits(dataclasses.replace(config, dev_sentences=3))["dev"]) == 3
    with pytest.raises(ValueError, match="dev_sentences 99 leaves nothing to train on"):
        train.load_splits(dataclasses.replace(config, dev_sentences=99))
    test_file.write_text("a N B-X\n")
    with pytest.raises(data.DataError, match="test has 3 columns and train 2"):
        train.load_splits(config)
    test_file.write_text("a B-X\nb\n")
    with pytest.raises(data.DataError, match=r"test.txt:2: 1 columns instead of 2"):
        train.load_splits(config)


def test_a_training_file_of_one_column(tmp_path):
    file = tmp_path / "train.txt"
    file.write_text("The\nfilm\n\nEnd\n")
    with pytest.raises(data.DataError, match=f"^{file}: one column, .* at least two: a word first"):
        train.load_splits(Config(train=str(file)))


@pytest.mark.parametrize("model", ["crf", pytest.param("neural", marks=pytest.mark.slow)])
def test_tags_that_are_no_chunk_tags(model, tmp_path, capsys):
    """Token accuracy and nats: in training, at its end, in the report, when a file is tagged."""
    rows = [[(word, pos) for word, pos, _ in s] for s in data.demo_tags.splits()["train"][:12]]
    paths = {name: str(tmp_path / name) for name in ("train", "dev", "test")}
    for path in paths.values():
        data.write_columns(path, rows)
    config = dataclasses.replace(
        SPARSE if model == "crf" else NEURAL,
        inner=None,
        scheme="none",
        epochs=2,
        max_iterations=5,
        rnn_layers=0,
        **paths,
    )
    result = train.run(config, tmp_path / "run")
    assert "test_f1" not in result and "dev_f1" not in result
    assert 0 < result["test_accuracy"] <= 1 and 0 < result["test_nats"] < 4
    assert "test accuracy" in (tmp_path / "run" / "report.html").read_text()
    capsys.readouterr()
    tag.tag(
        tmp_path / "run" / "model.safetensors", paths["test"], marginals=False, constrained=True
    )
    out, err = capsys.readouterr()
    assert err.startswith("token accuracy") and len(err.splitlines()) == 1
    assert len(out.split("\n\n")) == 13


def test_features_of_the_tutorial():
    rows = [("He", "PRP"), ("reckons", "VBZ"), ("so", "RB")]
    found = column_features.attributes(rows, "crfsuite")
    assert found[0] == [
        *("w[0]=He", "w[1]=reckons", "w[2]=so", "w[0]|w[1]=He|reckons"),
        *("pos[0]=PRP", "pos[1]=VBZ", "pos[2]=RB"),
        *("pos[0]|pos[1]=PRP|VBZ", "pos[1]|pos[2]=VBZ|RB", "pos[0]|pos[1]|pos[2]=PRP|VBZ|RB"),
        "__BOS__",
    ]
    assert found[1][1] == "w[0]=reckons" and len(found[1]) == 5 + 6 and found[2][-1] == "__EOS__"
    assert column_features.attributes([("He",)], "token") == [["w[0]=He"]]


def test_presets_and_bad_settings():
    for preset in PRESETS.values():
        Config(**preset)
    assert Config(windows="").window_sizes() == ()
    for options, message in (
        ({"windows": "4"}, "windows must be odd numbers, as in 5,3, got '4'"),
        ({"windows": "a"}, "windows"),
        ({"model": "hmm"}, "model must be one of"),
        ({"c2": -1.0}, "c2 must not be negative"),
        ({"test": "x"}, "test needs train"),
        ({"model": "segments", "scheme": "none"}, "segments needs tags of chunks, got scheme none"),
    ):
        with pytest.raises(ValueError, match=message):
            Config(**options)


def test_other_files_are_no_models(tmp_path):
    save_pytree(tmp_path / "x", {"w": np.ones(1)}, {"kind": "other"})
    with pytest.raises(CheckpointError, match="does not hold a tagger"):
        column_tagger.load_model(tmp_path / "x")


@pytest.mark.parametrize("name", RUNS)
def test_models_whose_contents_are_mad(name, request, tmp_path):
    """The checksum is right, and what is in the file is not: an error that names the file, soon."""
    path = request.getfixturevalue(name) / "model.safetensors"
    saved, model = read_info(path), column_tagger.load_model(path)
    tree: Any = {"x": np.ones(1)} if isinstance(model, column_tagger.Sparse) else model.params
    changes: list[dict[str, Any]] = [
        {"info": None},
        {"info": saved["info"] | {"scheme": "iob7"}},
        {"info": {k: v for k, v in saved["info"].items() if k != "columns"}},
    ]
    if name != "sparse":
        config = saved["config"]
        changes += [
            {"config": config | {"rnn_layers": 10**18}},
            {"config": config | {"hidden_dim": "wide"}},
            {"config": config | {"depth": 3}},
            {"config": [1]},
            {"vocabularies": saved["vocabularies"][:1]},
            {"vocabularies": 3},
            {"labels": ["O"]},
        ]
        if name == "segments":
            changes += [
                {"labels": ["NP", *saved["labels"][1:]]},
                {"info": saved["info"] | {"inner": "bioes"}},
            ]
    else:
        changes += [{"info": saved["info"] | {"template": "other"}}, {"sizes": [1, 2]}]
    for change in changes:
        save_pytree(tmp_path / "model", tree, saved | change)
        with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / "model"))):
            column_tagger.load_model(tmp_path / "model")


@pytest.mark.parametrize("rate", [0.0, pytest.param(1.0, marks=pytest.mark.slow)])
def test_word_vectors_of_a_file_are_where_training_begins(tmp_path: Path, rate: float):
    """Frozen they come out as they went in; tuned they do not. Words of dev have theirs too."""
    config = dataclasses.replace(
        NEURAL, word_dim=2, epochs=1, max_sentences=8, min_count=9, word_learning_rate=rate,
        rnn_layers=0,
        vectors=str(tmp_path / "vectors.txt"), average=0.0, batch_size=4,
    )  # fmt: skip
    splits = train.load_splits(config)
    first, second = (splits[name][0][0][0].lower() for name in ("train", "dev"))
    (tmp_path / "vectors.txt").write_text(f"{first} 0.5 -0.25\n{second} 1 2\nnobody 3 4\n")
    train.run(config, tmp_path / "run")
    model = column_tagger.load_model(tmp_path / "run" / "model.safetensors")
    assert isinstance(model, column_tagger.Neural)
    words = model.vocabularies[0]
    rows = model.params.embeddings[0][words.encode([first, second])]
    expected = [[0.5, -0.25], [0.5, -0.25] if first == second else [1, 2]]
    assert np.allclose(rows, expected) == (rate == 0)
    assert "nobody" not in words
    with pytest.raises(data.DataError, match="2 numbers, the model takes 3: --word_dim"):
        train.run(dataclasses.replace(config, word_dim=3), tmp_path / "wide")
