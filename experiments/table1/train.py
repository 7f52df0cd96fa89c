"""Trains every row of the table, each run in a folder of its own, and puts the table together.

A run is one of the sentiment experiment. What was stopped goes on where it was: a run that has
ended is read, one that has not resumes from its checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.sentiment import bag_of_words, scores
from experiments.sentiment import config as sentiment_config
from experiments.sentiment import train as sentiment
from experiments.table1 import report, rows
from experiments.table1.config import Config
from experiments.workdir import run_once, write_json
from rntn_jax import data
from rntn_jax.annotate import label_trees, load_classifier

__all__ = ["Row", "run"]


class Row(NamedTuple):
    """A row of the table, and the model of it that dev chose."""

    name: str
    values: dict[str, float]  # means over the seeds, on test, as fractions
    errors: dict[str, float]  # their standard errors; empty of a single run
    runs: list[dict[str, Any]]  # seed, command, dev and test scores, seconds
    predict: bag_of_words.Predict  # of the run that was best on dev


def run(config: Config, workdir: str | Path, *, fresh: bool = False) -> dict[str, Any]:
    """`run_once` of the table.

    Returns:
        The content of ``result.json``: row -> means, standard errors, and every run.
    """
    return run_once(config, workdir, fresh, _splits, _run)


def _splits(config: Config) -> dict[str, list[data.Tree]]:
    preset, own = rows.settings(config, config.names()[0], 0)
    return sentiment.load_splits(rows.run_config(preset, own))


def _run(config: Config, workdir: Path, splits: dict[str, list[data.Tree]]) -> dict[str, Any]:
    found = [_row(config, workdir, name, splits) for name in config.names()]
    result = {
        row.name: {"mean": row.values, "standard_error": row.errors, "runs": row.runs}
        for row in found
    }
    (workdir / "table.md").write_text(report.markdown(found), encoding="utf-8")
    report.write(workdir, config, found, splits["test"])
    answer = {"rows": result, "report": str(workdir / "report.html")}
    write_json(workdir / "result.json", answer)
    return answer


def _row(config: Config, workdir: Path, name: str, splits: dict[str, list[data.Tree]]) -> Row:
    runs = []
    for seed in config.seeds_of(name):
        preset, own = rows.settings(config, name, seed)
        print(f"{rows.NAMES[name]}: {rows.command(preset, own)}", flush=True)
        folder = workdir / f"{name}-{seed}"
        result = sentiment.run(rows.run_config(preset, own), folder)
        runs.append(
            {
                "seed": seed,
                "command": rows.command(preset, own),
                "dev": result["dev"],
                "test": result["test"],
                "chosen_by": result["chosen_by"],
                "epoch": result["epoch"],
                "seconds": _seconds(folder, result),
            }
        )
    table = np.array([[own["test"][c] for c in scores.COLUMNS] for own in runs])
    spread = table.std(axis=0, ddof=1) / len(runs) ** 0.5 if len(runs) > 1 else []
    best = max(runs, key=lambda own: own["chosen_by"])["seed"]
    return Row(
        name,
        dict(zip(scores.COLUMNS, table.mean(axis=0).tolist())),
        dict(zip(scores.COLUMNS, map(float, spread))),
        runs,
        _predict(config, workdir / f"{name}-{best}", name, splits["train"]),
    )


def _seconds(folder: Path, result: dict[str, Any]) -> float:
    """Time spent in the epochs of a run, or in all of one that has none."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return result["seconds_per_epoch"]
    return round(sum(json.loads(line)["seconds"] for line in path.read_text().splitlines()), 1)


def _predict(
    config: Config, folder: Path, name: str, train: Sequence[data.Tree]
) -> bag_of_words.Predict:
    """The model of a run; a baseline, which has no file, is trained once more."""
    if name not in sentiment_config.BAGS:
        model = load_classifier(folder / "model.safetensors")
        return lambda trees: label_trees(model, trees)
    own = rows.run_config(*rows.settings(config, name, 0))
    words = (word for tree in train for word in tree.tokens)
    vocabulary = data.Vocabulary.build(words, lowercase=own.lowercase)
    return bag_of_words.fit(own, train, vocabulary)
