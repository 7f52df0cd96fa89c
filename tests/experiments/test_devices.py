"""Every experiment trains on several devices as on one, and goes on on others."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.graphs import chunking as skip_chains
from experiments.graphs import config as graphs
from experiments.language_model import config as language_model
from experiments.parsing import batches
from experiments.parsing import config as parsing
from rntn_jax.models import context_parser, graph_parser, parser
from rntn_jax.training import MetricsWriter, read_metrics
from rntn_jax.training.devices import Placement, data_mesh
from tests.helpers import enable_x64

SMALL = {
    "max_sentences": 30, "epochs": 2, "word_dim": 4, "column_dim": 3, "hidden_dim": 6,
    "batch_size": 150, "learning_rate": 0.01, "hidden_dropout": 0.0,
}  # fmt: skip
READER = SMALL | {"rnn_layers": 1, "rnn_dim": 4}
IMAGES = {
    "height": 4, "width": 3, "train_images": 30, "dev_images": 10, "test_images": 10, "epochs": 2,
    "batch_size": 10, "tolerance": 1e-7, "iterations": 200,
}  # fmt: skip
CHUNKING = {"task": "chunking", "max_sentences": 40, "epochs": 2, "batch_size": 10}
TEXT = {
    "max_sentences": 60, "epochs": 2, "embed_dim": 6, "hidden_dim": 6, "batch_size": 8, "steps": 8,
    "learning_rate": 0.01, "input_dropout": 0.0, "output_dropout": 0.0, "average": 0.9,
}  # fmt: skip
RUNS: dict[str, Any] = {
    "parsing, windows": parsing.Config(**SMALL),
    "parsing, transitions": parsing.Config(**READER),
    "parsing, graph": parsing.Config(**READER, model="graph", relation_dim=3),
    "parsing, projective": parsing.Config(**READER, model="graph", relation_dim=3, projective=True),
    **{
        f"graphs, {method}": graphs.Config(**IMAGES, method=method)
        for method in graphs.METHODS[1:]
        if method != "cd"  # whose Gibbs sampling draws other numbers
    },
    "skip chains, exact": graphs.Config(**CHUNKING, method="exact"),
    "skip chains, loopy": graphs.Config(**CHUNKING, method="loopy", tolerance=1e-7, iterations=200),
    "language model, words shared": language_model.Config(**TEXT, vocabulary_shards=2, devices=2),
}


# Adam makes a whole step of a gradient that is nothing but rounding: in single precision these come
# apart by 1e-4.
IN_DOUBLE = ("skip chains, exact", "skip chains, loopy")


def train(config: Any, workdir: Path) -> None:
    module = type(config).__module__.removesuffix(".config")
    importlib.import_module(f"{module}.train").run(config, workdir)


def figures(workdir: Path) -> Iterator[tuple[str, float]]:
    for row in read_metrics(workdir / "metrics.jsonl"):
        for name in ("train_nll", "train_loss", "train_perplexity", "dev_perplexity"):
            if name in row:
                yield f"{row.get('model')} {row['epoch']} {name}", row[name]


def stopped(config: Any, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains the first epoch of each model, and half of them of the second."""
    written = MetricsWriter.write

    def stop(self: Any, step: int, **row: Any) -> None:
        if row["epoch"] == 2:
            raise KeyboardInterrupt
        written(self, step, **row)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsWriter, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, workdir)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", RUNS)
def test_several_devices_train_as_one(name: str, tmp_path: Path, monkeypatch):
    with enable_x64(name in IN_DOUBLE):
        _compare_devices(RUNS[name], tmp_path, monkeypatch)


def _compare_devices(config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = getattr(config, "vocabulary_shards", 1)
    alone = {"devices": 1, "vocabulary_shards": 1} if more > 1 else {"devices": 1}
    train(dataclasses.replace(config, **alone), tmp_path / "1")
    expected = dict(figures(tmp_path / "1"))
    assert len(expected) >= 2
    for count in (2, 4):
        train(dataclasses.replace(config, devices=count), tmp_path / str(count))
        assert dict(figures(tmp_path / str(count))) == pytest.approx(expected, rel=1e-5)
    # An epoch on one device, the next on two.
    stopped(dataclasses.replace(config, **alone), tmp_path / "parts", monkeypatch)
    train(dataclasses.replace(config, devices=2), tmp_path / "parts")
    assert dict(figures(tmp_path / "parts")) == pytest.approx(expected, rel=1e-5)


def whole(*shape: int) -> np.ndarray:
    return 1 + np.arange(np.prod(shape)).reshape(shape)


def test_pieces_hold_the_rows_of_the_minibatch_and_fill_up_with_nothing():
    where = Placement(data_mesh(2))
    sentences = parser.Sentences((whole(3, 6),), whole(3))
    batch = context_parser.Batch(sentences, whole(8, 3, 18), whole(8, 3, 12), whole(8, 3))
    pieces = batches.InContext._pieces(batch, where)
    joined = np.concatenate([*pieces.steps], axis=1)
    np.testing.assert_array_equal(joined[:, :3], batch.steps)
    assert (joined[:, 3] == -1).all()
    np.testing.assert_array_equal(
        np.concatenate([*pieces.positions], axis=1)[:, :3], whole(8, 3, 18)
    )
    assert pieces.sentences.length.tolist() == [[1, 2], [3, 0]]
    trees = graph_parser.Batch(whole(3, 4, 1), whole(3), whole(3, 4), whole(3, 4))
    pieces = batches.Graphs._pieces(trees, where)
    assert pieces.length.tolist() == [[1, 2], [3, 0]]
    np.testing.assert_array_equal(pieces.heads.reshape(4, 4)[:3], trees.heads)


def test_pieces_of_skip_chains_hold_all_edges():
    config = graphs.Config(**CHUNKING, method="loopy")
    alone, shared = (skip_chains.Chunking(dataclasses.replace(config, devices=n)) for n in (1, 2))
    edges = lambda batch: int(np.asarray(batch.skips.edge_mask).sum())
    own = [*alone.epoch("loopy", 1)]
    both = [*shared.epoch("loopy", 1)]
    assert [size for _, size in own] == [size for _, size in both]
    assert any(batch.skips is not None for batch, _ in own)
    for (batch, _), (pieces, _) in zip(own, both, strict=True):
        assert len(pieces.mask) == 2
        assert int(np.asarray(pieces.mask).sum()) == batch.mask.sum()
        if batch.skips is not None:
            assert edges(pieces) == edges(batch)
