"""The HTML report of a sentiment run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from experiments.sentiment import scores
from experiments.sentiment.config import Config
from experiments.workdir import read_environment
from rntn_jax import data, plots
from rntn_jax.annotate import CLASS_NAMES

__all__ = ["MODEL_NAMES", "write"]

MODEL_NAMES = {
    "rntn": "a recursive neural tensor network",
    "rnn": "a recursive neural network",
    "mv_rnn": "a matrix-vector recursive network",
    "tree_lstm": "a Tree-LSTM",
    "vec_avg": "averaged word vectors",
    "nb": "Naive Bayes",
    "binb": "Naive Bayes of bigrams",
    "svm": "a support vector machine",
}

TITLES = {
    "fine_all": "fine-grained, all nodes",
    "fine_root": "fine-grained, root",
    "binary_all": "binary, all nodes",
    "binary_root": "binary, root",
    "binary_corenlp_all": "binary, neutral wrong, all nodes",
    "binary_corenlp_root": "binary, neutral wrong, root",
}
NOTE = (
    "Binary: nodes with a neutral gold label left out; the more probable of the two sides, "
    "p0 + p1 against p3 + p4, decides. “Neutral wrong”: the most probable of the five classes "
    "must lie on the right side, as CoreNLP counts."
)


def write(
    workdir: Path,
    config: Config,
    result: dict[str, Any],
    history: list[dict[str, Any]],
    splits: dict[str, list[data.Tree]],
    predicted: dict[str, list[np.ndarray]],
) -> None:
    """Writes ``report.html``; its trees are those of test, or of dev if there is no test.

    Args:
        workdir: folder of the run.
        config: its settings.
        result: what ``result.json`` will hold.
        history: metrics of each epoch; none of a baseline without epochs.
        splits: the trees.
        predicted: class probabilities of their nodes, of dev and test.
    """
    last = "test" if "test" in splits else "dev"
    forest, probabilities = splits[last], predicted[last]
    predictions = scores.collect(forest, probabilities)
    names = CLASS_NAMES[config.num_classes]
    table: dict[str, dict[str, Any]] = {
        f"this run, {split}": {TITLES[c]: x for c, x in result[split].items()}
        for split in ("dev", "test")
        if split in result
    }
    if "best_possible" in result:
        table["best possible"] = {TITLES[c]: result["best_possible"] for c in result[last]}
    elif config.num_classes == 5 and config.train is None:
        for row, published in scores.PUBLISHED.items():
            table[f"{row}, test"] = {TITLES[c]: x for c, x in published.items()}
    figures = {
        f"{last}, {TITLES[c]}": f"{100 * result[last][c]:.1f}%"
        for c in scores.COLUMNS
        if c in result[last]
    }
    command, environment = read_environment(workdir)
    dev_columns = {
        f"dev_{c}": TITLES[c] for c in scores.COLUMNS if history and f"dev_{c}" in history[0]
    }
    examples = sorted(range(len(forest)), key=lambda i: abs(len(forest[i].tokens) - 14))[:4]
    mistakes = plots.most_confident_mistakes(forest, probabilities, class_names=names)
    if not mistakes:  # all roots are right: look inside of the trees
        mistakes = plots.most_confident_mistakes(
            forest, probabilities, class_names=names, everywhere=True
        )
    page = plots.report_html(
        title=f"Sentiment trees by {MODEL_NAMES[config.model]}",
        summary=f"Corpus {config.train or config.corpus}, "
        + (
            f"model chosen on dev after epoch {result['epoch']} of {result['epochs_run']}; "
            f"{result['seconds_per_epoch']:.1f} s an epoch."
            if history
            else f"trained in {result['seconds_per_epoch']:.1f} s."
        ),
        figures=figures,
        scores=table,
        scores_note=NOTE if config.num_classes == 5 else None,
        decimals=2,
        history=history or None,
        curves=[
            plots.Curves("Training loss", "epoch", ["train_loss"], "nats a tree", result["epoch"]),
            plots.Curves(
                "Dev accuracy", "epoch", dev_columns, "accuracy", result["epoch"], percent=True
            ),
        ],
        confusion=scores.confusion_matrix(predictions),
        confusion_note=f"{last.capitalize()}, all labelled nodes.",
        mistakes=mistakes,
        examples=[
            plots.TreePicture(forest[i], probabilities[i], f"{last} tree {i}") for i in examples
        ],
        class_names=names,
        config=dataclasses.asdict(config),
        command=command,
        environment=environment,
    )
    (workdir / "report.html").write_text(page, encoding="utf-8")
