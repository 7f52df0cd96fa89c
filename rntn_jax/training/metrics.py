"""Metrics of a run: one JSON object a line, each with a checksum, and TensorBoard events."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rntn_jax.training.files import DamagedFileError, write_whole

__all__ = ["MetricsWriter", "read_metrics", "without_times"]

Row = dict[str, Any]
TIMES = ("seconds", "step_ms")  # measured: they differ between runs that are otherwise equal


def without_times(row: Row) -> Row:
    """A row without what differs between equal runs.

    Example:
        >>> without_times({"step": 1, "loss": 0.5, "seconds": 3.1})
        {'step': 1, 'loss': 0.5}
    """
    return {name: value for name, value in row.items() if name not in TIMES}


def _text(row: Row) -> str:
    """For comparison: NaN is not equal to itself, and a checkpoint does not keep the order."""
    return json.dumps(row, sort_keys=True)


def _line(row: Row, before: str) -> tuple[str, str]:
    """The line of a row, and its checksum, which goes over the line before too."""
    text = json.dumps(row)
    check = hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()[:16]
    return json.dumps({**row, "check": check}) + "\n", check


def _parse(content: bytes, path: Path) -> tuple[list[Row], str | None]:
    """Rows until the first that is not as it was written, and what is wrong with that."""
    rows: list[Row] = []
    check = ""
    # What stands behind the last line end is of a writer that was killed.
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            shown = line[:40].decode(errors="replace")
            return rows, f"{path}, line {number}: {shown!r} is no row of metrics"
        found = row.pop("check", None)
        written, check = _line(row, check)
        if found != check or line + b"\n" != written.encode():
            return rows, (
                f"{path}, line {number} is damaged, or the line before it is gone: its checksum "
                "does not match"
            )
        rows.append(row)
    return rows, None


def read_metrics(path: str | os.PathLike[str]) -> list[Row]:
    """Rows of a metrics file; a last line that a killed run left unfinished is dropped.

    Args:
        path: the file; where there is none, there are no rows.

    Raises:
        DamagedFileError: naming the line that is not as it was written.
    """
    path = Path(path)
    if not path.exists():
        return []
    rows, fault = _parse(path.read_bytes(), path)
    if fault is not None:
        raise DamagedFileError(fault)
    return rows


class MetricsWriter:
    """Appends rows to ``metrics.jsonl``; every row is on the disk when `write` returns.

    Args:
        path: the file; None: rows are kept, and not written.
        step: rows after this step are of a run that was killed: they are cut off, because the
            resumed run will write them again.
        tensorboard: a folder for TensorBoard events (needs the ``tensorboard`` extra), or None.
        known: the rows so far without their times, where a checkpoint holds them. They are what
            counts: of the file only the times are taken, and only from rows that agree.

    Attributes:
        rows: all rows so far.
        fault: what was wrong with the file, where ``known`` had to stand in for it, or None.

    Raises:
        DamagedFileError: when the file is damaged and no rows are known.
        ImportError: when events are asked for without the extra.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "metrics.jsonl"
        >>> with MetricsWriter(path) as metrics:
        ...     metrics.write(1, loss=0.5)
        >>> read_metrics(path)
        [{'step': 1, 'loss': 0.5}]
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        step: int = 0,
        tensorboard: str | os.PathLike[str] | None = None,
        known: Sequence[Row] | None = None,
    ):
        self._events, self._file = None, None
        if tensorboard is not None:
            try:
                from tensorboardX import SummaryWriter
            except ImportError:
                raise ImportError(
                    "TensorBoard events need the extra: pip install 'rntn_jax[tensorboard]'"
                ) from None
            self._events = SummaryWriter(str(tensorboard), purge_step=step + 1)
        self.fault: str | None = None
        if path is None:
            self.rows = [dict(row) for row in known or ()]
            self._check = ""
            return
        path = Path(path)
        if known is None:
            self.rows = [row for row in read_metrics(path) if row["step"] <= step]
        else:
            self.rows = self._reconciled(path, known)
        self._check, lines = "", []
        for row in self.rows:
            line, self._check = _line(row, self._check)
            lines.append(line.encode())
        write_whole(path, lines)
        self._file = open(path, "a", encoding="utf-8")

    def _reconciled(self, path: Path, known: Sequence[Row]) -> list[Row]:
        """The known rows, with their times where the file has them."""
        rows, fault = _parse(path.read_bytes() if path.exists() else b"", path)
        merged, lost = [], 0
        for number, row in enumerate(known):
            found = rows[number] if number < len(rows) else None
            agrees = found is not None and _text(without_times(found)) == _text(row)
            lost += not agrees
            merged.append(found if found is not None and agrees else dict(row))
        if lost:
            fault = fault or f"{path} is not that of the checkpoint"
            self.fault = f"{fault}: {lost} of {len(known)} rows are taken from there, without times"
        return merged

    def write(self, step: int, **values: Any) -> None:
        """Appends a row; numbers also go to TensorBoard.

        Args:
            step: number of updates so far.
            **values: what the row holds beside it, as JSON can.
        """
        row = {"step": step, **values}
        line, self._check = _line(row, self._check)
        self.rows.append(row)
        if self._file is not None:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        if self._events is not None:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Closes the file, and that of the events."""
        if self._file is not None:
            self._file.close()
        if self._events is not None:
            self._events.close()

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
