"""The report of a training run as one self-contained HTML file."""

from __future__ import annotations

import numbers
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from rntn_jax.plots import tables, text
from rntn_jax.plots.curves import Curves, curves_svg
from rntn_jax.plots.display import Html
from rntn_jax.plots.page import Section, TreePicture, page_html, pictures_html


def report_html(
    *,
    title: str,
    summary: str | None = None,
    figures: Mapping[str, Any] | None = None,
    scores: Mapping[str, Mapping[str, Any]] | None = None,
    scores_note: str | None = None,
    decimals: int = 1,
    history: Sequence[Mapping[str, Any]] | None = None,
    curves: Sequence[Curves] | None = None,
    confusion: npt.ArrayLike | None = None,
    confusion_note: str | None = None,
    mistakes: Sequence[TreePicture] | None = None,
    examples: Sequence[TreePicture] | None = None,
    class_names: Sequence[str] | None = None,
    sections: Sequence[Section] | None = None,
    config: Mapping[str, Any] | None = None,
    command: str | Sequence[str] | None = None,
    environment: Mapping[str, Any] | None = None,
) -> Html:
    """Returns the report of a training run: one HTML file that loads nothing else.

    The parts appear in the order of the arguments; a part whose argument is None is left out.

    Args:
        title: The page's title.
        summary: One or two sentences below it.
        figures: Key figures as cards, see `tables.figures_html`: name -> value or (value, remark).
        scores: Table of scores: row -> metric -> fraction, see `tables.scores_html`.
        scores_note: Remark below that table (where published figures come from, what differs).
        decimals: Decimals of its percentages.
        history: Rows of metrics, for the learning curves.
        curves: The charts to draw from `history`; by default one of every column with "loss" in
            its name and one of the other numeric columns, against "epoch" (else "step").
        confusion: Counts `[C, C]`, gold by predicted.
        confusion_note: Remark below the matrix (which split, which nodes).
        mistakes: Trees with wrong labels, as from `most_confident_mistakes`; left out where there
            are none.
        examples: Further trees.
        class_names: Names of the C classes, for matrix and trees.
        sections: Further sections, ready made.
        config: Settings of the run; nested mappings are shown with dotted names.
        command: The command line, as text or as a list of arguments.
        environment: Versions, hardware, times.

    Returns:
        The document, to be written as UTF-8.

    Raises:
        ValueError: If shapes, labels or names do not fit each other.

    Example:
        >>> page = report_html(title="Sentiment", scores={"test": {"root": 0.457}})
        >>> "45.7%" in page and "Confusion" not in page
        True
    """
    header = "" if summary is None else f'<p class="rj-summary">{text.escape(summary)}</p>'
    if figures is not None:
        header += tables.figures_html(figures)
    parts: list[Section] = []

    def add(heading: str, html: str) -> None:
        parts.append(Section(heading, html))

    if scores is not None:
        add("Scores", tables.scores_html(scores, decimals=decimals, note=scores_note))
    if history is not None:
        charts = default_curves(history) if curves is None else curves
        drawn = "".join(curves_svg(history, **chart._asdict()) for chart in charts)
        add("Learning curves", f'<div class="rj-curves">{drawn}</div>')
    if confusion is not None:
        matrix = tables.confusion_html(confusion, class_names, note=confusion_note)
        add("Confusion matrix", matrix)
    if mistakes:
        add("Most confident mistakes", pictures_html(mistakes, class_names=class_names))
    if examples is not None:
        add("Example trees", pictures_html(examples, class_names=class_names))
    parts.extend(sections or ())
    if config is not None:
        add("Configuration", tables.facts_html(config))
    if command is not None or environment is not None:
        add("Command and environment", _run_html(command, environment))
    return page_html(title=title, header=header, sections=parts)


def default_curves(history: Sequence[Mapping[str, Any]]) -> list[Curves]:
    """Returns the charts drawn when none are asked for: the losses, and the other numbers.

    Example:
        >>> [chart.ys for chart in default_curves([{"epoch": 1, "dev_loss": 2.0, "dev_root": 0.4}])]
        [['dev_loss'], ['dev_root']]
    """
    columns = list(
        dict.fromkeys(
            name
            for row in history
            for name, value in row.items()
            if isinstance(value, numbers.Real) and not isinstance(value, bool)
        )
    )
    x = "epoch" if "epoch" in columns else "step"
    columns = [name for name in columns if name not in ("epoch", "step")]
    losses = [name for name in columns if "loss" in name]
    others = [name for name in columns if "loss" not in name]
    charts = [Curves("Loss", x, losses, "loss")] if losses else []
    return charts + ([Curves("Metrics", x, others, "value")] if others else [])


def _run_html(command: str | Sequence[str] | None, environment: Mapping[str, Any] | None) -> str:
    html = ""
    if command is not None:
        line = command if isinstance(command, str) else shlex.join(command)
        html += f"<pre><code>{text.escape(line)}</code></pre>"
    if environment is not None:
        html += tables.facts_html(environment)
    return html
