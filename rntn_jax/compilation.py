"""What the first call costs: compiled programs are kept in the user's cache, and waiting is told.

JAX compiles each function once for each shape, which takes seconds. Within `cached` the programs
are written to a folder, from which the next process reads them, and a line on standard error says
why nothing happens when compiling takes longer than two seconds. Our commands run within it, and so
do `rntn_jax.sentiment` and `rntn_jax.parse`. The pure functions do not: there it is for the user's
program to decide (``jax.config.update("jax_compilation_cache_dir", ...)``).

Environment variables, read at each call: ``RNTN_JAX_CACHE=0`` keeps nothing, ``RNTN_JAX_QUIET=1``
tells nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

__all__ = ["cached", "folder"]

PATIENCE = 2.0  # seconds of compiling before it is told
LEAST = 0.2  # seconds that a program must have taken to be kept; JAX keeps those above 1

_lock = threading.Lock()
_users = 0  # calls that are within `cached`
_before: dict[str, Any] = {}  # the settings outside of it, where they were changed


def folder() -> str | None:
    """Where compiled programs are kept: below the user's cache, a folder for each version of JAX.

    On Linux ``~/.cache/rntn_jax/compiled/jax-VERSION`` (`XDG_CACHE_HOME` is heeded), elsewhere what
    the system has for it. It may be deleted at any time.

    Returns:
        None when it is switched off by ``RNTN_JAX_CACHE=0``, and when the user has chosen a folder
        or none (``JAX_COMPILATION_CACHE_DIR``, ``jax_compilation_cache_dir``,
        ``jax_enable_compilation_cache``): that is left alone. The environment is read at each call.
    """
    import jax
    import platformdirs

    if os.environ.get("RNTN_JAX_CACHE") == "0" or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return None
    config: Any = jax.config
    if config.jax_compilation_cache_dir is not None or not config.jax_enable_compilation_cache:
        return None
    cache = platformdirs.user_cache_dir("rntn_jax")
    return os.path.join(cache, "compiled", f"jax-{jax.__version__}")


@contextlib.contextmanager
def cached() -> Iterator[None]:
    """Keeps what is compiled within, and tells when compiling takes long, once in a process.

    Outside of it JAX's settings are as they were. Where the folder cannot be written, nothing is
    kept, and nothing is said of it.

    Example:
        >>> import jax
        >>> before = jax.config.jax_compilation_cache_dir
        >>> with cached():
        ...     doubled = jax.jit(lambda x: 2 * x)(21)
        >>> int(doubled), jax.config.jax_compilation_cache_dir == before
        (42, True)
    """
    global _users
    with _lock:
        if _users == 0:
            _begin()
        _users += 1
        where = _folder_in_use()
    try:
        with _telling(where):
            yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _end()


def _folder_in_use() -> str | None:
    """JAX's present folder of compiled programs."""
    import jax

    return jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]


def _begin() -> None:
    """Sets JAX's folder, unless there is one."""
    import jax

    path = folder()
    if path is None:
        return
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)  # what lies there is run
    except OSError:
        return
    if not os.access(path, os.W_OK):
        return
    for name, value in {
        "jax_compilation_cache_dir": path,
        "jax_persistent_cache_min_compile_time_secs": LEAST,
    }.items():
        _before[name] = getattr(jax.config, name)
        jax.config.update(name, value)


def _end() -> None:
    """Puts the settings back; JAX looks at them again after a reset only."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    if _before:
        for name, value in _before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        _before.clear()


class _Clock:
    """Seconds of compiling, of which JAX tells the beginning and the end."""

    listens = told = False
    seconds = 0.0  # of what is compiled
    since: float | None = None  # when the present compilation began

    def total(self) -> float:
        """Seconds so far."""
        since = self.since
        return self.seconds + (0.0 if since is None else time.monotonic() - since)

    def listen(self, event: str, duration_secs: float, **_: Any) -> None:
        """Takes an event of `jax.monitoring`."""
        if event == "/jax/core/compile/jaxpr_to_mlir_module_duration":  # comes just before
            self.since = time.monotonic()
        elif event == "/jax/core/compile/backend_compile_duration":
            self.since, self.seconds = None, self.seconds + duration_secs


_clock = _Clock()


@contextlib.contextmanager
def _telling(where: str | None) -> Iterator[None]:
    """Prints a line when compiling within takes longer than `PATIENCE`."""
    import jax.monitoring

    if _clock.told or os.environ.get("RNTN_JAX_QUIET", "0") not in ("", "0"):
        yield
        return
    if not _clock.listens:
        _clock.listens = True
        jax.monitoring.register_event_duration_secs_listener(_clock.listen)
    _clock.since = None  # of what was only lowered
    before, done = _clock.total(), threading.Event()

    def watch() -> None:
        while not _clock.told and not done.wait(PATIENCE / 8):
            if _clock.total() - before > PATIENCE:
                _tell(where)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _tell(where: str | None) -> None:
    with _lock:
        told, _clock.told = _clock.told, True
    if not told:
        kept = f"; kept in {where}" if where else ""
        message = f"compiling: the first call takes a while, those after it do not{kept}"
        print(message, file=sys.stderr, flush=True)
