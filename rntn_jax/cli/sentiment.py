"""Labels for texts and trees: `rntn-jax sentiment`, and `./launch.sh sentiment --predict`."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rntn_jax import data, plots
from rntn_jax.annotate import (
    Ensemble,
    Pipeline,
    Sentiment,
    SentimentClassifier,
    build_trees,
    default_model,
    ensemble,
    load_classifier,
    load_parser,
    load_pipeline,
)
from rntn_jax.annotate import predict as predict_trees
from rntn_jax.cli.inputs import Text, TextFile, read
from rntn_jax.cli.unfinished import Unfinished
from rntn_jax.compilation import cached
from rntn_jax.training import ProgressBar, read_info

__all__ = ["annotate", "json_of", "load", "predict"]

CHUNK = 2048  # sentences that are labelled, and written, at a time
_KINDS = 5  # unknown words that are told


def load(model: str | Path | None, builder: str | Path | None, *others: str | Path) -> Pipeline:
    """The named files, and the model in the package for what is not named.

    Args:
        model: file of a classifier, or of a whole pipeline.
        builder: file of a parser of binary trees.
        others: files as ``model``, whose classifiers answer together with that one's.

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
    if others:
        rest = [load(other, None).classifier for other in others]
        members = [annotator.classifier, *rest]
        annotator = annotator._replace(
            classifier=ensemble([one for one in members if isinstance(one, SentimentClassifier)])
        )
    if builder is not None:
        annotator = annotator._replace(parser=load_parser(builder))
    return annotator


def annotate(annotator: Pipeline, found: Sequence[Any], total: int = 0) -> list[Sentiment]:
    """Answers for tokens or trees.

    Args:
        annotator: what answers.
        found: sentences, of tokens each, or trees; of `rntn_jax.cli.inputs.read`.
        total: how many there will be, as `build_trees` takes it.

    Returns:
        an answer for each.
    """
    if not isinstance(found[0], data.Tree):
        found = build_trees(annotator.parser, found, total=total)
    return predict_trees(annotator.classifier, found)


@cached()
def predict(annotator: Pipeline, source: str, kind: str, form: str, output: str | None) -> None:
    """Labels texts or trees, and writes them as text, JSON lines, brackets, SVG or one page.

    Files of texts, however long, are read, labelled and written a piece at a time; a run that is
    stopped is gone on with by the same command, if it wrote to a file (`Unfinished`). Pictures and
    pages are made of all trees at once. Words that the model does not know are told on standard
    error.

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
    if form in ("svg", "html"):
        _draw(annotator, list(found), form, output)
    elif output is None or (os.path.exists(output) and not os.path.isfile(output)):  # a device
        standard = contextlib.nullcontext(sys.stdout)
        with standard if output is None else open(output, "w", encoding="utf-8") as out:
            for text, _ in _lines(annotator, found, form, _State()):
                out.write(text)
                out.flush()
    else:
        _write(annotator, found, form, output)


def _write(annotator: Pipeline, found: Any, form: str, output: str) -> None:
    """Writes a file, and goes on with one that a run of the same command left unfinished."""
    given: list[Any] = [time.time_ns()]  # there is no going on with what was typed
    if isinstance(found, TextFile):
        stat = os.stat(found.path)
        given = [os.path.abspath(found.path), stat.st_size, stat.st_mtime_ns]
    about = {"form": form, "input": given, "model": _digest(annotator)}
    with Unfinished(output, about, _State()) as out:
        start = _State(*out.state)
        if start.lines:
            print(f"{output}: going on after line {start.lines} of the input", file=sys.stderr)
        try:
            for text, state in _lines(annotator, found, form, start):
                out.write(text, state)
        except KeyboardInterrupt as stop:
            if not isinstance(found, TextFile):
                raise
            done = f"{out.state[0]} of {found.lines} lines are done; the same command goes on"
            raise type(stop)(done) from None
        out.finish()


class _State(NamedTuple):
    """How far a file is labelled, and what is told at the end."""

    lines: int = 0  # of the file
    texts: int = 0
    words: int = 0
    unknown: int = 0  # words
    kinds: tuple[str, ...] = ()  # the first of them
    strange: int = 0  # texts of which half the words are unknown
    first: int = 0  # of these


def _lines(
    annotator: Pipeline, found: Any, form: str, state: _State
) -> Iterator[tuple[str, _State]]:
    """The output in pieces, with a progress bar when there are several; each with what it ends."""
    total = found.lines if isinstance(found, TextFile) else len(found)
    given = found.after(state.lines) if isinstance(found, TextFile) else enumerate(found, 1)
    with contextlib.ExitStack() as stack:
        bar = None
        for chunk, answers in _side_by_side(annotator, given, total):
            if bar is None and (len(chunk) == CHUNK or state.lines):
                bar = stack.enter_context(ProgressBar(total, done=state.lines, unit="sentences"))
            rows = [
                _row(annotator, form, n, item, answer)
                for n, ((_, item), answer) in enumerate(zip(chunk, answers), state.texts + 1)
            ]
            before, state = state.lines, _counted(annotator, state, chunk[-1][0], answers)
            yield "".join(rows), state
            if bar is not None:
                bar.advance(state.lines - before, len(chunk), "labelling")
    _tell_unknown(state)


def _side_by_side(
    annotator: Pipeline, given: Iterator[tuple[int, Any]], total: int
) -> Iterator[tuple[list[tuple[int, Any]], list[Sentiment]]]:
    """Chunks and their answers, in order; three at work while another is read and one written."""
    chunks = iter(lambda: list(itertools.islice(given, CHUNK)), [])
    waiting: deque[tuple[list[tuple[int, Any]], Future[list[Sentiment]]]] = deque()
    pool = ThreadPoolExecutor(3, thread_name_prefix="labelling")
    try:
        for chunk in chunks:
            items = [item for _, item in chunk]
            waiting.append((chunk, pool.submit(annotate, annotator, items, total)))
            if len(waiting) > 3:
                chunk, answers = waiting.popleft()
                yield chunk, answers.result()
        while waiting:
            chunk, answers = waiting.popleft()
            yield chunk, answers.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _row(annotator: Pipeline, form: str, number: int, given: Any, answer: Sentiment) -> str:
    if form == "json":
        row = json_of(annotator, given, answer, id=number)
        return json.dumps(row, ensure_ascii=False) + "\n"
    if form == "brackets":
        return answer.tree.to_brackets() + "\n"
    share = 100 * answer.probabilities.max()
    return f"{answer.name} ({share:.0f}%): {answer.tree.text}\n{answer.tree.to_text()}\n"


def _draw(annotator: Pipeline, found: Sequence[Any], form: str, output: str | None) -> None:
    """One page, or pictures: in a folder if there are several."""
    if form == "svg" and output is None and len(found) > 1:
        raise ValueError(
            f"{len(found)} trees make {len(found)} pictures: name a folder with --output"
        )
    done = annotate(annotator, found)
    _tell_unknown(_counted(annotator, _State(), len(found), done))
    if form == "svg" and (len(done) > 1 or (output and Path(output).is_dir())):
        folder = Path(str(output))
        folder.mkdir(parents=True, exist_ok=True)
        for number, answer in enumerate(done, 1):
            path = folder / f"tree-{number:05d}.svg"
            path.write_text(answer.tree.to_svg(), encoding="utf-8")
        return
    if form == "svg":
        content = done[0].tree.to_svg()
    else:
        trees = [answer.tree for answer in done]
        content = plots.trees_html(
            [tree.gold for tree in trees],
            [tree.probabilities for tree in trees],
            title="Sentiment trees",
            class_names=trees[0].class_names,
        )
    if output is None:
        sys.stdout.write(content)
    else:
        if form == "svg":
            Path(output).parent.mkdir(parents=True, exist_ok=True)
        Path(output).write_text(content, encoding="utf-8")


def _digest(annotator: Pipeline) -> str:
    """A checksum of all parameters."""
    sha = hashlib.sha256()
    own = annotator.classifier
    members = own.members if isinstance(own, Ensemble) else (own,)
    params = annotator.parser.params, [member.params for member in members]
    for leaf in jax.tree.leaves(params):
        sha.update(np.asarray(leaf).tobytes())
    return sha.hexdigest()


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


def _counted(
    annotator: Pipeline, state: _State, lines: int, answers: Sequence[Sentiment]
) -> _State:
    """The state after further answers: words that the model does not know, texts of mostly such."""
    kinds = dict.fromkeys(state.kinds)
    words, unknown, strange, first = state.words, state.unknown, state.strange, state.first
    for number, answer in enumerate(answers, state.texts + 1):
        # Marks are the same in most languages.
        own = [token for token in answer.tree.tokens if token[0].isalpha()]
        new = _unknown(annotator, own)
        words += len(own)
        unknown += len(new)
        if len(kinds) <= _KINDS:
            kinds.update(dict.fromkeys(new))
        if new and 2 * len(new) >= len(own):
            strange, first = strange + 1, first or number
    kept = tuple(itertools.islice(kinds, _KINDS + 1))
    return _State(lines, state.texts + len(answers), words, unknown, kept, strange, first)


def _tell_unknown(state: _State) -> None:
    """Says how many words the model does not know, and warns of texts that are mostly such."""
    if not state.unknown:
        return
    kinds = state.kinds
    shown = ", ".join([*kinds[:_KINDS], "..."] if len(kinds) > _KINDS else kinds)
    counts = f"{state.unknown} of {state.words} words"
    print(f"unknown to the model: {counts} ({shown})", file=sys.stderr)
    if state.strange:
        where = f" in {state.strange} texts, the first of them {state.first}"
        print(
            f"warning: half of the words or more are unknown{where if state.texts > 1 else ''}: is "
            "this the language, and the kind of text, that the model was trained on?",
            file=sys.stderr,
        )
