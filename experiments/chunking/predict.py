"""A trained tagger at work: columns in, columns with tags out."""

from __future__ import annotations

import sys
from pathlib import Path

from experiments.chunking.pipeline import compare, load_model, predict
from rntn_jax import data

__all__ = ["tag"]


def tag(model_path: Path, source: str, *, marginals: bool, constrained: bool) -> None:
    """Prints a file's columns, the tag, and on request the probability of each label.

    A file with as many columns as the training data has its last one taken for the gold tag: it is
    not read, and the scores go to standard error.
    """
    model = load_model(model_path)
    sentences = data.read_columns(sys.stdin.buffer if source == "-" else source)
    width, trained = len(sentences[0][0]), model.info["columns"]
    if width not in (trained, trained - 1):
        raise data.DataError(
            f"{width} columns; the model was trained on {trained - 1} and the tag",
            file=None if source == "-" else source,
        )
    has_gold = width == trained
    bare = [[row[:-1] for row in rows] for rows in sentences] if has_gold else sentences
    tags, probabilities = predict(model, bare, constrained)
    if marginals:
        print("# " + "\t".join(["columns", "tag", *model.labels]))
    for rows, best, p in zip(sentences, tags, probabilities):
        for t, row in enumerate(rows):
            shares = [f"{x:.4f}" for x in p[t]] if marginals else []
            print("\t".join([*row, best[t], *shares]))
        print()
    if has_gold:
        print(_scores(sentences, tags, model.info["scheme"]), file=sys.stderr)


def _scores(sentences: list[list[tuple[str, ...]]], tags: list[list[str]], scheme: str) -> str:
    """A table of scores, or why there is none."""
    try:
        table = data.chunks.table(compare(sentences, tags, scheme))
    except data.DataError as error:
        return f"no scores, as the last column holds no tags of the scheme {scheme}: {error}"
    # Of tags that are no chunk tags only the last line, the token accuracy.
    return table if scheme != "none" else table.splitlines()[-1]
