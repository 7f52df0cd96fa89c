"""The HTML report of a parsing run."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.parsing.config import Config
from experiments.workdir import read_environment
from rntn_jax import data, plots
from rntn_jax.annotate.dependency_parser import DependencyParser, parse_tagged
from rntn_jax.plots.arcs import legend_html
from rntn_jax.plots.tables import scroll_html

__all__ = ["PUBLISHED", "write"]

SHOWN = 8  # sentences

# UD English-EWT, test, gold tokens.
PUBLISHED = {
    "UDPipe 1.2, gold tags and features (UD 2.3, pretrained vectors)": (0.877, 0.858),
}


def write(
    workdir: Path,
    config: Config,
    result: dict[str, Any],
    history: list[dict[str, Any]],
    model: DependencyParser,
    splits: dict[str, Sequence[data.ConlluSentence]],
) -> None:
    """Writes ``report.html``; its sentences are those of test, or of dev if there is no test."""
    last = "test" if "test" in splits else "dev"
    sentences = splits[last]
    command, environment = read_environment(workdir)
    scores = {
        split: {name: result[f"{split}_{name.lower()}"] for name in ("UAS", "LAS", "CLAS")}
        for split in ("dev", "test")
        if split in splits
    }
    if config.corpus == "ud_ewt" and config.train is None:
        scores |= {name: {"UAS": u, "LAS": v} for name, (u, v) in PUBLISHED.items()}
    figures: dict[str, Any] = {
        f"{last} {name}": f"{100 * scores[last][name]:.2f}" for name in ("UAS", "LAS", "CLAS")
    }
    figures["parameters"] = f"{result['parameters']:,}"
    answers = parse_tagged(model, sentences)
    graph = config.model == "graph"
    unit = "nats a word" if graph else "nats a step"
    title = "A graph-based parser" if graph else "A transition parser"
    page = plots.report_html(
        title=title,
        summary=f"Corpus {config.train or config.corpus}, model chosen on dev after epoch "
        f"{result['epoch']} of {result['epochs_run']}; {result['seconds']:.0f} s of training; "
        f"{result['parameters']:,} parameters.",
        figures=figures,
        scores=scores,
        scores_note="All words count, punctuation too; LAS without subtypes of relations.",
        decimals=2,
        history=history,
        curves=[
            plots.Curves("Loss", "epoch", ["train_nll"], unit),
            plots.Curves("Dev", "epoch", ["dev_uas", "dev_las"], "fraction", result["epoch"]),
        ],
        sections=[
            plots.Section("By relation", _by_relation(sentences, answers)),
            *([plots.Section("Calibration", _calibration(result, last))] if graph else []),
            plots.Section("Sentences", _sentences(sentences, answers)),
        ],
        config=dataclasses.asdict(config),
        command=command,
        environment=environment,
    )
    (workdir / "report.html").write_text(page, encoding="utf-8")


def _by_relation(gold: Sequence[data.ConlluSentence], answers: Sequence[Any]) -> str:
    """How often words of each gold relation get the right head, and the right arc."""
    counts, heads, arcs = Counter[str](), Counter[str](), Counter[str]()
    for sentence, (guessed, names) in zip(gold, answers):
        for h, r, g, name in zip(sentence.heads, sentence.relations, guessed, names):
            kind = r.partition(":")[0]
            counts[kind] += 1
            heads[kind] += int(h == g)
            arcs[kind] += int(h == g and kind == name.partition(":")[0])
    return plots.scores_html(
        {
            f"{kind} ({n:,})": {"UAS": heads[kind] / n, "LAS": arcs[kind] / n}
            for kind, n in counts.most_common(25)
        }
    )


def _calibration(result: dict[str, Any], split: str) -> str:
    """How often arcs are right, by their probability."""
    rows = [
        f"<tr><td>{low:.1f}-{low + 0.1:.1f}</td><td>{n:,}</td><td>{p:.3f}</td>"
        f"<td>{right:.3f}</td></tr>"
        for low, n, p, right in result[f"{split}_calibration"]
    ]
    head = "<tr><th>probability</th><th>arcs</th><th>mean of it</th><th>right</th></tr>"
    error = 100 * result[f"{split}_calibration_error"]
    note = f"<p>Mean distance of the last two columns: {error:.2f} %.</p>"
    return scroll_html("Calibration", f"<table>{head}{''.join(rows)}</table>") + note


def _sentences(gold: Sequence[data.ConlluSentence], answers: Sequence[Any]) -> str:
    """The first sentences as arcs, and what is wrong in them."""
    pictures = []
    for number, (sentence, (heads, names)) in enumerate(zip(gold[:SHOWN], answers), 1):
        picture = plots.arcs_svg(
            sentence.forms,
            heads,
            names,
            gold_heads=sentence.heads,
            gold_labels=sentence.relations,
            tags=sentence.upos,
        )
        wrong = sum(
            (h, r) != (g, name)
            for h, r, g, name in zip(sentence.heads, sentence.relations, heads, names)
        )
        said = "all arcs right" if not wrong else f"{wrong} of {len(heads)} arcs wrong"
        pictures.append(
            f"<figure><figcaption>{number}. {said}</figcaption>"
            f"{scroll_html(f'Sentence {number}', picture)}</figure>"
        )
    return legend_html() + "".join(pictures)
