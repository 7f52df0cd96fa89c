"""A progress bar that turns into plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

__all__ = ["ProgressBar"]


class ProgressBar:
    """Shows how far a run has come: bar, figures, items a second, time left; on stderr.

    Without a terminal it prints a line at most every ``interval`` seconds.

    Args:
        total: steps in all.
        done: steps made before (a resumed run).
        unit: what is counted in the rate, such as ``trees``.
        interval: seconds between lines without a terminal.
        quiet: show nothing.
    """

    def __init__(
        self,
        total: int,
        *,
        done: int = 0,
        unit: str = "items",
        interval: float = 10.0,
        quiet: bool = False,
    ):
        # Late: a tenth of a second, for nothing where nothing takes long.
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self._unit, self._interval, self._total, self._done = unit, interval, total, done
        self._items, self._start = 0, time.monotonic()
        self._last_line = self._start
        console = Console(file=sys.stderr)
        self._quiet, self._live = quiet, console.is_terminal and not quiet
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=not self._live,
        )
        self._task = self._bar.add_task("training", total=total, completed=done, figures="")

    def advance(self, steps: int, items: int, description: str, **figures: Any) -> None:
        """Moves the bar on.

        Args:
            steps: updates done since the last call.
            items: items seen in them.
            description: shown before the bar.
            **figures: shown after it, as ``name value``.
        """
        self._done += steps
        self._items += items
        rate = self._items / max(time.monotonic() - self._start, 1e-9)
        shown = "  ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in {**figures, f"{self._unit}/s": round(rate)}.items()
        )
        self._bar.update(self._task, advance=steps, description=description, figures=shown)
        now = time.monotonic()
        if not self._live and now - self._last_line >= self._interval:
            self._last_line = now
            self.say(f"{description}  {100 * self._done / self._total:.0f}%  {shown}")

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        if self._quiet:
            return
        if self._live:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
