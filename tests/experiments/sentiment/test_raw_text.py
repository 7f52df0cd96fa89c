"""Labels of raw text: what an input is taken for, and where nodes lie in it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.sentiment import predict as measuring
from rntn_jax import data
from rntn_jax.annotate import (
    load_classifier,
)
from rntn_jax.cli import sentiment as labelling
from rntn_jax.cli.inputs import guess, read
from rntn_jax.cli.label import label
from tests.experiments.sentiment.runs import (
    SENTENCES,
)

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
        first = next(iter(found)) if name == "text" else found[0].tokens
        assert list(first) == words
        assert next(iter(read(str(tmp_path / name), "text")))[0] in {"-LRB-", words[0]}
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
