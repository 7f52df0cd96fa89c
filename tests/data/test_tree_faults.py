"""Treebank files: what is wrong is refused, with its place; fuzzing."""

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rntn_jax.data import DataError, Tree, binarize, parse_tree, read_trees
from rntn_jax.data._bracket_parser import scan_trees, to_binary
from rntn_jax.data.trees_io import _parse_binary
from tests.data.treegen import DEEP, brackets

# Reading what is wrong: text, line, column, value, part of the message.

FAULTS = [
    # Unbalanced.
    ("(3 (2 a) (2 b)", 1, 1, 1, "unbalanced brackets: 1 never closed"),
    ("(3 good", 1, 1, 1, "never closed"),
    ("(3", 1, 1, 1, "never closed"),
    ("(", 1, 1, 1, "never closed"),
    ("(3 (2 a)\n   (2 (2 b)", 1, 1, 2, "2 never closed"),
    (")", 1, 1, ")", "closes nothing"),
    # Text after or before the tree.
    ("(3 good))", 1, 9, ")", "after the end of the tree"),
    ("(3 good) film", 1, 10, "film", "after the end of the tree, from 'film'"),
    ("(3 good)\n(3 film)", 2, 1, "(", "after the end of the tree"),
    ("film (3 good)", 1, 1, "film", "outside of the brackets"),
    ("film", 1, 1, "film", "outside of the brackets"),
    # Arity.
    ("(3 (2 a))", 1, 1, 1, "1 child, not 2 .binarize"),
    ("(3 (2 a) (1\n(2 b)))", 1, 10, 1, "1 child, not 2 .binarize"),
    ("(3 (2 a)\n  (2 (2 b) (2 c) (2 d)))", 2, 3, 3, "3 children, not 2 .binarize"),
    # Labels.
    ("(7 good)", 1, 2, 7, r"label 7 is not in 0\.\.4"),
    ("(3 (2 a)\n (5 b))", 2, 3, 5, r"label 5 is not in 0\.\.4"),
    ("(-2 good)", 1, 2, -2, "label -2"),
    (f"({'9' * 5000} good)", 1, 2, "9" * 5000, "label 99999999999999999999... is not in"),
    ("(3.0 good)", 1, 2, "3.0", "label '3.0' is not an integer"),
    ("(+3 good)", 1, 2, "+3", "not an integer"),
    ("(1_0 good)", 1, 2, "1_0", "not an integer"),
    ("(\u0663 good)", 1, 2, "\u0663", "not an integer"),  # an Arabic digit, which int() takes
    ("(NP good)", 1, 2, "NP", "label 'NP' is not an integer"),
    # Leaves without label, nodes without content, words out of place.
    ("(3 (good) (2 x))", 1, 5, "good", "label 'good' is not an integer .every bracket begins"),
    ("((2 a) (2 b))", 1, 1, "(", "without a label"),
    ("(3 good movie)", 1, 9, "movie", "a leaf holds one word, here is a second: 'movie'"),
    ("(3 good (2 x))", 1, 9, "good", "a leaf holds a word and no subtree"),
    ("(3 (2 x) good)", 1, 10, "good", "needs its own bracket"),
    ("(3 )", 1, 1, 3, "without word and children"),
    ("(3 (2 a) (1))", 1, 10, 1, "without word and children"),
    # Empty.
    ("()", 1, 1, "()", "empty tree"),
    ("(3 (2 a) ( ))", 1, 10, "()", "empty tree"),
    ("", 1, 1, "", "the text is empty"),
    (" \n\t\r\n", 1, 1, " \n\t\r\n", "the text is empty"),
]


@pytest.mark.parametrize(("text", "line", "column", "value", "message"), FAULTS)
def test_place_of_faults(text, line, column, value, message):
    with pytest.raises(DataError, match=message) as caught:
        parse_tree(text)
    error = caught.value
    assert (error.file, error.line, error.column, error.value) == (None, line, column, value)


@pytest.mark.parametrize(("text", "line", "column", "value", "message"), FAULTS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_place_of_faults_in_files(tmp_path, newline, text, line, column, value, message):
    if "after the end" in message:
        return  # a file may hold several trees
    path = tmp_path / "bad.txt"
    good = "(3 (2 Très) (3 bien))\n\n"
    path.write_bytes(b"\xef\xbb\xbf" + (good + text).replace("\n", newline).encode())
    if "empty" in message and "tree" not in message:
        assert len(read_trees(path)) == 1
        return
    with pytest.raises(DataError, match=message) as caught:
        read_trees(path)
    error = caught.value
    assert (error.file, error.line, error.column, error.value) == (
        str(path),
        line + 2,
        column,
        value,
    )
    assert str(error).startswith(f"{path}:{line + 2}:{column}: ")


def test_too_many_brackets_and_text_between_trees_in_a_file():
    for text, line, column, value in [
        ("(3 a)\n(3 b))\n", 2, 6, ")"),
        ("(3 a) x (3 b)", 1, 7, "x"),
        ("(3 a)\n3 b)", 2, 1, "3"),
    ]:
        with pytest.raises(DataError) as caught:
            read_trees(io.StringIO(text))
        error = caught.value
        assert (error.file, error.line, error.column, error.value) == (
            "<stream>",
            line,
            column,
            value,
        )


def test_not_utf8(tmp_path):
    path = tmp_path / "latin1.txt"
    path.write_bytes("(3 good)\n(2 é)\n".encode() + "(3 Très)".encode("latin-1"))
    with open(path, encoding="utf-8") as stream:
        for source, file in [(path, str(path)), (stream, str(path))]:
            with pytest.raises(DataError, match="0xe8 is not UTF-8") as caught:
                read_trees(source)
            error = caught.value
            assert (error.file, error.line, error.column, error.value) == (file, 3, 6, b"\xe8")
    path.write_text("(3 good)", encoding="utf-16")
    with pytest.raises(DataError, match="not UTF-8"):
        read_trees(path)


def test_columns_count_characters():
    with pytest.raises(DataError) as caught:
        read_trees(io.BytesIO("(3 (2 Très) (7 bien))".encode()))
    assert (caught.value.line, caught.value.column) == (1, 14)


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_trees(tmp_path / "none.txt")
    with pytest.raises(DataError, match="directory") as caught:
        read_trees(tmp_path)
    assert caught.value.file == str(tmp_path)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(DataError, match="empty") as caught:
        read_trees(tmp_path / "empty.txt")
    assert (caught.value.line, caught.value.column) == (1, 1)


@pytest.mark.parametrize(
    ("text", "column", "value", "message"),
    [
        ("(1 " * DEEP + "(2 a)" + ")" * DEEP, 3 * DEEP - 2, 1, "1 child"),
        ("(1 " * DEEP, 1, DEEP, "never closed"),
        ("(1 " * DEEP + "(2 a)" + " (2 b))" * (DEEP - 1), 1, 1, "never closed"),
        ("(1 " * DEEP + "(2 a)" + " (2 b))" * (DEEP + 1), 10 * DEEP + 7, "(", "after the end"),
        ("(" * DEEP, 1, "(", "without a label"),
        (")" * DEEP, 1, ")", "closes nothing"),
        ("(1" + " " * DEEP + "(2" + " " * DEEP, 1, 2, "never closed"),
    ],
)
def test_deep_faults(text, column, value, message):
    with pytest.raises(DataError, match=message) as caught:
        parse_tree(text)
    assert (caught.value.line, caught.value.column, caught.value.value) == (1, column, value)


@pytest.mark.parametrize(("text", "line", "column", "value", "message"), FAULTS)
def test_binarize_refuses_all_but_arity(text, line, column, value, message):
    if "not 2" in message:
        assert binarize(text).num_leaves >= 1
        return
    with pytest.raises(DataError, match=message) as caught:
        binarize(text)
    error = caught.value
    assert (error.line, error.column, error.value) == (line, column, value)


# Fuzzing: every text is read or refused with a DataError at a place inside of it.

edits = st.lists(
    st.tuples(
        st.sampled_from(["insert", "delete", "replace", "swap", "cut"]),
        st.integers(0, 10**6),
        st.text("()0127- \nax\r\u0663\xa0", min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=4,
)


def mutate(text, changes):
    for kind, position, piece in changes:
        i = position % (len(text) + 1)
        if kind == "insert":
            text = text[:i] + piece + text[i:]
        elif kind == "delete":
            text = text[:i] + text[i + len(piece) :]
        elif kind == "replace":
            text = text[:i] + piece + text[i + len(piece) :]
        elif kind == "swap":
            text = text[i:] + text[:i]
        else:
            text = text[:i]
    return text


@settings(max_examples=300)
@given(brackets(max_leaves=6, word=st.text("ax-1", min_size=1, max_size=3)), edits)
def test_mutations(text, changes):
    text = mutate(text, changes)
    try:
        tree = parse_tree(text)
    except DataError as error:
        assert error.line is not None and error.column is not None
        lines = re.split("\r\n|\r|\n", text)
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1]) + 1
    else:
        assert parse_tree(tree.to_brackets()) == tree
    for direction in ("left", "right"):
        try:
            tree = binarize(text, direction=direction)
        except DataError:
            pass
        else:
            assert Tree(tree.tokens, tree.children, tree.labels) == tree


@settings(max_examples=300)
@given(brackets(max_leaves=6, word=st.text("ax-1", min_size=1, max_size=3)), edits)
def test_parsers_refuse_the_same_mutations(text, changes):
    text = mutate(text, changes)
    fast = _parse_binary(text, 5)
    try:
        nary = scan_trees(text, file=None, num_classes=5, binary=True, single=False)
    except DataError:
        assert not fast  # None, or the empty list for a blank text
    else:
        assert fast == [to_binary(tree, "right") for tree in nary]


@given(st.binary(max_size=40))
def test_random_bytes(content):
    try:
        assert read_trees(io.BytesIO(content))
    except DataError:
        pass
