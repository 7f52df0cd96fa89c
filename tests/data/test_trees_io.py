"""Treebank files: what is right comes back, however it is written; binarisation."""

import io
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rntn_jax.data import DataError, Tree, binarize, parse_tree, read_trees, write_trees
from rntn_jax.data._bracket_parser import scan_trees, to_binary
from rntn_jax.data.trees_io import _parse_binary
from tests.data.treegen import DEEP, brackets

SAMPLES = pathlib.Path(__file__).parents[1] / "samples"
SST = pathlib.Path(__file__).parents[3] / "shared" / "data" / "sst"


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


def test_deep_binarize():
    assert binarize("(1 " * DEEP + "(2 a)" + ")" * DEEP) == parse_tree("(1 a)")
    wide = "(3 " + " ".join(["(2 a)"] * 10_000) + ")"
    for direction in ("left", "right"):
        assert binarize(wide, direction=direction).heights()[-1] == 9_999


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


def test_binarize_direction():
    for direction in ("up", "", None):
        with pytest.raises(ValueError, match="direction"):
            binarize("(3 a)", direction=direction)
    with pytest.raises(ValueError, match="direction"):
        read_trees(SAMPLES / "trees.txt", binarize="middle")


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
