"""Evaluation and prediction with a trained sentiment model."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from experiments.sentiment import predict as measuring
from experiments.sentiment import train
from experiments.workdir import read_json
from rntn_jax import data, trees
from rntn_jax.annotate import (
    class_probabilities,
    load_classifier,
)
from rntn_jax.cli import sentiment as labelling
from tests.experiments.sentiment.runs import (
    SENTENCES,
    SHORT,
)


def answers_of(model: Path, source: str) -> tuple[list[data.Tree], list[np.ndarray]]:
    loaded, forest = load_classifier(model), data.read_trees(source)
    bank = trees.encode(forest, loaded.vocabulary)
    return forest, class_probabilities(loaded.params, bank, loaded.options)


def test_evaluation_gives_the_scores_of_training(run: Path, model: Path, tmp_path: Path, capsys):
    splits = train.load_splits(SHORT)
    result = read_json(run / "result.json")
    for name in ("dev", "test"):
        data.write_trees(tmp_path / "bank.txt", splits[name])
        assert (
            measuring.evaluate(labelling.load(model, None), str(tmp_path / "bank.txt"))
            == result[name]
        )
        printed = capsys.readouterr().out.splitlines()
        nodes = sum(len(tree) for tree in splits[name])
        assert printed[0] == f"40 trees, {nodes} labelled nodes, 40 labelled roots"
        shown = dict(line.split() for line in printed[1:])
        assert shown == {score: f"{100 * x:.2f}%" for score, x in result[name].items()}


def test_evaluation_needs_a_label(model: Path, tmp_path: Path):
    (tmp_path / "bank.txt").write_text("(-1 (-1 a) (-1 b))\n")
    with pytest.raises(data.DataError, match=r"bank\.txt: no node has a label"):
        measuring.evaluate(labelling.load(model, None), str(tmp_path / "bank.txt"))


def test_text_shows_sentence_and_label(model: Path, source: str, capsys):
    forest, probabilities = answers_of(model, source)
    labelling.predict(labelling.load(model, None), source, "auto", "text", None)
    printed = capsys.readouterr().out
    heads = re.findall(
        r"^((?:very )?(?:negative|positive)|neutral) \((\d+)%\): (.*)$", printed, re.M
    )
    names = ("very negative", "negative", "neutral", "positive", "very positive")
    assert heads == [
        (names[p[-1].argmax()], f"{100 * p[-1].max():.0f}", tree.text)
        for tree, p in zip(forest, probabilities, strict=True)
    ]
    for word in ("not", "very", "bad", "good", "film"):
        assert word in printed


def test_json_is_an_object_a_line(model: Path, source: str, capsys):
    forest, probabilities = answers_of(model, source)
    labelling.predict(labelling.load(model, None), source, "auto", "json", None)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 2
    for row, tree, p in zip(rows, forest, probabilities):
        assert row["text"] == tree.text and row["label"] == p[-1].argmax()
        np.testing.assert_allclose(row["probabilities"], p[-1], atol=1e-6)
        np.testing.assert_allclose(row["nodes"], p, atol=1e-6)
        predicted = data.parse_tree(row["brackets"])
        assert predicted.labels.tolist() == p.argmax(1).tolist()
        assert row["name"].endswith(("negative", "neutral", "positive"))


def test_brackets_can_be_read_again(model: Path, source: str, tmp_path: Path):
    forest, probabilities = answers_of(model, source)
    labelling.predict(
        labelling.load(model, None), source, "auto", "brackets", str(tmp_path / "out.txt")
    )
    for found, tree, p in zip(
        data.read_trees(tmp_path / "out.txt"), forest, probabilities, strict=True
    ):
        assert found.tokens == tree.tokens
        np.testing.assert_array_equal(found.children, tree.children)
        assert found.labels.tolist() == p.argmax(1).tolist()


def is_svg(text: str) -> bool:
    return ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"


def test_one_picture_goes_to_standard_output(model: Path, tmp_path: Path, capsys):
    (tmp_path / "one.txt").write_text(SENTENCES.split("\n")[0])
    labelling.predict(labelling.load(model, None), str(tmp_path / "one.txt"), "auto", "svg", None)
    printed = capsys.readouterr().out
    assert is_svg(printed) and "bad" in printed
    labelling.predict(
        labelling.load(model, None),
        str(tmp_path / "one.txt"),
        "auto",
        "svg",
        str(tmp_path / "one.svg"),
    )
    assert (tmp_path / "one.svg").read_text("utf-8") == printed
    (tmp_path / "folder").mkdir()
    labelling.predict(
        labelling.load(model, None),
        str(tmp_path / "one.txt"),
        "auto",
        "svg",
        str(tmp_path / "folder"),
    )
    assert (tmp_path / "folder" / "tree-00001.svg").read_text("utf-8") == printed


def test_several_pictures_go_to_a_folder(model: Path, source: str, tmp_path: Path, capsys):
    with pytest.raises(ValueError, match=r"2 trees make 2 pictures.*--output"):
        labelling.predict(labelling.load(model, None), source, "auto", "svg", None)
    labelling.predict(labelling.load(model, None), source, "auto", "svg", str(tmp_path / "a" / "b"))
    pictures = sorted((tmp_path / "a" / "b").iterdir())
    assert [path.name for path in pictures] == ["tree-00001.svg", "tree-00002.svg"]
    assert all(is_svg(path.read_text("utf-8")) for path in pictures)
    assert "film" in pictures[1].read_text("utf-8")
    assert capsys.readouterr().out == ""


def test_html_is_one_page_with_all_trees(model: Path, source: str, tmp_path: Path):
    labelling.predict(
        labelling.load(model, None), source, "auto", "html", str(tmp_path / "trees.html")
    )
    page = (tmp_path / "trees.html").read_text("utf-8")
    assert page[:15].lower() == "<!doctype html>" and page.rstrip().endswith("</html>")
    assert "film" in page and not re.search(r"""(src|href)\s*=\s*["']?https?://""", page)


@pytest.mark.parametrize("form", ["text", "json", "brackets", "svg", "html"])
def test_a_word_alone_is_a_tree_too(model: Path, tmp_path: Path, form: str, capsys):
    (tmp_path / "word.txt").write_text("(3 <unheard-of>)\n")
    labelling.predict(labelling.load(model, None), str(tmp_path / "word.txt"), "auto", form, None)
    assert "unheard-of" in capsys.readouterr().out
