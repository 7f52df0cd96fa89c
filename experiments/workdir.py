"""The folder of a run: what was asked for, on what machine, and whether it is the same run."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["RunMismatchError", "environment", "open_workdir", "read_json", "write_json"]


class RunMismatchError(ValueError):
    """The folder holds a run with other settings."""


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        ValueError: naming the file when it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def write_json(path: Path, value: Any) -> None:
    """Writes JSON in one step: a reader sees the old file or the new one, whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    import jax

    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("jax", "jaxlib", "optax", "numpy")},
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "devices": [f"{device.platform} {device.device_kind}" for device in jax.devices()],
    }


def open_workdir(workdir: Path, config: Any, fresh: bool = False) -> dict[str, Any] | None:
    """Makes the folder, or checks that it belongs to a run with the same settings.

    Returns:
        The content of its ``result.json`` if the run has ended, else None.

    Raises:
        RunMismatchError: naming the settings that differ.
    """
    if fresh and (workdir / "config.json").exists():
        shutil.rmtree(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    now = dataclasses.asdict(config)
    path = workdir / "config.json"
    if path.exists():
        before = read_json(path)
        differing = [
            f"{name} was {before.get(name)!r} and is now {now.get(name)!r}"
            for name in sorted({*before, *now})
            if before.get(name) != now.get(name)
        ]
        if differing:
            raise RunMismatchError(
                f"{workdir} holds a run with other settings: {'; '.join(differing)}. "
                "Choose another --workdir, or start over with --fresh."
            )
    else:
        write_json(path, now)
    write_json(workdir / "environment.json", {**environment(), "command": " ".join(sys.argv)})
    result = workdir / "result.json"
    return read_json(result) if result.exists() else None
