"""Files of sentiment models: what comes back, and what is refused."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy

from experiments.sentiment import predict as measuring
from rntn_jax import data, trees
from rntn_jax.annotate import (
    class_probabilities,
    load_classifier,
    save_classifier,
    two_classes,
)
from rntn_jax.cli import sentiment as labelling
from rntn_jax.models import rntn
from rntn_jax.training import CheckpointError, load_pytree, read_info, save_pytree
from tests.experiments.sentiment.runs import (
    SENTENCES,
    SHORT,
    small_model,
)


@pytest.mark.parametrize("sizes", [{}, {"tensor": False}, {"num_classes": 2}], ids=str)
def test_a_model_comes_back_and_answers_the_same(tmp_path: Path, sizes: dict[str, Any]):
    before = small_model(**sizes)
    save_classifier(tmp_path / "m.safetensors", before)
    after = load_classifier(tmp_path / "m.safetensors")
    assert after.vocabulary == before.vocabulary
    assert after.options == before.options and after.info == before.info
    for a, b in zip(jax.tree.leaves(after.params), jax.tree.leaves(before.params), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    forest = data.read_trees(io.StringIO(SENTENCES), num_classes=5)
    for left, right in zip(
        *(
            class_probabilities(m.params, trees.encode(forest, m.vocabulary), m.options)
            for m in (before, after)
        )
    ):
        np.testing.assert_array_equal(left, right)
        np.testing.assert_allclose(left.sum(1), 1, rtol=1e-5)


def test_a_two_class_model_is_scored_on_five_class_labels_taken_as_two(tmp_path: Path, capsys):
    save_classifier(tmp_path / "m.safetensors", small_model(num_classes=2))
    forest = data.demo_sentiment.sentiment_trees(20, seed=0)
    data.write_trees(tmp_path / "five.txt", forest)
    data.write_trees(tmp_path / "two.txt", [two_classes(tree) for tree in forest])
    five, two = (
        measuring.evaluate(
            labelling.load(tmp_path / "m.safetensors", None), str(tmp_path / f"{name}.txt")
        )
        for name in ("five", "two")
    )
    assert five == two and set(five) == {"fine_all", "fine_root"}
    assert "fine_root" in capsys.readouterr().out


def test_predictions_are_those_of_the_model_tree_by_tree_in_order():
    model = small_model()
    forest = data.demo_sentiment.sentiment_trees(30, seed=0)
    bank = trees.encode(forest, model.vocabulary)
    together = class_probabilities(model.params, bank, model.options)
    batched = class_probabilities(model.params, bank, model.options, batch_size=7, lanes=2)
    assert [len(p) for p in together] == [len(tree) for tree in forest]
    for a, b in zip(together, batched, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    packed = trees.pack(forest[3:4], model.vocabulary)
    alone = trees.unpack(packed, rntn.predict(model.params, packed, **model.options))[0]
    np.testing.assert_allclose(together[3], alone, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("words", [["one"], ["one", "two", "three", "four", "five", "six"]])
def test_a_vocabulary_of_another_size_is_refused(tmp_path: Path, words: list[str]):
    save_classifier(tmp_path / "m.safetensors", small_model())
    info = read_info(tmp_path / "m.safetensors")
    info["vocabulary"]["words"][2:] = words
    save_pytree(tmp_path / "m.safetensors", small_model().params, info)
    with pytest.raises(CheckpointError, match=rf"vocabulary has {2 + len(words)} words.*model 7"):
        load_classifier(tmp_path / "m.safetensors")


def test_parameters_of_another_size_are_refused(tmp_path: Path):
    save_classifier(tmp_path / "m.safetensors", small_model())
    info = read_info(tmp_path / "m.safetensors")
    save_pytree(tmp_path / "m.safetensors", small_model(dim=4).params, info)
    with pytest.raises(
        CheckpointError, match=r"cell\.w is float32\[8, 4\], expected float32\[6, 3\]"
    ):
        load_classifier(tmp_path / "m.safetensors")


def test_files_of_something_else_are_refused(run: Path, tmp_path: Path):
    path = tmp_path / "m.safetensors"
    checkpoint = max((run / "checkpoints").iterdir())
    with pytest.raises(CheckpointError, match="does not hold a classifier of tree nodes"):
        load_classifier(checkpoint)
    save_pytree(path, small_model().params, {"kind": "rnn_lm"})
    with pytest.raises(CheckpointError, match="does not hold a classifier of tree nodes"):
        load_classifier(path)
    safetensors.numpy.save_file({"head.b": np.ones(5)}, path)
    with pytest.raises(CheckpointError, match="not written by rntn_jax"):
        load_classifier(path)
    path.write_text("(3 good)\n")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_classifier(path)
    with pytest.raises(FileNotFoundError, match="nothing"):
        load_classifier(tmp_path / "nothing.safetensors")


def test_a_damaged_model_is_refused(model: Path, tmp_path: Path):
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_classifier(tmp_path / "m.safetensors")


def test_a_model_file_is_a_plain_checkpoint(model: Path):
    like = jax.tree.map(np.zeros_like, load_classifier(model).params)
    params, info = load_pytree(model, like)
    assert info["kind"] == "rntn" and params.head.b.shape == (5,)
    assert info["info"] == dataclasses.asdict(SHORT)
