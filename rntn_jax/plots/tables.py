"""Tables of reports: scores, confusion matrices, settings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rntn_jax.plots import palette, text
from rntn_jax.plots.display import Html

_DASH = "\u2013"
_RIGHT, _WRONG = "#1b4f94", "#cf5a1d"


def confusion_html(
    matrix: npt.ArrayLike, class_names: Sequence[str] | None = None, *, note: str | None = None
) -> Html:
    """Returns a confusion matrix as an HTML table with a heat map.

    A cell holds the count and its share of the gold class (the row); its colour is that share,
    blue on the diagonal (right) and orange off it (wrong). The last row holds the totals.

    Args:
        matrix: Counts `[C, C]`, gold classes by predicted classes.
        class_names: Names of the C classes, or None for the default ones.
        note: Plain text below the table.

    Returns:
        HTML for a page made by `page_html`.

    Raises:
        ValueError: If the matrix is not square, or holds a negative or non-finite count.

    Example:
        >>> "75.0%" in confusion_html([[3, 1], [0, 2]], ["no", "yes"])
        True
    """
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.shape[0] == 0:
        raise ValueError(f"a confusion matrix is square, got shape {counts.shape}")
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError("a confusion matrix holds finite counts of at least 0")
    names = [text.escape(name) for name in palette.class_names(len(counts), class_names)]
    columns = "".join(f'<th scope="col">{name}</th>' for name in names)
    rows = []
    for gold, row in enumerate(counts.tolist()):
        cells = "".join(
            _confusion_cell(count, sum(row), gold == predicted)
            for predicted, count in enumerate(row)
        )
        rows.append(
            f'<tr><th scope="row">{names[gold]}</th>{cells}'
            f'<td class="rj-total">{sum(row):,g}</td></tr>'
        )
    totals = "".join(f'<td class="rj-total">{n:,g}</td>' for n in counts.sum(axis=0).tolist())
    legend = "Rows: gold class. Columns: predicted class. Percentages: share of the gold class."
    return Html(
        note_html(legend)
        + scroll_html(
            "Confusion matrix",
            '<table class="rj-confusion">'
            f'<thead><tr><th scope="col">gold</th>{columns}<th scope="col">total</th></tr></thead>'
            f'<tbody>{"".join(rows)}<tr><th scope="row">total</th>{totals}'
            f'<td class="rj-total">{counts.sum().item():,g}</td></tr></tbody></table>',
        )
        + note_html(note)
    )


def _confusion_cell(count: float, total: float, right: bool) -> str:
    share = count / total if total else 0.0
    color = palette.mix("#f6f7f9", _RIGHT if right else _WRONG, share)
    percent = f"{share:.1%}" if total else _DASH
    return (
        f'<td style="background:{color};color:{palette.ink(color)}">{count:,g}'
        f"<small>{percent}</small></td>"
    )


def scores_html(
    scores: Mapping[str, Mapping[str, Any]], *, decimals: int = 1, note: str | None = None
) -> Html:
    """Returns a table of scores as percent.

    Args:
        scores: Row (a split, a system, a publication) -> metric -> score. Numbers are fractions
            of 1 and are shown as percent; text is shown as it is; None, NaN and missing entries
            are dashes. Columns stand in the order of their first mention.
        decimals: Decimals of the percentages.
        note: Plain text below the table.

    Returns:
        HTML for a page made by `page_html`.

    Example:
        >>> "80.7%" in scores_html({"test, ours": {"all nodes": 0.8071}})
        True
    """
    metrics = list(dict.fromkeys(metric for row in scores.values() for metric in row))
    head = "".join(f'<th scope="col">{text.escape(metric)}</th>' for metric in metrics)
    rows = "".join(
        f'<tr><th scope="row">{text.escape(name)}</th>'
        + "".join(f"<td>{_percent(row.get(metric), decimals)}</td>" for metric in metrics)
        + "</tr>"
        for name, row in scores.items()
    )
    table = f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return Html(scroll_html("Scores", table) + note_html(note))


def _percent(value: Any, decimals: int) -> str:
    if isinstance(value, str):
        return text.escape(value)
    if value is None or not math.isfinite(value):
        return _DASH
    return f"{float(value):.{decimals}%}"


def facts_html(facts: Mapping[str, Any]) -> str:
    """Returns names and values as a table of two columns; nested mappings get dotted names.

    Example:
        >>> ">optimizer.name</th>" in facts_html({"optimizer": {"name": "sgd"}})
        True
    """
    rows = "".join(
        f'<tr><th scope="row">{text.escape(name)}</th><td>{text.escape(value)}</td></tr>'
        for name, value in _flatten(facts, "")
    )
    return f'<table class="rj-facts"><tbody>{rows}</tbody></table>'


def _flatten(facts: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", format_value(value)


def texts_html(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> Html:
    """Returns a table whose first column is text that runs over lines, as sentences do.

    Args:
        rows: Each a text and values; see `format_value`.
        names: Of the columns.

    Returns:
        HTML for a page made by `page_html`.

    Example:
        >>> ">12.5</td>" in texts_html([("a long sentence", 12.5)], ["sentence", "perplexity"])
        True
    """
    head = "".join(f'<th scope="col">{text.escape(name)}</th>' for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{text.escape(format_value(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    table = f'<table class="rj-texts"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return Html(scroll_html("Texts", table))


def figures_html(figures: Mapping[str, Any]) -> str:
    """Returns key figures as a row of cards.

    Args:
        figures: Name -> value, or name -> (value, remark). Numbers are rounded to four digits;
            for any other format give text.

    Returns:
        HTML for a page made by `page_html`.

    Example:
        >>> "41.2 min" in figures_html({"time": ("41.2 min", "2 cores")})
        True
    """
    cards = []
    for name, value in figures.items():
        remark = None
        if isinstance(value, tuple) and len(value) == 2:
            value, remark = value
        small = "" if remark is None else f'<dd class="rj-small">{text.escape(remark)}</dd>'
        cards.append(
            f'<div><dt>{text.escape(name)}</dt><dd class="rj-value">'
            f"{text.escape(format_value(value))}</dd>{small}</div>"
        )
    return f'<dl class="rj-figures">{"".join(cards)}</dl>'


def format_value(value: Any) -> str:
    """Returns a setting or figure as text: integers grouped, floats short, sequences joined.

    Example:
        >>> format_value(318582), format_value(0.1 + 0.2), format_value([1, 2])
        ('318,582', '0.3', '1, 2')
    """
    if value is None:
        return _DASH
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}" if abs(value) >= 100_000 else str(value)
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(format_value, value))
    return str(value)


def note_html(note: str | None) -> str:
    """Returns a remark below a table, or nothing.

    Example:
        >>> note_html("a & b")
        '<p class="rj-note">a &amp; b</p>'
    """
    return "" if note is None else f'<p class="rj-note">{text.escape(note)}</p>'


def scroll_html(label: str, content: str) -> str:
    """Returns content that scrolls sideways where it is wider than the page.

    Args:
        label: What it is, for screen readers.
        content: HTML, used as it is.

    Returns:
        HTML for a page made by `page_html`.

    Example:
        >>> "<b>x</b>" in scroll_html("a letter", "<b>x</b>")
        True
    """
    label = text.escape(label)
    return f'<div class="rj-scroll" tabindex="0" role="region" aria-label="{label}">{content}</div>'
