"""Sentiment trees as SVG pictures and as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy.typing as npt

from rntn_jax.plots import layout, palette, text
from rntn_jax.plots.display import Svg
from rntn_jax.plots.view import TreeLike, View, view

FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
_WORD_SIZE, _LEGEND_SIZE, _TITLE_SIZE = 14.0, 12.0, 16.0
_MARGIN = 18.0
_WORD_DROP = layout.RADIUS + 18.0
_BELOW_WORDS = 8.0
_CORNER = 9.0
_TITLE_LIMIT = 120
_MAX_INDENT = 32


def tree_svg(
    tree: TreeLike,
    probabilities: npt.ArrayLike | None = None,
    *,
    class_names: Sequence[str] | None = None,
    title: str | None = None,
    legend: bool = True,
) -> Svg:
    """Draws a sentiment tree as a standalone SVG picture.

    A node's colour and symbol show its predicted class where `probabilities` are given, else its
    gold label; a small disc in the gold colour beside it marks a prediction that differs from
    the gold label; a node without label is a dashed grey outline. Hovering over a node shows its
    text, labels and distribution. Time and size are linear in the number of nodes.

    Args:
        tree: A binary tree of L leaves (`rntn_jax.data.Tree` or anything like it).
        probabilities: Predicted distribution of each node `[2L-1, C]`, or None.
        class_names: Names of the C classes, from the most negative to the most positive. Without
            them and without probabilities the tree has five classes, or as many as its labels
            ask for.
        title: Drawn above the tree.
        legend: Whether to explain the colours below the tree.

    Returns:
        An `<svg>` element with its namespace: a file, a part of an HTML page, or what a notebook
        shows.

    Raises:
        ValueError: If shapes or labels do not fit each other.

    Example:
        >>> from rntn_jax import data
        >>> picture = tree_svg(data.parse_tree("(3 (2 good) (2 film))"))
        >>> picture.startswith("<svg") and "film" in picture
        True
    """
    return Svg(render(view(tree, probabilities, class_names), title=title, legend=legend))


def render(seen: View, *, title: str | None = None, legend: bool = False) -> str:
    """Draws a checked tree; see `tree_svg`.

    Args:
        seen: What `view` returns.
        title: Drawn above the tree, or None.
        legend: Whether to explain the colours.

    Returns:
        An `<svg>` element.
    """
    placed = layout.place(seen.children, [text.width(word, _WORD_SIZE) for word in seen.words])
    left, top = _MARGIN, _MARGIN
    width, parts = placed.width, []
    if title:
        title = text.shorten(text.clean(title), _TITLE_LIMIT)
        width = max(width, text.width(title, _TITLE_SIZE))
        top += _TITLE_SIZE + 16
    bottom = top + placed.height + _WORD_DROP - layout.RADIUS + _BELOW_WORDS
    if legend:
        width = max(width, 380.0)
        rows = _legend(seen, width)
        parts.append(f'<g transform="translate({_n(left)} {_n(bottom + 22)})">{rows[0]}</g>')
        bottom += 22 + rows[1]
    left += (width - placed.width) / 2
    width, height = width + 2 * _MARGIN, bottom + _MARGIN - 6
    label = text.escape(title or f"Sentiment tree: {seen.span(len(seen.gold) - 1)}")
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="rj-tree" role="img" '
        f'aria-label="{label}" width="{_n(width)}" height="{_n(height)}" '
        f'viewBox="0 0 {_n(width)} {_n(height)}" font-family="{FONT}">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>'
    )
    if title:
        head += (
            f'<text x="{_n(width / 2)}" y="{_n(_MARGIN + 14)}" text-anchor="middle" '
            f'font-size="{_TITLE_SIZE:g}" font-weight="600" fill="#111827">{label}</text>'
        )
    body = [
        f'<g transform="translate({_n(left)} {_n(top)})" text-anchor="middle">',
        f'<path d="{_edges(seen, placed)}" fill="none" stroke="#9aa5b4" stroke-width="1.5"/>',
        *_nodes(seen, placed),
        "</g>",
    ]
    return "".join([head, *body, *parts, "</svg>"])


def describe(seen: View, node: int) -> list[str]:
    """Returns the lines that hovering over a node shows: text, labels and distribution.

    Args:
        seen: What `view` returns.
        node: The node.

    Returns:
        Plain text, a line each.
    """
    lines = [f"“{seen.span(node)}”"]
    shares = seen.distribution(node)
    if seen.predicted is not None:
        chosen = seen.predicted[node]
        lines.append(
            "predicted: none (probabilities are not finite)"
            if shares is None
            else f"predicted: {seen.names[chosen]} ({shares[chosen]:.1%})"
        )
    gold = seen.gold[node]
    lines.append(f"gold: {seen.names[gold] if gold >= 0 else 'unlabelled'}")
    if shares is not None:
        lines += [f"{name}: {share:.1%}" for name, share in zip(seen.names, shares, strict=True)]
    return lines


def _n(value: float) -> str:
    """A coordinate with one decimal, as short as it can be written."""
    return f"{value:.1f}".removesuffix(".0")


def _edges(seen: View, placed: layout.Layout) -> str:
    """One path for all edges: a bar through each parent with rounded drops to its children."""
    x, y, leaves = placed.x, placed.y, len(seen.words)
    parts = []
    for parent, (first, second) in enumerate(seen.children, leaves):
        bend = min(_CORNER, abs(x[second] - x[first]) / 2)
        sign = 1 if x[second] >= x[first] else -1
        parts.append(
            f"M{_n(x[first])} {_n(y[first])}V{_n(y[parent] + bend)}"
            f"q0 {_n(-bend)} {_n(sign * bend)} {_n(-bend)}H{_n(x[second] - sign * bend)}"
            f"q{_n(sign * bend)} 0 {_n(sign * bend)} {_n(bend)}V{_n(y[second])}"
        )
    return "".join(parts)


def _nodes(seen: View, placed: layout.Layout) -> list[str]:
    """The nodes in node order, each a group with its description, circle, symbol and word."""
    parts = []
    num_classes, leaves = len(seen.names), len(seen.words)
    swatches = [_swatch(index, num_classes) for index in range(num_classes)]
    for node, label in enumerate(seen.shown):
        facts = f'data-node="{node}" data-gold="{seen.gold[node]}"'
        if seen.predicted is not None:
            facts += f' data-predicted="{seen.predicted[node]}"'
        shares = seen.distribution(node)
        if shares is not None:
            facts += f' data-shares="{" ".join(f"{share:.4g}" for share in shares)}"'
        about = "\n".join(map(text.escape, describe(seen, node)))
        parts.append(
            f'<g class="rj-node" transform="translate({_n(placed.x[node])} {_n(placed.y[node])})" '
            f'data-span="{seen.starts[node]} {seen.stops[node]}" {facts}>'
            f"<title>{about}</title>"
        )
        parts.append(swatches[label] if label >= 0 else _NO_LABEL)
        if seen.predicted is not None and seen.is_mistake(node):
            color = palette.class_color(seen.gold[node], num_classes)
            parts.append(_gold_mark(color))
        if node < leaves:
            parts.append(
                f'<text class="rj-word" y="{_n(_WORD_DROP)}" font-size="{_WORD_SIZE:g}" '
                f'fill="#111827">{text.escape(seen.words[node])}</text>'
            )
        parts.append("</g>")
    return parts


_NO_LABEL = (
    f'<circle class="rj-none" r="{layout.RADIUS - 1:g}" fill="#ffffff" stroke="#8a94a3" '
    'stroke-width="1.5" '
    'stroke-dasharray="3 2.5"/>'
)


def _swatch(index: int, num_classes: int) -> str:
    """The circle of a class with its symbol inside."""
    color = palette.class_color(index, num_classes)
    symbol = palette.class_symbol(index, num_classes).replace("-", "\u2212")
    size = (14, 12)[len(symbol) - 1] if len(symbol) < 3 else 10
    return (
        f'<circle r="{layout.RADIUS:g}" fill="{color}" '
        f'stroke="{palette.mix(color, "#1f2937", 0.45)}"/>'
        f'<text y="{_n(size * 0.36)}" font-size="{size}" font-weight="700" '
        f'text-anchor="middle" fill="{palette.ink(color)}">{symbol}</text>'
    )


def _gold_mark(color: str) -> str:
    """The small disc beside a node whose gold label differs from the prediction."""
    return (
        f'<circle class="rj-gold" cx="14.5" cy="-12" r="7.5" fill="#ffffff"/>'
        f'<circle cx="14.5" cy="-12" r="5.5" fill="{color}" stroke="#1f2937" '
        f'stroke-width="1.5"/>'
    )


def _legend(seen: View, width: float) -> tuple[str, float]:
    """The legend wrapped to `width`: its markup and its height."""
    num_classes = len(seen.names)
    items = [
        (f'<g transform="scale(.7)">{_swatch(index, num_classes)}</g>', name)
        for index, name in enumerate(seen.names)
    ]
    if any(label < 0 for label in seen.shown):
        items.append((f'<g transform="scale(.7)">{_NO_LABEL}</g>', "no label"))
    if seen.predicted is not None and any(map(seen.is_mistake, range(len(seen.gold)))):
        mark = '<g transform="translate(-14.5 12)">' + _gold_mark("#ffffff") + "</g>"
        items.append((mark, "small disc: gold label where the prediction differs"))
    x, y, parts = 0.0, 0.0, []
    for picture, name in items:
        name = text.shorten(text.clean(name), 60)
        needed = 24 + text.width(name, _LEGEND_SIZE)
        if x > 0 and x + needed > width:
            x, y = 0.0, y + 24
        parts.append(
            f'<g transform="translate({_n(x + 10)} {_n(y)})">{picture}'
            f'<text class="rj-name" x="15" y="4" font-size="{_LEGEND_SIZE:g}" fill="#374151">'
            f"{text.escape(name)}</text></g>"
        )
        x += needed + 12
    return "".join(parts), y + 10


def tree_text(tree: TreeLike, probabilities: npt.ArrayLike | None = None) -> str:
    """Draws a tree for a terminal: one line a node, parents above children.

    A line holds the symbol of the class (predicted where `probabilities` are given, else gold),
    its probability, the gold symbol where it differs, and the node's text; `?` is no label.
    Beyond 32 levels the indentation stays and the level is printed instead, so that the size is
    linear in the number of nodes.

    Args:
        tree: A binary tree of L leaves.
        probabilities: Predicted distribution of each node `[2L-1, C]`, or None.

    Returns:
        The lines, joined by newlines.

    Raises:
        ValueError: If shapes or labels do not fit each other.

    Example:
        >>> from rntn_jax import data
        >>> print(tree_text(data.parse_tree("(3 (2 good) (2 film))")))
        +  good film
        ├─ 0  good
        └─ 0  film
    """
    seen = view(tree, probabilities)
    num_classes, leaves = len(seen.names), len(seen.words)

    def symbol(label: int) -> str:
        return palette.class_symbol(label, num_classes) if label >= 0 else "?"

    lines = []
    stack = [(len(seen.gold) - 1, 0, "", "")]
    while stack:
        node, level, lead, branch = stack.pop()
        facts = f"{symbol(seen.shown[node]):<2}"
        shares = seen.distribution(node)
        if shares is not None:
            facts += f" {shares[seen.shown[node]]:4.0%}"
        if seen.predicted is not None and seen.is_mistake(node):
            facts += f" (gold {symbol(seen.gold[node])})"
        mark = f"[level {level}] " if level > _MAX_INDENT else ""
        lines.append(f"{lead}{branch}{mark}{facts} {seen.span(node)}")
        if node >= leaves:
            if 0 < level < _MAX_INDENT:
                lead += "│  " if branch.startswith("├") else "   "
            first, second = seen.children[node - leaves]
            stack.append((second, level + 1, lead, "└─ "))
            stack.append((first, level + 1, lead, "├─ "))
    return "\n".join(lines)
