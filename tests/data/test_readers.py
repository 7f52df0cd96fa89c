"""What all readers of files share: ends of lines, bounds, and messages that stay short."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rntn_jax.data import (
    DataError,
    Tree,
    Vocabulary,
    encode_attributes,
    parse_constituents,
    parse_tree,
    read_columns,
    read_conllu,
    read_labelled_text,
    read_parses,
    read_sentences,
    read_trees,
    read_uai,
    text,
    token_attributes,
)


class Reader(NamedTuple):
    """A reader, lines that it takes, and a line that is a fault."""

    read: Callable[..., Any]
    lines: tuple[str, ...]
    fault: str


CONLLU = "{}\t{}\t_\t_\t_\t_\t{}\tx\t_\t_"
LONG = "7" * 5000
READERS = {
    "trees": Reader(read_trees, ("(1 (2 a)", " (3 b))", "", "(4 c)"), f"({LONG} a)"),
    "parses": Reader(read_parses, ("(S (A a)", " (B b))", "(C c)"), LONG),
    "columns": Reader(read_columns, ("a A", "b B", "", "c C"), LONG),
    "conllu": Reader(
        read_conllu,
        ("# a", CONLLU.format(1, "a", 0), CONLLU.format(2, "b", 1), "", CONLLU.format(1, "c", 0)),
        CONLLU.format(LONG, "a", 0),
    ),
    "labelled text": Reader(read_labelled_text, ("1 a b", "2 b", "", "3 c"), f"{LONG} a"),
    "sentences": Reader(read_sentences, ("a b", "c"), " "),
    "uai": Reader(read_uai, ("MARKOV 2", "2 2 1", "2 0 1 4", "1 2 3 4"), LONG),
}


@pytest.fixture(params=READERS, ids=str)
def reader(request: pytest.FixtureRequest) -> Reader:
    return READERS[request.param]


def written(found: Any) -> str:
    """What was read, to be compared."""
    return repr([field.tolist() for field in found] if isinstance(found[0], np.ndarray) else found)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_all_ends_of_lines(reader: Reader, end: str, tmp_path: Path):
    expected = written(reader.read(io.StringIO("\n".join(reader.lines))))
    content = end.join(reader.lines) + end
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbf" + content.encode())
    for source in (path, io.BytesIO(content.encode()), io.StringIO(content, newline="")):
        assert written(reader.read(source)) == expected


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_faults_have_their_line_and_a_short_message(reader: Reader, end: str):
    content = end.join([*reader.lines, "", reader.fault]).encode()
    with pytest.raises(DataError) as caught:
        reader.read(io.BytesIO(content))
    blank = reader.read is read_sentences  # which refuses the line before
    assert caught.value.line == len(reader.lines) + 2 - blank
    assert len(str(caught.value)) < 300
    for junk in (b"\xff", b"\0", b"\xc3"):
        with pytest.raises(DataError, match="UTF-8") as caught:
            reader.read(io.BytesIO(end.join(reader.lines).encode() + end.encode() + b"a" + junk))
        assert caught.value.line == len(reader.lines) + 1
        assert caught.value.column == 2


def test_only_files_are_opened(reader: Reader, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(DataError, match=f"{path}: is a .*, not a file"):
            reader.read(path)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=50)
@given(st.data())
def test_any_bytes_are_read_or_refused(name: str, data: st.DataObject):
    """Lines of its format with anything in between: whatever it is, no other error."""
    pieces = [*(line.encode() for line in READERS[name].lines), READERS[name].fault.encode()]
    pieces += [
        b"\n",
        b"\r",
        b"\r\n",
        b" ",
        b"\t",
        b"\0",
        b"\xff",
        "å\u2028\ufeff".encode(),
        b"(",
        b"1",
    ]
    drawn = data.draw(st.lists(st.sampled_from(pieces) | st.binary(max_size=3), max_size=8))
    content = b"".join(drawn)
    try:
        found = READERS[name].read(io.BytesIO(content))
    except DataError as error:
        lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1
        assert error.line is None or 1 <= error.line <= lines
    else:
        assert len(found) > 0


class Endless(io.RawIOBase):
    """A stream without an end, and without one of its lines."""

    def read(self, size: int = -1) -> bytes:
        assert 0 < size < 2**22
        return b"a" * size


def test_bounds(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(text, "MOST_BYTES", 10**6)
    path = tmp_path / "large"
    with open(path, "wb") as file:
        file.truncate(10**6 + 1)
    for source in (Endless(), path):
        with pytest.raises(DataError, match="more than 1,000,000 bytes"):
            reader.read(source)
    monkeypatch.setattr(text, "LONGEST_LINE", 100)
    good = "\n".join(reader.lines)
    reader.read(io.StringIO(good))
    for end in "\n", "\r":
        with pytest.raises(DataError, match="a line of more than 100 characters") as caught:
            reader.read(io.StringIO(good + end + "x" * 101 + end, newline=""))
        assert caught.value.line == len(reader.lines) + 1


def test_a_line_as_long_as_the_bound(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(text, "LONGEST_LINE", 10)
    ten = "x" * 10
    assert read_sentences(io.StringIO(f"{ten}\n{ten}\ny\n{ten}")) == [[ten], [ten], ["y"], [ten]]
    with pytest.raises(DataError, match="2: a line of more"):
        read_sentences(io.StringIO(f"{ten}\n{ten}x"))


WORD = "x" * 5000
NUMBER = 10**5000  # which Python does not write


@pytest.mark.parametrize(
    "refused",
    [
        lambda: parse_tree(f"({LONG} a)"),
        lambda: parse_tree(f"({WORD} a)"),
        lambda: parse_tree(f"(2 a {WORD})"),
        lambda: parse_tree(f"(2 a) {WORD}"),
        lambda: parse_tree(f"(2 {WORD} (2 a))"),
        lambda: parse_tree(f"(2 (2 a) {WORD})"),
        lambda: parse_constituents(WORD),
        lambda: parse_constituents(f"(S a {WORD})"),
        lambda: parse_constituents(f"(S {WORD} (S a))"),
        lambda: parse_constituents(f"(S (S a) {WORD})"),
        lambda: parse_constituents(f"({WORD})"),
        lambda: Tree((WORD + " ",), [], [2]),
        lambda: read_columns(io.StringIO(f"a b\n{WORD}")),
        lambda: read_conllu(io.StringIO(WORD)),
        lambda: read_conllu(io.StringIO(CONLLU.format(1, WORD, LONG))),
        lambda: read_labelled_text(io.StringIO(f"1 {WORD}\n1 {LONG}")),
        lambda: read_labelled_text(io.StringIO(f"1 a {WORD}\n1 {WORD}\n2 {WORD}")),
        lambda: read_labelled_text(io.StringIO(f"-{LONG} a")),
        lambda: read_uai(io.StringIO(f"MARKOV 1 {LONG}")),
        lambda: read_uai(io.StringIO(f"MARKOV 1 2 1  1 0  2 {LONG} 1")),
        lambda: read_uai(io.StringIO(f"MARKOV 1 2 1  1 0  2 1 1 {WORD}")),
        lambda: read_uai(io.StringIO(WORD)),
        lambda: Vocabulary.from_json(f'{{"format": {LONG}}}'),
        lambda: Vocabulary(("<pad>", "<unk>", WORD, WORD)),
        lambda: Vocabulary((WORD,)),
        lambda: Vocabulary(("<pad>", "<unk>", NUMBER)),  # type: ignore[arg-type]
        lambda: token_attributes({WORD: object()}),
        lambda: token_attributes({NUMBER: 1}),  # type: ignore[dict-item]
        lambda: token_attributes(WORD),
        lambda: encode_attributes([WORD]),  # type: ignore[list-item]
    ],
)
def test_long_values_are_cut_in_messages(refused: Callable[[], object]):
    with pytest.raises(DataError) as caught:
        refused()
    assert len(str(caught.value)) < 300


def test_many_phrases_of_a_long_sentence():
    words = [f"w{i}" for i in range(30_000)]
    lines = [f"1 {' '.join(words)}", *(f"2 {word}" for word in words)]
    [found] = read_labelled_text(io.StringIO("\n".join(lines)), tokenizer=str.split)
    assert found.phrases == tuple(((word,), 2) for word in words)  # in minutes, were it quadratic
