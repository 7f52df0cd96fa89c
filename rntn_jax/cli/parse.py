"""Universal Dependencies of raw text: `rntn-jax parse`, and `./launch.sh parsing --text`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from rntn_jax import annotate, data
from rntn_jax.cli.inputs import text_or_file
from rntn_jax.compilation import cached
from rntn_jax.data.text import write_text

__all__ = ["evaluate", "parse"]

_CONLLU = re.compile(r"\s*(#.*\n)*1(-\d+)?(\t[^\t\n]+){9}(\n|$)")  # how such a file begins


@cached()
def parse(model: str | Path | None, source: str, form: str, output: str | None) -> None:
    """Writes the sentences of a raw text with their words, tags, features and trees.

    Args:
        model: file of a `rntn_jax.annotate.UDParser`; None: the model in the package.
        source: a text, or a file of UTF-8; - for standard input.
        form: ``conllu``; ``text``, a drawing for the terminal; ``json``, a sentence a line;
            ``svg``, one picture; ``html``, a page.
        output: the file to write; None: standard output.

    Raises:
        CheckpointError: when the model file is damaged or holds something else.
        DataError: when there are no words, for what is CoNLL-U already, and for bytes that are not
            UTF-8.
        OSError: when a file cannot be read or written.
    """
    file, text = text_or_file(source)
    if _CONLLU.match(text):
        raise data.DataError("this is CoNLL-U, and raw text is wanted", file=file)
    answer = annotate.parse(text, _load(model))
    if not answer:
        raise data.DataError("there are no words", file=file, value=text[:40])
    if form == "json":
        rows = ({"id": number} | sentence.to_dict() for number, sentence in enumerate(answer, 1))
        written = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    elif form == "html":
        of = f" of {Path(file).name}" if file and source != "-" else ""
        written = answer.to_html(f"Dependency trees{of}")
    else:
        written = {"conllu": answer.to_conllu, "text": answer.to_text, "svg": answer.to_svg}[form]()
    end = "" if written.endswith("\n") else "\n"
    write_text(sys.stdout if output is None else output, written + end)


@cached()
def evaluate(model: str | Path | None, treebank: str, output: str | None = None) -> None:
    """Writes the F1 scores of the analysis of a treebank's raw text, as CoNLL 2018 counts them.

    Args:
        model: as `parse` has it.
        treebank: a file of CoNLL-U; - for standard input.
        output: the file to write; None: standard output.

    Raises:
        CheckpointError: when the model file is damaged or holds something else.
        DataError: for faults in the treebank.
        OSError: when a file cannot be read or written.
    """
    sentences = data.read_conllu(sys.stdin.buffer if treebank == "-" else treebank)
    table = annotate.evaluate_text(_load(model), sentences).table()
    write_text(sys.stdout if output is None else output, table + "\n")


def _load(model: str | Path | None) -> annotate.UDParser:
    return annotate.default_ud_parser() if model is None else annotate.load_ud_parser(model)
