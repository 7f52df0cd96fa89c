"""A trained model at work: scores for a treebank, labels for trees."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.sentiment import scores
from experiments.sentiment.model import CLASS_NAMES, Model, load_model, two_classes
from experiments.sentiment.model import predict as predict_bank
from rntn_jax import data, plots, trees

__all__ = ["evaluate", "predict"]


def _read(path: str, model: Model) -> tuple[list[data.Tree], list[np.ndarray]]:
    """Trees and their probabilities; a two-class model takes five-class labels as two."""
    forest = data.read_trees(sys.stdin.buffer if path == "-" else path, num_classes=5)
    if model.params.head.b.shape[0] == 2 and max(tree.labels.max() for tree in forest) > 1:
        forest = [two_classes(tree) for tree in forest]
    bank = trees.encode(forest, model.vocabulary)
    return forest, predict_bank(model.params, bank, model.options)


def evaluate(model_path: Path, treebank: str) -> dict[str, float]:
    """Prints and returns the scores on a treebank file."""
    forest, probabilities = _read(treebank, load_model(model_path))
    predictions = scores.collect(forest, probabilities)
    if not len(predictions.gold):
        raise data.DataError("no node has a label to compare with", file=treebank)
    values = scores.score(predictions)
    roots = int(predictions.is_root.sum())
    print(f"{len(forest)} trees, {len(predictions.gold)} labelled nodes, {roots} labelled roots")
    for name, value in values.items():
        print(f"{name:22}{100 * value:6.2f}%")
    return values


def predict(model_path: Path, source: str, form: str, output: str | None) -> None:
    """Labels trees and writes them as text, JSON lines, brackets, SVG or one HTML page."""
    model = load_model(model_path)
    forest, probabilities = _read(source, model)
    names = CLASS_NAMES[int(model.params.head.b.shape[0])]
    if form == "svg" and (len(forest) > 1 or (output and Path(output).is_dir())):
        if output is None:
            raise ValueError(
                f"{len(forest)} trees make {len(forest)} pictures: name a folder with --output"
            )
        folder = Path(output)
        folder.mkdir(parents=True, exist_ok=True)
        for number, (tree, p) in enumerate(zip(forest, probabilities), 1):
            picture = plots.tree_svg(tree, p, class_names=names)
            (folder / f"tree-{number:05d}.svg").write_text(picture, encoding="utf-8")
        return
    if form == "svg":
        content = plots.tree_svg(forest[0], probabilities[0], class_names=names)
    elif form == "html":
        content = plots.trees_html(
            forest, probabilities, title="Sentiment trees", class_names=names
        )
    else:
        content = "\n".join(_lines(forest, probabilities, names, form)) + "\n"
    if output is None:
        sys.stdout.write(content)
    else:
        Path(output).write_text(content, encoding="utf-8")


def _lines(
    forest: list[data.Tree], probabilities: list[np.ndarray], names: tuple[str, ...], form: str
) -> Iterator[str]:
    for tree, p in zip(forest, probabilities):
        labels = p.argmax(axis=1)
        if form == "text":
            yield f"{names[labels[-1]]} ({100 * p[-1].max():.0f}%): {' '.join(tree.tokens)}"
            yield plots.tree_text(tree, p)
            continue
        predicted = data.Tree(tree.tokens, tree.children, labels.astype(np.int32))
        if form == "brackets":
            yield predicted.to_brackets()
        else:
            answer = {
                "text": " ".join(tree.tokens),
                "label": int(labels[-1]),
                "name": names[labels[-1]],
                "probabilities": np.round(p[-1].astype(float), 6).tolist(),
                "brackets": predicted.to_brackets(),
                "nodes": np.round(p.astype(float), 6).tolist(),
            }
            yield json.dumps(answer, ensure_ascii=False)
