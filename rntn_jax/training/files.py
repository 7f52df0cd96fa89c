"""Files that are whole or not there: what a run leaves, written in one step and flushed to disk."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["DamagedFileError", "lock", "write_whole"]

# A lock of the kernel's: it goes with the process that holds it, however that ends.
if sys.platform == "win32":
    import msvcrt

    def _take(file: int) -> None:
        before = os.lseek(file, 0, os.SEEK_CUR)
        os.lseek(file, 1 << 40, os.SEEK_SET)  # behind the content, which others are to read
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, before, os.SEEK_SET)
else:
    import fcntl

    def _take(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


_HELD = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
# Some file systems of networks have no locks: there the user has to know.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class DamagedFileError(ValueError):
    """A file whose content does not match its own checksum; the message names it."""


def lock(file: int) -> None:
    """Locks an open file against other processes, until it is closed.

    Args:
        file: a descriptor.

    Raises:
        BlockingIOError: when another process holds the lock, at once.
        OSError: when it cannot be locked; where the file system has no locks, nothing is done.
    """
    try:
        _take(file)
    except OSError as error:
        if error.errno in _HELD:
            raise BlockingIOError(error.errno, "another process holds the lock") from None
        if error.errno not in _NO_LOCKS:
            raise


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
