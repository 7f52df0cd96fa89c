"""Files that are whole or not there: what a run leaves, written in one step and flushed to disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["DamagedFileError", "write_whole"]


class DamagedFileError(ValueError):
    """A file whose content does not match its own checksum; the message names it."""


def write_whole(path: str | os.PathLike[str], parts: Iterable[bytes | memoryview]) -> None:
    """Writes a file in one step: a reader sees the old content or the new one, never a part.

    The content is on the disk, and the file's name too, before the function returns.

    Args:
        path: the file; its folder must exist.
        parts: the content, one piece after the other.

    Raises:
        OSError: when it cannot be written; an old file is then as it was.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.txt"
        >>> write_whole(path, [b"one ", b"two"])
        >>> path.read_text()
        'one two'
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
