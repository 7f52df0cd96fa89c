"""Reading texts."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies

from rntn_jax.data import DataError, read_sentences, text


def test_words_and_characters():
    text = "\ufeff the  film \r\nno\tend"
    assert read_sentences(io.StringIO(text)) == [["the", "film"], ["no", "end"]]
    assert read_sentences(io.StringIO("a b\nc\n"), level="char") == [["a", " ", "b"], ["c"]]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", None, "no text"),
        (b"\n", 1, "without words"),
        (b"a b\n\nc\n", 2, "without words"),
        (b"a\nb \xff c\n", 2, "0xff is not UTF-8"),
        ("å".encode("utf-16"), 1, "not UTF-8"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, content, line, message):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_sentences(path)
    assert caught.value.file == str(path) and caught.value.line == line


def test_a_directory_and_a_wrong_level(tmp_path: Path):
    with pytest.raises(DataError, match="directory"):
        read_sentences(tmp_path)
    with pytest.raises(ValueError, match="sentence"):
        read_sentences(io.StringIO("a"), level="sentence")


@hypothesis.given(strategies.binary(max_size=60) | strategies.text("aé\n\r𝄞 ").map(str.encode))
def test_lines_one_by_one_are_those_of_the_whole(content: bytes):
    """In pieces of seven bytes: lines, and places of faults. NUL and bytes that are not UTF-8."""

    def found(read):
        try:
            return read()
        except DataError as error:
            return error.line, error.column, error.message

    def whole():
        lines = text.read_text(path)[1].split("\n")
        return lines if lines[-1] else lines[:-1]

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder, "text")
        path.write_bytes(content)
        patch.setattr(text, "_PIECE", 7)
        assert found(lambda: list(text.read_lines(path))) == found(whole)


def test_lines_longer_than_is_read_are_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(text, "LONGEST_LINE", 10)
    monkeypatch.setattr(text, "_PIECE", 7)
    (tmp_path / "text").write_text("short\n" + "x" * 30)
    lines = text.read_lines(tmp_path / "text")
    assert next(lines) == "short"
    with pytest.raises(DataError, match="more than 10 characters") as caught:
        next(lines)
    assert caught.value.line == 2
