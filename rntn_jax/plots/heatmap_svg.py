"""Heat maps as SVG pictures: for papers, slides and README files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rntn_jax.plots import palette, text
from rntn_jax.plots.display import Svg
from rntn_jax.plots.heatmap import cell_look, checked_matrix

_FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
_NAME, _NUMBER = 14.0, 12.0  # sizes of letters, in pixels
_ROW, _LEAST, _GAP, _MARGIN = 30.0, 46.0, 2.0, 14.0  # height, least width; between cells, around
_PALE, _FRAME = "#f6f7f9", "#e0a000"


def heatmap_svg(
    values: npt.ArrayLike,
    row_names: Sequence[str],
    column_names: Sequence[str],
    *,
    label: str,
    decimals: int = 1,
    marked: npt.ArrayLike | None = None,
) -> Svg:
    """Draws a matrix as coloured cells, with the colours and signs of `heatmap_html`.

    Args:
        values: `[R, C]`; `-inf` (forbidden) and NaN (missing) are shown as signs without colour.
        row_names: R names.
        column_names: C names.
        label: What is shown, for screen readers.
        decimals: Decimals of the numbers.
        marked: bool `[R, C]`, cells to be framed (gold labels, say).

    Returns:
        An `<svg>` element with its namespace: a file, or a part of an HTML page.

    Raises:
        ValueError: If shapes and names do not fit.

    Example:
        >>> "0.9" in heatmap_svg([[0.9, 0.1]], ["film"], ["N", "V"], label="marginals")
        True
    """
    matrix, frames = checked_matrix(values, row_names, column_names, marked)
    rows, columns = (
        [text.word(str(name)) for name in names] for names in (row_names, column_names)
    )
    left = _MARGIN + max((text.width(name, _NAME) for name in rows), default=0.0) + 10
    widths = [max(_LEAST, text.width(name, _NAME) + 12) for name in columns]
    starts = left + np.concatenate([[0.0], np.cumsum(widths)])
    top = _MARGIN + _NAME + 10
    parts = [
        _text(start + width / 2, _MARGIN + _NAME, _NAME, "#111827", name)
        for start, width, name in zip(starts, widths, columns)
    ]
    largest = np.abs(matrix[np.isfinite(matrix)]).max(initial=0.0) or 1.0
    for r, (name, row, framed) in enumerate(zip(rows, matrix, frames)):
        y = top + r * _ROW
        parts.append(_text(left - 10, y + 20, _NAME, "#111827", name, 'text-anchor="end"'))
        for start, width, value, frame in zip(starts, widths, row, framed):
            color, shown = cell_look(value, largest, decimals)
            edge = f' stroke="{_FRAME}" stroke-width="2"' if frame else ""
            box = (start + _GAP / 2, y + _GAP / 2, width - _GAP, _ROW - _GAP)
            x, at, wide, high = map(_n, box)
            parts.append(
                f'<rect x="{x}" y="{at}" width="{wide}" height="{high}" rx="4" '
                f'fill="{color or _PALE}"{edge}/>'
            )
            if shown:
                ink = palette.ink(color or _PALE)
                parts.append(_text(start + width / 2, y + 19, _NUMBER, ink, shown))
    width, height = starts[-1] + _MARGIN, top + len(rows) * _ROW + _MARGIN
    return Svg(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="rj-heat" role="img" '
        f'aria-label="{text.escape(label)}" width="{_n(width)}" height="{_n(height)}" '
        f'viewBox="0 0 {_n(width)} {_n(height)}" font-family="{_FONT}" text-anchor="middle">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>'
    )


def marginals_svg(
    words: Sequence[str],
    labels: Sequence[str],
    probabilities: npt.ArrayLike,
    *,
    gold: Sequence[str] | None = None,
) -> Svg:
    """Draws the probability of each label at each word: a column a word, a row a label.

    Args:
        words: T words.
        labels: C labels.
        probabilities: `[T, C]` or longer (padding is cut off): one sentence's row of
            `crf.chain.marginals(scores).node`, say.
        gold: T labels to be framed, or None.

    Returns:
        An `<svg>` element, as `heatmap_svg` gives it.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> "0.90" in marginals_svg(["film"], ["N", "V"], [[0.9, 0.1]], gold=["N"])
        True
    """
    table = np.asarray(probabilities, np.float64)[: len(words)].T
    if gold is not None and len(gold) != len(words):
        raise ValueError(f"{len(words)} words but {len(gold)} gold labels")
    marked = None if gold is None else [[name == own for own in gold] for name in labels]
    label = "Marginals: " + text.span(words, 0, len(words))
    return heatmap_svg(table, labels, words, label=label, decimals=2, marked=marked)


def _text(x: float, y: float, size: float, color: str, shown: str, more: str = "") -> str:
    return (
        f'<text x="{_n(x)}" y="{_n(y)}" font-size="{size:g}" fill="{color}"'
        f"{' ' * bool(more)}{more}>{text.escape(shown)}</text>"
    )


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
