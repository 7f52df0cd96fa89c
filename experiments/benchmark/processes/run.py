"""Starts the processes, and prints what the first one measured."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark import interleave
from experiments.benchmark.processes.plan import Plan, Point, fit

__all__ = ["run", "run_scaling"]

ROOT = Path(__file__).resolve().parents[3]

# What the plan is fitted to, and what it has to predict.
FITTED = (("processes", 1), ("processes", 2), ("devices", 2))
PREDICTED = (("processes", 4), ("devices", 4))


def run(count: int, rounds: int, output: str | None) -> None:
    """Prints the table, and writes the figures to a file."""
    found = {"machine": interleave.machine(), **measured(count, rounds)}
    print("| training step | ms | times the rule's | collectives | in loops |")
    print("| --- | --- | --- | --- | --- |")
    for name, own in found["steps"].items():
        cells = name, f"{own['ms']:.2f}", f"{own['ratio']:.2f}", own["collectives"], own["in_loops"]
        print(f"| {' | '.join(map(str, cells))} |")
    interleave.write(output, found)


def run_scaling(output: str | None) -> None:
    """Measures steps of many sizes, fits the plan, prints how well, and writes it all to a file."""
    machine = interleave.machine()
    points = {part: _points(*part) for part in (*FITTED, *PREDICTED)}
    plan = fit([point for part in FITTED for point in points[part]])
    print(
        f"f {plan.operations_per_second:.3g} operations/s; m {plan.update_bytes_per_second:.3g} B/s"
    )
    for link, rate in plan.link_bytes_per_second.items():
        print(f"{link}: w {rate:.3g} B/s, l {1e3 * plan.latency[link]:.2f} ms")
    print(f"o {1e3 * plan.overhead:.2f} ms; memory x, y, z {np.round(plan.memory, 1).tolist()}")
    print("| link | count | | time off by, median | at most | memory off by | at most |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for part, own in points.items():
        cells = *part, "fitted" if part in FITTED else "predicted", *_errors(plan, own)
        print(f"| {' | '.join(map(str, cells))} |")
    every = [point._asdict() for own in points.values() for point in own]
    interleave.write(output, {"machine": machine, "plan": plan._asdict(), "points": every})


def _errors(plan: Plan, points: Sequence[Point]) -> list[str]:
    """Median and largest error of times, and of memory."""
    cells = []
    for kind in ("seconds", "bytes"):
        ratios = [getattr(plan, kind)(point) / getattr(point, kind) for point in points]
        errors = np.abs(np.log(ratios))
        cells += [f"{100 * np.expm1(e):.0f} %" for e in (np.median(errors), errors.max())]
    return cells


def _points(link: str, count: int) -> list[Point]:
    """Measured steps on so many processes, or devices of one process."""
    virtual = count if link == "devices" else 1
    found = _in_processes(
        count if link == "processes" else 1,
        lambda path, port, n: [
            "experiments.benchmark.processes.scaling_worker",
            str(path), link, str(count), str(port), str(n),
        ],
        f" --xla_force_host_platform_device_count={virtual}",
    )  # fmt: skip
    return [Point(*own) for own in found]


def measured(count: int, rounds: int) -> dict[str, Any]:
    """What the first process says: steps by their names."""
    return _in_processes(
        count,
        lambda path, port, n: [
            "experiments.benchmark.processes.worker",
            *map(str, (path, rounds, port, count, n)),
        ],
    )


def _in_processes(
    count: int, arguments: Callable[[Path, int, int], list[str]], flags: str = ""
) -> Any:
    """What the first of so many processes writes; each gets a path, a port and its number."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false" + flags}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        workers = [
            subprocess.Popen(
                [sys.executable, "-m", *arguments(path, port, n)], cwd=ROOT, env=environment
            )
            for n in range(count)
        ]
        try:
            if any(worker.wait() for worker in workers):
                raise RuntimeError("a process failed")
        finally:
            for worker in workers:
                worker.kill()
        return json.loads(path.read_text())
