"""Baselines in processes of their own, which take turns.

Ratios are medians over rounds within one run, so that they hold on a machine that others use.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark.worker import versions
from experiments.machine import usable_cores

__all__ = ["check_words", "machine", "print_table", "take_turns", "write"]

# Heading, format with its width, and the row's field or a function of the row.
Column = tuple[str, str, str | Callable[[dict[str, Any]], Any]]

ROOT = Path(__file__).resolve().parents[2]

_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve")


class _Worker:
    """A baseline's process (`worker.py`); `ask` lets it train on all minibatches once more."""

    def __init__(self, baselines: str, system: str, problem: Path, threads: int, python: str):
        flags = os.environ.get("XLA_FLAGS", "")
        if threads == 1:
            flags += " --xla_cpu_multi_thread_eigen=false"
        # PASSIVE: PyTorch's idle threads must not spin while another system has its turn.
        count = str(threads)
        # MALLOC: as launch.sh sets it, for everybody, whoever starts this.
        environment = {
            "MALLOC_MMAP_THRESHOLD_": "1073741824",
            "MALLOC_TRIM_THRESHOLD_": "4294967296",
            "MALLOC_ARENA_MAX": "1",
            **os.environ,
            "XLA_FLAGS": flags,
            "OMP_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "OMP_WAIT_POLICY": "PASSIVE",
            "DGLBACKEND": "pytorch",
        }
        command = [python, "-m", "experiments.benchmark.worker", f"--baselines={baselines}"]
        command += [f"--system={system}", f"--problem={problem}", f"--threads={threads}"]
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._system = system
        try:
            self.first = self._answer()
        except BaseException:
            self.close()
            raise

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self._errors.seek(0)
        raise ValueError(f"the worker {self._system!r} failed:\n{self._errors.read()[-3000:]}")

    def ask(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write("once more\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def take_turns(
    baselines: str,
    systems: Sequence[str],
    problem: Path,
    *,
    rounds: int,
    threads: int,
    pythons: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Interleaved rounds on the same minibatches; medians over rounds.

    Args:
        baselines: module whose ``make`` knows the systems.
        systems: their names; the first is the one that the others' ``ratio`` is taken against.
        problem: file that ``make`` reads.
        rounds: turns each; 0: only the first pass, whose seconds every worker tells.
        threads: for every system.
        pythons: interpreters of systems, by the name's part before ``_``.

    Returns:
        A row a system: ``ms`` (median), ``ms_least``, ``ratio`` (median over rounds), ``cpu_ms``
        and ``cpu_ratio`` (likewise; what waits for a core that others use is not in it), memory,
        and what the worker said first; only that, with ``missing``, when it cannot run here.

    Raises:
        ValueError: when a worker failed, with what it wrote.
    """
    workers: dict[str, _Worker] = {}
    rows: dict[str, dict[str, Any]] = {}
    try:
        for name in systems:
            python = (pythons or {}).get(name.partition("_")[0], sys.executable)
            worker = _Worker(baselines, name, problem, threads, python)
            rows[name] = {"system": name, **worker.first}
            if "missing" in worker.first:
                worker.close()
            else:
                workers[name] = worker
        answers: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
        for _ in range(rounds):
            for name, worker in workers.items():
                answers[name].append(worker.ask())
    finally:
        for worker in workers.values():
            worker.close()
    for name, given in answers.items():
        if not rounds:
            continue
        seconds = [answer["seconds"] for answer in given]
        rows[name] |= {
            "ms": 1e3 * float(np.median(seconds)),
            "ms_least": 1e3 * min(seconds),
            "cpu_ms": 1e3 * float(np.median([answer["cpu_seconds"] for answer in given])),
            "peak_mb": given[-1]["peak_mb"],
            "more_mb": given[-1]["more_mb"],
            "last_loss": given[-1]["loss"],
        }
        if systems[0] in answers:
            first = [answer["seconds"] for answer in answers[systems[0]]]
            # Of each round, so that what slows the machine down slows both.
            rows[name]["ratio"] = float(np.median(np.divide(seconds, first)))
            own = [answer["cpu_seconds"] for answer in given]
            first = [answer["cpu_seconds"] for answer in answers[systems[0]]]
            if min(first) > 0:
                rows[name]["cpu_ratio"] = float(np.median(np.divide(own, first)))
    return list(rows.values())


def print_table(
    rows: Sequence[dict[str, Any]], titles: Mapping[str, str], columns: Sequence[Column]
) -> None:
    """Prints a line a system; those that could not run say why, and wrong answers are marked.

    Args:
        rows: of `take_turns`.
        titles: what each system is.
        columns: after the title; what a row lacks is nan.
    """
    widths = [int(form.partition(".")[0]) for _, form, _ in columns]
    print(" " * 32 + "".join(f"{head:>{n}}" for (head, *_), n in zip(columns, widths)))
    for row in rows:
        title = titles[row["system"]]
        if "ms" not in row:
            print(f"{title:32} not measured: {row.get('missing', 'no rounds')}")
            continue
        values = [key(row) if callable(key) else row.get(key, np.nan) for *_, key in columns]
        cells = "".join(f"{value:{form}}" for value, (_, form, _) in zip(values, columns))
        print(f"{title:32}{cells}{'' if row.get('equal', True) else '  NOT EQUAL'}", flush=True)


def check_words(given: Sequence[str], known: Sequence[str]) -> None:
    """Raises ValueError for a word that is not among the known ones."""
    for word in given:
        if word not in known:
            raise ValueError(f"{word!r} is none of {', '.join(known)}")


def machine() -> dict[str, Any]:
    """What figures are of: processor, instructions, cores, load, versions; printed, too."""
    known = (_of_processor("flags") or _of_processor("Features")).split()  # x86, Arm
    found = {
        "processor": _of_processor("model name") or platform.processor() or platform.machine(),
        "instructions": [name for name in _INSTRUCTIONS if name in known],
        "cores": usable_cores(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,  # of a minute
        "versions": {"python": platform.python_version(), **versions(("jax", "jaxlib", "numpy"))},
    }
    words = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    print(
        f"{found['processor']} ({' '.join(found['instructions']) or 'no vector instructions known'}"
        f"), {found['cores']} cores, load {found['load']}; {words}"
    )
    return found


def _of_processor(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith(field))
    except (OSError, StopIteration):
        return ""


def write(output: str | None, figures: dict[str, Any]) -> None:
    """Writes figures as JSON, where a file was named."""
    if output:
        Path(output).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
