"""The systems of the benchmark of structures, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.benchmark import problem_file
from experiments.benchmark.structures.problem import Problem

__all__ = ["make"]

IN_JAX = ("ours", "autodiff", "optax")


def make(system: str, path: Path, threads: int) -> tuple[Callable[[], list[float]], dict[str, Any]]:
    """The baseline of that name, the version of its library, temporary memory of its program."""
    problem = problem_file.load(path, Problem)
    if system in IN_JAX:
        from experiments.benchmark.structures import ours

        return ours.make(system, problem)
    from experiments.benchmark.structures import peers

    return peers.make(system, problem, threads)
