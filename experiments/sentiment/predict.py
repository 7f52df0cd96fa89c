"""A trained model at work: scores for a treebank, and one file of it. `rntn_jax.cli` labels."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.sentiment import scores
from experiments.tree_baselines import balanced, right_branching_with_stop
from rntn_jax import data
from rntn_jax.annotate import Pipeline, build_trees, label_trees, save_pipeline, two_classes
from rntn_jax.compilation import cached

__all__ = ["evaluate", "export"]


@cached()
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


def export(annotator: Pipeline, path: str) -> None:
    """Writes tree builder and labeller as one file, as it lies in the package."""
    save_pipeline(path, annotator)
    print(f"{path}: {Path(path).stat().st_size / 1e6:.1f} MB")
