"""A trained parser at work: tagged CoNLL-U in, with trees out (raw text: `rntn_jax.cli.parse`)."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from rntn_jax import data
from rntn_jax.annotate.dependency_parser import (
    load_dependency_parser,
    parse_tagged,
    parse_with_marginals,
)
from rntn_jax.compilation import cached

__all__ = ["parse"]


@cached()
def parse(model_path: Path, source: str, marginals: bool = False) -> None:
    """Prints a tagged file with heads and relations; those in the file are not read.

    Where the file has trees, the scores go to standard error.

    Args:
        model_path: file of the model.
        source: CoNLL-U file, or - for standard input.
        marginals: write the probability of each arc into MISC, as ``ArcProbability``.
    """
    model = load_dependency_parser(model_path)
    content = sys.stdin.buffer if source == "-" else source
    sentences = data.read_conllu(content, trees=False)
    if marginals:
        found = parse_with_marginals(model, sentences)
        answers = [answer[:2] for answer in found]
    else:
        found = answers = parse_tagged(model, sentences)
    parsed = [sentence.with_tree(*answer) for sentence, answer in zip(sentences, answers)]
    if marginals:
        parsed = [_with_probabilities(s, answer[-1]) for s, answer in zip(parsed, found)]
    data.write_conllu(sys.stdout, parsed)
    try:
        scores = data.dependencies.attachment_scores(sentences, answers)
    except data.DataError:
        return  # the file has no trees
    print(scores.table(), file=sys.stderr)


def _with_probabilities(sentence: data.ConlluSentence, p: Any) -> data.ConlluSentence:
    """The probability of each word's arc in its MISC."""
    rows, left = [], iter(p)
    for row in sentence.rows:
        if row[0].isdigit():  # a word; others are ranges of words and empty nodes
            said = f"ArcProbability={next(left):.4f}"
            row = (*row[:9], said if row[9] == "_" else f"{row[9]}|{said}")
        rows.append(row)
    return dataclasses.replace(sentence, rows=tuple(rows))
