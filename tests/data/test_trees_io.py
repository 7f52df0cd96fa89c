"""Brackets: round-trips, the place of every fault, deep trees, fuzzing, and the real treebank."""

import io
import pathlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rntn_jax.data import DataError, Tree, binarize, parse_tree, read_trees, write_trees
from rntn_jax.data._bracket_parser import scan_trees, to_binary
from rntn_jax.data.trees_io import _parse_binary
from tests.data.treegen import brackets

SAMPLES = pathlib.Path(__file__).parents[1] / "samples"
SST = pathlib.Path(__file__).parents[3] / "shared" / "data" / "sst"
DEEP = 100_000


# Reading what is right.


def test_arrays():
    tree = parse_tree("(3 (2 It) (4 (2 's) (4 good)))")
    assert tree == Tree(("It", "'s", "good"), [[1, 2], [0, 3]], [2, 2, 4, 4, 3])


@given(brackets())
def test_round_trip(text):
    assert parse_tree(text).to_brackets() == text


@given(brackets(blank=st.text(" \t\n\r\f\v", min_size=1, max_size=3)))
def test_blanks_mean_nothing(text):
    tree = parse_tree(text)
    assert parse_tree(tree.to_brackets()) == tree


@given(st.lists(brackets(max_leaves=5), min_size=1, max_size=5), st.sampled_from(["", "\n", " "]))
def test_many_trees(texts, between):
    trees = read_trees(io.StringIO(between.join(texts)))
    assert [tree.to_brackets() for tree in trees] == texts


@given(brackets())
def test_both_parsers_agree(text):
    nary = scan_trees(text, file=None, num_classes=5, binary=True, single=True)
    assert _parse_binary(text, 5) == [to_binary(nary[0], "left")] == [to_binary(nary[0], "right")]


def test_sample_file():
    trees = read_trees(SAMPLES / "trees.txt")
    assert [tree.to_brackets() for tree in trees] == [
        "(3 (2 It) (4 (2 's) (4 good)))",
        "(1 (2 (2 The) (2 plot)) (1 (1 drags) (2 .)))",
        r"(4 (2 -LRB-) (4 (4 (2 an) (4 (4 utterly) (4 lovely))) (2 (2 film\/play) (2 -RRB-))))",
        "(2 Café)",
        "(-1 (2 no\xa0one) (0 (0 hated) (2 it)))",
        "(1 (2 so) (1 bleak))",
    ]


def test_bom_and_crlf(tmp_path):
    content = (SAMPLES / "trees.txt").read_bytes()
    other = tmp_path / "windows.txt"
    other.write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    assert read_trees(other) == read_trees(SAMPLES / "trees.txt")


def test_streams():
    content = (SAMPLES / "trees.txt").read_bytes()
    expected = read_trees(SAMPLES / "trees.txt")
    assert read_trees(io.BytesIO(content)) == expected
    assert read_trees(io.BytesIO(b"\xef\xbb\xbf" + content)) == expected
    assert read_trees(io.StringIO("\ufeff" + content.decode())) == expected
    with open(SAMPLES / "trees.txt", encoding="utf-8") as stream:
        assert read_trees(stream) == expected
    with open(SAMPLES / "trees.txt", encoding="utf-8") as stream:
        assert read_trees(str(SAMPLES / "trees.txt")) == expected


def test_blocks_do_not_cut_tokens(monkeypatch):
    text = (SAMPLES / "trees.txt").read_text(encoding="utf-8")
    expected = read_trees(io.StringIO(text))
    for size in range(1, 40):
        monkeypatch.setattr("rntn_jax.data.trees_io._BLOCK", size)
        assert _parse_binary(text, 5) == expected


def test_num_classes():
    assert parse_tree("(9 (99 a) (-1 b))", num_classes=None).labels.tolist() == [99, -1, 9]
    assert parse_tree("(1 a)", num_classes=2).labels.tolist() == [1]
    assert parse_tree("(2147483647 a)", num_classes=None).labels.tolist() == [2**31 - 1]
    for text, num_classes in [("(2 a)", 2), ("(-2 a)", None), ("(2147483648 a)", None)]:
        with pytest.raises(DataError, match="label"):
            parse_tree(text, num_classes=num_classes)
    for num_classes in (0, -1, 2.0, "5"):
        with pytest.raises(ValueError, match="num_classes"):
            parse_tree("(2 a)", num_classes=num_classes)


def test_write_trees(tmp_path):
    trees = read_trees(SAMPLES / "trees.txt")
    path = tmp_path / "written.txt"
    path.write_text("old")
    write_trees(path, iter(trees))
    assert read_trees(path) == trees
    assert path.read_bytes().count(b"\n") == len(trees)
    with pytest.raises(DataError, match="no trees"):
        write_trees(path, [])
    with pytest.raises(DataError, match="UTF-8"):
        write_trees(path, [Tree(("\ud800",), [], [2])])
    assert read_trees(path) == trees  # untouched by the failures
    assert list(tmp_path.iterdir()) == [path]


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


# Depth: nothing recurses.


@pytest.mark.parametrize("side", ["left", "right"])
def test_deep_chains(side):
    opening, closing = ("(1 ", " (2 b))") if side == "left" else ("(1 (2 b) ", ")")
    text = opening * DEEP + "(2 a)" + closing * DEEP
    tree = parse_tree(text)
    assert tree.num_leaves == DEEP + 1
    assert tree.heights()[-1] == DEEP
    assert tree.spans()[-1].tolist() == [0, DEEP + 1]
    assert tree.to_brackets() == text
    assert Tree(tree.tokens, tree.children, tree.labels) == tree


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


def test_deep_binarize():
    assert binarize("(1 " * DEEP + "(2 a)" + ")" * DEEP) == parse_tree("(1 a)")
    wide = "(3 " + " ".join(["(2 a)"] * 10_000) + ")"
    for direction in ("left", "right"):
        assert binarize(wide, direction=direction).heights()[-1] == 9_999


# Binarisation.


@pytest.mark.parametrize(
    ("text", "right", "left"),
    [
        ("(3 (2 a))", "(3 a)", None),
        ("(-1 (2 a))", "(2 a)", None),
        ("(3 (-1 (1 (2 a))))", "(3 a)", None),
        ("(-1 (-1 (1 (2 a))))", "(1 a)", None),
        ("(-1 (-1 a))", "(-1 a)", None),
        ("(3 (4 (2 a) (1 b)))", "(3 (2 a) (1 b))", None),
        ("(-1 (4 (2 a) (1 b)))", "(4 (2 a) (1 b))", None),
        ("(3 (2 a) (1 b) (0 c))", "(3 (2 a) (-1 (1 b) (0 c)))", "(3 (-1 (2 a) (1 b)) (0 c))"),
        (
            "(3 (2 a) (1 b) (0 c) (4 d))",
            "(3 (2 a) (-1 (1 b) (-1 (0 c) (4 d))))",
            "(3 (-1 (-1 (2 a) (1 b)) (0 c)) (4 d))",
        ),
        (
            "(3 (1 (2 a) (2 b) (2 c)) (0 (4 (2 d) (2 e))) (2 f))",
            "(3 (1 (2 a) (-1 (2 b) (2 c))) (-1 (0 (2 d) (2 e)) (2 f)))",
            "(3 (-1 (1 (-1 (2 a) (2 b)) (2 c)) (0 (2 d) (2 e))) (2 f))",
        ),
    ],
)
def test_binarize(text, right, left):
    assert binarize(text).to_brackets() == right
    assert binarize(text, direction="left").to_brackets() == (left or right)
    assert read_trees(io.StringIO(text + "\n(3 a)"), binarize="right")[0].to_brackets() == right
    assert read_trees(io.StringIO(text), binarize="left")[0].to_brackets() == (left or right)


@given(brackets(), st.sampled_from(["left", "right"]))
def test_binarize_leaves_binary_trees_alone(text, direction):
    assert binarize(text, direction=direction) == parse_tree(text)


@pytest.mark.parametrize(("text", "line", "column", "value", "message"), FAULTS)
def test_binarize_refuses_all_but_arity(text, line, column, value, message):
    if "not 2" in message:
        assert binarize(text).num_leaves >= 1
        return
    with pytest.raises(DataError, match=message) as caught:
        binarize(text)
    error = caught.value
    assert (error.line, error.column, error.value) == (line, column, value)


def test_binarize_direction():
    for direction in ("up", "", None):
        with pytest.raises(ValueError, match="direction"):
            binarize("(3 a)", direction=direction)
    with pytest.raises(ValueError, match="direction"):
        read_trees(SAMPLES / "trees.txt", binarize="middle")


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


# The real treebank, where there is a copy.


@pytest.mark.skipif(not SST.is_dir(), reason="no copy of the Stanford Sentiment Treebank here")
@pytest.mark.parametrize(
    ("split", "num_trees", "num_inner"),
    [("train", 8544, 155_019), ("dev", 1101, None), ("test", 2210, None)],
)
def test_sst(split, num_trees, num_inner):
    trees = read_trees(SST / f"{split}.txt")
    assert len(trees) == num_trees
    if num_inner is not None:
        assert sum(len(tree.children) for tree in trees) == num_inner
    assert "".join(tree.to_brackets() + "\n" for tree in trees) == (SST / f"{split}.txt").read_text(
        encoding="utf-8"
    )
