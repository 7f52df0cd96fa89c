"""A trained parser at work: tagged CoNLL-U in, with trees out (raw text: `rntn_jax.cli.parse`)."""

from __future__ import annotations

import sys
from pathlib import Path

from rntn_jax import data
from rntn_jax.annotate.dependency_parser import load_dependency_parser, parse_tagged
from rntn_jax.compilation import cached

__all__ = ["parse"]


@cached()
def parse(model_path: Path, source: str) -> None:
    """Prints a tagged file with heads and relations; those in the file are not read.

    Where the file has trees, the scores go to standard error.
    """
    model = load_dependency_parser(model_path)
    content = sys.stdin.buffer if source == "-" else source
    sentences = data.read_conllu(content, trees=False)
    answers = parse_tagged(model, sentences)
    data.write_conllu(
        sys.stdout,
        [sentence.with_tree(*answer) for sentence, answer in zip(sentences, answers)],
    )
    try:
        scores = data.dependencies.attachment_scores(sentences, answers)
    except data.DataError:
        return  # the file has no trees
    print(scores.table(), file=sys.stderr)
