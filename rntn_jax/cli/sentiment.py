"""Labels for texts and trees: `rntn-jax sentiment`, and `./launch.sh sentiment --predict`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rntn_jax import data, plots
from rntn_jax.annotate import (
    Pipeline,
    Sentiment,
    build_trees,
    default_model,
    load_classifier,
    load_parser,
    load_pipeline,
)
from rntn_jax.annotate import predict as predict_trees
from rntn_jax.cli.inputs import Text, read
from rntn_jax.compilation import cached
from rntn_jax.training import ProgressBar, read_info

__all__ = ["annotate", "json_of", "load", "predict"]

CHUNK = 2048  # sentences between two moves of the progress bar


def load(model: str | Path | None, builder: str | Path | None) -> Pipeline:
    """The named files, and the model in the package for what is not named.

    Args:
        model: file of a classifier, or of a whole pipeline.
        builder: file of a parser of binary trees.

    Returns:
        a pipeline.

    Raises:
        CheckpointError: when a file is damaged or holds something else.
        FileNotFoundError: when there is no such file.
    """
    if model is None:
        annotator = default_model()
    elif read_info(model).get("kind") == "annotator":
        annotator = load_pipeline(model)
    else:
        annotator = default_model()._replace(classifier=load_classifier(model))
    if builder is not None:
        annotator = annotator._replace(parser=load_parser(builder))
    return annotator


def annotate(annotator: Pipeline, found: Sequence[Any]) -> list[Sentiment]:
    """Answers for tokens or trees, in chunks with a progress bar when they are many.

    Args:
        annotator: what answers.
        found: sentences, of tokens each, or trees; of `rntn_jax.cli.inputs.read`.

    Returns:
        an answer for each.
    """

    def answer(some: Sequence[Any]) -> list[Sentiment]:
        if not isinstance(some[0], data.Tree):
            some = build_trees(annotator.parser, some)
        return predict_trees(annotator.classifier, some)

    if len(found) <= CHUNK:
        return answer(found)
    done: list[Sentiment] = []
    with ProgressBar(len(found), unit="sentences") as bar:
        for at in range(0, len(found), CHUNK):
            done += answer(found[at : at + CHUNK])
            bar.advance(len(done) - at, len(done) - at, "labelling")
    return done


@cached()
def predict(annotator: Pipeline, source: str, kind: str, form: str, output: str | None) -> None:
    """Labels texts or trees, and writes them as text, JSON lines, brackets, SVG or one page.

    Words that the model does not know are told on standard error.

    Args:
        annotator: of `load`.
        source: a text, or a file; - for standard input.
        kind: what is given, as `rntn_jax.cli.inputs.read` takes it.
        form: ``text``, ``json``, ``brackets``, ``svg`` or ``html``.
        output: the file to write, or for several ``svg`` a folder; None: standard output.

    Raises:
        DataError: for faults in the file.
        OSError: when a file cannot be read or written.
        ValueError: for several pictures and no folder.
    """
    found = read(source, kind)
    if form == "svg" and output is None and len(found) > 1:
        raise ValueError(
            f"{len(found)} trees make {len(found)} pictures: name a folder with --output"
        )
    done = annotate(annotator, found)
    _tell_unknown(annotator, done)
    if form == "svg" and (len(done) > 1 or (output and Path(output).is_dir())):
        folder = Path(str(output))
        folder.mkdir(parents=True, exist_ok=True)
        for number, answer in enumerate(done, 1):
            path = folder / f"tree-{number:05d}.svg"
            path.write_text(answer.tree.to_svg(), encoding="utf-8")
        return
    if form == "svg":
        content = done[0].tree.to_svg()
    elif form == "html":
        trees = [answer.tree for answer in done]
        content = plots.trees_html(
            [tree.gold for tree in trees],
            [tree.probabilities for tree in trees],
            title="Sentiment trees",
            class_names=trees[0].class_names,
        )
    else:
        if form == "json":
            rows = (json_of(annotator, *pair, id=n) for n, pair in enumerate(zip(found, done), 1))
            lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        elif form == "brackets":
            lines = (answer.tree.to_brackets() for answer in done)
        else:
            lines = (
                f"{answer.name} ({100 * answer.probabilities.max():.0f}%): {answer.tree.text}\n"
                + answer.tree.to_text()
                for answer in done
            )
        content = "\n".join(lines) + "\n"
    if output is None:
        sys.stdout.write(content)
    else:
        if form == "svg":
            Path(output).parent.mkdir(parents=True, exist_ok=True)
        Path(output).write_text(content, encoding="utf-8")


def json_of(
    annotator: Pipeline, given: Text | data.Tree, answer: Sentiment, id: int
) -> dict[str, Any]:
    """An answer as a line of JSON.

    Args:
        annotator: what gave it.
        given: what was asked about.
        answer: of `annotate`.
        id: a running number.

    Returns:
        ``id``, ``text`` as the user wrote it (of a tree: its words), what `Sentiment.to_dict` has,
        the ``tokens``, ``spans`` (where in the text each node begins and ends, in the order of
        ``nodes``), and how many words are ``unknown``.
    """
    tokens = answer.tree.tokens
    if isinstance(given, Text):
        text, places = given.source, given.spans
    else:
        text, ends = " ".join(tokens), np.cumsum([len(token) + 1 for token in tokens]) - 1
        places = [(int(end) - len(token), int(end)) for token, end in zip(tokens, ends)]
    spans = [[places[i][0], places[j - 1][1]] for i, j in answer.tree.spans().tolist()]
    unknown = len(_unknown(annotator, tokens))
    rest = {"tokens": list(tokens), "spans": spans, "unknown": unknown}
    return {"id": id, **answer.to_dict(), "text": text, **rest}


def _unknown(annotator: Pipeline, tokens: Sequence[str]) -> list[str]:
    vocabulary = annotator.classifier.vocabulary
    return [token for token in tokens if token not in vocabulary]


def _tell_unknown(annotator: Pipeline, done: Sequence[Sentiment]) -> None:
    """Says how many words the model does not know, and warns of texts that are mostly such."""
    unknown: list[str] = []
    strange: list[int] = []
    total = 0
    for number, answer in enumerate(done, 1):
        # Marks are the same in most languages.
        words = [token for token in answer.tree.tokens if token[0].isalpha()]
        own = _unknown(annotator, words)
        unknown += own
        total += len(words)
        if own and 2 * len(own) >= len(words):
            strange.append(number)
    if not unknown:
        return
    kinds = list(dict.fromkeys(unknown))
    shown = ", ".join([*kinds[:5], "..."] if len(kinds) > 5 else kinds)
    print(f"unknown to the model: {len(unknown)} of {total} words ({shown})", file=sys.stderr)
    if strange:
        where = (
            "" if len(done) == 1 else f" in {len(strange)} texts, the first of them {strange[0]}"
        )
        print(
            f"warning: half of the words or more are unknown{where}: is this the language, and the "
            "kind of text, that the model was trained on?",
            file=sys.stderr,
        )
