"""Starts the processes, and prints what the first one measured."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["run"]

ROOT = Path(__file__).resolve().parents[3]


def run(count: int, rounds: int, output: str | None) -> None:
    """Prints the table, and writes the figures to a file."""
    found = measured(count, rounds)
    print("| training step | ms | times the rule's | collectives | in loops |")
    print("| --- | --- | --- | --- | --- |")
    for name, own in found["steps"].items():
        cells = name, f"{own['ms']:.2f}", f"{own['ratio']:.2f}", own["collectives"], own["in_loops"]
        print(f"| {' | '.join(map(str, cells))} |")
    if output is not None:
        Path(output).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def measured(count: int, rounds: int) -> dict[str, Any]:
    """What the first process says: steps by their names."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        command = [sys.executable, "-m", "experiments.benchmark.processes.worker", str(path)]
        numbers = [str(rounds), str(port), str(count)]
        workers = [
            subprocess.Popen([*command, *numbers, str(n)], cwd=ROOT, env=environment)
            for n in range(count)
        ]
        try:
            if any(worker.wait() for worker in workers):
                raise RuntimeError("a process failed")
        finally:
            for worker in workers:
                worker.kill()
        return json.loads(path.read_text())
