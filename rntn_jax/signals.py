"""SIGTERM, what the system sends to end a job, as an exception that can wait."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

__all__ = ["Terminated", "uninterrupted"]


class Terminated(KeyboardInterrupt):
    """SIGTERM: what the system sends to end a job; handled like Ctrl-C."""


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """What must not be torn apart: SIGTERM that comes within is handled at the end.

    Nothing is changed where Python does not handle SIGTERM, or outside of the main thread.

    Example:
        >>> with uninterrupted():
        ...     print("whole")
        whole
    """
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
    if came:
        before(came[0], None)
