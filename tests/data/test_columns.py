"""Sentences in columns: reading, writing, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from rntn_jax.data import DataError, corpora, read_columns, write_columns

SHARED = Path(__file__).parents[3] / "shared" / "data"
TWO = [[("a", "DT"), ("film", "NN")], [("no", "DT")]]


@pytest.mark.parametrize(
    "text",
    [
        "a DT\nfilm NN\n\nno DT\n\n",
        "a DT\nfilm NN\n\nno DT",  # no line end
        "\n\n a\tDT \nfilm  NN\n \n\t\n\nno DT\n\n\n",  # blanks everywhere
        "\ufeffa DT\r\nfilm NN\r\n\r\nno DT\r\n",
        "-DOCSTART- -X- O\n\na DT\nfilm NN\n\n-DOCSTART-\n\nno DT\n-DOCSTART- O",
        "a DT\nfilm NN\n-DOCSTART- O\nno DT\n",  # without blank line
    ],
)
def test_layouts(text, tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    for source in (path, str(path), io.StringIO(text), io.BytesIO(text.encode())):
        assert read_columns(source) == TWO
        assert read_columns(path, num_columns=2) == TWO


def test_what_belongs_to_a_word():
    assert read_columns(io.StringIO("# O\n1\u00a0000 B-NP\n\x85 O\n")) == [
        [("#", "O"), ("1\u00a0000", "B-NP"), ("\x85", "O")]
    ]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", None, "no tokens"),
        (b"\n-DOCSTART- O\n\n", None, "no tokens"),
        (b"a DT\n\nfilm NN O\n", 3, r"3 columns instead of 2 \(like line 1\): 'film NN O'"),
        (b"\na DT\nfilm\n", 3, r"1 columns instead of 2 \(like line 2\): 'film'"),
        (b"a DT\nfilm \xff\n", 2, "0xff is not UTF-8"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, content, line, message):
    path = tmp_path / "tags.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_columns(path)
    assert caught.value.file == str(path) and caught.value.line == line


def test_the_number_of_columns_asked_for():
    with pytest.raises(DataError, match=r"2 columns instead of 3 \(as asked for\)") as caught:
        read_columns(io.StringIO("\na DT\n"), num_columns=3)
    assert caught.value.line == 2 and caught.value.value == ("a", "DT")
    with pytest.raises(ValueError, match="num_columns must be at least 1, got 0"):
        read_columns(io.StringIO("a"), num_columns=0)


def test_places_that_are_no_files(tmp_path: Path):
    with pytest.raises(DataError, match="directory"):
        read_columns(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_columns(tmp_path / "none")


@pytest.mark.parametrize(
    ("sentences", "line", "message"),
    [
        ([], None, "no sentences"),
        ([TWO[0], []], 4, "without tokens"),
        ([[("a", "DT"), ("film",)]], 2, r"1 columns instead of 2 \(like line 1\)"),
        ([[("a b", "DT")]], 1, "without blanks"),
        ([[("", "DT")]], 1, "without blanks"),
        ([[("a\n", "DT")]], 1, "without blanks"),
        ([[()]], 1, "at least one column"),
        ([["DT"]], 1, "a row must be a tuple"),
        ([TWO[0], [("-DOCSTART-", "O")]], 4, "not be read back: .'-DOCSTART-'"),
        ([[("\ufeffa", "O")]], 1, "not be read back"),
        ([TWO[0], [("no", "\udc80")]], 4, "UTF-8"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, sentences, line, message):
    path = tmp_path / "tags.txt"
    path.write_text("old")
    with pytest.raises(DataError, match=message) as caught:
        write_columns(path, sentences)
    assert caught.value.file == str(path) and caught.value.line == line
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_writing_to_a_path_and_to_a_stream(tmp_path: Path):
    stream = io.StringIO()
    write_columns(stream, iter([iter(TWO[0]), TWO[1]]))
    write_columns(tmp_path / "a.txt", TWO)
    assert stream.getvalue() == "a DT\nfilm NN\n\nno DT\n\n"
    assert (tmp_path / "a.txt").read_bytes() == stream.getvalue().encode()


words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=4
).filter(lambda word: not set(word) & set(" \t\n\r\f\v"))


def documents(width: int) -> st.SearchStrategy:
    """Sentences of rows of this many columns."""
    row = st.tuples(*[words] * width)
    return st.lists(st.lists(row, min_size=1, max_size=4), min_size=1, max_size=4)


@hypothesis.given(st.integers(1, 4).flatmap(documents))
def test_round_trip(sentences):
    hypothesis.assume(not sentences[0][0][0].startswith("\ufeff"))
    stream = io.StringIO()
    write_columns(stream, sentences)
    assert read_columns(io.StringIO(stream.getvalue())) == sentences
    assert read_columns(io.BytesIO(stream.getvalue().encode())) == sentences


@hypothesis.given(st.binary(max_size=40) | st.text("ab \n\r\t\ufeff-", max_size=20))
def test_any_text_is_read_or_refused(content):
    source = io.BytesIO(content) if isinstance(content, bytes) else io.StringIO(content)
    try:
        sentences = read_columns(source)
    except DataError:
        return
    assert sentences and all(sentences)
    assert len({len(row) for rows in sentences for row in rows}) == 1


@pytest.mark.skipif(not (SHARED / "conll2000").is_dir(), reason="no copy of CoNLL-2000 here")
@pytest.mark.parametrize(
    ("split", "sentences", "tokens"), [("train", 8936, 211_727), ("test", 2012, 47_377)]
)
def test_conll2000(split, sentences, tokens, tmp_path: Path):
    source = corpora.find("conll2000", SHARED)[split]
    read = read_columns(source, num_columns=3)
    assert len(read) == sentences and sum(map(len, read)) == tokens
    write_columns(tmp_path / "copy.txt", read)
    assert (tmp_path / "copy.txt").read_bytes() == source.read_bytes()
