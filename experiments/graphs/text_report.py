"""What the report of chunking shows: scores, sentences with their skip edges, learnt scores."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from experiments.graphs.config import Config
from experiments.graphs.report import Page, Section, curves
from experiments.graphs.text import SKIP_FEATURES, Sentence, Text
from rntn_jax import plots

__all__ = ["page", "sentence_svg", "table"]

NAMES = {
    "chain": "linear chain, exact",
    "tree_reweighted": "skip-chain, tree-reweighted BP",
    "loopy": "skip-chain, loopy BP",
    "exact": "skip-chain, exact",
}
SHOWN = 6  # sentences
NOTE = (
    "F1 of chunks on test, in percent, each token's label being its likeliest; standard errors by "
    "drawing test sentences again. Linked: the sentences that have skip edges. More than the "
    "chain: the difference, on the same draws. Nats: -ln P of a linked sentence's labels, as the "
    "method computes it. Seconds an epoch: of training, the median."
)


def table(result: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Model -> column -> text, as it is printed and reported."""
    rows = {}
    for name, model in result["models"].items():
        row = rows[NAMES[name]] = {}
        for part, sentences in (("all", "all"), ("linked", "linked")):
            them = model[part]
            row[f"F1, {sentences}"] = _rate(them["f1"], them["f1_standard_error"])
            more = _rate(them["more"], them["more_standard_error"], "+")
            row[f"more than the chain, {sentences}"] = "" if name == "chain" else more
        row["nats, linked"] = f"{model['linked']['nats']:.3f}"
        row["s an epoch"] = f"{model['epoch_seconds']:.1f}"
    return rows


def _rate(value: float, error: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.2f} ± {100 * error:.2f}"


def page(
    config: Config,
    result: dict[str, Any],
    corpus: Text,
    marginals: dict[str, list[np.ndarray]],
    tables: np.ndarray,
) -> Page:
    """What there is to show.

    Args:
        config: the settings.
        result: the content of ``result.json``.
        corpus: the corpus.
        marginals: by model, those of test sentences.
        tables: learnt scores ``[3, C, C]`` of skip edges.
    """
    sizes = result["splits"]
    summary = (
        f"Corpus {config.corpus}: {sizes['train']['sentences']:,} sentences to learn from, "
        f"{sizes['train']['linked']:,} of them with skip edges; {sizes['test']['sentences']:,} to "
        f"test on, {sizes['test']['linked']:,} of them with skip edges."
    )
    names = {name: NAMES[name] for name in result["models"]}
    charts = [
        curves("Dev", "dev_error", names, "1 - F1"),
        curves("Loss, each its own kind", "train_loss", names, "nats a sentence"),
    ]
    used = np.flatnonzero(np.abs(tables).max(axis=(0, 1)) + np.abs(tables).max(axis=(0, 2)) > 0.02)
    labels = [corpus.labels[c] for c in used]
    maps = [
        f"<h3>{name}</h3>"
        + plots.heatmap_html(
            table[np.ix_(used, used)],
            labels,
            labels,
            label=f"Scores of skip edges, {name}",
            corner="earlier \\ later",
            decimals=2,
        )
        for name, table in zip(SKIP_FEATURES, tables)
    ]
    note = "<p>Nats, of the last model; labels whose scores are all near 0 are left out.</p>"
    sections = [
        _sentences(corpus.splits["test"], corpus.labels, marginals),
        Section("Scores of skip edges", note + "".join(maps)),
    ]
    return Page(summary, table(result), NOTE, charts, sections)


def _sentences(
    sentences: Sequence[Sentence], labels: list[str], marginals: dict[str, list[np.ndarray]]
) -> Section:
    """The test sentences on which skip edges change most."""
    last = list(marginals)[-1]

    def change(n: int) -> float:
        return float(np.abs(marginals[last][n] - marginals["chain"][n]).max())

    linked = [n for n, sentence in enumerate(sentences) if sentence.edges]
    chosen = sorted(linked, key=change, reverse=True)[:SHOWN]
    models = {"linear chain": "chain", NAMES[last]: last}
    pictures = [
        sentence_svg(sentences[n], labels, {k: marginals[m][n] for k, m in models.items()})
        for n in chosen
    ]
    note = (
        "<p>The sentences that skip edges change most: arcs join equal words, and each model gives "
        "the likeliest label of each word, its probability, and in orange what is wrong.</p>"
    )
    html = "".join(f'<div class="rj-scroll">{picture}</div>' for picture in pictures)
    return Section("Sentences with skip edges", note + html)


def sentence_svg(sentence: Sentence, labels: list[str], models: dict[str, np.ndarray]) -> str:
    """A sentence from top to bottom, its skip edges, gold labels, and what models say."""
    line, left, column = 20, 110, 150
    joined = {t for edge in sentence.edges for t in edge}
    parts = []
    for i, j in sentence.edges:
        top, bottom = line * (i + 1.5), line * (j + 1.5)
        reach = left - 8 - min(12 + 5 * (j - i), left - 14)
        parts.append(
            f'<path d="M{left - 6} {top} C{reach} {top} {reach} {bottom} {left - 6} {bottom}" '
            'fill="none" stroke="#3f7fd0" stroke-width="1.5"/>'
        )

    def say(x: float, row: float, words: str, style: str = "") -> None:
        y = line * (row + 0.7)
        parts.append(f'<text x="{x}" y="{y:.1f}" {style}>{escape(words)}</text>')

    bold = 'font-weight="bold"'
    for k, heading in enumerate(("", "gold", *models)):
        say(left + column * k, 0, heading, bold)
    for t, row in enumerate(sentence.rows):
        say(left, t + 1, row[0], bold if t in joined else "")
        say(left + column, t + 1, row[-1])
        for k, p in enumerate(models.values(), 2):
            best = int(p[t].argmax())
            wrong = labels[best] != row[-1]
            x, y = left + column * k, line * (t + 1)
            colour = "#cf5a1d" if wrong else "#3f7fd0"
            parts.append(
                f'<rect x="{x}" y="{y + 3}" width="{0.8 * column * p[t, best]:.1f}" '
                f'height="{line - 5}" fill="{colour}" opacity="0.2"/>'
            )
            style = 'fill="#cf5a1d"' if wrong else ""
            say(x + 3, t + 1, f"{labels[best]} {p[t, best]:.2f}", style)
    width, height = left + column * (2 + len(models)), line * (len(sentence.rows) + 1) + 6
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="a sentence" font-size="13" fill="currentColor">{"".join(parts)}</svg>'
    )
