"""A lock on a folder: one process at a time, and none that has died."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rntn_jax.training.files import lock

__all__ = ["WorkdirInUseError", "held"]


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
            lock(file)
            # The file may have been deleted by who held it, between the two lines above.
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                return file
        except BlockingIOError:
            os.close(file)
            raise WorkdirInUseError(_in_use(path)) from None
        except OSError:
            os.close(file)
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
