"""Texts: how every reader here reads files, and texts of one sentence a line.

All readers take UTF-8, with or without byte order mark, its lines ending in LF, CRLF or CR. What
would fill the memory is refused: more than `MOST_BYTES`, lines of more than `LONGEST_LINE`
characters, and paths of anything but regular files, as pipes and devices may have no end.
"""

from __future__ import annotations

import codecs
import io
import os
import pathlib
import stat
import tempfile
from collections.abc import Iterator
from typing import IO

from rntn_jax.data.errors import DataError

__all__ = [
    "name_of",
    "place",
    "read_bytes",
    "read_lines",
    "read_sentences",
    "read_text",
    "unified",
    "write_text",
]

MOST_BYTES = 2**30  # of a file or stream: twice the text of WikiText-103
LONGEST_LINE = 2**27  # characters: text8, of 100 million, is one line
_PIECE = 2**20  # bytes read from a stream at once


def read_sentences(
    source: str | os.PathLike[str] | IO[str] | IO[bytes], *, level: str = "word"
) -> list[list[str]]:
    """Reads a text, one sentence a line, its words separated by blanks.

    Args:
        source: a path, or an open text or binary stream, read to its end; UTF-8.
        level: "word", or "char" for single characters (blanks among them, those at the ends of a
            line left out).

    Returns:
        The sentences as lists of words, none empty.

    Raises:
        DataError: with file and line, for a line without words, a file without lines, and what
            `read_text` refuses.
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
    lines = text.split("\n")
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
    """The text of a file or stream, its lines ending in LF.

    Args:
        source: the path of a regular file, or an open text or binary stream (of standard input,
            say), read to its end; UTF-8.

    Returns:
        The name to show in errors, and the text: without byte order mark, CRLF and CR as LF.

    Raises:
        DataError: with file, line and column, for bytes that are not UTF-8, a character NUL (files
            of another kind hold them), a line of more than `LONGEST_LINE` characters; and for what
            `read_bytes` refuses.
        OSError: when the file cannot be opened.

    Example:
        >>> import io
        >>> read_text(io.BytesIO(b"a\\rb\\r\\nc"))
        ('<stream>', 'a\\nb\\nc')
    """
    file = name_of(source)
    try:
        content = read_bytes(source)
        text = unified(content if isinstance(content, str) else content.decode())
    except UnicodeDecodeError as error:
        raise _not_utf8(error, file) from None
    _refuse_nul(text, file)
    start = 0
    while len(text) - start > LONGEST_LINE:
        stop = text.rfind("\n", start, start + LONGEST_LINE + 1)
        if stop < 0:
            raise _too_long(file, place(text, start)[0])
        start = stop + 1
    return file, text


def read_lines(path: str | os.PathLike[str]) -> Iterator[str]:
    """The lines of a file, one after the other, however long the file is.

    Args:
        path: a regular file, UTF-8; lines end in LF, CRLF or CR.

    Yields:
        Each line without its end; what follows the last end counts as one if it is not empty.

    Raises:
        DataError: with file, line and column, for what `read_text` refuses, when it is reached;
            the size of the file is not bounded.
        OSError: when the file cannot be opened.

    Cost:
        Memory for a piece of the file (1 MiB), or its longest line.
    """
    file, lines, rest = name_of(path), 0, ""
    _check_regular(file)
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    with open(path, "rb") as stream:
        while True:
            piece = stream.read(_PIECE)
            try:
                text = rest + decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                raise _not_utf8(error, file, rest, lines) from None
            _refuse_nul(text, file, lines)
            held = "\r" if piece and text.endswith("\r") else ""  # an LF may follow
            *whole, rest = _with_lf(text.removesuffix(held)).split("\n")
            rest += held
            for line in whole:
                lines += 1
                yield line
            if len(rest) > LONGEST_LINE:
                raise _too_long(file, lines + 1)
            if not piece:
                if rest:
                    yield rest
                return


def read_bytes(source: str | os.PathLike[str] | IO[str] | IO[bytes]) -> bytes | str:
    """The whole content of a file or stream, as it is; a text stream's is text.

    Args:
        source: the path of a regular file, or an open stream, read to its end.

    Returns:
        The content.

    Raises:
        DataError: with file, for more than `MOST_BYTES`, and for a path of anything but a regular
            file: a directory, a named pipe, a device.
        OSError: when the file cannot be opened.
        UnicodeDecodeError: from a text stream of other bytes.
    """
    if isinstance(source, str | os.PathLike):
        _check_regular(os.fspath(source))
        with open(source, "rb") as stream:
            _check_size(os.fstat(stream.fileno()).st_size, os.fspath(source))
            return _read_stream(stream)
    return _read_stream(source)


def _check_regular(path: str) -> None:
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "a pipe, device or socket"
        hint = "" if stat.S_ISDIR(mode) else " (commands that read `-` take standard input)"
        raise DataError(f"is {kind}, not a file{hint}", file=path)


def _read_stream(stream: IO[str] | IO[bytes]) -> bytes | str:
    if isinstance(stream, io.TextIOBase):
        return stream.read()  # at once: only so do its errors tell the place
    pieces, size = [], 0
    while piece := stream.read(_PIECE):
        pieces.append(piece)
        size += len(piece)
        _check_size(size, name_of(stream))
    return "".join(pieces) if pieces and isinstance(pieces[0], str) else b"".join(pieces)


def _check_size(size: int, file: str) -> None:
    if size > MOST_BYTES:
        raise DataError(f"more than {MOST_BYTES:,} bytes, the most that is read", file=file)


def unified(text: str) -> str:
    """A text without byte order mark, its lines ending in LF instead of CRLF or CR.

    Example:
        >>> unified("\\ufeffa\\rb")
        'a\\nb'
    """
    return _with_lf(text.removeprefix("\ufeff"))


def _with_lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def place(text: str, at: int) -> tuple[int, int]:
    """Where a character stands; lines end at LF, CRLF or CR.

    Args:
        text: the text.
        at: the place of the character, from 0.

    Returns:
        Its line and its column in characters, both from 1.

    Example:
        >>> place("a\\r\\nbc", 4)
        (2, 2)
    """
    before = _with_lf(text[:at])
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _refuse_nul(text: str, file: str, lines: int = 0) -> None:
    """Of a text that follows so many lines."""
    if "\0" in text:
        line, column = place(text, text.index("\0"))
        message = "a character NUL, which no text holds (UTF-8 is wanted)"
        raise DataError(message, file=file, line=lines + line, column=column, value="\0")


def _too_long(file: str, line: int) -> DataError:
    return DataError(f"a line of more than {LONGEST_LINE:,} characters", file=file, line=line)


def _not_utf8(error: UnicodeDecodeError, file: str, text: str = "", lines: int = 0) -> DataError:
    """The fault, in bytes before which there were so many lines, and then this text."""
    before = error.object[: error.start].decode(errors="replace")
    before = _with_lf(text + before) if text or lines else unified(before)
    line, column = place(before, len(before))
    value = error.object[error.start : error.start + 1]
    return DataError(
        f"byte 0x{value.hex()} is not UTF-8 ({error.reason})",
        file=file,
        line=lines + line,
        column=column,
        value=value,
    )


def write_text(target: str | os.PathLike[str] | IO[str], text: str) -> None:
    """Writes UTF-8 with LF; a file appears, or is replaced, only when everything is written.

    Args:
        target: a path, whose directory must exist, or an open text stream.
        text: what to write.

    Raises:
        DataError: with line and value, for what `read_text` would refuse: a lone surrogate, which
            UTF-8 cannot express, and NUL.
        OSError: when the file cannot be written.
    """
    try:
        content = text.encode()
        at = text.find("\0")
    except UnicodeEncodeError as error:
        content, at = b"", error.start
    if at >= 0:
        raise DataError(
            f"{text[at]!r} cannot be written as text in UTF-8",
            file=name_of(target),
            line=place(text, at)[0],
            value=text[at],
        )
    if not isinstance(target, str | os.PathLike):
        target.write(text)
        return
    path = pathlib.Path(target)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        partial = pathlib.Path(folder, path.name)
        partial.write_bytes(content)
        os.replace(partial, path)
