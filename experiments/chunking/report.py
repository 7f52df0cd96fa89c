"""The HTML report of a tagging run."""

from __future__ import annotations

import dataclasses
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from experiments.chunking.config import Config
from experiments.chunking.pipeline import figures, recode
from experiments.workdir import read_environment
from rntn_jax import plots
from rntn_jax.tagger.column_tagger import Model

__all__ = ["PUBLISHED", "marginal_map", "write"]

# CoNLL-2000, test set, F1 of chunks.
PUBLISHED = {
    "CRFsuite, same features and objective": 0.9361,
    "BiLSTM-CRF without outside vectors (Huang et al. 2015)": 0.9413,
}


def marginal_map(rows: Any, marginals: np.ndarray, labels: list[str], title: str = "") -> str:
    """Heat map of a sentence: its tokens down, the labels across, gold labels framed."""
    used = [c for c in range(len(labels)) if marginals[:, c].max(initial=0) >= 0.005]
    gold = [[row[-1] == labels[c] for c in used] for row in rows]
    words = [f"{t} {row[0]}" for t, row in enumerate(rows, 1)]
    return plots.heatmap_html(
        marginals[:, used],
        words,
        [labels[c] for c in used],
        label=f"Marginals {title}",
        decimals=2,
        marked=np.array(gold, bool).reshape(len(rows), len(used)),
    )


def write(
    workdir: Path,
    config: Config,
    result: dict[str, Any],
    history: list[dict[str, Any]],
    model: Model,
    splits: dict[str, Any],
    answers: dict[str, Any],
) -> None:
    """Writes ``report.html``."""
    command, environment = read_environment(workdir)
    sections = [
        plots.Section(
            "Scores of transitions",
            plots.heatmap_html(
                model.edge,
                model.edge_labels,
                model.edge_labels,
                label="Scores of transitions",
                corner="from \\ to",
                note="Nats; a blank cell is 0 (of sparse CRFs: never seen in training).",
            ),
        )
    ]
    shown: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    if answers:
        split = "test" if "test" in answers else "dev"
        tags, marginals, evaluated = answers[split]
        names = {"f1": "F1", "accuracy": "accuracy"}
        for name, value in figures(evaluated, config.scheme).items():
            shown[f"{split} {names[name]}"] = f"{100 * value:.2f}"
        if "best_test_accuracy" in result:
            shown["best possible accuracy"] = f"{100 * result['best_test_accuracy']:.2f}"
        of_all = [("all", evaluated.overall)] if config.scheme != "none" else []
        for name, counts in [*evaluated.by_type.items(), *of_all]:
            scores[name] = {
                "precision": counts.precision,
                "recall": counts.recall,
                "F1": counts.f1,
                "chunks": f"{counts.gold:,}",
            }
        if config.corpus == "conll2000" and config.train is None:
            scores |= {name: {"F1": f1} for name, f1 in PUBLISHED.items()}
        sections += _sentences(splits[split], tags, marginals, model)
    shown["labels"] = len(model.labels)
    seen = "loss" if config.model == "crf" else "train_nll"
    curves = [plots.Curves("Loss", "step", [seen], "nats")]
    for name, title in (("dev_f1", "F1 on dev"), ("dev_accuracy", "Accuracy on dev")):
        if any(name in row for row in history):
            curves.append(plots.Curves(title, "epoch", [name], "fraction", result["epoch"]))
            break
    page = plots.report_html(
        title="Chunking",
        summary=f"Corpus {config.train or config.corpus}, model {config.model}; "
        f"{len(splits['train']):,} sentences to train on, {result['seconds']:.0f} s.",
        figures=shown,
        scores=scores or None,
        decimals=2,
        history=history,
        curves=curves,
        sections=sections,
        config=dataclasses.asdict(config),
        command=command,
        environment=environment,
    )
    (workdir / "report.html").write_text(page, encoding="utf-8")


def _sentences(sentences, tags, marginals, model: Model) -> list[plots.Section]:
    """Marginals of the first sentences, and of the most confident mistakes."""
    inner = recode(sentences, model.info["scheme"], model.info["inner"])

    def doubt(number: int) -> float:
        """The most confident mistake: largest probability of a label that is wrong."""
        wrong = [
            p.max()
            for row, tag, p in zip(sentences[number], tags[number], marginals[number])
            if row[-1] != tag
        ]
        return max(wrong, default=0.0)

    short = [n for n in range(len(sentences)) if len(sentences[n]) <= 30]
    worst = sorted((n for n in short if doubt(n)), key=doubt, reverse=True)[:4]
    found = []
    for heading, numbers in (("Sentences", short[:2]), ("Most confident mistakes", worst)):
        maps = [
            f"<h3>{escape(' '.join(row[0] for row in sentences[n]))}</h3>"
            + marginal_map(inner[n], marginals[n], model.labels, f"of sentence {n}")
            for n in numbers
        ]
        note = '<p class="rj-note">Probability of each label; the gold label is framed.</p>'
        if maps:
            found.append(plots.Section(heading, note + "".join(maps)))
    return found
