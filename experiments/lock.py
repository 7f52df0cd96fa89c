"""A lock on a folder: one process at a time, and none that has died."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["WorkdirInUseError", "held"]

# A lock of the kernel's: it goes with the process that holds it, however that ends.
if sys.platform == "win32":
    import msvcrt

    def _take(file: int) -> None:
        os.lseek(file, 1 << 20, os.SEEK_SET)  # behind the text, which others are to read
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# Some file systems of networks have no locks: there the user has to know.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class WorkdirInUseError(OSError):
    """Another process holds the folder; the message says which."""


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds a lock file, which says who holds it, while the ``with`` statement runs.

    Args:
        path: the file; its folder must exist. It is deleted at the end; one that is left over from
            a process that was killed does no harm.

    Raises:
        WorkdirInUseError: when another process holds it, at once.

    Example:
        >>> import tempfile
        >>> with held(Path(tempfile.mkdtemp()) / "lock"):
        ...     print("alone")
        alone
    """
    file = _open_locked(path)
    try:
        about = {
            "pid": os.getpid(),
            "host": platform.node(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "command": " ".join(sys.argv)[:500],
        }
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, json.dumps(about).encode())
        yield
    finally:
        with contextlib.suppress(OSError):  # on Windows an open file stays
            path.unlink()
        os.close(file)


def _open_locked(path: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                _take(file)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            # The file may have been deleted by who held it, between the two lines above.
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                return file
        except OSError as error:
            os.close(file)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
                raise WorkdirInUseError(_in_use(path)) from None
            raise
        os.close(file)


def _in_use(path: Path) -> str:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        holder = (
            f"process {about['pid']} on {about['host']}, since {about['since']}: {about['command']}"
        )
    except (OSError, ValueError, KeyError, TypeError):
        holder = "another process"
    return f"{path.parent} is in use by {holder}. Wait for it, or choose another --workdir."
