"""The language model experiment, on a few sentences."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import loop
from experiments.language_model import predict, train
from experiments.language_model.config import PRESETS, Config
from experiments.language_model.pipeline import encode, load_model, perplexity, sentence_nats
from experiments.workdir import RunMismatchError, read_json
from rntn_jax import data, sequences
from rntn_jax.models import rnn_lm
from rntn_jax.training import CheckpointError, ProgressBar, RunState, read_metrics
from tests.helpers import assert_close, enable_x64

CONFIG = Config(
    max_sentences=60,
    epochs=4,
    embed_dim=6,
    hidden_dim=8,
    batch_size=4,
    steps=12,
    learning_rate=0.01,
    output_dropout=0.1,
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
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["dev_perplexity"] < 0.8 * rows[0]["dev_perplexity"]
    best = min(rows, key=lambda row: row["dev_perplexity"])
    assert result["epoch"] == best["epoch"]
    # Chosen by streams, reported exactly: nearly the same.
    assert result["dev_perplexity"] == pytest.approx(best["dev_perplexity"], rel=0.1)
    assert result["best_test_perplexity"] < result["test_perplexity"]
    page = (trained / "report.html").read_text("utf-8")
    assert "vanishing" in page and f"{result['test_perplexity']:.2f}" in page
    assert (trained / "environment.json").exists() and (trained / "config.json").exists()


def test_the_reported_perplexity_is_that_of_the_saved_model_word_by_word(trained):
    model = load_model(trained / "model.safetensors")
    test = data.demo_text.splits()["test"][:60]
    ids = encode(test, model.vocabulary)
    tokens, targets = ids[None, :-1], ids[None, 1:]
    batch = sequences.SequenceBatch(tokens, targets, np.ones(tokens.shape, bool))
    nats, _ = rnn_lm.score(model.params, batch)
    result = read_json(trained / "result.json")
    np.testing.assert_allclose(np.exp(nats.mean()), result["test_perplexity"], rtol=1e-4)
    whole = perplexity(model.params, ids, "tanh", steps=7)
    np.testing.assert_allclose(whole, result["test_perplexity"], rtol=1e-4)


def test_stopping_and_going_on_changes_nothing(trained, tmp_path: Path):
    class Stop(Exception):
        pass

    def stop(*_, **__):
        raise Stop

    original = train.perplexity
    calls = []

    def twice(*args):
        calls.append(args)
        return original(*args) if len(calls) <= 2 else stop()

    train.perplexity = twice
    try:
        with pytest.raises(Stop):
            train.run(CONFIG, tmp_path)
    finally:
        train.perplexity = original
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 2
    train.run(CONFIG, tmp_path)
    one, two = (load_model(folder / "model.safetensors") for folder in (trained, tmp_path))
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(two.params), strict=True):
        np.testing.assert_array_equal(a, b)
    keep = lambda folder: [
        {name: x for name, x in row.items() if name not in ("seconds", "time")}
        for row in read_metrics(folder / "metrics.jsonl")
    ]
    assert keep(trained) == keep(tmp_path)


def test_other_settings_are_refused_and_a_finished_run_is_read_back(trained):
    before = (trained / "metrics.jsonl").read_bytes()
    assert train.run(CONFIG, trained) == read_json(trained / "result.json")
    assert (trained / "metrics.jsonl").read_bytes() == before
    with pytest.raises(RunMismatchError, match="hidden_dim was 8 and is now 9"):
        train.run(dataclasses.replace(CONFIG, hidden_dim=9), trained)


def test_score(trained, tmp_path: Path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("the film opens .\nfilms zzz show the\n")
    whole = predict.score(trained / "model.safetensors", str(text), "json")
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["text"] for row in rows] == ["the film opens .", "films zzz show the"]
    assert [len(row["nats"]) for row in rows] == [5, 5] and rows[1]["unknown"] == 1
    assert f"perplexity {whole:.2f} of 10 tokens" in err
    for row in rows:
        assert row["perplexity"] == pytest.approx(np.exp(np.mean(row["nats"])), rel=1e-3)
    assert rows[0]["perplexity"] < rows[1]["perplexity"]
    predict.score(trained / "model.safetensors", str(text), "text")
    assert "the film opens ." in capsys.readouterr().out


def test_sentences_are_scored_alone_whatever_stands_beside_them(trained):
    model = load_model(trained / "model.safetensors")
    sentences = data.demo_text.sentences(30, 5)
    together = sentence_nats(model, sentences, batch_size=8)
    for sentence, nats in zip(sentences, together, strict=True):
        assert len(nats) == len(sentence) + 1
        np.testing.assert_allclose(sentence_nats(model, [sentence])[0], nats, rtol=1e-4, atol=1e-5)


def test_write_text(trained, capsys):
    predict.write_text(trained / "model.safetensors", "the film", 30, 1.0, None, 0)
    first = capsys.readouterr().out
    assert first.startswith("the film") and "<" not in first
    predict.write_text(trained / "model.safetensors", "the film", 30, 1.0, None, 0)
    assert capsys.readouterr().out == first


@pytest.mark.slow
def test_characters_of_own_files(tmp_path: Path):
    for name, seed in (("train", 0), ("dev", 1)):
        lines = [" ".join(s) for s in data.demo_text.sentences(30, seed)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    files = {"train": str(tmp_path / "train.txt"), "dev": str(tmp_path / "dev.txt")}
    config = dataclasses.replace(CONFIG, **files, level="char", layers=2, epochs=2)
    result = train.run(config, tmp_path / "run")
    assert result["dev_perplexity"] == result["test_perplexity"] < 25
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert " " in model.vocabulary and len(model.vocabulary) < 40


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_segment(tmp_path: Path):
    config = dataclasses.replace(CONFIG, optimizer="sgd", learning_rate=1e30, activation="relu",
                                 clip_norm=None, warmup=0)  # fmt: skip
    with pytest.raises(train.NotFiniteError, match="epoch 1, segment"):
        train.run(config, tmp_path)


def test_a_text_with_its_own_ends_scores_as_without(trained, tmp_path, capsys):
    sentences = data.demo_text.splits()["test"][:5]
    plain = "".join(" ".join(words) + "\n" for words in sentences)
    whole, said = {}, {}
    for name, text in (
        ("plain", plain),
        ("ends", plain.replace("\n", " <eos>\n")),
        ("empty", "\n" + plain.replace("\n", "\n \n")),
    ):
        (tmp_path / name).write_text(text)
        whole[name] = predict.score(trained / "model.safetensors", str(tmp_path / name), "text")
        said[name] = capsys.readouterr()
    assert whole["plain"] == whole["ends"] == whole["empty"]
    assert said["plain"].out == said["ends"].out == said["empty"].out
    assert said["plain"].err == said["empty"].err == ""
    assert "its 5 <eos> are read as the ends of sentences" in said["ends"].err


def test_unknown_words_are_counted(trained, tmp_path, capsys):
    predict.write_text(trained / "model.safetensors", "the zebra", 2, 0.0, None, 0)
    told = capsys.readouterr().err
    assert told.startswith("unknown to the model: 1 of 2 tokens of the prompt (zebra); is this ")
    (tmp_path / "text").write_text("the film the gnu\n")
    predict.score(trained / "model.safetensors", str(tmp_path / "text"), "json")
    answer = capsys.readouterr()
    row = json.loads(answer.out)
    assert (row["id"], row["text"], row["unknown"]) == (1, "the film the gnu", 1)
    assert answer.err.startswith("unknown to the model: 1 of 4 tokens of the text (gnu)\n")


def test_bad_files(tmp_path: Path):
    (tmp_path / "dev.txt").write_text("a b\n")
    (tmp_path / "train.txt").write_bytes(b"a b\n\n\xff\n")
    files = {"train": str(tmp_path / "train.txt"), "dev": str(tmp_path / "dev.txt")}
    with pytest.raises(data.DataError, match=r"train\.txt:3:1: .*UTF-8"):
        train.run(dataclasses.replace(CONFIG, **files), tmp_path / "run")
    (tmp_path / "m.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"epochs": 0}, "epochs"),
        ({"devices": 3, "batch_size": 20}, "devices=3"),
        ({"corpus": "web"}, "corpus"),
        ({"input_dropout": 1.0}, "input_dropout"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"tied": True, "embed_dim": 3}, "tied"),
        ({"dev": "a.txt"}, "dev needs train"),
        ({"test": "a.txt"}, "test needs"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_settings(values, field):
    with pytest.raises(ValueError, match=field):
        Config(**values)


def test_presets_are_settings():
    for values in PRESETS.values():
        Config(**values)


def test_standard_input(trained, monkeypatch, capsys):
    class Stdin:
        buffer = io.BytesIO(b"the film opens .\n")

    monkeypatch.setattr("sys.stdin", Stdin)
    predict.score(trained / "model.safetensors", "-", "text")
    assert "5 tokens" in capsys.readouterr().out


@pytest.mark.slow
def test_two_devices_train_the_model_of_one(trained, tmp_path):
    for count in (1, 2):
        config = dataclasses.replace(CONFIG, output_dropout=0.0, epochs=2, devices=count)
        train.run(config, tmp_path / str(count))
    one, two = (load_model(tmp_path / name / "model.safetensors").params for name in "12")
    assert_close(two, one, 1e-3)  # in float32, and Adam divides by what is small
    rows = [read_metrics(tmp_path / name / "metrics.jsonl") for name in "12"]
    for mine, other in zip(*rows, strict=True):
        assert mine["train_perplexity"] == pytest.approx(other["train_perplexity"], rel=1e-5)


def test_a_streamed_text_trains_as_one_in_memory_and_goes_on_within_an_epoch(tmp_path, monkeypatch):
    splits = data.demo_text.splits()
    lines = [" ".join(sentence) + "\n" for sentence in splits["train"][:60]]
    (tmp_path / "parts").mkdir()
    for number in range(3):
        part = lines[20 * number : 20 * (number + 1)]
        (tmp_path / "parts" / f"{number}.txt").write_text("".join(part))
    (tmp_path / "whole.txt").write_text("".join(lines))
    (tmp_path / "dev.txt").write_text("".join(" ".join(own) + "\n" for own in splits["dev"][:10]))
    config = Config(
        train=str(tmp_path / "whole.txt"),
        dev=str(tmp_path / "dev.txt"),
        epochs=2,
        embed_dim=4,
        hidden_dim=4,
        batch_size=4,
        steps=8,
    )
    expected = train.run(config, tmp_path / "memory")
    config = dataclasses.replace(config, train=str(tmp_path / "parts"), stream=True, save_steps=3)
    saved = RunState.save_within_epoch

    def stop(state: RunState) -> None:
        saved(state)
        if state.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunState, "save_within_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            train.run(config, tmp_path / "streamed")
    bars: list[ProgressBar] = []

    def seen(*args, **options) -> ProgressBar:
        bars.append(ProgressBar(*args, **options))
        return bars[-1]

    with monkeypatch.context() as patch:
        patch.setattr(loop, "ProgressBar", seen)
        found = train.run(config, tmp_path / "streamed")
    (bar,) = bars
    assert bar._done == bar._total  # what is yielded again counts once
    for name in ("dev_perplexity", "epoch", "vocabulary", "parameters"):
        assert found[name] == expected[name]
    assert (tmp_path / "streamed" / "train.tokens").exists()
