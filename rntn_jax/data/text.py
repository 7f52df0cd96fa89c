"""Texts: one sentence a line."""

from __future__ import annotations

import os
import pathlib
import tempfile
from typing import IO

from rntn_jax.data.errors import DataError

__all__ = ["name_of", "read_sentences", "read_text", "write_text"]


def read_sentences(
    source: str | os.PathLike[str] | IO[str] | IO[bytes], *, level: str = "word"
) -> list[list[str]]:
    """Reads a text, one sentence a line, its words separated by blanks.

    Args:
      source: a path, or an open text or binary stream, read to its end; UTF-8.
      level: "word", or "char" for single characters (blanks among them, those at the ends of a
        line left out).

    Returns:
      the sentences as lists of words, none empty.

    Raises:
      DataError: with file and line, for a line without words, a file without lines, bytes that are
        not UTF-8, a directory.
      OSError: when the file cannot be opened.
      ValueError: for another level.

    Example:
      >>> import io
      >>> read_sentences(io.StringIO("a film\\nno end\\n"))
      [['a', 'film'], ['no', 'end']]
    """
    if level not in ("word", "char"):
        raise ValueError(f"level must be 'word' or 'char', got {level!r}")
    file, text = read_text(source)
    lines = text.removeprefix("\ufeff").split("\n")
    if not lines[-1].strip():
        lines.pop()
    if not lines:
        raise DataError("there is no text", file=file)
    sentences = []
    for number, line in enumerate(lines, 1):
        words = line.split() if level == "word" else list(line.strip())
        if not words:
            raise DataError("a line without words", file=file, line=number, value=line)
        sentences.append(words)
    return sentences


def name_of(place: str | os.PathLike[str] | IO[str] | IO[bytes]) -> str:
    """The name to show in errors.

    Example:
      >>> import io
      >>> name_of("a.txt"), name_of(io.StringIO())
      ('a.txt', '<stream>')
    """
    if isinstance(place, str | os.PathLike):
        return os.fspath(place)
    return str(getattr(place, "name", "<stream>"))


def read_text(source: str | os.PathLike[str] | IO[str] | IO[bytes]) -> tuple[str, str]:
    """The name to show in errors, and the decoded text."""
    if isinstance(source, str | os.PathLike):
        file = os.fspath(source)
        try:
            content = pathlib.Path(source).read_bytes()
        except IsADirectoryError:
            raise DataError("is a directory, not a file", file=file) from None
    else:
        file = name_of(source)
        try:
            content = source.read()
        except UnicodeDecodeError as error:
            raise _not_utf8(error, file) from None
    if isinstance(content, str):
        return file, content
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        return file, content.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(error, file) from None


def _not_utf8(error: UnicodeDecodeError, file: str) -> DataError:
    before = error.object[: error.start]
    line_start = before.rfind(b"\n") + 1
    value = error.object[error.start : error.start + 1]
    return DataError(
        f"byte 0x{value.hex()} is not UTF-8 ({error.reason})",
        file=file,
        line=before.count(b"\n") + 1,
        column=len(before[line_start:].decode(errors="replace")) + 1,
        value=value,
    )


def write_text(target: str | os.PathLike[str] | IO[str], text: str) -> None:
    """Writes UTF-8 with LF; a file appears, or is replaced, only when everything is written.

    Raises:
      DataError: with line and value, for a lone surrogate, which UTF-8 cannot express.
      OSError: when the file cannot be written.
    """
    if not isinstance(target, str | os.PathLike):
        target.write(text)
        return
    path = pathlib.Path(target)
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        fault = error.object[error.start]
        raise DataError(
            f"{fault!r} cannot be written as UTF-8",
            file=os.fspath(target),
            line=text.count("\n", 0, error.start) + 1,
            value=fault,
        ) from None
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        partial = pathlib.Path(folder, path.name)
        partial.write_bytes(content)
        os.replace(partial, path)
