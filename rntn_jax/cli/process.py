"""A command as a process: errors as one line, signals, and a look at outputs before the work."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator

from rntn_jax.signals import Terminated

__all__ = ["Terminated", "check_output", "messages"]


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Makes SIGTERM an exception, in the main thread, which alone may ask for that."""

    def terminate(*_: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def messages() -> Iterator[None]:
    """Faults in data, settings or files end the process with one line instead of a traceback.

    Raises:
        SystemExit: with status 1 for these, 130 for Ctrl-C, 143 for SIGTERM.
    """
    logging.getLogger().setLevel(logging.WARNING)  # libraries tell of every TPU they lack
    try:
        with _terminable():
            yield
            sys.stdout.flush()
    except BrokenPipeError:  # the reader, head for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        sys.exit(1)
    except (ValueError, OSError, ArithmeticError, ImportError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt as stop:
        name = "SIGTERM" if isinstance(stop, Terminated) else "Ctrl-C"
        print(": ".join([f"stopped by {name}", *map(str, stop.args)]), file=sys.stderr)
        sys.exit(143 if isinstance(stop, Terminated) else 130)


def check_output(path: str | None, flag: str = "output") -> None:
    """Looks, before the work, whether a file can be written.

    Args:
        path: of the file; None: standard output, which can.
        flag: that named it, for the message.

    Raises:
        OSError: naming the flag, when the folder does not exist, or the file is a folder.
    """
    if path is None:
        return
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"--{flag}={path}: there is no folder {folder}")
    if os.path.isdir(path):
        raise IsADirectoryError(f"--{flag}={path} is a folder, not a file")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise PermissionError(f"--{flag}={path} cannot be written")
