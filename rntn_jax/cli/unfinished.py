"""An output that is written piece by piece, and gone on with by the next run if one is stopped."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from rntn_jax.training.files import lock, write_whole

__all__ = ["Unfinished"]


class Unfinished:
    """Writes ``PATH.part``, which becomes ``PATH`` when everything is in it.

    Beside it ``PATH.part.json`` says what command wrote it, how many of its bytes count, and where
    in the input it stands. Both are on the disk before a piece counts: a kill at any moment costs
    at most the piece that was being written.

    Args:
        path: of the output.
        about: what makes the output what it is: input, model, form. Another one's part is begun
            anew.
        start: where the input begins, and whatever else is to be kept beside the output.

    Raises:
        OSError: when a file cannot be written, or another process is writing it.

    Attributes:
        state: what the last `write` was given, or ``start``.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "out"
        >>> with Unfinished(path, {"of": "a"}, 0) as out:
        ...     out.write("one\\n", 1)
        >>> out = Unfinished(path, {"of": "a"}, 0)
        >>> out.state
        1
        >>> out.write("two\\n", 2)
        >>> out.finish()
        >>> path.read_text()
        'one\\ntwo\\n'
    """

    def __init__(self, path: str | os.PathLike[str], about: dict[str, Any], start: Any):
        self._path = Path(path)
        self._part = self._path.with_name(f"{self._path.name}.part")
        self._note = self._path.with_name(f"{self._path.name}.part.json")
        self._about = about
        self._file = os.fdopen(os.open(self._part, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            try:
                lock(self._file.fileno())
            except BlockingIOError:
                raise OSError(f"{self._part}: another process is writing it") from None
            for left in self._path.parent.glob(f".{self._note.name}.*.tmp"):  # by a run killed
                left.unlink()
            written, self.state = self._found(start)
        except BaseException:
            self._file.close()
            raise
        self._file.truncate(written)
        self._file.seek(written)

    def _found(self, start: Any) -> tuple[int, Any]:
        """Bytes and state of a part that this command left, or none."""
        if not self._note.exists():
            return 0, start
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            known = note["about"] == self._about
            written, state = int(note["bytes"]), note["state"]
        except (ValueError, KeyError, TypeError):
            known, written, state = False, 0, start
        if known and 0 <= written <= self._part.stat().st_size:
            return written, state
        print(f"{self._part}: of another input, model or form; begun anew", file=sys.stderr)
        return 0, start

    def write(self, text: str, state: Any) -> None:
        """Appends a piece.

        Args:
            text: the piece.
            state: where the next run goes on; what JSON can hold.

        Raises:
            OSError: when it cannot be written; what was written before still counts.
        """
        self._file.write(text.encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.state = state
        note = {"about": self._about, "bytes": self._file.tell(), "state": state}
        write_whole(self._note, [json.dumps(note).encode()])

    def finish(self) -> None:
        """Gives the output its name."""
        if sys.platform == "win32":  # there a file that is open cannot be renamed
            self._file.close()
        os.replace(self._part, self._path)
        self._note.unlink(missing_ok=True)
        self._file.close()

    def __enter__(self) -> Unfinished:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
