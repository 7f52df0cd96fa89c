"""Metrics of a run: one JSON object a line, and TensorBoard events if asked for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["MetricsWriter", "read_metrics"]


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Rows of a metrics file; a last line that a killed run left unfinished is dropped."""
    path = Path(path)
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


class MetricsWriter:
    """Appends rows to ``metrics.jsonl``; every row is on disk when `write` returns.

    Args:
        path: the file.
        step: rows after this step are of a run that was killed: they are cut off, because the
            resumed run will write them again.
        tensorboard: a folder for TensorBoard events (needs the ``tensorboard`` extra), or None.

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
        path: str | os.PathLike[str],
        step: int = 0,
        tensorboard: str | os.PathLike[str] | None = None,
    ):
        self._events = None
        if tensorboard is not None:
            try:
                from tensorboardX import SummaryWriter
            except ImportError:
                raise ImportError(
                    "TensorBoard events need the extra: pip install 'rntn_jax[tensorboard]'"
                ) from None
            self._events = SummaryWriter(str(tensorboard), purge_step=step + 1)
        self.rows = [row for row in read_metrics(path) if row["step"] <= step]
        temporary = Path(path).with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in self.rows), "utf-8")
        os.replace(temporary, path)
        self._file = open(path, "a", encoding="utf-8")

    def write(self, step: int, **values: Any) -> None:
        """Appends a row; numbers also go to TensorBoard."""
        row = {"step": step, **values}
        self.rows.append(row)
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        if self._events is not None:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._events.add_scalar(name, value, step)

    def close(self) -> None:
        self._file.close()
        if self._events is not None:
            self._events.close()

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
