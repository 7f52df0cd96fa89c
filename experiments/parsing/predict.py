"""Trained parsers at work: CoNLL-U or raw text in; CoNLL-U, drawings and pages out."""

from __future__ import annotations

import sys
from pathlib import Path

from experiments.parsing.pipeline import load_model
from experiments.parsing.pipeline import parse as parse_all
from rntn_jax import annotate, data
from rntn_jax.compilation import cached
from rntn_jax.data.text import read_text, write_text

__all__ = ["evaluate_text", "parse", "parse_text"]


@cached()
def parse(model_path: Path, source: str) -> None:
    """Prints a tagged file with heads and relations; those in the file are not read.

    Where the file has trees, the scores go to standard error.
    """
    model = load_model(model_path)
    content = sys.stdin.buffer if source == "-" else source
    sentences = data.read_conllu(content, trees=False)
    answers = parse_all(model, sentences)
    data.write_conllu(
        sys.stdout,
        [sentence.with_tree(*answer) for sentence, answer in zip(sentences, answers)],
    )
    try:
        scores = data.dependencies.attachment_scores(sentences, answers)
    except data.DataError:
        return  # the file has no trees
    print(scores.table(), file=sys.stderr)


def parse_text(model_path: str | None, source: str, form: str, output: str | None) -> None:
    """Writes the trees of a raw text.

    Args:
        model_path: file of a `rntn_jax.annotate.UDParser`; None: the model in the package.
        source: a file of UTF-8, or "-" for standard input.
        form: conllu, text, svg or html.
        output: file to write; None: standard output.

    Raises:
        DataError: when there are no words, or the text is not UTF-8.
    """
    _, text = read_text(sys.stdin.buffer if source == "-" else source)
    answer = annotate.parse(text, _ud_parser(model_path))
    if not answer:
        raise data.DataError("there are no words", file=source)
    if form == "html":
        title = "Dependency trees" + ("" if source == "-" else f" of {Path(source).name}")
        written = answer.to_html(title)
    else:
        written = {"conllu": answer.to_conllu, "text": answer.to_text, "svg": answer.to_svg}[form]()
    end = "" if written.endswith("\n") else "\n"
    write_text(sys.stdout if output is None else output, written + end)


def evaluate_text(model_path: str | None, treebank: str) -> None:
    """Prints F1 scores of the analysis of a treebank's raw text."""
    sentences = data.read_conllu(sys.stdin.buffer if treebank == "-" else treebank)
    print(annotate.evaluate_text(_ud_parser(model_path), sentences).table())


def _ud_parser(path: str | None) -> annotate.UDParser:
    return annotate.default_ud_parser() if path is None else annotate.load_ud_parser(path)
