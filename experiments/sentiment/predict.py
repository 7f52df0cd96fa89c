"""A trained model at work: scores for a treebank, labels for texts and trees."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.sentiment import scores
from experiments.sentiment.inputs import Text, read
from experiments.tree_baselines import balanced, right_branching_with_stop
from rntn_jax import data, plots
from rntn_jax.annotate import (
    Pipeline,
    Sentiment,
    build_trees,
    default_model,
    label_trees,
    load_classifier,
    load_parser,
    load_pipeline,
    save_pipeline,
    two_classes,
)
from rntn_jax.annotate import predict as predict_trees
from rntn_jax.training import ProgressBar, read_info

__all__ = ["annotate", "evaluate", "export", "json_of", "label", "load", "predict", "read"]

CHUNK = 2048  # sentences between two moves of the progress bar


def load(model: str | Path | None, builder: str | Path | None) -> Pipeline:
    """The named files, and the model in the package for what is not named."""
    if model is None:
        annotator = default_model()
    elif read_info(model).get("kind") == "annotator":
        annotator = load_pipeline(model)
    else:
        annotator = default_model()._replace(classifier=load_classifier(model))
    if builder is not None:
        annotator = annotator._replace(parser=load_parser(builder))
    return annotator


def evaluate(annotator: Pipeline, treebank: str, brackets: str = "gold") -> dict[str, float]:
    """Prints and returns the scores on a treebank file, of roots only if its brackets are not used.

    A two-class model takes five-class labels as two.
    """
    forest = data.read_trees(sys.stdin.buffer if treebank == "-" else treebank, num_classes=5)
    classes = annotator.classifier.params.head.b.shape[0]
    if classes == 2 and max(tree.labels.max() for tree in forest) > 1:
        forest = [two_classes(tree) for tree in forest]
    if brackets != "gold":
        forest = _with_other_brackets(forest, brackets, annotator)
    predictions = scores.collect(forest, label_trees(annotator.classifier, forest))
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
    forest: Sequence[data.Tree], brackets: str, annotator: Pipeline
) -> list[data.Tree]:
    """The same words, only the root labelled."""
    tokens = [tree.tokens for tree in forest]
    if brackets == "built":
        built = build_trees(annotator.parser, tokens)
    else:
        rule = {"balanced": balanced, "right": right_branching_with_stop}[brackets]
        built = [rule(words) for words in tokens]
    labels = [np.full(len(tree), -1) for tree in forest]
    for own, tree in zip(labels, forest):
        own[-1] = tree.labels[-1]
    return [data.Tree(tree.tokens, tree.children, own) for tree, own in zip(built, labels)]


def annotate(annotator: Pipeline, found: Sequence[Any]) -> list[Sentiment]:
    """Answers for tokens or trees, in chunks with a progress bar when they are many."""

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


def predict(annotator: Pipeline, source: str, kind: str, form: str, output: str | None) -> None:
    """Labels texts or trees, and writes them as text, JSON lines, brackets, SVG or one page."""
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


def label(annotator: Pipeline, source: str, output: str | None) -> None:
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
    for item, tree in zip(items, build_trees(annotator.parser, tokens, kept)):
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


def export(annotator: Pipeline, path: str) -> None:
    """Writes tree builder and labeller as one file, as it lies in the package."""
    save_pipeline(path, annotator)
    print(f"{path}: {Path(path).stat().st_size / 1e6:.1f} MB")
