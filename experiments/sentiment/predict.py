"""A trained model at work: scores for a treebank, labels for texts and trees."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.sentiment import scores
from experiments.tree_builder.baselines import balanced, right_branching_with_stop
from rntn_jax import data, plots
from rntn_jax.annotate import (
    Annotator,
    Sentiment,
    answers,
    build_trees,
    label_trees,
    load_annotator,
    load_builder,
    load_labeller,
    save_annotator,
    shipped,
    two_classes,
)
from rntn_jax.data.text import read_text
from rntn_jax.training import ProgressBar, read_info

__all__ = ["annotate", "evaluate", "export", "label", "load", "predict", "read"]

CHUNK = 2048  # sentences between two moves of the progress bar
_TREES = re.compile(r"\s*\(\s*-?\d+[\s(]")
_PARSES = re.compile(r"\s*\(\s*[A-Z]*\s*\(")


def load(model: str | Path | None, builder: str | Path | None) -> Annotator:
    """The named files, and the model in the package for what is not named."""
    if model is None:
        annotator = shipped()
    elif read_info(model).get("kind") == "annotator":
        annotator = load_annotator(model)
    else:
        annotator = shipped()._replace(labeller=load_labeller(model))
    if builder is not None:
        annotator = annotator._replace(builder=load_builder(builder))
    return annotator


def evaluate(annotator: Annotator, treebank: str, brackets: str = "gold") -> dict[str, float]:
    """Prints and returns the scores on a treebank file, of roots only if its brackets are not used.

    A two-class model takes five-class labels as two.
    """
    forest = data.read_trees(sys.stdin.buffer if treebank == "-" else treebank, num_classes=5)
    classes = annotator.labeller.params.head.b.shape[0]
    if classes == 2 and max(tree.labels.max() for tree in forest) > 1:
        forest = [two_classes(tree) for tree in forest]
    if brackets != "gold":
        forest = _with_other_brackets(forest, brackets, annotator)
    predictions = scores.collect(forest, label_trees(annotator.labeller, forest))
    if not len(predictions.gold):
        raise data.DataError("no node has a label to compare with", file=treebank)
    values = scores.score(predictions)
    if brackets != "gold":
        values = {name: value for name, value in values.items() if name.endswith("_root")}
    roots = int(predictions.is_root.sum())
    print(f"{len(forest)} trees, {len(predictions.gold)} labelled nodes, {roots} labelled roots")
    for name, value in values.items():
        print(f"{name:22}{100 * value:6.2f}%")
    return values


def _with_other_brackets(
    forest: Sequence[data.Tree], brackets: str, annotator: Annotator
) -> list[data.Tree]:
    """The same words, only the root labelled."""
    tokens = [tree.tokens for tree in forest]
    if brackets == "built":
        built = build_trees(annotator.builder, tokens)
    else:
        rule = {"balanced": balanced, "right": right_branching_with_stop}[brackets]
        built = [rule(words) for words in tokens]
    labels = [np.full(len(tree), -1) for tree in forest]
    for own, tree in zip(labels, forest):
        own[-1] = tree.labels[-1]
    return [data.Tree(tree.tokens, tree.children, own) for tree, own in zip(built, labels)]


def read(source: str, kind: str) -> list[data.Tree] | list[list[str]]:
    """A text, or a file (- for standard input) of texts, trees or parses: tokens or trees.

    In a file of texts each line is one; blank lines are passed over.
    """
    # os.path: it says no, too, to what is too long for the name of a file.
    if source != "-" and not (source and os.path.exists(source)):
        if kind in ("trees", "parses") or re.fullmatch(r"\S*[\\/]\S*|\S+\.\w{2,5}", source):
            raise FileNotFoundError(f"there is no file {source!r}")
        file, lines = None, [source]
    else:
        file, content = read_text(sys.stdin.buffer if source == "-" else source)
        if kind == "auto":
            kind = "trees" if _TREES.match(content) else "text"
            kind = "parses" if _PARSES.match(content) else kind
        if kind != "text":
            stream = io.StringIO(content)
            stream.name = file
            return data.read_parses(stream) if kind == "parses" else data.read_trees(stream)
        lines = content.split("\n")
    found = [own for own in map(data.tokenize, lines) if own]
    if not found:
        raise data.DataError("there are no words", file=file, value=source[:40])
    return found


def annotate(annotator: Annotator, found: Sequence[Any]) -> list[Sentiment]:
    """Answers for tokens or trees, in chunks with a progress bar when they are many."""

    def answer(some: Sequence[Any]) -> list[Sentiment]:
        if not isinstance(some[0], data.Tree):
            some = build_trees(annotator.builder, some)
        return answers(annotator.labeller, some)

    if len(found) <= CHUNK:
        return answer(found)
    done: list[Sentiment] = []
    with ProgressBar(len(found), unit="sentences") as bar:
        for at in range(0, len(found), CHUNK):
            done += answer(found[at : at + CHUNK])
            bar.advance(len(done) - at, len(done) - at, "labelling")
    return done


def predict(annotator: Annotator, source: str, kind: str, form: str, output: str | None) -> None:
    """Labels texts or trees, and writes them as text, JSON lines, brackets, SVG or one page."""
    found = read(source, kind)
    if form == "svg" and output is None and len(found) > 1:
        raise ValueError(
            f"{len(found)} trees make {len(found)} pictures: name a folder with --output"
        )
    done = annotate(annotator, found)
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
        content = "\n".join(_lines(done, form)) + "\n"
    if output is None:
        sys.stdout.write(content)
    else:
        Path(output).write_text(content, encoding="utf-8")


def _lines(found: list[Sentiment], form: str) -> Iterator[str]:
    written: dict[str, Callable[[Sentiment], str]] = {
        "json": lambda answer: json.dumps(answer.to_dict(), ensure_ascii=False),
        "brackets": lambda answer: answer.tree.to_brackets(),
        "text": lambda answer: (
            f"{answer.name} ({100 * answer.probabilities.max():.0f}%): {answer.tree.text}\n"
            + answer.tree.to_text()
        ),
    }
    return map(written[form], found)


def label(annotator: Annotator, source: str, output: str | None) -> None:
    """Makes training trees of labelled sentences and phrases, each of which becomes a node."""
    items = data.read_labelled_text(sys.stdin.buffer if source == "-" else source)
    tokens = [item.tokens for item in items]
    kept, lost = [], []
    for item in items:
        own: list[tuple[int, int]] = []
        for phrase, _ in item.phrases:
            for span in _places(item.tokens, phrase):
                if any(i < span[0] < j < span[1] or span[0] < i < span[1] < j for i, j in own):
                    lost.append(" ".join(phrase))
                else:
                    own.append(span)
        kept.append(own)
    lines, nodes = [], 0
    for item, tree in zip(items, build_trees(annotator.builder, tokens, kept)):
        labelled, _ = data.label_tree(tree, item.phrases, label=item.label)
        nodes += int((labelled.labels >= 0).sum())
        lines.append(labelled.to_brackets())
    content = "\n".join(lines) + "\n"
    if output is None:
        sys.stdout.write(content)
    else:
        Path(output).write_text(content, encoding="utf-8")
    print(f"{len(lines)} trees, {nodes} labelled nodes", file=sys.stderr)
    for phrase in lost:
        print(f"not a node, as it crosses another phrase: {phrase}", file=sys.stderr)


def _places(tokens: Sequence[str], phrase: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where a phrase stands in a sentence."""
    size = len(phrase)
    for begin in range(len(tokens) - size + 1):
        if tuple(tokens[begin : begin + size]) == tuple(phrase):
            yield begin, begin + size


def export(annotator: Annotator, path: str) -> None:
    """Writes tree builder and labeller as one file, as it lies in the package."""
    save_annotator(path, annotator)
    print(f"{path}: {Path(path).stat().st_size / 1e6:.1f} MB")
