"""Labelled texts: both forms of files, every fault, and labels put into trees."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rntn_jax.data import (
    DataError,
    LabelledText,
    label_tree,
    parse_constituents,
    parse_tree,
    read_labelled_text,
)
from tests.data.treegen import brackets

BLOCKS = """\
1 Today isn't a good day.
3 good
3 good day
1 isn't a good day

4  Superb!

-1 So (so)
2 so
"""


def test_blocks(tmp_path):
    expected = [
        LabelledText(
            ("Today", "is", "n't", "a", "good", "day", "."),
            1,
            (
                (("good",), 3),
                (("good", "day"), 3),
                (("is", "n't", "a", "good", "day"), 1),
            ),
        ),
        LabelledText(("Superb", "!"), 4, ()),
        LabelledText(("So", "-LRB-", "so", "-RRB-"), -1, ((("so",), 2),)),
    ]
    path = tmp_path / "mine.txt"
    path.write_bytes(b"\xef\xbb\xbf\r\n" + BLOCKS.replace("\n", "\r\n").encode())
    assert read_labelled_text(path) == expected
    assert read_labelled_text(io.StringIO("\n \n" + BLOCKS + "\n\n")) == expected
    assert read_labelled_text(io.BytesIO(BLOCKS.rstrip().encode()))[1:] == expected[1:]


def test_one_sentence_a_line():
    texts = read_labelled_text(io.StringIO("0\tAwful film.\n\n1\t Good\n1\t Good"), num_classes=2)
    good = LabelledText(("Good",), 1)
    assert texts == [LabelledText(("Awful", "film", "."), 0), good, good]
    mixed = read_labelled_text(io.StringIO("0\tAwful.\n\n1 Good film\n1 film"))
    assert [len(text.phrases) for text in mixed] == [0, 1]


def test_own_tokenizer():
    text = read_labelled_text(io.StringIO("9 isn't it(x)"), tokenizer=str.split, num_classes=None)
    assert text == [LabelledText(("isn't", "it(x)"), 9)]


def test_a_phrase_may_be_repeated():
    text = read_labelled_text(io.StringIO("3 good film\n3 good\n3 good\n3 good film"))
    assert text == [LabelledText(("good", "film"), 3, ((("good",), 3),))]


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", None, None, "no sentences"),
        (" \n\n", None, None, "no sentences"),
        ("good film", 1, 1, "not an integer"),
        ("1 good\n\n  5 bad", 3, 3, "not in 0..4"),
        ("-2 good", 1, 1, "not in"),
        ("3 good film\ngood", 2, 1, "not an integer"),
        ("3", 1, 1, "no words"),
        ("3 \n", 1, 1, "no words"),
        ("3 good film\n2 bad", 2, 1, "no part of the sentence 'good film'"),
        ("3 good film\n2 good film twice", 2, 1, "no part"),
        ("3 good film\n2 film good", 2, 1, "tab after the label"),
        ("3 good film\n2 good\n3 good", 3, 1, "two labels, 2 and 3"),
        ("3 good film\n2 good film", 2, 1, "two labels, 3 and 2"),
        ("3 good film\n2\tgood", 2, 1, "phrase or a sentence"),
        ("3\tgood film\n2 good", 2, 1, "phrase or a sentence"),
    ],
)
def test_faults(text, line, column, message):
    with pytest.raises(DataError, match=message) as caught:
        read_labelled_text(io.StringIO(text))
    assert (caught.value.file, caught.value.line, caught.value.column) == (
        "<stream>",
        line,
        column,
    )


def test_other_faults():
    with pytest.raises(ValueError, match="num_classes"):
        read_labelled_text(io.StringIO(BLOCKS), num_classes=0)
    with pytest.raises(DataError, match="UTF-8"):
        read_labelled_text(io.BytesIO(b"1 \xff"))


def test_labels_in_a_tree():
    text = read_labelled_text(io.StringIO(BLOCKS))[0]
    tree = parse_constituents(
        "(ROOT (S (NP (NN Today)) (VP (VBZ is) (RB n't) (NP (DT a) (JJ good) (NN day))) (. .)))"
    )
    labelled, unused = label_tree(tree, text.phrases, label=text.label)
    expected = (
        "(1 (-1 Today) (-1 (1 (-1 (-1 is) (-1 n't)) (-1 (-1 a) (3 (3 good) (-1 day)))) (-1 .)))"
    )
    assert labelled == parse_tree(expected)
    assert unused == []
    filled, _ = label_tree(tree, text.phrases, label=text.label, inherit=True)
    assert filled == parse_tree(expected.replace("-1", "1"))


def test_every_place_and_what_is_there_already():
    tree = parse_tree("(4 (3 (2 so) (-1 bad)) (-1 (0 so) (1 bad)))")
    labelled, unused = label_tree(tree, [(("so", "bad"), 1), (["bad", "so"], 2), (["x"], 0)] * 2)
    assert labelled.to_brackets() == "(4 (1 (2 so) (-1 bad)) (1 (0 so) (1 bad)))"
    assert unused == [(("bad", "so"), 2), (("x",), 0)]
    filled, _ = label_tree(tree, inherit=True)
    assert filled.to_brackets() == "(4 (3 (2 so) (4 bad)) (4 (0 so) (1 bad)))"
    assert label_tree(parse_tree("(-1 a)"), inherit=True, label=3)[0] == parse_tree("(3 a)")


def test_contradictions():
    tree = parse_tree("(-1 (-1 good) (-1 film))")
    with pytest.raises(DataError, match="two labels, 3 and 2"):
        label_tree(tree, [(["good"], 3), (["good"], 2)])
    with pytest.raises(DataError, match="two labels, 4 and 3"):
        label_tree(tree, [(["good", "film"], 3)], label=4)
    with pytest.raises(DataError, match="negative"):
        label_tree(tree, label=-2)


@given(brackets(word=st.sampled_from("abc")), st.data())
def test_a_tree_s_own_phrases_are_all_found(text, data):
    tree = parse_tree(text)
    spans = {tree.tokens[start:stop] for start, stop in tree.spans().tolist()}
    phrases = {span: data.draw(st.integers(0, 4)) for span in sorted(spans)}
    labelled, unused = label_tree(tree, phrases.items())
    assert not unused
    for label, (start, stop) in zip(labelled.labels, labelled.spans().tolist()):
        assert label == phrases[tree.tokens[start:stop]]
