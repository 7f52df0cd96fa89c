"""Raw texts: sentences a second to tokens, to labelled sentiment trees, and to UD trees."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from experiments.benchmark import interleave
from rntn_jax import data

__all__ = ["SYSTEMS", "run"]

TIMES = 2  # every text comes: as long a file as those that are read in pieces

SYSTEMS = {
    "labelled sentiment trees": {
        "ours": "rntn_jax, file to file",
        "numpy": "the same model in NumPy",
    },
    "tokens": {
        "ours_tokens": "rntn_jax, data.tokenize",
        "nltk": "NLTK, TreebankWordTokenizer",
    },
    "tokens, tags and UD trees": {
        "ours_ud": "rntn_jax, parse",
        "udpipe_greedy": "UDPipe, greedy, one thread",
        "udpipe_beam": "UDPipe, beam 5, one thread",
    },
}


def run(
    *,
    corpus: str,
    data_dir: str | None,
    udpipe_train: str | None,
    rounds: int,
    threads: int,
    systems: list[str],
    python: str | None,
    output: str | None,
    max_texts: int | None = None,
) -> dict[str, Any]:
    """Runs the benchmark, prints tables, and returns all figures.

    Args:
        corpus: ``demo`` or ``sst``: the sentences of its training trees are the texts.
        data_dir: where the corpus lies.
        udpipe_train: a CoNLL-U file of which UDPipe's model is made; None: UDPipe is left out.
        rounds: turns of every system.
        threads: for our systems; NumPy's and the peers' use one.
        systems: only these; empty: all.
        python: interpreter of NLTK and UDPipe.
        output: JSON file for the figures.
        max_texts: use only that many.

    Raises:
        ValueError: for an unknown system, when NumPy's trees are not ours, or when a worker failed.
    """
    interleave.check_words(systems, [name for names in SYSTEMS.values() for name in names])
    if corpus == "demo":
        trees = data.demo_sentiment.sentiment_splits()["train"]
    else:
        trees = data.read_trees(data.corpora.find(corpus, data_dir)["train"])
    texts = [" ".join(tree.tokens) for tree in trees[:max_texts]]
    texts = texts * TIMES if max_texts is None else texts
    figures: dict[str, Any] = {
        "threads": threads,
        "machine": interleave.machine(),
        "corpus": corpus,
        "texts": len(texts),
        "words": sum(len(tree.tokens) for tree in trees[:max_texts]),
        "measured": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        problem, model = Path(folder) / "problem.json", Path(folder) / "udpipe.model"
        problem.write_text(json.dumps({"texts": texts, "udpipe": str(model)}), encoding="utf-8")
        if udpipe_train:
            _train_udpipe(python or sys.executable, udpipe_train, model)
        for part, names in SYSTEMS.items():
            own = [
                name
                for name in names
                if name in (systems or names) and (udpipe_train or not name.startswith("udpipe"))
            ]
            if not own:
                continue
            rows = interleave.take_turns(
                "experiments.benchmark.text.baselines",
                own,
                problem,
                rounds=rounds,
                threads=threads,
                pythons={"nltk": python, "udpipe": python} if python else {},
            )
            _compare(rows)
            print(part)
            interleave.print_table(
                rows,
                names,
                (
                    ("sentences/s", "13.0f", lambda row: 1e3 / row["ms"]),
                    ("CPU ms each", "13.3f", "cpu_ms"),
                    ("time by ours", "14.2f", "ratio"),
                    ("MB", "8.0f", "peak_mb"),
                ),
            )
            figures["measured"] += rows
    interleave.write(output, figures)
    return figures


def _train_udpipe(python: str, source: str, target: Path) -> None:
    code = "import sys; from experiments.benchmark.text.baselines import train_udpipe as train; "
    done = subprocess.run(
        [python, "-c", f"{code}train(*sys.argv[1:])", str(Path(source).absolute()), str(target)],
        cwd=interleave.ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ValueError(f"UDPipe could not be trained on {source}: {done.stderr[-300:]}")


def _compare(rows: list[dict[str, Any]]) -> None:
    """Adds the share of texts for which a system finds what the first one found."""
    first: list[str] = []
    for row in rows:
        row.pop("losses", None)
        row.pop("last_loss", None)
        found = row.pop("found", None)
        if found is None:
            continue
        first = first or found
        same = [one == other for one, other in zip(first, found)]
        row["as_the_first"] = sum(same) / len(same)
        if row["system"] == "numpy" and row["as_the_first"] < 0.95:
            raise ValueError(f"NumPy finds other trees: {row['as_the_first']:.2f} are ours")
