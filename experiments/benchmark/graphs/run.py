"""CRFs on trees and graphs: exact marginals, loopy propagation, Gibbs sampling; growth."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark import interleave, problem_file
from experiments.benchmark.graphs import ours
from experiments.benchmark.graphs.problem import Problem, load_answer
from rntn_jax.crf import graph

__all__ = ["run"]

# Key for `--systems` and the worker, and what it is; the first one is ours.
SYSTEMS = {
    "trees": {
        "forest": "rntn_jax, crf.forest",
        "graph": "rntn_jax, crf.graph, exact",
        "torch_treecrf": "torch-treecrf, nodes only",
        "pyagrum": "pyAgrum",
        "pgmpy": "pgmpy",
    },
    "grids": {
        "graph": "rntn_jax, crf.graph, exact",
        "dwave": "dwave-samplers",
        "pyagrum": "pyAgrum",
        "pgmpy": "pgmpy",
    },
    "loopy": {
        "loopy": "rntn_jax, crf.graph, loopy",
        "pgmax": "PGMax, nodes only",
    },
    "gibbs": {"gibbs": "rntn_jax, crf.graph.gibbs", "thrml": "thrml"},
}
TITLES = {
    "trees": "exact, trees",
    "grids": "exact, grids",
    "loopy": "loopy belief propagation, grids",
    "gibbs": "Gibbs sampling, grids",
    "growth": "growth",
}
# Trees: how many, nodes of each, labels. Others: graphs (or chains), width, length, labels.
SHAPES = [
    "loopy,1,100,100,2",
    "loopy,1,500,500,2",
    "gibbs,1,100,100,2",
    "gibbs,64,100,100,2",
    "grids,1,4,100,2",
    "grids,1,8,100,2",
    "grids,1,12,100,2",
    "grids,32,4,100,2",
    "grids,1,4,100,5",
    "grids,1,4,10,2",
    "trees,1,1000,5",
    "trees,1,100000,5",
    "trees,32,200,5",
    "trees,1,100,5",
]
ITERATIONS, DAMPING = 60, 0.5
SITE_UPDATES = 10_000_000  # of a pass of Gibbs sampling
# How far from ours an answer may be: ln Z relatively, probabilities absolutely.
NEAR = {"trees": 2e-5, "grids": 2e-5, "loopy": 1e-3, "gibbs": 1e-2}


def _systems(task: str, sizes: list[int]) -> list[str]:
    """Who can do it, within seconds and this machine's memory."""
    count, labels = sizes[0] * sizes[1] * (sizes[2] if task == "grids" else 1), sizes[-1]
    names = list(SYSTEMS[task])
    if count > 200:  # 72 s for a tree of 1,000 nodes
        names = [name for name in names if name != "pgmpy"]
    if count > 2000:  # minutes
        names = [name for name in names if name != "pyagrum"]
    if task == "trees" and sizes[1] > 2000:  # its scores of pairs are dense
        names = [name for name in names if name != "torch_treecrf"]
    if labels != 2:
        names = [name for name in names if name != "dwave"]
    return names


def _problem(task: str, sizes: list[int], seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    if task == "trees":
        several, count, labels = sizes
        node, edge = 1.0, 1.0
        # Recursive trees: every node hangs from one of those before it.
        trees = [
            np.stack(
                [(rng.random(count - 1) * np.arange(1, count)).astype(int), np.arange(1, count)], 1
            )
            for _ in range(several)
        ]
    else:
        several, width, length, labels = sizes
        several, count = several if task == "grids" else 1, width * length
        node, edge = {"grids": (1.0, 1.0), "loopy": (1.0, 0.3), "gibbs": (0.5, 0.3)}[task]
        trees = [graph.grid_edges(length, width) for _ in range(several)]
        if several > 1:  # different graphs
            trees = [edges[rng.random(len(edges)) < 0.95] for edges in trees]
    edges = np.concatenate([t + k * count for k, t in enumerate(trees)]).astype(np.int32)
    draw = lambda scale, *shape: (scale * rng.standard_normal(shape)).astype(np.float32)
    chains = sizes[0] if task == "gibbs" else 1
    return Problem(
        task,
        node=draw(node, several * count, labels),
        edge=draw(edge, len(edges), labels, labels),
        edges=edges,
        part=np.repeat(np.arange(several), count).astype(np.int32),
        steps=ITERATIONS if task == "loopy" else max(SITE_UPDATES // (count * chains), 1),
        chains=chains,
        damping=DAMPING,
    )


def run(
    *,
    shapes: list[str],
    rounds: int,
    threads: int,
    systems: list[str],
    parts: list[str],
    python: str | None,
    output: str | None,
    growth: dict[str, list[int]] | None = None,
) -> dict[str, Any]:
    """Runs the benchmark, prints tables, and returns all figures.

    Args:
        shapes: each a part and its sizes, as in `SHAPES`.
        rounds: turns of every system.
        threads: for every system.
        systems: only these; empty: all that can do a task within seconds.
        parts: ``trees``, ``grids``, ``loopy``, ``gibbs``, ``growth``.
        python: interpreter of the systems that are not ours.
        output: JSON file for the figures; growth is drawn next to it, as SVG.
        growth: sizes along each curve of growth; None: those of `GROWTH`.

    Raises:
        ValueError: for an unknown system or part, a faulty shape, when two of our own systems
            differ, or when a worker failed.
    """
    interleave.check_words(systems, [name for names in SYSTEMS.values() for name in names])
    interleave.check_words(parts, list(TITLES))
    problems = [_parsed(shape) for shape in shapes]
    figures: dict[str, Any] = {
        "threads": threads,
        "machine": interleave.machine(),
        "speed": [],
        "growth": [],
    }
    foreign = ("torch", "pgmpy", "pyagrum", "dwave", "thrml", "pgmax")
    for task, sizes in problems:
        if task not in parts:
            continue
        names = [n for n in _systems(task, sizes) if n in (systems or SYSTEMS[task])]
        problem = _problem(task, sizes)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "problem.npz"
            problem_file.save(path, problem)
            rows = interleave.take_turns(
                "experiments.benchmark.graphs.baselines",
                names,
                path,
                rounds=rounds,
                threads=threads,
                pythons=dict.fromkeys(foreign, python) if python else {},
            )
            _compare(path, task, rows)
        rows = [{"task": task, "shape": sizes, **row} for row in rows]
        for row in rows:
            row["losses"] = row.get("losses", [])[:1]
            if "ms" in row and task == "loopy":
                row["iterations_per_second"] = 1e3 * problem.steps / row["ms"]
            if "ms" in row and task == "gibbs":
                sites = problem.steps * problem.chains * len(problem.node)
                row["sites_per_second"] = 1e3 * sites / row["ms"]
                row["sweeps_per_second"] = 1e3 * problem.steps / row["ms"]
        figures["speed"] += rows
        _print(rows)
        interleave.write(output, figures)
    if "growth" in parts:
        figures["growth"] = _growth(growth or GROWTH)
        interleave.write(output, figures)
        if output:
            _draw(figures["growth"], Path(output).with_suffix(".svg"))
    return figures


def _parsed(shape: str) -> tuple[str, list[int]]:
    task, *words = shape.split(",")
    sizes = [int(word) for word in words if word.isdigit()]
    wanted = {"trees": 3, "grids": 4, "loopy": 4, "gibbs": 4}.get(task)
    if len(words) != wanted or len(sizes) != wanted or min(sizes) < 1:
        raise ValueError(f"a shape is a part and 3 or 4 positive numbers, got {shape!r}")
    return task, sizes


def _compare(path: Path, task: str, rows: list[dict[str, Any]]) -> None:
    """How far all answers are from ours; ours must agree."""
    there = [row for row in rows if "missing" not in row]
    if not there:
        return
    first = load_answer(path, there[0]["system"])
    for row in there:
        found = load_answer(path, row["system"])
        if found.log_z is not None and first.log_z is not None:
            row["log_z_off"] = float(abs(found.log_z / first.log_z - 1))
        for field in ("node", "edge"):
            values = getattr(found, field)
            if values is not None and getattr(first, field) is not None:
                row[f"{field}_off"] = float(np.abs(values - getattr(first, field)).max(initial=0))
        off = [value for name, value in row.items() if name.endswith("_off")]
        row["equal"] = bool(np.all(np.array(off) <= NEAR[task]))
        if not row["equal"] and row["system"] in ("forest", "graph"):
            raise ValueError(f"{row['system']} differs from {there[0]['system']}: {row}")


def _print(rows: list[dict[str, Any]]) -> None:
    sizes = ", ".join(map(str, rows[0]["shape"]))
    print(f"\n{TITLES[rows[0]['task']]}: {sizes}")
    rate = "iterations_per_second" if rows[0]["task"] == "loopy" else "sites_per_second"
    columns: list[interleave.Column] = [
        ("ms", "11.3f", "ms"),
        ("least", "11.3f", "ms_least"),
        ("ratio", "9.2f", "ratio"),
        ("prepare s", "10.2f", "prepare_seconds"),
        ("rate", "11.4g", rate),
    ]
    interleave.print_table(rows, SYSTEMS[rows[0]["task"]], columns)


# Growth -----------------------------------------------------------------------------------------

# Task and what grows, and its values.
GROWTH = {
    "trees nodes": [100, 1000, 10_000, 100_000, 1_000_000],
    "trees labels": [2, 8, 32],
    "grids nodes": [40, 400, 4000],
    "grids labels": [2, 3, 5],
    "grids width": [2, 5, 8, 11, 14],
    "loopy nodes": [100, 2500, 62_500, 250_000],
}


def _growth_sizes(curve: str, size: int) -> tuple[str, list[int]]:
    task, what = curve.split()
    if task == "trees":
        return task, [1, size, 5] if what == "nodes" else [1, 10_000, size]
    if task == "loopy":
        return task, [1, round(size**0.5), round(size**0.5), 2]
    width, labels = (size, 2) if what == "width" else (4, size if what == "labels" else 2)
    return task, [1, width, size // 4 if what == "nodes" else 100, labels]


def _growth(curves: dict[str, list[int]]) -> list[dict[str, Any]]:
    """Seconds of planning, tracing, compiling and running along each curve; ours only."""
    makers = {
        "trees": ours.trees,
        "grids": ours.graph,
        "loopy": ours.loopy,
    }
    rows = []
    print("\ngrowth: ln Z and all marginals (loopy: 60 iterations)")
    print(f"{'':16}{'size':>9}{'plan s':>9}{'trace s':>9}{'compile s':>11}{'ms':>11}")
    for curve, values in curves.items():
        for size in values:
            task, sizes = _growth_sizes(curve, size)
            once, facts = makers[task](_problem(task, sizes))
            once()
            seconds: list[float] = []
            while len(seconds) < 3 or (sum(seconds) < 0.3 and len(seconds) < 50):
                begin = time.perf_counter()
                once()
                seconds.append(time.perf_counter() - begin)
            row = {"curve": curve, "size": size, "shape": sizes, **facts}
            rows.append(row | {"ms": 1e3 * float(np.median(seconds))})
            print(
                f"{curve:16}{size:9d}{row['plan_seconds']:9.3f}{row['trace_seconds']:9.3f}"
                f"{row['compile_seconds']:11.3f}{rows[-1]['ms']:11.3f}",
                flush=True,
            )
    return rows


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Time of a call, and of planning and compiling, along each curve."""
    from matplotlib.figure import Figure

    curves = list(dict.fromkeys(row["curve"] for row in rows))
    across = min(len(curves), 3)
    down = -(-len(curves) // across)
    figure = Figure(figsize=(3.4 * across, 2.8 * down), layout="constrained")
    for number, curve in enumerate(curves):
        axes = figure.add_subplot(down, across, number + 1)
        mine = [row for row in rows if row["curve"] == curve]
        sizes = [row["size"] for row in mine]
        for title, seconds in (
            ("a call", [row["ms"] / 1e3 for row in mine]),
            ("compilation", [row["trace_seconds"] + row["compile_seconds"] for row in mine]),
            ("plan", [row["plan_seconds"] for row in mine]),
        ):
            axes.plot(sizes, seconds, marker="o", markersize=3, label=title)
        axes.set_yscale("log")
        if not curve.endswith("width"):
            axes.set_xscale("log")
        if curve.endswith("labels"):  # less than two powers of ten: its marks would overlap
            axes.set_xticks(sizes, list(map(str, sizes)))
            axes.set_xticks([], minor=True)
        axes.set_title(curve.replace(" ", ": "), fontsize=9)
        axes.set_ylabel("seconds", fontsize=8)
        axes.tick_params(labelsize=8)
        if not number:
            axes.legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None})
