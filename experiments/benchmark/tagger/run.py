"""CRF over sparse features: seconds of a whole training on CoNLL-2000, against CRFsuite."""

from __future__ import annotations

from typing import Any

from experiments.benchmark import interleave
from rntn_jax import data

__all__ = ["run"]

SYSTEMS = {"ours": "rntn_jax, tagger.CRF", "crfsuite": "python-crfsuite (one thread)"}


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
        systems: only these; empty: all.
        python: interpreter of python-crfsuite.
        output: JSON file for the figures.
        corpus: a corpus of columns.

    Raises:
        ValueError: for an unknown system, or when a worker failed.
    """
    interleave.check_words(systems, list(SYSTEMS))
    path = data.corpora.find(corpus, data_dir)["train"]
    rows = interleave.take_turns(
        "experiments.benchmark.tagger.baselines",
        [name for name in SYSTEMS if name in (systems or SYSTEMS)],
        path,
        rounds=0,
        threads=threads,
        pythons={"crfsuite": python} if python else {},
    )
    figures = {"threads": threads, "cpu": interleave.cpu(), "corpus": corpus, "training": rows}
    print(f"{'':32}{'seconds':>10}{'iterations':>12}{'loss':>12}")
    for row in rows:
        if "missing" in row:
            print(f"{SYSTEMS[row['system']]:32} not measured: {row['missing']}")
            continue
        print(
            f"{SYSTEMS[row['system']]:32}{row['first_seconds']:10.1f}{row['iterations']:12}"
            f"{row['losses'][-1]:12.2f}"
        )
    interleave.write(output, figures)
    return figures
