"""A few problems of each benchmark, on the embedded data and one core, against plain code.

Only ratios within one run are compared, which a slower machine or other work change little; what
fell is measured again before it counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.benchmark import interleave

__all__ = ["COMMITTED", "PARTS", "fallen", "run"]

COMMITTED = Path(__file__).resolve().parents[1] / "results" / "check.json"
FALLEN = 0.8  # of what it was

Ratios = dict[str, float]  # how many times our time another one takes, by its name


def _named(rows: list[dict[str, Any]], *about: str) -> Ratios:
    """The ratios of the other systems, by what was measured."""
    found = {}
    for row in rows:
        words = [str(row[name]).strip("[]").replace(" ", "") for name in about]
        if row.get("system") != "ours" and "ratio" in row:
            # Of the processor's time: waiting for a core that others use does not count.
            ratio = row.get("cpu_ratio", row["ratio"])
            found[" ".join([*words, row["system"]])] = round(float(ratio), 3)
    return found


def _crf(rounds: int) -> Ratios:
    from experiments.benchmark.crf.run import run

    shapes, parts = ["32,50,9", "32,128,32"], ["shared", "steps", "decode"]
    systems = ["ours", "autodiff"]
    found = run(
        shapes=shapes, rounds=rounds, threads=1, systems=systems, parts=parts, python=None,
        output=None,
    )  # fmt: skip
    return _named(found["speed"], "task", "shape")


def _rnn_lm(rounds: int) -> Ratios:
    from experiments.benchmark.rnn_lm.run import run

    found = run(
        dims=[200], batch_sizes=[20], steps=35, vocab_size=2_000, chunks=[140], rounds=rounds,
        threads=1, systems=["ours", "autodiff", "flax"], parts=["speed"], output=None,
    )  # fmt: skip
    return _named(found["speed"], "dim", "batch_size")


def _recursive(rounds: int) -> Ratios:
    from experiments.benchmark.rntn.run import run

    ratios = {}
    for cell in ("rntn", "rnn", "mv_rnn", "tree_lstm", "child_sum"):
        found = run(
            corpus="demo", data_dir=None, cell=cell, dims=[25], batch_sizes=[27], rounds=rounds,
            threads=1, systems=[], parts=["rule"], pythons={}, output=None,
        )  # fmt: skip
        rows = [{**row, "cell": cell, "system": row["gradient"]} for row in found["rule"]]
        ratios |= _named([row for row in rows if row["system"] == "autodiff"], "cell")
    return ratios


def _structures(rounds: int) -> Ratios:
    from experiments.benchmark.structures.run import run

    parts = {
        "projective": ["32,25"], "nonprojective": ["32,25"], "constituency": ["32,20"],
        "semi_markov": ["32,50,8,9"], "ctc": ["16,100,20,32"],
    }  # fmt: skip
    ratios = {}
    for part, shapes in parts.items():
        found = run(
            shapes=shapes, rounds=rounds, threads=1, systems=["ours", "autodiff", "optax"],
            parts=[part], python=None, dynamax_python=None, output=None,
        )  # fmt: skip
        ratios |= _named(found["speed"], "task", "shape")
    return ratios


def _parser(rounds: int) -> Ratios:
    from experiments.benchmark.parser.run import run

    found = run(
        corpus="demo", data_dir=None, dims=[200], batch_sizes=[1024], rounds=rounds, threads=1,
        systems=["ours", "autodiff"], parts=["training"], model=None, udpipe_model=None,
        python=None, output=None,
    )  # fmt: skip
    return _named(found["training"], "dim", "batch_size")


PARTS: dict[str, Callable[[int], Ratios]] = {
    "crf": _crf,
    "rnn_lm": _rnn_lm,
    "recursive": _recursive,
    "structures": _structures,
    "parser": _parser,
}


def fallen(now: Mapping[str, float], committed: Mapping[str, float]) -> list[str]:
    """What is less than four fifths of what it was; what was not measured before cannot fall."""
    return [name for name, ratio in now.items() if ratio < FALLEN * committed.get(name, 0.0)]


def run(*, only: list[str], rounds: int, output: str | None) -> list[str]:
    """Measures, prints a table of both, and says what fell.

    Args:
        only: of `PARTS`; empty: all.
        rounds: turns of every system.
        output: JSON file for the ratios.

    Returns:
        The names of what fell.

    Raises:
        ValueError: for an unknown part.
    """
    interleave.check_words(only, list(PARTS))
    was: dict[str, Ratios] = {}
    if COMMITTED.exists():
        was = json.loads(COMMITTED.read_text(encoding="utf-8"))["ratios"]
    machine, ratios = interleave.machine(), {}
    lost: list[str] = []
    for part in only or PARTS:
        committed = was.get(part, {})
        now = PARTS[part](rounds)
        if fallen(now, committed):
            print(f"\n{', '.join(fallen(now, committed))}: fell; measured again")
            again = PARTS[part](rounds)
            now = {name: max(now[name], again[name]) for name in now}
        ratios[part] = now
        lost += [f"{part} {name}" for name in fallen(now, committed)]
    print(f"\n{'times our time':44}{'committed':>10}{'now':>8}")
    for part, now in ratios.items():
        for name, ratio in now.items():
            before = was.get(part, {}).get(name, float("nan"))
            mark = "  FELL" if f"{part} {name}" in lost else ""
            print(f"{part + ' ' + name:44}{before:10.2f}{ratio:8.2f}{mark}")
    interleave.write(output, {"machine": machine, "rounds": rounds, "ratios": ratios})
    return lost
