"""`data.read_word_vectors`: both formats, compressed or not, and faults with their lines."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from rntn_jax.data import DataError, read_word_vectors

GLOVE = "the 0.5 -1\nfilm 1e-2 2\n. . 3 4\n. 5 6\nthe 9 9\nÄra 7 8\n".encode()


def read(text: bytes, *words: str):
    return read_word_vectors(io.BytesIO(text), words)


@pytest.mark.parametrize("header", [b"", b"6 2\n"], ids=["glove", "word2vec"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_wanted_words_of_both_formats(tmp_path: Path, header: bytes, pack):
    path = tmp_path / "vectors"
    path.write_bytes(pack(header + GLOVE))
    found = read_word_vectors(path, ["Ära", "the", ".", "book", "numbers"])
    assert found.words == ("the", ".", "Ära")  # the first "the"; "." and not ". ."
    assert found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.vectors, [[0.5, -1], [5, 6], [7, 8]])


def test_windows_lines_blank_lines_and_a_last_line_without_an_end():
    assert read(b"\r\na 1 2\r\n\r\nb 3 4", "b").vectors.tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (b"a 1 2\nb 1\n", 2, "1 numbers instead of 2 for 'b'"),
        (b"a 1 2\nb 1 2 3\n", 2, "3 numbers instead of 2 for 'b'"),
        (b"a 1 2\nb 1 x\n", 2, "no number for 'b'"),
        (b"a 1 2\nb 1 nan\n", 2, "not finite for 'b'"),
        (b"a 1 2\nb 1 1e999\n", 2, "not finite"),
        (b"word\n", 1, "no word vector: 'word'"),
        (b"", None, "no word vectors"),
        (b"a 1 2\n", None, "none of the 1 words"),
        (gzip.compress(b"a 1 2\n" * 9999)[:-40], 1, "damaged gzip"),
        (b"a " + b"1" * (1 << 20), 1, "more than a megabyte"),
    ],
)
def test_faults_are_told_with_their_line(text: bytes, line: int | None, said: str):
    with pytest.raises(DataError) as error:
        read(text, "b")
    assert said in str(error.value)
    if line is not None:
        assert error.value.line is not None and error.value.line >= line


def test_faults_in_lines_that_nobody_wants_are_nobodys():
    assert read(b"a 1 2\n\xff\xfe 1 x\nc\nb 3 4\n", "b").words == ("b",)


def test_memory_does_not_grow_with_the_file():
    def lines():
        for i in range(100_000):
            yield b"word%d 1 2 3 4\n" % i

    text = gzip.compress(b"".join(lines()), 1)
    tracemalloc.start()
    found = read(text, "word99999")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.words == ("word99999",)
    assert peak < 1_000_000
