"""Where a run lies, and how its model is used; without JAX, which takes a second to import."""

from __future__ import annotations

import hashlib
import re
import shlex
from pathlib import Path

__all__ = ["default_folder", "use_model"]


def default_folder(experiment: str, preset: str, train: str | None = None) -> Path:
    """The folder of a run for which none was named.

    ``runs/EXPERIMENT/PRESET``; of a run on a file of one's own
    ``runs/EXPERIMENT/STEM-HASH``, the hash being that of preset, path and content of the file.
    So the same command finds the same folder, and so does any other command with the same
    ``--train`` and ``--preset``; a file that has changed makes another run.

    Args:
        experiment: name of its folder.
        preset: the settings that the run starts from.
        train: the file to train on, if it is one's own.

    Raises:
        OSError: when there is no such file, or it cannot be read.

    Example:
        >>> default_folder("chunking", "demo").as_posix()
        'runs/chunking/demo'
    """
    folder = Path("runs") / experiment
    if train is None:
        return folder / preset
    path = Path(train).resolve()
    sha = hashlib.sha256(f"{preset}\n{path}\n".encode())
    if any(mark in train for mark in "*?[") and not path.exists():
        pass  # a pattern: --stream
    elif path.is_file() or not path.exists():  # a pipe can be read only once
        with open(train, "rb") as file:
            while block := file.read(1 << 20):
                sha.update(block)
    else:
        for own in sorted(path.glob("*")):  # of a folder: names, sizes and times
            sha.update(f"{own.name} {own.stat().st_size} {own.stat().st_mtime_ns}\n".encode())
    stem = re.sub(r"[^\w.-]+", "_", path.stem)[:40] or "run"
    return folder / f"{stem}-{sha.hexdigest()[:8]}"


def use_model(experiment: str, workdir: Path, *flags: str) -> str:
    """What to type to use a run's model.

    Example:
        >>> use_model("chunking", Path("runs/chunking/a b"), "--tag=FILE")
        "./launch.sh chunking '--workdir=runs/chunking/a b' --tag=FILE"
    """
    return shlex.join(["./launch.sh", experiment, f"--workdir={workdir}", *flags])
