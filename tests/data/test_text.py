"""Reading texts."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from rntn_jax.data import DataError, read_sentences


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
