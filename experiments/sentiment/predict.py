"""A trained model at work: scores for a treebank, and one file of it. `rntn_jax.cli` labels."""

from __future__ import annotations

import glob
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.sentiment import scores
from experiments.tree_baselines import balanced, right_branching_with_stop
from rntn_jax import data
from rntn_jax.annotate import (
    Pipeline,
    build_trees,
    label_trees,
    num_classes,
    save_pipeline,
    two_classes,
)
from rntn_jax.compilation import cached
from rntn_jax.data.text import read_text

__all__ = ["evaluate", "evaluate_text", "export", "model_files"]


def model_files(pattern: str) -> list[Path]:
    """The model files that match a pattern, and those of the runs whose folders do.

    Raises:
        FileNotFoundError: when none matches.
    """
    found = [Path(path) for path in sorted(glob.glob(pattern))]
    files = [path / "model.safetensors" if path.is_dir() else path for path in found]
    files = [path for path in files if path.exists()]
    if not files:
        raise FileNotFoundError(f"no model matches {pattern!r}")
    return files


@cached()
def evaluate(annotator: Pipeline, treebank: str, brackets: str = "gold") -> dict[str, float]:
    """Prints and returns the scores on a treebank file, of roots only if its brackets are not used.

    A two-class model takes five-class labels as two.
    """
    forest = data.read_trees(sys.stdin.buffer if treebank == "-" else treebank, num_classes=5)
    if num_classes(annotator.classifier) == 2 and max(tree.labels.max() for tree in forest) > 1:
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


@cached()
def evaluate_text(annotator: Pipeline, source: str) -> dict[str, float]:
    """Prints and returns how many sentences come out on the right side, all and of each group.

    A label above the middle is the positive side; the answer's is that of the more probable half,
    the neutral class left out.

    Args:
        annotator: what answers.
        source: a file of lines ``group<TAB>label<TAB>sentence`` or ``label<TAB>sentence``.

    Returns:
        The share of each group, in their order, and of ``all``.

    Raises:
        DataError: for faults in the file, and labels without a side.
    """
    _, content = read_text(source)
    lines = [line.rsplit("\t", 2) for line in content.splitlines() if line.strip()]
    groups = [line[0] if len(line) == 3 else "all" for line in lines]
    classes = num_classes(annotator.classifier)
    rest = io.StringIO("\n".join("\t".join(line[-2:]) for line in lines))
    texts = data.read_labelled_text(rest, num_classes=classes)
    labels = np.array([text.label for text in texts]) - (classes - 1) / 2
    if not labels.all() or min(text.label for text in texts) < 0:
        raise data.DataError("a label has no side", file=source)
    trees = build_trees(annotator.parser, [text.tokens for text in texts])
    roots = np.stack([p[-1] for p in label_trees(annotator.classifier, trees)])
    half = classes // 2
    right = (roots[:, -half:].sum(1) > roots[:, :half].sum(1)) == (labels > 0)
    shares: dict[str, float] = {}
    for group in dict.fromkeys([*groups, "all"]):
        own = right[[group in ("all", name) for name in groups]]
        shares[group] = float(own.mean())
        print(f"{group:24}{own.sum():>5} of {len(own)}")
    for text, hit in zip(texts, right):
        if not hit:
            print(f"wrong: {' '.join(text.tokens)}")
    return shares


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
