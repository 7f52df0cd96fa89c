"""Tags for files of columns: what `rntn-jax tag` and `./launch.sh chunking --tag` do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from rntn_jax import data
from rntn_jax.compilation import cached
from rntn_jax.data.text import read_text, write_text
from rntn_jax.tagger import CRF
from rntn_jax.tagger.column_tagger import compare, load_model, predict
from rntn_jax.training import read_info

__all__ = ["tag"]


@cached()
def tag(
    model_path: str | Path,
    source: str,
    *,
    marginals: bool = False,
    constrained: bool = False,
    output: str | None = None,
) -> None:
    """Writes a file's columns, the tag, and on request the probability of each label.

    A file with as many columns as the training data has its last one taken for the gold tag: it is
    not read, and the scores go to standard error. For a model of `rntn_jax.tagger.CRF.save`, whose
    features are its user's own, each column is an attribute of weight 1; columns are then
    separated by tabs, and a token may have any number of them.

    Args:
        model_path: of `./launch.sh chunking`, or of `CRF.save`.
        source: the file; - for standard input. Sentences are separated by blank lines.
        marginals: print the probabilities too.
        constrained: only sequences of tags that are well-formed in the scheme of the training data.
        output: the file to write; None: standard output.

    Raises:
        CheckpointError: when the model file is damaged or holds something else.
        DataError: for faults in the file.
        OSError: when a file cannot be read.
        ValueError: for ``constrained`` where the model names no scheme.
    """
    stream: Any = sys.stdin.buffer if source == "-" else source
    content = read_info(model_path)
    trained_here = content.get("info")
    if content.get("kind") == "sparse_crf" and "template" not in (trained_here or {}):
        if constrained:
            raise ValueError(
                f"--constrained: {model_path} does not say in which scheme its tags are"
            )
        crf = CRF.load(model_path)
        sentences = _attributes(stream)
        found = crf.predict_marginals(sentences) if marginals else [[] for _ in sentences]
        probabilities = [[[p[label] for label in crf.classes_] for p in rows] for rows in found]
        text = _text(sentences, crf.predict(sentences), probabilities, crf.classes_, marginals)
        return write_text(output or sys.stdout, text)
    model = load_model(model_path)
    sentences = data.read_columns(stream)
    width, trained = len(sentences[0][0]), model.info["columns"]
    if width not in (trained, trained - 1):
        raise data.DataError(
            f"{width} columns; the model was trained on {trained - 1} and the tag",
            file=None if source == "-" else source,
        )
    has_gold = width == trained
    bare = [[row[:-1] for row in rows] for rows in sentences] if has_gold else sentences
    tags, probabilities = predict(model, bare, constrained)
    write_text(output or sys.stdout, _text(sentences, tags, probabilities, model.labels, marginals))
    if has_gold:
        print(_scores(sentences, tags, model.info["scheme"]), file=sys.stderr)


def _text(
    sentences: Any, tags: Any, probabilities: Any, labels: Sequence[str], marginals: bool
) -> str:
    """Rows with their tags; ``probabilities`` of a sentence are ``[T, C]``."""
    lines = ["# " + "\t".join(["columns", "tag", *labels])] if marginals else []
    for rows, best, p in zip(sentences, tags, probabilities):
        for t, row in enumerate(rows):
            shares = [f"{x:.4f}" for x in p[t]] if marginals else []
            lines.append("\t".join([*row, best[t], *shares]))
        lines.append("")
    return "".join(f"{line}\n" for line in lines)


def _attributes(stream: str | IO[bytes]) -> list[list[list[str]]]:
    """Sentences of tokens of attributes.

    Raises:
        DataError: when there are none.
    """
    file, content = read_text(stream)
    sentences: list[list[list[str]]] = [[]]
    for line in content.split("\n"):
        if line.strip():
            sentences[-1].append([name for name in line.split("\t") if name])
        else:
            sentences.append([])
    found = [rows for rows in sentences if rows]
    if not found:
        raise data.DataError("there are no tokens", file=file)
    return found


def _scores(sentences: list[list[tuple[str, ...]]], tags: list[list[str]], scheme: str) -> str:
    """A table of scores, or why there is none."""
    try:
        table = data.chunks.table(compare(sentences, tags, scheme))
    except data.DataError as error:
        return f"no scores, as the last column holds no tags of the scheme {scheme}: {error}"
    # Of tags that are no chunk tags only the last line, the token accuracy.
    return table if scheme != "none" else table.splitlines()[-1]
