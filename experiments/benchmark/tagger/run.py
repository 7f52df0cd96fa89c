"""CRF over sparse features: seconds of a whole training on CoNLL-2000, against CRFsuite."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from experiments.benchmark import interleave
from rntn_jax import data

__all__ = ["SYSTEMS", "run"]

_NAMES = {"ours": "rntn_jax, tagger.CRF", "crfsuite": "python-crfsuite (one thread)"}
_ALGORITHMS = ("l2sgd", "ap", "pa", "arow")
# Those without an algorithm behind the name train by L-BFGS to the optimum.
SYSTEMS = _NAMES | {
    f"{who}_{algorithm}": f"{name}, {algorithm}"
    for algorithm in _ALGORITHMS
    for who, name in _NAMES.items()
}


def run(
    *,
    data_dir: str | None,
    threads: int,
    systems: list[str],
    python: str | None,
    output: str | None,
    corpus: str = "conll2000",
) -> dict[str, Any]:
    """Trains each system once, one after the other, prints a table, and returns the figures.

    Args:
        data_dir: where the corpus lies.
        threads: for our system; CRFsuite uses one.
        systems: only these; empty: ours and CRFsuite's, by L-BFGS.
        python: interpreter of python-crfsuite.
        output: JSON file for the figures.
        corpus: a corpus of columns.

    Raises:
        ValueError: for an unknown system, or when a worker failed.
    """
    interleave.check_words(systems, list(SYSTEMS))
    paths = {split: str(path) for split, path in data.corpora.find(corpus, data_dir).items()}
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder) / "problem.json"
        problem.write_text(json.dumps(paths), encoding="utf-8")
        rows = [
            row
            for name in SYSTEMS
            if name in (systems or _NAMES)
            for row in interleave.take_turns(
                "experiments.benchmark.tagger.baselines",
                [name],
                problem,
                rounds=0,
                threads=threads,
                pythons={"crfsuite": python} if python else {},
            )
        ]
    figures = {
        "threads": threads,
        "machine": interleave.machine(),
        "corpus": corpus,
        "training": rows,
    }
    print(f"{'':40}{'seconds':>10}{'iterations':>12}{'loss':>12}{'F1':>8}{'accuracy':>10}")
    for row in rows:
        if "missing" in row:
            print(f"{SYSTEMS[row['system']]:40} not measured: {row['missing']}")
            continue
        print(
            f"{SYSTEMS[row['system']]:40}{row['seconds']:10.1f}{row['iterations']:12}"
            f"{row['losses'][-1]:12.2f}{100 * row['f1']:8.2f}{100 * row['accuracy']:10.2f}"
        )
    interleave.write(output, figures)
    return figures
