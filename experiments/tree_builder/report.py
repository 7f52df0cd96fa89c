"""The HTML report of a tree builder's run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from experiments import tree_baselines as baselines
from experiments.tree_builder.config import Config
from experiments.workdir import read_environment
from rntn_jax import data, plots
from rntn_jax.annotate import BinaryParser, build_trees

__all__ = ["write"]

NAMES: tuple[str, ...] = ("F1", "F1 below the root", "exact trees", "root's split")


def write(
    workdir: Path,
    config: Config,
    result: dict[str, Any],
    history: list[dict[str, Any]],
    builder: BinaryParser,
    splits: dict[str, list[data.Tree]],
) -> None:
    """Writes ``report.html``; its trees are those of test, or of dev if there is no test."""
    last = "test" if "test" in splits else "dev"
    trees = splits[last]
    command, environment = read_environment(workdir)
    scores: dict[str, dict[str, Any]] = {
        split: dict(zip(NAMES, result[split].values()))
        for split in ("dev", "test")
        if split in splits
    }
    for name, build in baselines.BASELINES.items():
        built = [build(tree.tokens) for tree in trees]
        scores[f"{last}, {name}"] = dict(zip(NAMES, data.bracket_scores(trees, built)))
    shown = trees[:6]
    built = build_trees(builder, [tree.tokens for tree in shown])
    pictures = [
        plots.TreePicture(picture, caption=f"{kind}: {picture.text}")
        for gold, guess in zip(shown, built)
        for kind, picture in (("gold", _marked(gold, guess)), ("built", _marked(guess, gold)))
    ]
    figures: dict[str, Any] = {
        f"{last}, {name}": f"{100 * value:.2f}" for name, value in scores[last].items()
    }
    figures["parameters"] = f"{result['parameters']:,}"
    page = plots.report_html(
        title="A tree builder",
        summary=f"Corpus {config.train or config.corpus}, model chosen on dev after epoch "
        f"{result['epoch']} of {result['epochs_run']}; {result['seconds']:.0f} s of training; "
        f"{result['parameters']:,} parameters.",
        figures=figures,
        scores=scores,
        scores_note="Unlabelled brackets; precision, recall and F1 are one number.",
        decimals=2,
        history=history,
        curves=[
            plots.Curves("Loss", "epoch", ["train_nll"], "nats a tree"),
            plots.Curves("Dev", "epoch", ["dev_f1", "dev_root"], "fraction", result["epoch"]),
        ],
        sections=[
            plots.Section(
                "Trees, gold and built",
                plots.pictures_html(pictures, class_names=["in this tree only", "in both"]),
            )
        ],
        config=dataclasses.asdict(config),
        command=command,
        environment=environment,
    )
    (workdir / "report.html").write_text(page, encoding="utf-8")


def _marked(tree: data.Tree, other: data.Tree) -> data.Tree:
    """A tree whose nodes say whether the other one has them too (1) or not (0), its words aside."""
    spans = {tuple(span) for span in other.spans().tolist()}
    labels = [int(tuple(span) in spans) for span in tree.spans().tolist()]
    return data.Tree(
        tree.tokens, tree.children, np.array([-1] * tree.num_leaves + labels[tree.num_leaves :])
    )
