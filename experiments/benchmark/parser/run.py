"""The parser: training steps a second of its network, and words a second of parsing."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark import interleave, problem_file
from experiments.benchmark.parser.baselines import (
    BATCH,
    UDPIPE_OPTIONS,
    Problem,
    padded_batches,
)
from rntn_jax import data

__all__ = ["run"]

# Key for `--systems` and the worker, and what it is.
SYSTEMS = {
    "training": {
        "ours": "rntn_jax, folded, hand rule",
        "autodiff": "JAX autodiff of the plain code",
        "torch": "PyTorch, fused Adam",
    },
    "parsing": {
        "tables": "rntn_jax, tables, greedy",
        "plain": "rntn_jax, no tables, greedy",
        "whole": "rntn_jax, from words to names",
        "udpipe_greedy": "UDPipe, greedy, one process",
        "udpipe_greedy_two": "UDPipe, greedy, two processes",
        "udpipe_beam": "UDPipe, beam 5, one process",
        "udpipe_beam_two": "UDPipe, beam 5, two processes",
    },
}
OPTIONS = {"feats": False, "suffixes": False, "activation": "relu"}
UDPIPE_SENTENCES = 1500  # of its training


def run(
    *,
    corpus: str,
    data_dir: str | None,
    dims: list[int],
    batch_sizes: list[int],
    rounds: int,
    threads: int,
    systems: list[str],
    parts: list[str],
    model: str | None,
    udpipe_model: str | None,
    python: str | None,
    output: str | None,
    max_sentences: int | None = None,
) -> dict[str, Any]:
    """Runs the benchmark, prints tables, and returns all figures.

    Args:
        corpus: ``demo`` or ``ud_ewt``.
        data_dir: where the corpus lies.
        dims: widths of the hidden layer in training; the first one is that of parsing too.
        batch_sizes: as many, one for each width.
        rounds: turns of every system.
        threads: for every system.
        systems: only these; empty: all.
        parts: ``training``, ``parsing``.
        model: a trained parser of the parsing experiment; None: random weights.
        udpipe_model: file of UDPipe's model, made when it is not there; None: made for this run.
        python: interpreter of PyTorch and UDPipe.
        output: JSON file for the figures.
        max_sentences: use only that many of each split.

    Raises:
        ValueError: for an unknown system or part, for lists of different lengths, when two ways to
            compute the same trees differ, or when a worker failed.
    """
    interleave.check_words(systems, [name for names in SYSTEMS.values() for name in names])
    interleave.check_words(parts, list(SYSTEMS))
    if len(dims) != len(batch_sizes):
        raise ValueError(f"{len(dims)} dims, {len(batch_sizes)} batch_sizes: give as many")
    if corpus == "demo":
        splits = data.demo_dependencies.splits()
    else:
        files = data.corpora.find(corpus, data_dir)
        splits = {name: data.read_conllu(files[name]) for name in ("train", "test")}
    splits = {name: sentences[:max_sentences] for name, sentences in splits.items()}
    figures: dict[str, Any] = {
        "threads": threads,
        "machine": interleave.machine(),
        "corpus": corpus,
        "training": [],
        "parsing": [],
    }

    def take_turns(part: str, path: Path) -> list[dict[str, Any]]:
        return interleave.take_turns(
            "experiments.benchmark.parser.baselines",
            [name for name in SYSTEMS[part] if name in (systems or SYSTEMS[part])],
            path,
            rounds=rounds,
            threads=threads,
            pythons={"torch": python, "udpipe": python} if python else {},
        )

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "training" in parts:
            for dim, size in zip(dims, batch_sizes):
                problem_file.save(folder / "problem.npz", _problem(splits["train"], dim, size))
                rows = take_turns("training", folder / "problem.npz")
                for row in rows:
                    row |= {"dim": dim, "batch_size": size}
                    row["losses"] = row.get("losses", [])[:2]
                    if "ms" in row:
                        row["transitions_per_second"] = 1e3 * size / row["ms"]
                figures["training"] += rows
                _print_training(rows)
                interleave.write(output, figures)
        if "parsing" in parts:
            paths = _parsing_files(folder, splits, dims[0], model, udpipe_model)
            figures["model"] = "trained" if model else "random weights"
            figures["parsing"] = _compare(take_turns("parsing", paths), splits["test"])
            _print_parsing(figures["parsing"])
    interleave.write(output, figures)
    return figures


def _model(sentences: Any, dim: int) -> Any:
    """A parser of words and tags with random weights: 48 places, vectors of width 50."""
    import jax

    from experiments.parser_data import vocabularies_of
    from rntn_jax.annotate.dependency_parser import DependencyParser
    from rntn_jax.models import parser

    vocabularies = vocabularies_of(sentences, OPTIONS, min_count=2)
    relations = sorted({r for sentence in sentences for r in sentence.relations})
    config = parser.Config(
        vocab_sizes=tuple(len(v) + 1 for v in vocabularies),  # and the root
        num_relations=len(relations),
        embed_dims=50,
        hidden_dim=dim,
    )
    params = jax.device_get(parser.init(jax.random.key(0), config))
    return DependencyParser(params, vocabularies, relations, config, OPTIONS)


def _problem(sentences: Any, dim: int, size: int, count: int = 8) -> Problem:
    """Minibatches of the steps to the gold trees."""
    import jax

    from rntn_jax.models import parser

    model = _model(sentences, dim)
    number = {relation: r for r, relation in enumerate(model.relations)}
    examples = jax.jit(parser.oracle_transitions, static_argnums=3)
    seen, taken = [], []
    # The first sentences are enough: one has more than ten steps.
    for members, padded in padded_batches(model, sentences[: count * size // 10 + BATCH]):
        heads = np.full(padded.ids[0].shape, -1, np.int32)
        labels = heads.copy()
        for row, member in enumerate(members):
            projective, _ = data.dependencies.projectivise(sentences[member].heads)
            heads[row, 1 : len(projective) + 1] = projective
            names = sentences[member].relations
            labels[row, 1 : len(names) + 1] = [number[name] for name in names]
        ids, steps = jax.device_get(examples(padded, heads, labels, len(number)))
        seen.append([column[steps >= 0] for column in ids])
        taken.append(steps[steps >= 0])
    steps = np.concatenate(taken)
    rows = np.resize(np.random.default_rng(0).permutation(len(steps)), (count, size))
    params = model.params
    return Problem(
        [np.concatenate(parts)[rows].astype(np.int32) for parts in zip(*seen)],
        steps[rows].astype(np.int32),
        list(params.embedding),
        list(params.hidden),
        list(params.head),
        1e-3,
    )


def _parsing_files(
    folder: Path, splits: Any, dim: int, model: str | None, udpipe_model: str | None
) -> Path:
    """Writes what the workers need; returns the list of it."""
    from rntn_jax.annotate.dependency_parser import save_dependency_parser

    if model is None:
        save_dependency_parser(folder / "model.safetensors", _model(splits["train"], dim))
    data.write_conllu(folder / "test.conllu", splits["test"])
    data.write_conllu(folder / "train.conllu", splits["train"][:UDPIPE_SENTENCES])
    files = {
        "model": str(Path(model).absolute() if model else folder / "model.safetensors"),
        "test": str(folder / "test.conllu"),
        "udpipe_train": str(folder / "train.conllu"),
        "udpipe": str(Path(udpipe_model).absolute() if udpipe_model else folder / "udpipe.model"),
    }
    path = folder / "files.json"
    path.write_text(json.dumps(files), encoding="utf-8")
    return path


def _compare(rows: list[dict[str, Any]], sentences: Any) -> list[dict[str, Any]]:
    """Adds words a second and attachment scores; our ways must give the same trees."""
    words = sum(len(sentence.forms) for sentence in sentences)
    first = None
    for row in rows:
        trees = row.pop("trees", None)
        if "ms" in row:
            row["words_per_second"] = 1e3 * words / row["ms"]
            del row["losses"], row["last_loss"]
        if trees is None:
            continue
        trees = [(heads, names) for heads, names in trees]  # JSON knows no tuples
        scores = data.dependencies.attachment_scores(sentences, trees)
        row |= {"uas": scores.uas, "las": scores.las}
        if row["system"] in ("tables", "plain", "whole"):
            first = first or trees
            row["other_trees"] = sum(own != tree for own, tree in zip(trees, first))
            if row["other_trees"]:
                raise ValueError(
                    f"{row['system']!r} gives other trees for {row['other_trees']} of "
                    f"{len(trees)} sentences"
                )
    return rows


def _print_training(rows: list[dict[str, Any]]) -> None:
    first = rows[0]
    print(f"\ntraining: H = {first['dim']}, B = {first['batch_size']}")
    columns: list[interleave.Column] = [
        ("ms", "9.2f", "ms"),
        ("least", "9.2f", "ms_least"),
        ("ratio", "7.2f", "ratio"),
        ("steps/s", "9.1f", lambda row: 1e3 / row["ms"]),
        ("transitions/s", "14.0f", "transitions_per_second"),
        ("temp MB", "9.0f", "temp_mb"),
        ("peak MB", "9.0f", "peak_mb"),
        ("loss", "10.4f", lambda row: row["losses"][-1]),
    ]
    interleave.print_table(rows, SYSTEMS["training"], columns)


def _print_parsing(rows: list[dict[str, Any]]) -> None:
    print(f"\nparsing (UDPipe trained with {UDPIPE_OPTIONS})")
    columns: list[interleave.Column] = [
        ("ms", "9.1f", "ms"),
        ("least", "9.1f", "ms_least"),
        ("ratio", "7.2f", "ratio"),
        ("words/s", "9.0f", "words_per_second"),
        ("UAS", "8.2f", lambda row: 100 * row.get("uas", np.nan)),
        ("LAS", "8.2f", lambda row: 100 * row.get("las", np.nan)),
        ("peak MB", "9.0f", "peak_mb"),
        ("first s", "9.2f", "first_seconds"),
    ]
    interleave.print_table(rows, SYSTEMS["parsing"], columns)
