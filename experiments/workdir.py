"""The folder of a run: what was asked for, on what machine, and whether it is the same run.

Every experiment's ``run(config, workdir, fresh=False)`` is `run_once` of what it loads and how it
trains.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import platform
import re
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from experiments.lock import held
from experiments.machine import usable_cores
from rntn_jax.compilation import cached
from rntn_jax.training.files import DamagedFileError, write_whole

__all__ = [
    "RunMismatchError",
    "environment",
    "finished",
    "open_workdir",
    "read_environment",
    "read_json",
    "run_once",
    "write_json",
]

Loaded = TypeVar("Loaded")

# What a run leaves in its folder; `config.json` besides: while it is there, the folder is a run's.
FILES = (
    "result.json", "metrics.jsonl", "report.html", "model.safetensors", "environment.json",
    "train.tokens",
)  # fmt: skip
_CHECKPOINT = re.compile(r"step-\d{10}\.safetensors")
_EVENTS = re.compile(r"events\.out\.tfevents\..*")
_TEMPORARY = re.compile(
    rf"\.({'|'.join(map(re.escape, ('config.json', *FILES)))}|{_CHECKPOINT.pattern})\.\d+\.tmp"
)


class RunMismatchError(ValueError):
    """The folder holds a run with other settings, or something else."""


# --- JSON files that say whether they are as they were written ---


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Reads what `write_json` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        DamagedFileError: naming the file, when it is not as it was written.
    """
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is damaged: {str(error)[:100]}") from None
    if not isinstance(value, dict) or "sha256" not in value:
        raise DamagedFileError(f"{path} is damaged, or not of a run: it has no checksum")
    if value.pop("sha256") != _digest(value):
        raise DamagedFileError(f"{path} is damaged: its checksum does not match its content")
    return value


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Writes a JSON object and its checksum in one step, and flushes it to disk."""
    value = json.loads(json.dumps(value))  # as it will be read: tuples are lists
    content = json.dumps({**value, "sha256": _digest(value)}, indent=2) + "\n"
    write_whole(path, [content.encode()])


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    import jax

    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("jax", "jaxlib", "optax", "numpy")},
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": usable_cores(),
        "devices": [f"{device.platform} {device.device_kind}" for device in jax.devices()],
    }


# --- what the folder holds ---


def finished(workdir: Path, config: Any, fresh: bool = False) -> dict[str, Any] | None:
    """The result of a run of these settings that has ended, else None. Changes nothing.

    Raises:
        DamagedFileError: when the settings or the result are damaged.
    """
    settings, result = workdir / "config.json", workdir / "result.json"
    if fresh or not (settings.exists() and result.exists()):
        return None
    return None if _differences(read_json(settings), config) else read_json(result)


def run_once(
    config: Any,
    workdir: str | Path,
    fresh: bool,
    load: Callable[[Any], Loaded],
    train: Callable[[Any, Path, Loaded], dict[str, Any]],
) -> dict[str, Any]:
    """Trains, or goes on training, and reports; or answers what a run that has ended found.

    Of several processes the first alone has the folder; the others leave when training has ended.
    Compiled programs are kept (`rntn_jax.compilation`); that compiling takes long is told.

    Args:
        config: the settings, a dataclass.
        workdir: folder of the run; a run that was stopped there is resumed, and ends bit for bit
            as if it had not been.
        fresh: start over.
        load: what it takes, from the settings; called before there is any folder.
        train: trains in the folder, saves the model, evaluates, reports, and writes
            ``result.json`` last.

    Returns:
        The content of ``result.json``.

    Raises:
        DataError: when the corpus is not there or faulty.
        RunMismatchError: when ``workdir`` holds a run with other settings.
        WorkdirInUseError: when another process holds it.
        NotFiniteError: when the loss stops being a number.
        SystemExit: in the other processes, with status 0.
    """
    from rntn_jax.training import processes  # it imports JAX

    workdir, first = Path(workdir), processes.is_first()
    done = processes.from_first(finished(workdir, config, fresh) if first else None)
    if done is not None:
        if not first:
            raise SystemExit(0)
        return done
    loaded = load(config)
    with open_workdir(workdir, config, fresh) if first else contextlib.nullcontext(), cached():
        return train(config, workdir, loaded)


@contextlib.contextmanager
def open_workdir(workdir: Path, config: Any, fresh: bool = False) -> Iterator[None]:
    """Holds the folder for a run: makes it, or checks that it is of a run of the same settings.

    A folder in which nothing has been trained yet takes any settings. Nobody else gets the folder
    until the ``with`` statement ends, or the process does.

    Args:
        workdir: the folder.
        config: the settings, a dataclass.
        fresh: first delete what a run has left there; other files stay.

    Raises:
        RunMismatchError: naming the settings that differ, or files that are not of a run.
        WorkdirInUseError: naming the process that holds the folder.
    """
    made = not workdir.exists()
    workdir.mkdir(parents=True, exist_ok=True)
    try:
        with held(workdir / "lock"):
            _claim(workdir, config, fresh)
            try:
                yield
            except BaseException as stop:
                progress = _trained(workdir)
                if not progress:  # so that whatever comes next finds no half-begun run
                    _delete_run(workdir)
                if isinstance(stop, KeyboardInterrupt):
                    kept = f"the same command goes on from the last checkpoint in {workdir}"
                    stop.args = (kept if progress else "nothing had been saved yet",)
                raise
    finally:
        if made:
            with contextlib.suppress(OSError):  # which it is unless the folder is empty
                workdir.rmdir()


def _claim(workdir: Path, config: Any, fresh: bool) -> None:
    """Makes a folder that one holds one of this run, or refuses."""
    path = workdir / "config.json"
    if path.exists():
        before = _settings_of_a_run(path)
        if fresh:
            _delete_run(workdir)
        elif _trained(workdir) and (differing := _differences(before, config)):
            raise RunMismatchError(_mismatch(workdir, config, differing))
    elif foreign := [name for name in FILES if (workdir / name).exists()]:
        raise RunMismatchError(
            f"{workdir} is not the folder of a run (it has no config.json), and its "
            f"{', '.join(foreign)} would be overwritten: choose another --workdir"
        )
    for path in _temporaries(workdir):
        path.unlink(missing_ok=True)  # of runs that were killed
    write_json(workdir / "config.json", dataclasses.asdict(config))
    about = {"experiment": _experiment(config), "command": " ".join(sys.argv)}
    write_json(workdir / "environment.json", environment() | about)


def read_environment(workdir: Path) -> tuple[str, dict[str, Any]]:
    """The command that began a run, and where it ran.

    Raises:
        DamagedFileError: when the file is not as it was written.
    """
    environment = read_json(workdir / "environment.json")
    return environment.pop("command"), environment


def _settings_of_a_run(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except DamagedFileError as error:
        raise RunMismatchError(
            f"{error}. Nothing was changed: choose another --workdir, or delete it yourself"
        ) from None


def _trained(workdir: Path) -> bool:
    """Whether there is anything that took time to make."""
    made = ("result.json", "model.safetensors")
    return any((workdir / name).exists() for name in made) or any(_checkpoints(workdir))


def _checkpoints(workdir: Path) -> Iterator[Path]:
    for path in (workdir / "checkpoints").rglob("step-*"):
        if _CHECKPOINT.fullmatch(path.name):
            yield path


def _differences(before: dict[str, Any], config: Any) -> list[str]:
    now = json.loads(json.dumps(dataclasses.asdict(config)))
    free = {field.name for field in dataclasses.fields(config) if field.metadata.get("free")}
    return [
        f"{name} was {before.get(name)!r} and is now {now.get(name)!r}"
        for name in sorted({*before, *now} - free)
        if before.get(name) != now.get(name)
    ]


def _experiment(config: Any) -> str:
    """The experiment whose settings they are, by the module that defines them."""
    module = type(config).__module__.split(".")
    return module[1] if module[0] == "experiments" and len(module) > 1 else module[0]


def _mismatch(workdir: Path, config: Any, differing: list[str]) -> str:
    about = workdir / "environment.json"
    whose = read_json(about).get("experiment") if about.exists() else None
    if whose not in (None, _experiment(config)):
        return (
            f"{workdir} holds a run of {whose}, not of {_experiment(config)}: choose another "
            "--workdir"
        )
    return (
        f"{workdir} holds a run with other settings: {'; '.join(differing)}. Choose another "
        "--workdir to keep that run, or delete it and start over with --fresh."
    )


def _temporaries(folder: Path) -> list[Path]:
    """Files that somebody was killed while writing."""
    return [path for path in folder.glob(".*.tmp") if _TEMPORARY.fullmatch(path.name)]


def _delete_run(workdir: Path) -> None:
    """Deletes what a run has left: its own files by their names, then folders that are empty."""
    checkpoints = workdir / "checkpoints"
    folders = [checkpoints, *(path for path in checkpoints.glob("*") if path.is_dir())]
    found = [workdir / name for name in FILES]
    found += _temporaries(workdir)
    found += [p for p in (workdir / "tensorboard").glob("*") if _EVENTS.fullmatch(p.name)]
    for folder in folders:
        found += [p for p in folder.glob("*") if _CHECKPOINT.fullmatch(p.name)]
        found += _temporaries(folder)
    for path in found:
        path.unlink(missing_ok=True)
    for folder in (*reversed(folders), workdir / "tensorboard"):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    (workdir / "config.json").unlink(missing_ok=True)
