"""A benchmark's problem as one file of arrays, for workers in interpreters that have NumPy only."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from experiments.benchmark import interleave

__all__ = ["load", "save", "take_turns"]

Problem = TypeVar("Problem")


def save(path: Path, problem: NamedTuple) -> None:
    """Writes a NamedTuple of arrays, numbers, strings, and lists or dictionaries of arrays."""
    found: dict[str, Any] = {}
    for name, value in problem._asdict().items():
        if isinstance(value, list):
            value = {str(k): array for k, array in enumerate(value)}
        if isinstance(value, dict):
            found |= {f"{name}/{key}": array for key, array in value.items()}
        else:
            found[name] = value
    np.savez(path, **found)


def take_turns(
    problem: NamedTuple, baselines: str, systems: Sequence[str], **options: Any
) -> list[dict[str, Any]]:
    """`interleave.take_turns` of a problem, in a file that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        save(path, problem)
        return interleave.take_turns(baselines, systems, path, **options)


def load(path: Path, kind: Callable[..., Problem]) -> Problem:
    """Reads back what `save` was given: a NamedTuple of that kind. Lists are not empty."""
    fields: dict[str, Any] = {}
    with np.load(path, allow_pickle=False) as data:
        for full in data.files:
            name, _, key = full.partition("/")
            value = data[full] if data[full].ndim else data[full].item()
            if not key:
                fields[name] = value
            elif key.isdigit():
                fields.setdefault(name, []).append(value)
            else:
                fields.setdefault(name, {})[key] = value
    return kind(**fields)
