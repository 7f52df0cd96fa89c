"""Parses made elsewhere: the rule of the heads, traces, every fault, depth, fuzzing."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rntn_jax.data import DataError, Tree, binarize, parse_constituents, read_parses

DEEP = 50_000


def shape(tree):
    """The brackets without labels."""
    return tree.to_brackets().replace("(-1 ", "(").replace(" (", "(")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(NN a)", "(a)"),
        ("(ROOT (S (NP (NN a))))", "(a)"),
        ("( (NP (DT a) (NN b)))", "((a)(b))"),
        # The children right of the head first, then those left of it.
        ("(ROOT (S (NP a) (ADVP b) (VP c) (NP d) (. e)))", "((a)((b)(((c)(d))(e))))"),
        ("(VP (VBD a) (NP b) (PP c) (PP d))", "((((a)(b))(c))(d))"),
        ("(NP (DT a) (JJ b) (JJ c) (NN d))", "((a)((b)((c)(d))))"),
        ("(NP (NP a) (, b) (SBAR c))", "(((a)(b))(c))"),
        ("(NP (NN a) (NN b) (CD c))", "((a)((b)(c)))"),  # the last noun
        ("(PP (RB a) (IN b) (NP c))", "((a)((b)(c)))"),
        ("(SQ (VBZ a) (NP b) (VP c) (. d))", "((((a)(b))(c))(d))"),
        ("(QP (RB a) (IN b) (CD c))", "((a)((b)(c)))"),
        ("(ADJP (RB a) (RB b) (JJ c))", "((a)((b)(c)))"),
        # By category, then by place: VP is before S in the row of S.
        ("(S (S a) (, b) (VP c))", "((a)((b)(c)))"),
        # Coordination: the child before the conjunction, punctuation left out.
        ("(NP (NN a) (CC b) (NN c))", "(((a)(b))(c))"),
        ("(NP (NN a) (, b) (CC c) (NN d))", "((((a)(b))(c))(d))"),
        ("(VP (VBD a) (CC b) (VBD c) (NP d))", "((((a)(b))(c))(d))"),
        ("(NP (, a) (CC b) (NN c))", "((a)((b)(c)))"),  # nothing before it
        # Nothing of the row, or no row: any child but punctuation, from the side of the row.
        ("(FRAG (NP a) (NP b) (. c))", "((a)((b)(c)))"),
        ("(INTJ (, a) (UH b) (UH c))", "((a)((b)(c)))"),
        ("(FOO (: a) (BAR b) (BAR c))", "((a)((b)(c)))"),
        ("(PRN (-LRB- a) (: b) (-RRB- c))", "(((a)(b))(c))"),
        ("(LST (-LRB- a) (, b) (-RRB- c))", "((a)((b)(c)))"),
        # Function tags and indices.
        ("(S-TPC-1 (NP-SBJ a) (PP-LOC=2 b) (VP|x c))", "((a)((b)(c)))"),
        ("(NP (# a) ($ b) (CD c))", "((a)((b)(c)))"),
        # Traces.
        ("(S (NP (-NONE- *)) (VP (TO a) (VP (VB b) (NP (-NONE- *T*-1)))))", "((a)(b))"),
        ("(S (NP (NP (-NONE- *)) (-NONE- *)) (VP a) (NP b) (. c))", "(((a)(b))(c))"),
    ],
)
def test_head_rule(text, expected):
    tree = parse_constituents(text)
    assert shape(tree) == expected
    assert set(tree.labels.tolist()) == {-1}
    assert Tree(tree.tokens, tree.children, tree.labels) == tree


def test_left_and_right():
    text = "(S (NP a) (VP (VB b)) (NP c) (. d))"
    assert shape(parse_constituents(text, binarize="left")) == "((((a)(b))(c))(d))"
    assert shape(parse_constituents(text, binarize="right")) == "((a)((b)((c)(d))))"
    for bad in ("Head", None, ""):
        with pytest.raises(ValueError, match="binarize"):
            parse_constituents(text, binarize=bad)


CORENLP = """\
(ROOT
  (S
    (NP (PRP It))
    (VP (VBZ 's) (RB n't)
      (ADJP (JJ bad)))
    (. .)))

( (NP (-LRB- -LRB-) (NN caf\u00e9) (-RRB- -RRB-)) )
(TOP (FRAG (CD 2\xa01\\/2)))(X (SYM *))
"""


def test_files(tmp_path):
    path = tmp_path / "parses.txt"
    path.write_bytes(b"\xef\xbb\xbf" + CORENLP.replace("\n", "\r\n").encode())
    trees = read_parses(path)
    assert [tree.tokens for tree in trees] == [
        ("It", "'s", "n't", "bad", "."),
        ("-LRB-", "café", "-RRB-"),
        ("2\xa01\\/2",),
        ("*",),
    ]
    assert shape(trees[0]) == "((It)(((('s)(n't))(bad))(.)))"
    assert read_parses(str(path)) == trees == read_parses(io.StringIO(CORENLP))
    assert read_parses(io.BytesIO(CORENLP.encode()), binarize="left")[0] != trees[0]


FAULTS = [
    ("", 1, 1, "", "no tree"),
    (" \n ", 1, 1, " \n ", "no tree"),
    ("()", 1, 1, "", "without word"),
    ("(())", 1, 2, "", "without word"),
    ("(S (NP))", 1, 4, "NP", "without word"),
    ("(S\n (-NONE- *))", 1, 1, "S", "without words"),
    ("(-NONE- *)", 1, 1, "-NONE-", "without words"),
    ("(S (NP a)\n  b)", 2, 3, "b", "beside subtrees"),
    ("(S (-NONE- *) b)", 1, 15, "b", "beside subtrees"),
    ("( (S (NP a)) b)", 1, 14, "b", "beside subtrees"),
    ("(S a (NP b))", 1, 6, "a", "beside the word"),
    ("(NN a b)", 1, 7, "b", "a second"),
    ("(S (NP a)", 1, 1, 1, "never closed"),
    ("(S (NP a", 1, 1, 2, "never closed"),
    (")", 1, 1, ")", "closes nothing"),
    ("It works", 1, 1, "It", "outside"),
]


@pytest.mark.parametrize(("text", "line", "column", "value", "message"), FAULTS)
def test_faults(text, line, column, value, message, tmp_path):
    with pytest.raises(DataError, match=message) as caught:
        parse_constituents(text)
    error = caught.value
    assert (error.line, error.column, error.value) == (line, column, value)
    path = tmp_path / "bad.txt"
    path.write_text(f"(NN a)\n{text}")
    if message != "no tree":
        with pytest.raises(DataError, match=message) as caught:
            read_parses(path)
        error = caught.value
        assert (error.file, error.line, error.column) == (str(path), line + 1, column)


def test_one_tree_only():
    with pytest.raises(DataError, match="after the end") as caught:
        parse_constituents("(NN a)\n(NN b)")
    assert (caught.value.line, caught.value.column) == (2, 1)
    with pytest.raises(DataError, match="UTF-8"):
        read_parses(io.BytesIO(b"(NN \xff)"))
    with pytest.raises(FileNotFoundError):
        read_parses("no such file")


def test_depth_and_width():
    assert parse_constituents("(S " * DEEP + "(NN a)" + ")" * DEEP).tokens == ("a",)
    deep = parse_constituents("(S (NN a) " * DEEP + "(NN a)" + ")" * DEEP)
    assert deep.heights()[-1] == DEEP
    wide = parse_constituents("(NP " + "(NN a)" * DEEP + ")")
    assert wide.heights()[-1] == DEEP - 1


categories = st.sampled_from(["S", "NP", "VP-1", "PP", "CC", ",", "NN", "-LRB-", "FOO", "X", "QP"])
parses = st.recursive(
    st.builds("({} w)".format, categories),
    lambda below: st.builds(
        lambda category, children: f"({category} {' '.join(children)})",
        categories,
        st.lists(below, min_size=1, max_size=5),
    ),
    max_leaves=20,
)


@given(parses, st.sampled_from(["head", "left", "right"]))
def test_any_parse(text, rule):
    tree = parse_constituents(text, binarize=rule)
    assert tree.num_leaves == text.count("w")
    assert Tree(tree.tokens, tree.children, tree.labels) == tree


@given(parses, st.sampled_from(["left", "right"]))
def test_the_sides_are_those_of_binarize(text, rule):
    plain = re.sub(r"\(\S+", "(-1", text)
    assert parse_constituents(text, binarize=rule) == binarize(plain, direction=rule)


@given(st.text("()SNP- \n*a", max_size=30))
def test_any_text(text):
    try:
        parse_constituents(text)
    except DataError as error:
        assert error.line is not None and error.column is not None
