"""Trained models at work: files, scores, predictions, and the command line."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
import safetensors.numpy

from experiments.sentiment import predict as measuring
from experiments.sentiment import train
from experiments.sentiment.config import Config
from experiments.workdir import read_json
from rntn_jax import data, trees
from rntn_jax.annotate import (
    SentimentClassifier,
    class_probabilities,
    load_classifier,
    save_classifier,
    two_classes,
)
from rntn_jax.cli import sentiment as labelling
from rntn_jax.cli.inputs import guess, read
from rntn_jax.cli.label import label
from rntn_jax.models import rntn
from rntn_jax.training import CheckpointError, load_pytree, read_info, save_pytree
from tests.experiments.test_sentiment import environment_of_a_process
from tests.helpers import enable_x64

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Config(max_trees=40, dim=4, epochs=1, batch_size=10, lanes=4, updates_per_dispatch=2)
SENTENCES = "(3 (2 not) (4 (2 very) (0 bad)))\n(1 (2 a) (3 (4 good) (-1 film)))\n"


@pytest.fixture(scope="module", autouse=True)
def as_users_run() -> Iterator[None]:
    """Without 64-bit types."""
    with enable_x64(False):
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run."""
    workdir = tmp_path_factory.mktemp("run")
    train.run(CONFIG, workdir)
    return workdir


@pytest.fixture(scope="module")
def model(run: Path) -> Path:
    return run / "model.safetensors"


@pytest.fixture
def source(tmp_path: Path) -> str:
    """A file of two trees."""
    (tmp_path / "trees.txt").write_text(SENTENCES)
    return str(tmp_path / "trees.txt")


def small_model(**sizes: Any) -> SentimentClassifier:
    vocabulary = data.Vocabulary.build(["not", "very", "good", "bad", "film"], lowercase=True)
    config = rntn.Config(**{"vocab_size": len(vocabulary), "dim": 3} | sizes)
    params = rntn.init(jax.random.key(0), config)
    options = {"activation": "sigmoid", "leaf_activation": "identity"}
    return SentimentClassifier(params, vocabulary, options, {"note": "é"})


def answers_of(model: Path, source: str) -> tuple[list[data.Tree], list[np.ndarray]]:
    loaded, forest = load_classifier(model), data.read_trees(source)
    bank = trees.encode(forest, loaded.vocabulary)
    return forest, class_probabilities(loaded.params, bank, loaded.options)


# --- model files ---


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
    with pytest.raises(CheckpointError, match="does not hold an RNTN model"):
        load_classifier(checkpoint)
    save_pytree(path, small_model().params, {"kind": "rnn_lm"})
    with pytest.raises(CheckpointError, match="does not hold an RNTN model"):
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
    assert info["info"] == dataclasses.asdict(CONFIG)


# --- evaluate and predict ---


def test_evaluation_gives_the_scores_of_training(run: Path, model: Path, tmp_path: Path, capsys):
    splits = train.load_splits(CONFIG)
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


# --- raw text ---

NEGATED = "This film doesn't care about cleverness, wit or any other kind of intelligent humor."
PARSE = "(ROOT (S (NP (PRP It)) (VP (VBZ is) (RB not) (ADJP (JJ good))) (. .)))"


@pytest.fixture(scope="module")
def shipped():
    return labelling.load(None, None)


def test_a_text_and_a_file_of_texts_are_labelled(shipped, tmp_path: Path, capsys):
    labelling.predict(shipped, NEGATED, "auto", "json", None)
    answer = json.loads(capsys.readouterr().out)
    assert answer["name"] in ("negative", "very negative")
    (tmp_path / "texts").write_text(f"{NEGATED}\n\n  \nGood!\n")
    labelling.predict(shipped, str(tmp_path / "texts"), "auto", "json", None)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["brackets"] == answer["brackets"] and second["text"] == "Good!"


def test_files_of_trees_parses_and_texts_are_told_apart(shipped, tmp_path: Path):
    for name, content, words in (
        ("trees", SENTENCES, ["not", "very", "bad"]),
        ("parses", f"{PARSE}\n( (S (NP (NN Fun)) (VP (VBZ wins))))", "It is not good .".split()),
        ("text", "(I) liked it", ["-LRB-", "I", "-RRB-", "liked", "it"]),
    ):
        (tmp_path / name).write_text(content)
        found = read(str(tmp_path / name), "auto")
        first = found[0] if name == "text" else found[0].tokens
        assert list(first) == words
        assert read(str(tmp_path / name), "text")[0][0] in {"-LRB-", words[0]}
    with pytest.raises(data.DataError):
        read(str(tmp_path / "text"), "trees")


def test_json_holds_the_users_text_and_the_place_of_every_node(shipped, tmp_path: Path, capsys):
    texts = ["Can\u2019t  wait\u2026", "It\u00ad's “(good)” :)"]
    (tmp_path / "texts").write_text("\n\n".join(texts), encoding="utf-8")
    labelling.predict(shipped, str(tmp_path / "texts"), "auto", "json", None)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["id"] for row in rows] == [1, 2] and [row["text"] for row in rows] == texts
    for row in rows:
        tree = data.parse_tree(row["brackets"])
        assert row["tokens"] == list(tree.tokens) == data.tokenize(row["text"])
        assert len(row["spans"]) == len(row["nodes"]) == tree.num_nodes
        assert row["spans"][-1] == [0, len(row["text"])]
        for node, (i, j) in enumerate(tree.spans().tolist()):
            assert row["spans"][node] == [row["spans"][i][0], row["spans"][j - 1][1]]
    for row, words in zip(rows, (["Ca", "n\u2019t", "wait", "…"], ["It", "'s", "“"])):
        assert [row["text"][i:j] for i, j in row["spans"][: len(words)]] == words


def test_json_of_trees_places_nodes_in_their_words(model: Path, source: str, capsys):
    labelling.predict(labelling.load(model, None), source, "trees", "json", None)
    answer = capsys.readouterr()
    row = json.loads(answer.out.splitlines()[1])
    assert (row["id"], row["text"]) == (2, "a good film")
    assert [row["text"][i:j] for i, j in row["spans"]] == [
        "a", "good", "film", "good film", "a good film"
    ]  # fmt: skip
    assert "read as" not in answer.err  # --input said it


def test_unknown_words_are_counted_and_a_strange_language_is_warned_of(shipped, tmp_path, capsys):
    german = "Der Film war leider ziemlich langweilig und die Schauspieler waren schlecht."
    labelling.predict(shipped, german, "auto", "json", None)
    answer = capsys.readouterr()
    assert json.loads(answer.out)["unknown"] == 6
    told, warned = answer.err.splitlines()
    assert told.startswith("unknown to the model: 6 of 11 words (leider, ziemlich, ")
    assert warned.startswith("warning: half of the words or more are unknown: ")
    (tmp_path / "texts").write_text(f"A good film.\n{german}\nNice, zagrebian film.\n:-) !!\n")
    labelling.predict(shipped, str(tmp_path / "texts"), "text", "text", None)
    told, warned = capsys.readouterr().err.splitlines()
    assert told.startswith("unknown to the model: 7 of 17 words (")
    assert warned.startswith("warning: half of the words or more are unknown in 1 texts, the first")
    labelling.predict(shipped, "A good film.", "text", "text", None)
    assert capsys.readouterr().err == ""


GUESSES = {
    "trees": [
        "(3 (2 a) (4 film))", "\n (3\n(2 a) (4 film))", "(3(2 a)(4 b))", "(-1 (-1 a) (2 b))",
        "(3 good)", "(3 good)\n(2 (2 a) (2 b))", "(3 (2 a)\n", "(3 (2 a b) (4 c))", "(3 (2 a) b)",
        "(3 (2 a) (4 b)))", "(3 (2 a) (x b))", "(3 (x a) (2 b))", "\ufeff(3 good)\n",
        "(3 (2 (1 (2",
    ],
    "parses": [
        "(S1 (S (NP (DT The) (NN film)) (VP (VBZ works)) (. .)))", "(NP-SBJ (DT the) (NN x))",
        "(s (np (dt the) (nn film)) (vp (vbz works)))", "(@S (NP (DT A) (NN film)) (VP (VBZ is)))",
        "(NN Yes)", "(NN Yes)\n(S (NP (NN x)) (VP (VB y)))", "( (S (NP (NN Fun)) (VP (VBZ wins))))",
        "(ROOT\n  (S\n    (NP (PRP It))", "(TOP (S=2 (NP-SBJ-1 (-NONE- *)) (VP (VB go))))",
        "(FRAG (UH Yes) (. .))", "(`` ``)", "(. .)", "(PRP$ my)\n", "(NP|<DT-NN> (DT a) (NN b))",
        "(S^ROOT (NP (DT a) (NN b)) (. .))", "(sentence (sn (d la) (n casa)))",
    ],
    "text": [
        "(2 thumbs up) Nice.", "((laughs)) good film", "(I) liked it", "(Good film)", "Nice (2 a)",
        "(2 thumbs) up", "(: great film", "(8 hours", "(It's (really not) good) he said", "",
        "(in theory) fine", "(in theory)", "(A (B movie) fan)", "(NOT (VERY good))", "()", "(",
        "((", "(Note (to self): buy)", "(NN Yes) I said", "(very) (good film)",
        "(the (DVD edition))",
        "(1 (of many) films)", "(2 thumbs", " \n", "(sic)", "(S) (NP)",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "content"), [(kind, content) for kind, some in GUESSES.items() for content in some]
)
def test_guesses_by_the_first_brackets(kind: str, content: str):
    assert guess(content) == kind


def test_long_inputs_are_guessed_at_once():
    assert guess("(" * 10**6) == "text" and guess("(3 " * 10**6) == "trees"
    assert guess("x" * 10**6) == "text" and guess("(S " * 10**6) == "parses"


def test_what_a_file_was_taken_for_is_said(tmp_path: Path, capsys):
    for kind, content in (
        ("trees", "(3 (2 a) (4 film))"),
        ("parses", "(NP-SBJ (DT the) (NN x))"),
        ("texts, one a line", "(2 thumbs up) Nice."),
    ):
        (tmp_path / "file").write_text(content)
        read(str(tmp_path / "file"), "auto")
        assert f"{tmp_path / 'file'}: read as {kind} (" in capsys.readouterr().err
        read(str(tmp_path / "file"), kind if kind in ("trees", "parses") else "text")
        assert capsys.readouterr().err == ""
    found = read("(3 (2 a) (4 film))", "auto")  # no file, but in brackets
    assert isinstance(found[0], data.Tree)
    assert "what was given: read as trees" in capsys.readouterr().err
    assert list(read("A (B) film", "auto")[0]) == data.tokenize("A (B) film")
    assert capsys.readouterr().err == ""


def test_what_was_asked_for_wins(tmp_path: Path):
    (tmp_path / "file").write_text("(3 (2 a) (4 film))")
    (text,) = read(str(tmp_path / "file"), "text")
    assert list(text)[:2] == ["-LRB-", "3"]
    assert list(read("10/10", "text")[0]) == [r"10\/10"]
    assert list(read(str(tmp_path), "text")[0])  # the name of a folder is a text too
    with pytest.raises(FileNotFoundError, match=r"there is no file '10/10'.*--input=text"):
        read("10/10", "auto")
    with pytest.raises(data.DataError, match="taken for trees by how it begins: --input=text"):
        read("(2 (3 thumbs up))", "auto")
    with pytest.raises(data.DataError) as caught:
        read("(2 (3 thumbs up))", "trees")
    assert "taken for" not in str(caught.value)


@pytest.mark.parametrize(
    "source, error, message",
    [
        ("", data.DataError, "no words"),
        (" \t", data.DataError, "no words"),
        ("none.txt", FileNotFoundError, "there is no file 'none.txt'"),
        ("a/none", FileNotFoundError, "there is no file"),
        ("a text", FileNotFoundError, "there is no file"),
    ],
)
def test_what_cannot_be_read_is_named(source, error, message):
    with pytest.raises(error, match=message):
        read(source, "trees" if source == "a text" else "auto")


def test_texts_longer_than_any_file_s_name_are_texts():
    assert len(read("very " * 3000 + "good", "auto")[0]) == 3001


def test_labelled_phrases_become_training_trees(shipped, tmp_path: Path, capsys):
    (tmp_path / "labelled.txt").write_text(
        "1 The plot is thin but I loved the cast\n4 I loved the cast\n0 thin but I\n\n3 Good .\n"
    )
    label(shipped, str(tmp_path / "labelled.txt"), str(tmp_path / "train.txt"))
    first, second = data.read_trees(tmp_path / "train.txt")
    assert first.labels[-1] == 1 and second.labels.tolist() == [-1, -1, 3]
    phrase = [label for span, label in zip(first.spans().tolist(), first.labels) if span == [5, 9]]
    assert phrase == [4]
    told = capsys.readouterr().err
    assert "2 trees, 3 labelled nodes" in told and "crosses another phrase: thin but I" in told


def test_other_brackets_are_scored_at_the_root(shipped, tmp_path: Path):
    data.write_trees(tmp_path / "bank.txt", data.read_trees(io.StringIO(SENTENCES)))
    for brackets in ("built", "balanced", "right"):
        values = measuring.evaluate(shipped, str(tmp_path / "bank.txt"), brackets)
        assert set(values) == {"fine_root", "binary_root", "binary_corenlp_root"}


def test_builder_and_labeller_are_exported_as_one_file(shipped, model: Path, tmp_path: Path):
    measuring.export(labelling.load(model, None), str(tmp_path / "both.safetensors"))
    again = labelling.load(tmp_path / "both.safetensors", None)
    jax.tree.map(
        np.testing.assert_array_equal, again.classifier.params, load_classifier(model).params
    )
    assert again.parser.config == shipped.parser.config


# --- the command line ---


class Answer(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


# Runs many commands in one process, so that JAX is imported once.
DRIVER = """
import contextlib, io, json, sys
from absl import app, flags
from experiments.sentiment import main
from tests.helpers import enable_x64

answers = []
for arguments, stdin in json.load(sys.stdin):
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode()))
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app.run(main.main, argv=["main.py", *arguments])
        except SystemExit as stop:
            code = stop.code or 0
            if isinstance(code, str):  # as the interpreter does
                print(code, file=sys.stderr)
                code = 1
    answers.append((code, out.getvalue(), err.getvalue()))
json.dump(answers, sys.__stdout__)
"""


Python = Callable[..., Answer]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Python:
    """`python(*arguments, stdin="")` runs a Python of its own."""
    environment = environment_of_a_process(tmp_path_factory)

    def python(*arguments: str, stdin: str = "") -> Answer:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return python


@pytest.fixture(scope="module")
def main(python: Python) -> Python:
    """`main(*flags, stdin="")` runs the experiment as a command."""
    return functools.partial(python, "-m", "experiments.sentiment.main")


@pytest.fixture(scope="module")
def commands(python: Python) -> Callable[[list[tuple[list[str], str]]], list[Answer]]:
    """`commands([(flags, stdin), ...])` runs many in one process."""

    def commands(calls: list[tuple[list[str], str]]) -> list[Answer]:
        done = python("-c", DRIVER, stdin=json.dumps(calls))
        assert done.code == 0, done.err
        return [Answer(*answer) for answer in json.loads(done.out)]

    return commands


def test_predict_reads_standard_input(model: Path, source: str, tmp_path: Path, main):
    found = main(f"--model={model}", "--predict=-", "--format=brackets", stdin=SENTENCES)
    assert found.code == 0, found.err
    labelling.predict(
        labelling.load(model, None), source, "auto", "brackets", str(tmp_path / "out.txt")
    )
    assert found.out == (tmp_path / "out.txt").read_text()


def test_a_bad_treebank_ends_the_command_with_status_1_and_a_place(
    model: Path, tmp_path: Path, main
):
    (tmp_path / "bad.txt").write_text("(3 good)\n(3 (2 a) (7 b))\n")
    found = main(f"--model={model}", f"--evaluate={tmp_path / 'bad.txt'}")
    assert (found.code, found.out) == (1, "")
    assert f"DataError: {tmp_path / 'bad.txt'}:2:11: label 7 " in found.err
    assert "Traceback" not in found.err


BAD_BANKS = {
    "unbalanced": (b"(3 (2 a) (4 b))\n(3 (2 a) (4 b)\n", r":2:\d+: "),
    "trailing": (b"(3 (2 a) (4 b)))\n", r":1:16: "),
    "label": (b"(3 (2 a) (7 b))\n", r":1:11: label 7 "),
    "word for a label": (b"(3 (2 a) (x b))\n", r":1:11: .*'x'"),
    "ternary": (b"(3 (2 a) (2 b) (2 c))\n", r":1:\d+: "),
    "empty": (b"", r":(?:1:1: no tree| there are no words)"),
    "blank": (b"\n \n", r":(?:\d+:\d+: no tree| there are no words)"),
    "not UTF-8": (b"(3 (2 a) (4 \xff))\n", r":1:13: .*UTF-8"),
}


def test_bad_treebanks_are_placed_without_a_traceback(model: Path, tmp_path: Path, commands):
    calls = []
    for name, (content, _) in BAD_BANKS.items():
        (tmp_path / f"{name}.txt").write_bytes(content)
        for verb in ("evaluate", "predict"):
            calls.append(([f"--model={model}", f"--{verb}={tmp_path / name}.txt"], ""))
    calls.append(([f"--model={model}", "--predict=-"], "(3 (2 a)\n"))
    calls.append(([f"--model={model}", f"--predict={tmp_path / 'none.txt'}"], ""))
    calls.append(([f"--model={model}", f"--predict={tmp_path}"], ""))
    answers = commands(calls)
    for (arguments, _), answer in zip(calls, answers, strict=True):
        assert (answer.code, answer.out) == (1, ""), arguments
        assert "Traceback" not in answer.err, arguments
    for i, (name, (_, pattern)) in enumerate(BAD_BANKS.items()):
        for answer in answers[2 * i : 2 * i + 2]:
            place = re.escape(f"DataError: {tmp_path / name}.txt")
            assert re.match(place + pattern, answer.err), (name, answer.err)
    assert re.match(r"DataError: <\w+>:1:\d+: ", answers[-3].err), answers[-3].err
    assert re.match(r"FileNotFoundError: .*none\.txt", answers[-2].err)
    assert str(tmp_path) in answers[-1].err


def test_commands_and_mistakes(run: Path, model: Path, source: str, tmp_path: Path, commands):
    data.write_trees(tmp_path / "test.txt", train.load_splits(CONFIG)["test"])
    result = read_json(run / "result.json")
    small = ["--notensor", "--dim=2", "--max_trees=30", "--batch_size=15", "--epochs=1"]
    calls = [
        ([f"--workdir={run}", f"--evaluate={tmp_path / 'test.txt'}"], ""),
        ([f"--workdir={run}", f"--predict={source}", "--format=json"], ""),
        ([f"--workdir={run}", f"--predict={source}", "--format=svg"], ""),
        ([f"--workdir={run}", "--predict=-", "--format=html"], SENTENCES),
        ([f"--workdir={tmp_path / 'none'}", "--preset=smoke", "--predict=-"], SENTENCES),
        ([f"--workdir={tmp_path / 'none'}", f"--evaluate={source}"], ""),
        ([f"--model={source}", f"--predict={source}"], ""),
        ([f"--workdir={run}", "--preset=smoke"], ""),
        ([f"--workdir={tmp_path / 'x'}", "--corpus=sst", "--data_dir=/none"], ""),
        ([f"--workdir={tmp_path / 'y'}", *small, "--learning_rate=1e30"], ""),
    ]
    answers = commands(calls)
    assert [answer.code for answer in answers] == [0, 0, 1, 0, 1, 1, 1, 1, 1, 1]
    assert not any("Traceback" in answer.err for answer in answers)
    evaluated, predicted, pictures, page, *mistakes = answers
    shown = dict(line.split() for line in evaluated.out.splitlines()[1:])
    assert shown == {name: f"{100 * x:.2f}%" for name, x in result["test"].items()}
    assert [json.loads(line)["text"] for line in predicted.out.splitlines()] == [
        "not very bad", "a good film"
    ]  # fmt: skip
    assert "--output" in pictures.err and pictures.out == ""
    assert page.out[:15].lower() == "<!doctype html>"
    no_model, no_model_either, no_model_file, other_settings, no_corpus, not_finite = (
        mistake.err for mistake in mistakes
    )
    assert f"there is no model {tmp_path / 'none' / 'model.safetensors'}" in no_model
    assert "./launch.sh sentiment --preset=smoke" in no_model and "--model" in no_model
    assert "./launch.sh sentiment --preset=demo" in no_model_either
    assert no_model_file.startswith(f"CheckpointError: {source} is not a whole safetensors file")
    assert other_settings.startswith("RunMismatchError: ")
    assert "max_trees was 40 and is now 60" in other_settings
    assert no_corpus.startswith("DataError: /none: ") and "train.txt" in no_corpus
    assert not_finite.splitlines()[-1].startswith("NotFiniteError: the loss is ")
    assert not (tmp_path / "none").exists()


def test_closing_the_output_early_is_no_crash(model: Path, tmp_path: Path, tmp_path_factory):
    """`--predict ... | head -1`."""
    (tmp_path / "many.txt").write_text(SENTENCES * 3000)
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.sentiment.main", f"--model={model}",
         f"--predict={tmp_path / 'many.txt'}", "--format=brackets"],
        cwd=ROOT,
        env=environment_of_a_process(tmp_path_factory),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    with contextlib.closing(process.stdout), process.stderr:
        assert process.stdout.readline().startswith("(")
        process.stdout.close()
        told = process.stderr.read()
    process.wait(timeout=60)
    assert "Traceback" not in told
