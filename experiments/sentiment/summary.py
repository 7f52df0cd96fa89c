"""Mean and best of several runs, beside the published figures."""

from __future__ import annotations

import glob
from pathlib import Path

import numpy as np

from experiments.sentiment import scores
from experiments.workdir import read_json

__all__ = ["summarize"]


def summarize(pattern: str) -> None:
    """Prints the test scores (dev, without a test file) of the finished runs that match a pattern.

    Raises:
        FileNotFoundError: when none matches.
    """
    folders = sorted(path for path in map(Path, glob.glob(pattern)) if path.is_dir())
    results = {
        p.name: read_json(p / "result.json") for p in folders if (p / "result.json").exists()
    }
    if not results:
        raise FileNotFoundError(f"no finished run matches {pattern!r}")
    for result in results.values():
        result.setdefault("test", result["dev"])
    # Two-class models have only the "fine" columns.
    columns = max((list(result["test"]) for result in results.values()), key=len)
    width = max(map(len, [*results, *scores.PUBLISHED, "mean"])) + 2
    print(" " * width + "".join(f"{name:>21}" for name in [*columns, "dev, chosen by"]))
    for name, result in results.items():
        chosen = f"{100 * result['chosen_by']:.2f} @{result['epoch']}"
        test = result["test"]
        row = "".join(f"{100 * test.get(c, float('nan')):>21.2f}" for c in columns)
        print(f"{name:{width}}{row}{chosen:>21}")
    table = np.array(
        [[result["test"].get(c, np.nan) for c in columns] for result in results.values()]
    )
    spread = table.std(axis=0, ddof=1) if len(table) > 1 else np.zeros(len(columns))
    rows = {"mean": table.mean(axis=0), "standard deviation": spread, "best": table.max(axis=0)}
    for name, values in rows.items():
        print(f"{name:{width}}" + "".join(f"{100 * value:>21.2f}" for value in values))
    best = max(results, key=lambda name: results[name]["chosen_by"])
    print(f"{'chosen on dev':{width}}{best}")
    for name, published in scores.PUBLISHED.items():
        row = "".join(f"{100 * published.get(c, float('nan')):>21.1f}" for c in columns)
        print(f"{name:{width}}{row}")
