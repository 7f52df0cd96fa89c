"""Heat maps as HTML tables: transition scores, marginals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rntn_jax.plots import palette, text
from rntn_jax.plots.display import Html
from rntn_jax.plots.tables import note_html, scroll_html

_LOW, _MIDDLE, _HIGH = "#cf5a1d", "#f6f7f9", "#1b4f94"


def heatmap_html(
    values: npt.ArrayLike,
    row_names: Sequence[str],
    column_names: Sequence[str],
    *,
    label: str,
    corner: str = "",
    decimals: int = 1,
    marked: npt.ArrayLike | None = None,
    note: str | None = None,
) -> Html:
    """Returns a matrix as a table whose cells are coloured by their values.

    Zero is pale, positive values are blue and negative ones orange, the largest in size darkest.

    Args:
        values: `[R, C]`; `-inf` (forbidden) and NaN (missing) are shown as signs without colour.
        row_names: R names.
        column_names: C names.
        label: What is shown, for screen readers.
        corner: Text of the upper left cell.
        decimals: Decimals of the numbers.
        marked: bool `[R, C]`, cells to be framed (gold labels, say).
        note: Plain text below.

    Returns:
        HTML for a page made by `page_html`.

    Raises:
        ValueError: If shapes and names do not fit.

    Example:
        >>> "0.9" in heatmap_html([[0.9, 0.1]], ["film"], ["N", "V"], label="marginals")
        True
    """
    matrix, frames = checked_matrix(values, row_names, column_names, marked)
    largest = np.abs(matrix[np.isfinite(matrix)]).max(initial=0.0) or 1.0
    head = "".join(f'<th scope="col">{text.escape(name)}</th>' for name in column_names)
    rows = []
    for name, row, frame in zip(row_names, matrix, frames):
        cells = "".join(_cell(v, largest, decimals, f) for v, f in zip(row, frame))
        rows.append(f'<tr><th scope="row">{text.escape(name)}</th>{cells}</tr>')
    table = (
        f'<table class="rj-heatmap"><thead><tr><th scope="col">{text.escape(corner)}</th>{head}'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    return Html(scroll_html(label, table) + note_html(note))


def marginals_html(
    words: Sequence[str],
    labels: Sequence[str],
    probabilities: npt.ArrayLike,
    *,
    gold: Sequence[str] | None = None,
) -> Html:
    """Returns the probability of each label at each word, in colour.

    Args:
        words: T words.
        labels: C labels.
        probabilities: `[T, C]` or longer (padding is cut off): one sentence's row of
            `crf.chain.marginals(scores).node`, say.
        gold: T labels to be framed, or None.

    Returns:
        HTML for a page made by `page_html`, or what a notebook shows.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> "0.90" in marginals_html(["film"], ["N", "V"], [[0.9, 0.1]], gold=["N"])
        True
    """
    table = np.asarray(probabilities, np.float64)[: len(words)]
    if gold is not None and len(gold) != len(words):
        raise ValueError(f"{len(words)} words but {len(gold)} gold labels")
    marked = None if gold is None else [[name == own for name in labels] for own in gold]
    return heatmap_html(table, words, labels, label="Marginals", decimals=2, marked=marked)


def arc_marginals_html(
    words: Sequence[str],
    probabilities: npt.ArrayLike,
    *,
    gold_heads: npt.ArrayLike | None = None,
) -> Html:
    """Returns the probability of each head of each word, in colour: a row a word.

    Args:
        words: T words.
        probabilities: `[T+1, T+1]` or larger (padding is cut off): entry `[h, d]` for word h as
            the head of word d, where words count from 1 and 0 is the root, as
            `crf.dependency.marginals` gives them.
        gold_heads: Integers `[T]`, 0 for the root, to be framed; or None.

    Returns:
        HTML for a page made by `page_html`, or what a notebook shows.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> shown = arc_marginals_html(["It", "works"], [[0, 0.1, 0.9], [0, 0, 0.1], [0, 0.9, 0]])
        >>> shown.count("0.90")
        2
    """
    count = len(words)
    table = np.asarray(probabilities, np.float64)[: count + 1, 1 : count + 1].T
    heads = None if gold_heads is None else np.asarray(gold_heads)
    if heads is not None and heads.shape != (count,):
        raise ValueError(f"gold_heads must have shape [{count}], got {list(heads.shape)}")
    marked = None if heads is None else heads[:, None] == np.arange(count + 1)
    return heatmap_html(
        table, words, ["ROOT", *words], label="Marginals of arcs", corner="word \\ head",
        decimals=2, marked=marked,
    )  # fmt: skip


def checked_matrix(
    values: npt.ArrayLike,
    row_names: Sequence[str],
    column_names: Sequence[str],
    marked: npt.ArrayLike | None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Values and frames of a heat map, both `[R, C]`; `ValueError` where they do not fit."""
    matrix = np.asarray(values, np.float64)
    if matrix.shape != (len(row_names), len(column_names)):
        raise ValueError(
            f"{len(row_names)} row and {len(column_names)} column names for shape {matrix.shape}"
        )
    frames = np.zeros(matrix.shape, bool) if marked is None else np.asarray(marked, bool)
    if frames.shape != matrix.shape:
        raise ValueError(f"marked has shape {frames.shape}, values {matrix.shape}")
    return matrix, frames


def cell_look(value: float, largest: float, decimals: int) -> tuple[str | None, str]:
    """A cell's colour (None: not a finite number) and what is written in it (zero: nothing)."""
    if not np.isfinite(value):
        return None, "–" if np.isnan(value) else "−∞" if value < 0 else "∞"
    color = palette.mix(_MIDDLE, _HIGH if value > 0 else _LOW, abs(value) / largest)
    shown = f"{value:.{decimals}f}"
    return color, "" if float(shown) == 0 else shown


def _cell(value: float, largest: float, decimals: int, framed: bool) -> str:
    css = ' class="rj-framed"' if framed else ""
    color, shown = cell_look(value, largest, decimals)
    look = "" if color is None else f' style="background:{color};color:{palette.ink(color)}"'
    return f"<td{css}{look}>{shown}</td>"
