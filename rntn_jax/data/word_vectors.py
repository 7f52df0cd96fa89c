"""Word vectors from text files: GloVe's format and word2vec's, also compressed by gzip.

A line is a word and its numbers with blanks between them; word2vec's files begin with a line of two
integers, how many words there are and how many numbers each has. Files are read line by line, and
only the lines of words that are asked for are taken apart: a file of two million words needs no
more memory than the vectors that are kept.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from rntn_jax.data.errors import DataError, shown
from rntn_jax.data.text import name_of

__all__ = ["WordVectors", "read_word_vectors"]

_GZIP = b"\x1f\x8b"
_LONGEST = 1 << 20  # bytes of a line; what is longer is no line of this format


class WordVectors(NamedTuple):
    """Vectors of the words that a file has."""

    words: tuple[str, ...]  # in the order of the file
    vectors: npt.NDArray[np.float32]  # [words, E]


def read_word_vectors(
    source: str | os.PathLike[str] | IO[bytes], words: Iterable[str]
) -> WordVectors:
    """Reads the vectors of some words.

    Of a word that stands in the file twice the first vector counts. Words that hold blanks, as some
    of GloVe's do, and those that are no UTF-8 are nobody's, and skipped.

    Args:
        source: a path, or an open binary stream, read to its end; gzip is known by its first bytes.
        words: the words that are wanted, as the file writes them.

    Returns:
        Those that the file has. About 0.3 microseconds a line that is skipped.

    Raises:
        DataError: with file, line and value, for a line of a wanted word with another count of
            numbers or with something that is no finite number, a damaged gzip file, one without
            vectors, and one that has none of the words.
        OSError: when the file cannot be opened.

    Example:
        >>> import io
        >>> file = io.BytesIO(b"the 0.5 1\\nfilm -1 2e-1\\n")
        >>> words, vectors = read_word_vectors(file, ["film", "book"])
        >>> words, vectors.tolist()
        (('film',), [[-1.0, 0.20000000298023224]])
    """
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as stream:
            return _read(stream, os.fspath(source), words)
    reader = io.BufferedReader(source)  # type: ignore[arg-type]  # any binary stream will do
    try:
        return _read(reader, name_of(source), words)
    finally:
        reader.detach()  # else it would close the stream


def _read(stream: io.BufferedReader, file: str | None, words: Iterable[str]) -> WordVectors:
    wanted = {word.encode("utf-8", "surrogatepass"): word for word in words}
    asked = len(wanted)
    found: dict[str, np.ndarray] = {}
    dim = 0
    for number, line in _lines(stream, file):
        if not dim:
            header = number == 1 and _header(line)
            dim = header or len(line.split()) - 1
            if dim < 1:
                raise DataError(f"no word vector: {_said(line)}", file=file, line=number)
            if header:
                continue
        word, _, rest = line.partition(b" ")
        if word not in wanted:
            continue
        numbers = rest.split()
        if not all(map(_is_number, numbers[:-dim])):  # of a longer word, with blanks
            continue
        vector = _vector(numbers, dim)
        if isinstance(vector, str):
            raise DataError(
                f"{vector} for {wanted[word]!r}: {_said(line)}", file=file, line=number,
                value=wanted[word],
            )  # fmt: skip
        found[wanted.pop(word)] = vector
    if not dim:
        raise DataError("no word vectors", file=file)
    if not found:
        raise DataError(f"vectors of none of the {asked:,} words", file=file)
    return WordVectors(tuple(found), np.stack(list(found.values())))


def _lines(stream: io.BufferedReader, file: str | None) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers."""
    packed = stream.peek(2)[:2] == _GZIP
    lines = gzip.GzipFile(fileobj=stream) if packed else stream
    number = 0
    try:
        while line := lines.readline(_LONGEST):
            number += 1
            if len(line) == _LONGEST:
                raise DataError("a line of more than a megabyte", file=file, line=number)
            if line := line.strip(b" \t\r\n"):
                yield number, line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"damaged gzip file: {error}", file=file, line=number + 1) from None


def _header(line: bytes) -> int:
    """The second of two integers, else 0."""
    parts = line.split()
    return int(parts[1]) if len(parts) == 2 and all(part.isdigit() for part in parts) else 0


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _vector(numbers: list[bytes], dim: int) -> np.ndarray | str:
    """The numbers as an array, or what is wrong with them."""
    if len(numbers) != dim:
        return f"{len(numbers)} numbers instead of {dim}"
    try:
        with np.errstate(over="ignore"):  # infinite then, and refused
            vector = np.array([float(x) for x in numbers], np.float32)
    except ValueError:
        return "something that is no number"
    return vector if np.isfinite(vector).all() else "a number that is not finite"


def _said(line: bytes) -> str:
    return shown(line[:200].decode("utf-8", "replace"))
