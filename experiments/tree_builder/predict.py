"""Trained tree builders at work: several as one, scores for a treebank."""

from __future__ import annotations

import glob
import sys
from pathlib import Path

from experiments.tree_baselines import BASELINES
from rntn_jax import data
from rntn_jax.annotate import build_trees, load_parser, save_parser
from rntn_jax.compilation import cached

__all__ = ["combine", "evaluate"]


def combine(pattern: str, output: str) -> None:
    """Writes the builders of the runs whose folders match as one, which averages their scores.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when their sizes or vocabularies differ.
    """
    paths = [Path(folder) / "model.safetensors" for folder in sorted(glob.glob(pattern))]
    paths = [path for path in paths if path.exists()]
    if not paths:
        raise FileNotFoundError(f"no finished run's folder matches {pattern!r}")
    first, *others = builders = [load_parser(path) for path in paths]
    for path, other in zip(paths[1:], others):
        if other.config != first.config or other.vocabularies != first.vocabularies:
            raise ValueError(f"{path} has other sizes or another vocabulary than {paths[0]}")
    params = tuple(network for builder in builders for network in builder.params)
    save_parser(output, first._replace(params=params))
    print(f"{output}: {len(params)} networks, {Path(output).stat().st_size / 1e6:.1f} MB")


@cached()
def evaluate(model: str, treebank: str) -> dict[str, data.BracketScores]:
    """Prints and returns the scores of a builder, and of trees that need none."""
    trees = data.read_trees(sys.stdin.buffer if treebank == "-" else treebank)
    tokens = [tree.tokens for tree in trees]
    built = {"built": build_trees(load_parser(model), tokens)}
    built |= {name: [build(words) for words in tokens] for name, build in BASELINES.items()}
    scores = {name: data.bracket_scores(trees, guesses) for name, guesses in built.items()}
    print(f"{len(trees)} trees {'F1':>31}{'below root':>12}{'exact':>9}{'root':>9}")
    for name, values in scores.items():
        shown = "".join(f"{100 * value:{width}.2f}" for value, width in zip(values, (8, 12, 9, 9)))
        print(f"{name:36}{shown}")
    return scores
