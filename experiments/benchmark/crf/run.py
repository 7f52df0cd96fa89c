"""Chain CRFs: milliseconds for loss and gradients, and for decoding; temporary memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.benchmark import interleave, problem_file
from experiments.benchmark.crf.baselines import Problem

__all__ = ["run"]

# Key for `--systems` and the worker, and what it is.
SYSTEMS = {
    "ours": "rntn_jax, hand rule",
    "autodiff": "JAX autodiff of the plain scan",
    "parallel": "rntn_jax, method=parallel",
    "pytorch_crf": "pytorch-crf",
    "torch_struct": "torch-struct",
}
TASKS = {
    "shared": "loss and gradients, shared edge scores",
    "steps": "loss and gradients, edge scores of every step",
    "decode": "best labelling",
}


def _systems(task: str, shape: tuple[int, int, int]) -> list[str]:
    """Who can do it, within seconds and this machine's memory."""
    rows, length, classes = shape
    names = ["ours", "autodiff"]
    if task != "decode" and rows * length * classes**3 <= 2e8:
        names.append("parallel")
    if task != "steps" and length <= 1024:
        names.append("pytorch_crf")
    if rows * length * classes**3 <= 2e8:
        names.append("torch_struct")
    return names


def _problem(task: str, shape: tuple[int, int, int]) -> Problem:
    rows, length, classes = shape
    rng = np.random.default_rng(0)
    node = 2 * rng.standard_normal((rows, length, classes), dtype=np.float32)
    between = (rows, length - 1, classes, classes) if task == "steps" else (classes, classes)
    edge = rng.standard_normal(between, dtype=np.float32)
    labels = rng.integers(0, classes, (rows, length)).astype(np.int32)
    work = rows * length * classes**2
    return Problem(task, node, edge, labels, repeats=int(np.clip(3e7 // work, 1, 50)))


def run(
    *,
    shapes: list[str],
    rounds: int,
    threads: int,
    systems: list[str],
    parts: list[str],
    python: str | None,
    output: str | None,
) -> dict[str, Any]:
    """Runs the benchmark, prints tables, and returns all figures.

    Args:
        shapes: each ``B,T,C``.
        rounds: turns of every system.
        threads: for every system.
        systems: only these; empty: all that can do a task within seconds.
        parts: tasks.
        python: interpreter of pytorch-crf and torch-struct.
        output: JSON file for the figures.

    Raises:
        ValueError: for an unknown system or part, a faulty shape, or when a worker failed.
    """
    interleave.check_words(systems, list(SYSTEMS))
    interleave.check_words(parts, list(TASKS))
    figures: dict[str, Any] = {"threads": threads, "machine": interleave.machine(), "speed": []}
    pythons = {"pytorch": python, "torch": python} if python else {}
    for task in parts:
        for text in shapes:
            sizes = [int(n) for n in text.split(",")]
            if len(sizes) != 3 or min(sizes) < 1:
                raise ValueError(f"a shape is three positive numbers B,T,C, got {text!r}")
            shape = sizes[0], sizes[1], sizes[2]
            problem = _problem(task, shape)
            names = [n for n in _systems(task, shape) if n in (systems or SYSTEMS)]
            rows = problem_file.take_turns(
                problem,
                "experiments.benchmark.crf.baselines",
                names,
                rounds=rounds,
                threads=threads,
                pythons=pythons,
            )
            rows = [{"task": task, "shape": sizes, **row} for row in rows]
            for row in rows:
                row["losses"] = row.get("losses", [])[:1]
            figures["speed"] += rows
            _print(rows)
            interleave.write(output, figures)
    return figures


def _print(rows: list[dict[str, Any]]) -> None:
    rows_, length, classes = rows[0]["shape"]
    print(f"\n{TASKS[rows[0]['task']]}: B = {rows_}, T = {length}, C = {classes}")
    columns: list[interleave.Column] = [
        ("ms", "10.3f", "ms"),
        ("least", "10.3f", "ms_least"),
        ("ratio", "8.2f", "ratio"),
        ("temp MB", "9.1f", "temp_mb"),
        ("first s", "9.2f", "first_seconds"),
    ]
    interleave.print_table(rows, SYSTEMS, columns)
