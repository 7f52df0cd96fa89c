"""The one error type of the data readers."""

from __future__ import annotations

__all__ = ["DataError", "shown"]


class DataError(ValueError):
    """A fault in data, with the place where it stands.

    Every reader of `rntn_jax.data` raises this, and nothing else, for input it cannot accept.
    It can be copied and pickled; the attributes are kept.

    Args:
        message: what is wrong, in words; it should name the offending value.
        file: name of the file (or of the stream), None when there is none.
        line: line of the fault, counted from 1 (lines end at CR, LF or CRLF), None when unknown.
        column: column of the fault in characters, counted from 1, None when unknown.
        value: the offending value itself (a label, a token, a number of children, ...).

    Example:
        >>> error = DataError(
        ...     "label 7 is not in 0..4", file="train.txt", line=12, column=7, value=7
        ... )
        >>> print(error)
        train.txt:12:7: label 7 is not in 0..4
        >>> error.line, error.column, error.value
        (12, 7, 7)
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        value: object = None,
    ):
        super().__init__(message)  # `args` holds the message only, so that pickling works
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.value = value

    def __str__(self) -> str:
        if self.file is not None:
            parts = [self.file, self.line, self.column]
            place = ":".join(str(part) for part in parts if part is not None)
        else:
            parts = [("line", self.line), ("column", self.column)]
            place = ", ".join(f"{name} {at}" for name, at in parts if at is not None)
        return f"{place}: {self.message}" if place else self.message


def shown(value: object, width: int = 60) -> str:
    """A value as messages show it: its `repr`, cut where it is long.

    Args:
        value: anything.
        width: the most characters to show of its `repr`.

    Returns:
        The text, on one line.

    Example:
        >>> shown("a film"), shown("x" * 5000, width=9)
        ("'a film'", "'xxxxxxxx... (5,002 characters)")
    """
    try:
        text = repr(value)
    except ValueError:  # Python writes no integers of more than 4,300 digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= width else f"{text[:width]}... ({len(text):,} characters)"
