"""Own files: what was not given is held out or left out, and that is said."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from experiments.language_model import config as lm_config
from experiments.language_model import pipeline
from experiments.language_model import train as language_model
from experiments.parsing import config as parsing_config
from experiments.parsing import train as parsing
from experiments.sentiment import config as sentiment_config
from experiments.sentiment import train as sentiment
from experiments.splits import read_splits
from experiments.tree_builder import config as tree_builder_config
from experiments.tree_builder import train as tree_builder
from rntn_jax import data


def numbers(file: str) -> list[int]:
    return list(range(int(file)))


@pytest.mark.parametrize(
    ("count", "in_order", "held"),
    [
        (30, False, [9, 19, 29]),
        (35, False, [9, 19, 29]),
        (35, True, [32, 33, 34]),
        (9, False, [8]),
        (2, True, [1]),
    ],
)
def test_a_tenth_is_held_out_and_that_is_said(count: int, in_order: bool, held: list[int], capsys):
    splits = read_splits(numbers, str(count), None, None, noun="trees", in_order=in_order)
    assert set(splits) == {"train", "dev"} and splits["dev"] == held
    assert sorted(splits["train"] + held) == list(range(count))
    said = capsys.readouterr().err
    assert "no --dev" in said and f"of the {count} trees in {count}" in said
    assert f"({count - len(held)} to train on, {len(held)} held out)" in said


def test_given_files_are_taken_as_they_are(capsys):
    splits = read_splits(numbers, "5", "3", "2", noun="trees")
    assert splits == {"train": [0, 1, 2, 3, 4], "dev": [0, 1, 2], "test": [0, 1]}
    assert capsys.readouterr().err == ""
    with pytest.raises(data.DataError, match=r"^1: one of the trees is too few.*--dev"):
        read_splits(numbers, "1", None, "2", noun="trees")


CONLLU = "1\tYes\tyes\tINTJ\tUH\t_\t0\troot\t_\t_\n\n"


@pytest.mark.parametrize(
    ("train", "config", "content"),
    [
        (sentiment, sentiment_config, "(3 (2 a) (4 b))\n"),
        (tree_builder, tree_builder_config, "(-1 (-1 a) (-1 b))\n"),
        (parsing, parsing_config, CONLLU),
        (language_model, lm_config, "a film\n"),
    ],
    ids=["sentiment", "tree_builder", "parsing", "language_model"],
)
def test_every_experiment_splits_a_training_file(
    train: ModuleType, config: ModuleType, content: str, tmp_path: Path, capsys
):
    file = tmp_path / "own"
    file.write_text(20 * content)
    splits = train.load_splits(config.Config(train=str(file)))
    assert {name: len(part) for name, part in splits.items()} == {"train": 18, "dev": 2}
    said = capsys.readouterr().err
    assert re.search(r"of the 20 \w+ in .*own \(18 to train on, 2 held out\)", said)
    splits = train.load_splits(config.Config(train=str(file), dev=str(file), test=str(file)))
    assert {name: len(part) for name, part in splits.items()} == dict.fromkeys(
        ("train", "dev", "test"), 20
    )
    with pytest.raises(ValueError, match="dev needs train"):
        config.Config(dev=str(file))


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_trees_without_a_label_are_refused_before_training(split: str, tmp_path: Path):
    files: dict[str, Any] = {}
    for name in ("train", "dev", "test"):
        files[name] = str(tmp_path / name)
        label = -1 if name == split else 3
        Path(files[name]).write_text(f"({label} ({label} a) ({label} b))\n")
    with pytest.raises(data.DataError, match=f"{split}: no .*label"):
        sentiment.load_splits(sentiment_config.Config(**files))


def test_a_score_that_no_dev_tree_has_is_refused_before_training(tmp_path: Path):
    (tmp_path / "trees").write_text("(-1 (2 a) (3 b))\n" * 3)
    own: dict[str, Any] = {"train": str(tmp_path / "trees"), "dev": str(tmp_path / "trees")}
    for select, fine in (("fine_root", False), ("mean", False), ("binary_all", True)):
        config = sentiment_config.Config(**own, select=select)
        if fine:
            sentiment.load_splits(config)
        else:
            with pytest.raises(data.DataError, match=f"no dev tree.*'{select}'"):
                sentiment.load_splits(config)


# --- texts for language models ---


@pytest.mark.parametrize("level", ["word", "char"])
@pytest.mark.parametrize(
    "text", ["ab c\nd\n", "\nab c\n\n \nd\n\n", "ab c\r\n\r\nd", "ab c\rd\r", "ab c\n \t\nd"]
)
def test_empty_lines_are_skipped(text: str, level: str, capsys):
    expected = [["ab", "c"], ["d"]] if level == "word" else [["a", "b", " ", "c"], ["d"]]
    assert pipeline.read_sentences(io.StringIO(text), level=level) == expected
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("level", ["word", "char"])
@pytest.mark.parametrize("text", ["ab c <eos>\nd <eos>\n", "ab c <eos> d <eos>", "ab c\n<eos>\nd"])
def test_ends_of_sentences_in_the_text_are_not_doubled(text: str, level: str, capsys):
    sentences = pipeline.read_sentences(io.StringIO(text), level=level)
    assert sentences == pipeline.read_sentences(io.StringIO("ab c\nd\n"), level=level)
    said = capsys.readouterr().err
    assert "<stream>: its " in said and "<eos> are read as the ends of sentences" in said
    vocabulary = data.Vocabulary.build(["ab", "c", "d", pipeline.END])
    ids = pipeline.encode(sentences, vocabulary)
    assert np.count_nonzero(ids == vocabulary.encode([pipeline.END])[0]) == 3


def test_a_word_that_only_holds_the_mark_is_a_word():
    assert pipeline.read_sentences(io.StringIO("a<eos> <eos>b\n")) == [["a<eos>", "<eos>b"]]


def test_a_text_of_ends_alone_is_refused():
    with pytest.raises(data.DataError, match="no text"):
        pipeline.read_sentences(io.StringIO("<eos>\n<eos>\n"))
