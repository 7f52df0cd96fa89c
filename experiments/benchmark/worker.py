"""One baseline of a benchmark, in a process and, where it must, an interpreter of its own.

Started by `interleave.py`; answers each line on standard input by one line of JSON::

    python -m experiments.benchmark.worker --baselines=MODULE --system=NAME --problem=FILE \\
        --threads=2

``MODULE.make(system, problem, threads)`` returns ``(train, facts)``: ``train()`` passes once over
all minibatches and returns their losses. The first answer, unasked for, says how the first pass
went; each line after that asks for one more.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import json
import os
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path


def _memory_mb(field: str) -> float:
    """``VmRSS`` (now) or ``VmHWM`` (most since the last reset) of this process."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# Distributions whose versions a table states, by the modules that they bring.
LIBRARIES = {
    "jax": "jax", "flax": "flax", "optax": "optax", "torch": "torch", "torchcrf": "pytorch-crf",
    "torch_struct": "torch-struct", "supar": "supar", "flash_semicrf": "flash-semicrf",
    "networkx": "networkx", "dynamax": "dynamax", "pycrfsuite": "python-crfsuite", "pgmax": "pgmax",
    "pyagrum": "pyagrum", "pgmpy": "pgmpy", "dwave": "dwave-samplers", "thrml": "thrml",
    "torch_treecrf": "torch-treecrf", "dynet": "dynet38", "dgl": "dgl",
    "ufal.udpipe": "ufal.udpipe",
}  # fmt: skip


def versions(names: Iterable[str]) -> dict[str, str]:
    """Of the distributions that are installed."""
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--baselines", required=True)
    parser.add_argument("--system", required=True)
    parser.add_argument("--problem", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    flags = parser.parse_args()
    del sys.argv[1:]  # DyNet reads the command line when it is imported
    if flags.threads == 1 and hasattr(os, "sched_setaffinity"):
        # Libraries do not keep to one thread because they are told to: XLA's matrix products run
        # in a pool as large as the cores that the process may use.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    try:
        baselines = importlib.import_module(flags.baselines)
        train, facts = baselines.make(flags.system, flags.problem, flags.threads)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    start, before = time.perf_counter(), _memory_mb("VmRSS")
    losses = train()
    used = [name for module, name in LIBRARIES.items() if module in sys.modules]
    facts = {**facts, "versions": versions(used)}
    answer = {**facts, "first_seconds": time.perf_counter() - start, "losses": losses}
    print(json.dumps(answer), flush=True)
    with contextlib.suppress(OSError):  # forgets the peak of compilation
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    for _ in sys.stdin:
        start, start_cpu = time.perf_counter(), time.process_time()
        losses = train()
        seconds = (time.perf_counter() - start) / len(losses)
        answer = {
            "seconds": seconds,
            "cpu_seconds": (time.process_time() - start_cpu) / len(losses),  # of all threads
            "loss": losses[-1],
            "peak_mb": _memory_mb("VmHWM"),
            "more_mb": _memory_mb("VmHWM") - before,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
