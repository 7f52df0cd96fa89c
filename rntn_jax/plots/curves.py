"""Learning curves as inline SVG."""

from __future__ import annotations

import hashlib
import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rntn_jax.plots import palette, text
from rntn_jax.plots.display import Svg

_SIZE = (5.6, 3.1)  # inches
_SMOOTH_FROM, _SMOOTH_BINS, _PALE_UPTO, _MARKERS_UPTO, _INSIDE_UPTO = 200, 50, 2000, 40, 4


class Curves(NamedTuple):
    """One chart of a report: which columns of the history to draw and how; see `curves_svg`."""

    title: str
    x: str
    ys: Sequence[str] | Mapping[str, str]
    ylabel: str
    mark: float | None = None
    percent: bool = False
    colors: Mapping[str, str] | None = None


def curves_svg(
    history: Sequence[Mapping[str, Any]],
    x: str,
    ys: Sequence[str] | Mapping[str, str],
    *,
    title: str,
    ylabel: str,
    mark: float | None = None,
    percent: bool = False,
    log: bool = False,
    colors: Mapping[str, str] | None = None,
) -> Svg:
    """Draws columns of a training history against one of its columns.

    Rows that lack `x` or a column, or hold no finite number there, are left out of that curve, so
    rows of steps and rows of epochs may be mixed. Curves of more than 200 points are drawn pale
    (thinned beyond 2,000 points) with the means of some 50 pieces in full colour. A column
    without any value is named as such in the legend rather than refused: a report at the end of
    a long run should not fail on it.

    Args:
        history: Rows of a `metrics.jsonl`.
        x: Column of the horizontal axis.
        ys: Columns to draw, or a mapping from columns to their labels.
        title: Title of the chart.
        ylabel: Label of the vertical axis, with the unit.
        mark: Value of `x` to mark (the chosen epoch), or None.
        percent: Whether the values are fractions to be shown as percent.
        log: Whether both axes are logarithmic (growth: a line of slope 1 is linear).
        colors: Column -> colour of its curve, as from `line_colors`, so that a column has the same
            one in every chart; others get the colours of `palette.LINES` in turn.

    Returns:
        An `<svg>` element; the same arguments give the same text.

    Example:
        >>> rows = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.5}]
        >>> curves_svg(rows, "epoch", ["loss"], title="Loss", ylabel="nats").startswith("<svg")
        True
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    labels = dict(ys) if isinstance(ys, Mapping) else {y: y.replace("_", " ") for y in ys}
    with matplotlib.rc_context(), warnings.catch_warnings():
        # The text stays text, so what matplotlib's own font lacks is the browser's to draw.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcdefaults()  # the reader's own style must not change a report
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=_SIZE, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        integral = True
        for index, (column, label) in enumerate(labels.items()):
            xs, values = _points(history, x, column)
            integral = integral and all(value == int(value) for value in xs)
            label = text.clean(label).lstrip("_") or "value"
            color = (colors or {}).get(column, palette.LINES[index % len(palette.LINES)])
            _draw(axes, xs, values, label, color)
            if mark is not None and mark in xs and len(xs) <= _SMOOTH_FROM:
                axes.plot([mark], [values[xs.index(mark)]], "o", color=color, ms=7, mec="white")
        if mark is not None:
            chosen = f"chosen: {text.clean(x)} {mark:g}"
            axes.axvline(mark, color="#6b7280", lw=1, ls=(0, (4, 3)), zorder=1, label=chosen)
        if log:
            axes.set(xscale="log", yscale="log")
        elif integral:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_title(text.clean(title), parse_math=False)
        axes.set_xlabel(text.clean(x).replace("_", " "), parse_math=False)
        axes.set_ylabel(text.clean(ylabel), parse_math=False)
        if labels or mark is not None:
            if len(labels) > _INSIDE_UPTO:  # more would lie on the curves
                legend = figure.legend(loc="outside lower center", ncols=3)
            else:
                legend = axes.legend(loc="best")
            for entry in legend.get_texts():
                entry.set_parse_math(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return Svg(_inline(buffer.getvalue(), title))


_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "rntn_jax",
    "font.sans-serif": ["DejaVu Sans", "Arial"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.titlecolor": "#111827",
    "text.color": "#111827",
    "axes.labelcolor": "#6b7280",
    "axes.edgecolor": "#9aa5b4",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e8ebef",
    "xtick.color": "#9aa5b4",
    "ytick.color": "#9aa5b4",
    "xtick.labelcolor": "#6b7280",
    "ytick.labelcolor": "#6b7280",
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


# As the style sheet of the pages has them.
_VARIABLES = {
    "#111827": "ink",
    "#9aa5b4": "axis",
    "#e8ebef": "grid",
    "#ffffff": "card",
    "#6b7280": "soft",
    **{color: f"line-{index}" for index, color in enumerate(palette.LINES)},
}


def _points(
    history: Sequence[Mapping[str, Any]], x: str, y: str
) -> tuple[list[float], list[float]]:
    """The finite points of one column, in the order of x."""
    points = []
    for row in history:
        try:
            point = float(row[x]), float(row[y])
        except (KeyError, TypeError, ValueError):
            continue
        if all(map(math.isfinite, point)):
            points.append(point)
    points.sort(key=lambda point: point[0])
    return [point[0] for point in points], [point[1] for point in points]


def _draw(axes: Any, xs: list[float], ys: list[float], label: str, color: str) -> None:
    """One curve; a long one pale, with the means of its pieces in full colour."""
    if not xs:
        axes.plot([], [], color=color, label=f"{label} (no data)")
    elif len(xs) <= _SMOOTH_FROM:
        marker = "o" if len(xs) <= _MARKERS_UPTO else ""
        axes.plot(xs, ys, marker=marker, ms=3.5, color=color, label=label)
    else:
        step = math.ceil(len(xs) / _PALE_UPTO)
        axes.plot(xs[::step], ys[::step], color=color, alpha=0.25, lw=0.8)
        size = math.ceil(len(xs) / _SMOOTH_BINS)
        starts = range(0, len(xs), size)
        means = [
            [math.fsum(column[s : s + size]) / len(column[s : s + size]) for s in starts]
            for column in (xs, ys)
        ]
        axes.plot(*means, color=color, label=f"{label} (mean of {size})")


def _inline(document: str, title: str) -> str:
    """The `<svg>` element of a document, its ids made unlike those of other charts of a page.

    Colours become those of the page where it has others, as it has on dark screens.
    """
    svg = document[document.index("<svg") :].strip()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    prefix = "c" + hashlib.sha256(svg.encode()).hexdigest()[:8] + "-"
    svg = re.sub(r'(<[^<>]*? id=")', rf"\g<1>{prefix}", svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}", svg)
    for color, name in _VARIABLES.items():
        svg = svg.replace(f": {color}", f": var(--rj-{name}, {color})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{text.escape(title)}" ', 1)
