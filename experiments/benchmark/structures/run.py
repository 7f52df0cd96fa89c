"""Structured distributions: milliseconds for sums with gradients and best structures; memory."""

from __future__ import annotations

from typing import Any

from experiments.benchmark import interleave, problem_file
from experiments.benchmark.structures.problem import SHAPES, TASKS, make

__all__ = ["DOES", "SYSTEMS", "run"]

# Key for `--systems` and the worker, what it is, and what it does.
SYSTEMS = {
    "ours": "rntn_jax, hand rule",
    "autodiff": "JAX autodiff of the recursion",
    "optax": "optax",
    "torch_ctc": "PyTorch",
    "torch_struct": "torch-struct",
    "supar": "SuPar",
    "flash_semicrf": "flash-semicrf",
    "networkx": "NetworkX",
    "dynamax": "dynamax",
}
DOES = {
    "projective": ("ours", "autodiff", "torch_struct", "supar"),
    "nonprojective": ("ours", "autodiff", "torch_struct", "supar"),
    "eisner": ("ours", "torch_struct", "supar"),
    "arborescence": ("ours", "supar", "networkx"),
    "semi_markov": ("ours", "autodiff", "torch_struct", "flash_semicrf"),
    "ctc": ("ours", "optax", "torch_ctc"),
    "constituency": ("ours", "autodiff", "torch_struct", "supar"),
    "hmm": ("ours", "dynamax"),
}
CLOSE = 1e-4  # relative difference of what counts as the same answer


def run(
    *,
    shapes: list[str],
    rounds: int,
    threads: int,
    systems: list[str],
    parts: list[str],
    python: str | None,
    dynamax_python: str | None,
    output: str | None,
) -> dict[str, Any]:
    """Runs the benchmark, prints tables, and returns all figures.

    Args:
        shapes: sizes, for every part that is asked for; empty: those of each part.
        rounds: turns of every system.
        threads: for every system; 1: each is bound to one core.
        systems: only these; empty: all that can do a task.
        parts: tasks.
        python: interpreter of the packages in PyTorch and of NetworkX.
        dynamax_python: of dynamax.
        output: JSON file for the figures.

    Raises:
        ValueError: for an unknown system or part, a faulty shape, or when a worker failed.
    """
    interleave.check_words(systems, list(SYSTEMS))
    interleave.check_words(parts, list(TASKS))
    figures: dict[str, Any] = {"threads": threads, "machine": interleave.machine(), "speed": []}
    pythons: dict[str, Any] = {}
    if python:
        pythons |= dict.fromkeys(("torch", "supar", "flash", "networkx"), python)
    if dynamax_python:
        pythons["dynamax"] = dynamax_python
    for task in parts:
        for text in shapes or SHAPES[task]:
            rows = _measure(task, text, systems, rounds, threads, pythons)
            figures["speed"] += rows
            _print(rows)
            interleave.write(output, figures)
    return figures


def _measure(
    task: str, text: str, systems: list[str], rounds: int, threads: int, pythons: dict[str, Any]
) -> list[dict[str, Any]]:
    """The systems of one problem, in turns; ``equal`` where they say what the first one says."""
    sizes = [int(n) for n in text.split(",")]
    count = SHAPES[task][0].count(",") + 1
    if len(sizes) != count or min(sizes) < 1:
        raise ValueError(f"a shape of {task} is {count} positive numbers, got {text!r}")
    names = [name for name in DOES[task] if name in (systems or SYSTEMS)]
    rows = problem_file.take_turns(
        make(task, sizes),
        "experiments.benchmark.structures.baselines",
        names,
        rounds=rounds,
        threads=threads,
        pythons=pythons,
    )
    first = next((row["losses"][0] for row in rows if "losses" in row), 0.0)
    for row in rows:
        row["losses"] = row.get("losses", [])[:1]
        row["equal"] = all(abs(x - first) <= CLOSE * abs(first) for x in row["losses"])
    return [{"task": task, "shape": sizes, **row} for row in rows]


def _print(rows: list[dict[str, Any]]) -> None:
    sizes = ", ".join(map(str, rows[0]["shape"]))
    print(f"\n{TASKS[rows[0]['task']]}: {sizes}")
    columns: list[interleave.Column] = [
        ("ms", "10.3f", "ms"),
        ("CPU ms", "10.3f", "cpu_ms"),
        ("ratio", "8.2f", "ratio"),
        ("CPU ratio", "11.2f", "cpu_ratio"),
        ("temp MB", "9.1f", "temp_mb"),
        ("more MB", "9.1f", "more_mb"),
        ("first s", "9.2f", "first_seconds"),
    ]
    interleave.print_table(rows, SYSTEMS, columns)
