"""Sentences in columns, one token a line, as in the shared tasks of CoNLL.

A line holds the columns of one token between blanks, a blank line ends a sentence:

    Confidence NN B-NP
    in IN B-PP

A sentence is a list of rows, a row a tuple of the token's columns. `#` begins no comment here: it
is a token of the CoNLL-2000 corpus.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import IO

from rntn_jax.data.errors import DataError, shown
from rntn_jax.data.text import name_of, read_text, write_text

__all__ = ["read_columns", "write_columns"]

Sentence = list[tuple[str, ...]]

_DOCUMENT = "-DOCSTART-"
_COLUMN = re.compile(r"[^ \t\n\r\f\v]+")  # str.split() would cut at no-break spaces too


def read_columns(
    source: str | os.PathLike[str] | IO[str] | IO[bytes], *, num_columns: int | None = None
) -> list[Sentence]:
    """Reads a file of tokens in columns.

    Several blank lines count as one, the last sentence needs none, and a line whose first column is
    `-DOCSTART-` counts as blank. Columns are separated by ASCII blanks.

    Args:
        source: a path, or an open text or binary stream, read to its end; UTF-8.
        num_columns: how many columns each line must have; None: as many as the first one.

    Returns:
        The sentences, at least one, none empty, each a list of rows. About 1 microsecond a token.

    Raises:
        DataError: with file, line and value, for a line with another number of columns, a file
            without tokens, and what `rntn_jax.data.text.read_text` refuses.
        OSError: when the file cannot be opened.
        ValueError: when `num_columns` is less than 1.

    Example:
        >>> import io
        >>> read_columns(io.StringIO("a DT B-NP\\nfilm NN I-NP\\n\\nno DT O\\n"))
        [[('a', 'DT', 'B-NP'), ('film', 'NN', 'I-NP')], [('no', 'DT', 'O')]]
    """
    if num_columns is not None and num_columns < 1:
        raise ValueError(f"num_columns must be at least 1, got {num_columns}")
    file, text = read_text(source)
    sentences: list[Sentence] = []
    rows: Sentence = []
    expected, first = num_columns, None
    for number, line in enumerate(text.split("\n"), 1):
        row = tuple(_COLUMN.findall(line))
        if not row or row[0] == _DOCUMENT:
            if rows:
                sentences.append(rows)
                rows = []
            continue
        if expected is None:
            expected, first = len(row), number
        if len(row) != expected:
            why = f"like line {first}" if first else "as asked for"
            raise DataError(
                f"{len(row)} columns instead of {expected} ({why}): {shown(line.strip())}",
                file=file,
                line=number,
                value=row,
            )
        rows.append(row)
    if rows:
        sentences.append(rows)
    if not sentences:
        raise DataError("there are no tokens", file=file)
    return sentences


def write_columns(
    target: str | os.PathLike[str] | IO[str], sentences: Iterable[Iterable[Sequence[str]]]
) -> None:
    """Writes sentences in columns: one blank between columns, a blank line after each sentence.

    `read_columns` reads them back equal; what it could not is refused. A file is written in UTF-8
    with LF, and appears, or is replaced, only when everything is written.

    Args:
        target: a path, whose directory must exist, or an open text stream.
        sentences: the sentences as rows, all rows with the same number of columns.

    Raises:
        DataError: with line and value, for rows with different numbers of columns, columns that are
            empty or hold a blank, `-DOCSTART-` as first column, an empty sentence, no sentences,
            NUL, or a lone surrogate, which UTF-8 cannot express.
        OSError: when the file cannot be written.

    Example:
        >>> import sys
        >>> write_columns(sys.stdout, [[("no", "DT"), ("end", "NN")]])
        no DT
        end NN
        <BLANKLINE>
    """
    write_text(target, "\n".join(_lines(sentences, name_of(target))))


def _lines(sentences: Iterable[Iterable[Sequence[str]]], file: str) -> list[str]:
    """The lines of the file, the last one empty."""
    lines: list[str] = []
    expected = None
    for sentence in sentences:
        empty = True
        for row in sentence:
            line, fault = " ".join(row), None
            expected = len(row) if expected is None else expected
            if isinstance(row, str):
                fault = "a row must be a tuple of columns, not one string"
            elif not row:
                fault = "a row must have at least one column"
            elif len(row) != expected:
                fault = f"{len(row)} columns instead of {expected} (like line 1)"
            elif _COLUMN.findall(line) != list(row):
                fault = "columns must be words without blanks"
            elif row[0] == _DOCUMENT or (not lines and line.startswith("\ufeff")):
                fault = "the first column would not be read back"
            if fault:
                raise DataError(f"{fault}: {shown(row)}", file=file, line=len(lines) + 1, value=row)
            lines.append(line)
            empty = False
        if empty:
            raise DataError("a sentence without tokens", file=file, line=len(lines) + 1)
        lines.append("")
    if not lines:
        raise DataError("no sentences to write", file=file)
    return [*lines, ""]
