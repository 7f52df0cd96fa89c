"""The tree builder's experiment, on a few trees."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import tree_baselines as baselines
from experiments.tree_builder import predict, train
from experiments.tree_builder.config import PRESETS, Config
from experiments.workdir import read_json
from rntn_jax import data
from rntn_jax.annotate import load_parser
from rntn_jax.training import MetricsWriter, read_metrics
from tests.helpers import enable_x64

CONFIG = Config(
    max_trees=30,
    epochs=4,
    word_dim=8,
    shape_dim=4,
    rnn_dim=8,
    hidden_dim=16,
    batch_size=10,
    learning_rate=0.03,
    average=0.5,
    phrase_epochs=1,
)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    """With phrases, too."""
    file = tmp_path_factory.mktemp("data") / "phrases.conllu"
    data.write_conllu(file, data.demo_dependencies.sentences(12))
    return dataclasses.replace(CONFIG, phrases=str(file))


@pytest.fixture(scope="module")
def trained(config, tmp_path_factory) -> Path:
    """A finished run."""
    workdir = tmp_path_factory.mktemp("run")
    with enable_x64(False):
        train.run(config, workdir)
    return workdir


def test_a_run_learns_and_leaves_everything_behind(config, trained):
    result = read_json(trained / "result.json")
    rows = read_metrics(trained / "metrics.jsonl")
    assert rows[-1]["train_nll"] < 0.7 * rows[0]["train_nll"]
    trees = data.demo_sentiment.sentiment_splits()["test"][:30]
    balanced = data.bracket_scores(trees, [baselines.balanced(tree.tokens) for tree in trees])
    assert result["test"]["f1"] > balanced.f1 + 0.1
    page = (trained / "report.html").read_text()
    assert "right-branching" in page and "<svg" in page
    with enable_x64(False):
        assert train.run(config, trained) == result


@pytest.mark.slow
def test_training_resumes_bit_for_bit(config, trained, tmp_path, monkeypatch):
    written = MetricsWriter.write

    def stop(*args, **options):
        if options["epoch"] == 3:
            raise KeyboardInterrupt
        written(*args, **options)

    with enable_x64(False):
        with monkeypatch.context() as patch:
            patch.setattr(MetricsWriter, "write", stop)
            with pytest.raises(KeyboardInterrupt):
                train.run(config, tmp_path)
        train.run(config, tmp_path)
    first, second = (load_parser(path / "model.safetensors") for path in (trained, tmp_path))
    for left, right in zip(jax.tree.leaves(first.params), jax.tree.leaves(second.params)):
        np.testing.assert_array_equal(left, right)


def test_minibatches_with_phrases_and_without(config):
    phrases = train.load_phrases(config)
    trees = train.load_splits(config)["train"]
    vocabularies = tuple(data.Vocabulary.build(["a"]) for _ in range(2))
    loader = train.Loader(trees, phrases, vocabularies, 10, seed=0)
    batches = list(loader.epoch(1, True))
    assert len(batches) == loader.batches(True) == loader.batches(False) + 1
    of_trees = [own.batch for own, _ in batches if own.tags is None]
    assert sum((own.length > 1).sum() for own in of_trees) == len(trees)
    ((batch, tags),) = [own for own, _ in batches if own.tags is not None]
    assert batch.spans is None and not batch.allowed.all()
    assert ((tags >= 0).sum(axis=1) == batch.length).all() and tags.max() < len(loader.tags)
    assert all(own.tags is None for own, _ in loader.epoch(1, False))
    assert train.load_phrases(CONFIG) == []


def test_builders_are_combined_and_evaluated(trained, tmp_path, capsys):
    with enable_x64(False):
        predict.combine(f"{trained.parent}/{trained.name}", str(tmp_path / "one"))
        for seed in (0, 1):
            (tmp_path / f"run-{seed}").mkdir()
            shutil.copy(trained / "model.safetensors", tmp_path / f"run-{seed}")
        predict.combine(f"{tmp_path}/run-*", str(tmp_path / "two"))
        assert len(load_parser(tmp_path / "two").params) == 2
        data.write_trees(tmp_path / "test.txt", data.demo_sentiment.sentiment_splits()["test"][:30])
        one, two = (
            predict.evaluate(str(tmp_path / name), str(tmp_path / "test.txt"))["built"]
            for name in ("one", "two")
        )
    result = read_json(trained / "result.json")
    assert one == two and one._asdict() == result["test"]  # the same network twice
    assert "balanced" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="matches"):
        predict.combine(f"{tmp_path}/none-*", str(tmp_path / "x"))


def test_trees_that_need_no_model():
    words = "a b c d .".split()
    spans = {
        name: baselines.BASELINES[name](words).spans()[5:].tolist() for name in baselines.BASELINES
    }
    assert spans["right-branching"] == [[3, 5], [2, 5], [1, 5], [0, 5]]
    assert spans["right-branching, final stop on top"] == [[2, 4], [1, 4], [0, 4], [0, 5]]
    assert spans["balanced"] == [[0, 2], [3, 5], [2, 5], [0, 5]]
    for build in baselines.BASELINES.values():
        assert build(["."]).num_leaves == 1
        assert build(["word"] * 3000).num_nodes == 5999


def test_own_files_presets_and_bad_settings(tmp_path):
    for preset in PRESETS.values():
        Config(**preset)
    data.write_trees(tmp_path / "a.txt", data.demo_sentiment.sentiment_trees(5, seed=0))
    config = Config(train=str(tmp_path / "a.txt"), dev=str(tmp_path / "a.txt"))
    assert len(train.load_splits(config)["dev"]) == 5
    (tmp_path / "one.txt").write_text("(2 word)\n")
    with pytest.raises(data.DataError, match="two words"):
        train.run(
            Config(train=str(tmp_path / "one.txt"), dev=str(tmp_path / "one.txt")), tmp_path / "run"
        )
    for options, message in (
        ({"dev": "x"}, "dev needs train"),
        ({"test": "x"}, "test needs train"),
        ({"rnn_layers": 0}, "rnn_layers must be at least 1"),
        ({"input_dropout": 1.0}, "input_dropout must be in"),
    ):
        with pytest.raises(ValueError, match=message):
            Config(**options)
