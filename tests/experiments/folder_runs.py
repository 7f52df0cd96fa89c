"""Runs that train nothing, for the tests of their folders."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from experiments.workdir import (
    finished,
    open_workdir,
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Two settings and an optional one."""

    dim: int = 3
    rate: float = 0.1
    data_dir: str | None = None


CHECKPOINT = "checkpoints/step-0000000001.safetensors"


def start(
    workdir: Path,
    config: Any = Settings(),
    fresh: bool = False,
    leave: dict[str, str] | None = None,
) -> dict[str, Any] | None:
    """As `train.run` does: the result if there is one, else a run that leaves these files."""
    if (done := finished(workdir, config, fresh)) is not None:
        return done
    with open_workdir(workdir, config, fresh):
        for name, text in (leave or {}).items():
            (workdir / name).parent.mkdir(parents=True, exist_ok=True)
            (workdir / name).write_text(text)
    return None
