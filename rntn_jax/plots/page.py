"""Self-contained HTML pages, and pages of trees."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from rntn_jax.plots import assets, editor, palette, text
from rntn_jax.plots.display import Html
from rntn_jax.plots.tree import render
from rntn_jax.plots.view import TreeLike, View, view

_VIEWER_HELP = (
    "Drag to move a tree, pinch or Ctrl + wheel to zoom."
    " Keys: arrows, +, \u2212, 0 for the whole tree."
)


class TreePicture(NamedTuple):
    """A tree to draw on a page: the tree, its probabilities `[2L-1, C]`, and a caption.

    Without a caption, the page says how the root is labelled.
    """

    tree: TreeLike
    probabilities: npt.ArrayLike | None = None
    caption: str | None = None


class Section(NamedTuple):
    """A section of a page: its heading (plain text) and its content (HTML, used as it is)."""

    heading: str
    html: str


def page_html(*, title: str, header: str = "", sections: Sequence[Section] = ()) -> Html:
    """Returns a self-contained HTML page in the style of the reports.

    The page loads nothing: style and script are inline, and its content security policy forbids
    every request and every script but its own.

    Args:
        title: Plain text, the page's title and first heading.
        header: HTML below the first heading.
        sections: The sections in order; three or more get a row of links.

    Returns:
        The document, to be written as UTF-8.

    Example:
        >>> page = page_html(title="Marginals", sections=[Section("Chain", "<p>...</p>")])
        >>> page.startswith("<!doctype html>")
        True
    """
    return document(title, header, sections, ("page",))


def document(
    title: str,
    header: str,
    sections: Sequence[Section],
    parts: Sequence[str],
    *,
    more_style: str = "",
    more_script: str = "",
    connect: str | None = None,
) -> Html:
    """The page, with the style sheets and scripts of these names.

    Args:
        title: Plain text.
        header: HTML below the first heading.
        sections: The sections in order.
        parts: Names of the style sheets and scripts beside this file.
        more_style: A style sheet after these.
        more_script: A script after these.
        connect: What the script may ask over the network, as a content security policy says it
            (`'self'`: the page's own server); None: nothing.

    Returns:
        The document.
    """
    style = assets.read(*(f"{part}.css" for part in parts)) + more_style
    script = assets.read(*(f"{part}.js" for part in parts)) + more_script
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    if connect is not None:
        policy += f"; connect-src {connect}"
    links = "".join(
        f'<a href="#section-{index}">{text.escape(section.heading)}</a>'
        for index, section in enumerate(sections, 1)
    )
    nav = f'<nav aria-label="Sections">{links}</nav>' if len(sections) > 2 else ""
    body = "\n".join(
        f'<section id="section-{index}"><h2>{text.escape(section.heading)}</h2>'
        f"{section.html}</section>"
        for index, section in enumerate(sections, 1)
    )
    return Html(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{text.escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{text.escape(title)}</h1>{header}{nav}</header>\n{body}\n</main>\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def trees_html(
    trees: TreeLike | Iterable[TreeLike],
    probabilities: npt.ArrayLike | Iterable[npt.ArrayLike | None] | None = None,
    *,
    title: str,
    class_names: Sequence[str] | None = None,
    editable: bool = True,
) -> Html:
    """Returns a self-contained HTML page of trees: to look at, and to correct.

    - A card under the pointer shows the text, the labels and the distribution of a node.
    - Trees are moved by dragging or the arrow keys, and zoomed by pinching, Ctrl + wheel (the wheel
      alone where there is one tree), + and -; 0 or "Fit" shows the whole tree.
    - A click on a node, or Enter, opens a menu of the classes. Corrected nodes are drawn in their
      new colour within a ring; corrections can be undone, and survive a reload where the browser
      lets a page keep something (they belong to these words and shapes, whatever the file).
    - "Copy" and "Download" give all trees, or the corrected ones, in the brackets that
      `rntn_jax.data.read_trees` reads. A node has its corrected label, else the gold one, else the
      predicted one, else -1; or, for the corrected trees, its corrected label, else -1.

    Trees outside the window are not laid out until they are scrolled to, so that pages of
    hundreds of trees open quickly.

    Args:
        trees: One tree or several.
        probabilities: Predicted distributions of each node: an array `[2L-1, C]` for one tree,
            one such array (or None) a tree for several, or None.
        title: The page's title.
        class_names: Names of the C classes, from the most negative to the most positive.
        editable: Whether labels can be corrected and the trees taken away.

    Returns:
        The document, to be written as UTF-8.

    Raises:
        ValueError: If shapes or labels do not fit each other, or the numbers of trees and arrays
            differ.

    Example:
        >>> from rntn_jax import data
        >>> page = trees_html(data.parse_tree("(3 (2 good) (2 film))"), title="One tree")
        >>> page.count("<figure")
        1
    """
    if hasattr(trees, "tokens"):
        many, arrays = [cast(TreeLike, trees)], [cast("npt.ArrayLike | None", probabilities)]
    else:
        many = list(cast("Iterable[TreeLike]", trees))
        given = cast("Iterable[npt.ArrayLike | None] | None", probabilities)
        arrays = [None] * len(many) if given is None else list(given)
    if len(many) != len(arrays):
        raise ValueError(f"{len(many)} trees but {len(arrays)} arrays of probabilities")
    pictures = [TreePicture(*pair) for pair in zip(many, arrays, strict=True)]
    content = tree_figures_html(pictures, class_names, "rj-view rj-edit" if editable else "rj-view")
    count = "1 tree" if len(many) == 1 else f"{len(many)} trees"
    parts = ("page", "viewer", "editor") if editable else ("page", "viewer")
    return document(title, "", [Section(count, content)], parts)


def pictures_html(
    pictures: Sequence[TreePicture], *, class_names: Sequence[str] | None = None
) -> Html:
    """Returns a legend and one figure a tree, as the content of a `Section`.

    Args:
        pictures: The trees; all must have the same number of classes.
        class_names: Names of the classes, or None for the default ones.

    Returns:
        HTML for a page made by `page_html`.

    Raises:
        ValueError: If shapes or labels do not fit each other.

    Example:
        >>> from rntn_jax import data
        >>> "figure" in pictures_html([TreePicture(data.parse_tree("(3 (2 good) (2 film))"))])
        True
    """
    return Html(tree_figures_html(pictures, class_names, ""))


def tree_figures_html(
    pictures: Sequence[TreePicture], class_names: Sequence[str] | None, abilities: str
) -> str:
    """Legend and figures of a page.

    Args:
        pictures: The trees; all must have the same number of classes.
        class_names: Names of the classes, or None for the default ones.
        abilities: The classes by which the scripts know what they are for: `rj-view` to move and
            zoom, `rj-view rj-edit` to correct as well, or nothing.

    Returns:
        HTML for a `document`.
    """
    seen = [view(item.tree, item.probabilities, class_names) for item in pictures]
    if not seen:
        return '<p class="rj-note">No trees.</p>'
    counts = sorted({len(item.names) for item in seen})
    if len(counts) > 1:
        raise ValueError(f"trees of one page have different numbers of classes: {counts}")
    editable = "rj-edit" in abilities
    figures = [
        _figure(item, picture, number, len(seen), editable)
        for number, (item, picture) in enumerate(zip(seen, pictures, strict=True), 1)
    ]
    facts = f'class="{f"rj-trees {abilities}".strip()}"'
    facts += f' data-classes="{text.escape(editor.classes(seen[0].names))}"'
    labelled = any(label >= 0 for item in seen for label in item.shown)
    top = _legend(seen, editable) if labelled or editable else ""
    if abilities:
        help_text = f"{_VIEWER_HELP} {editor.HELP}" if editable else _VIEWER_HELP
        top += f'<p class="rj-note rj-help" hidden>{help_text}</p>'
    if editable:
        facts += f' data-key="{editor.key([picture.tree for picture in pictures])}"'
        top += editor.BAR
    return f"<div {facts}>{top}{''.join(figures)}</div>"


def most_confident_mistakes(
    trees: Sequence[TreeLike],
    probabilities: Sequence[npt.ArrayLike],
    *,
    count: int = 6,
    class_names: Sequence[str] | None = None,
    everywhere: bool = False,
) -> list[TreePicture]:
    """Returns the trees whose roots are misclassified with the highest probability.

    Args:
        trees: The trees; those with an unlabelled root are passed over.
        probabilities: Predicted distributions `[2L-1, C]`, one array a tree.
        count: How many to return at most.
        class_names: Names of the classes, for the captions.
        everywhere: Look at all labelled nodes of a tree, not at its root alone.

    Returns:
        Pictures with captions, the most confident mistake first (ties in the given order); a tree
        appears once, for its most confident mistake.

    Raises:
        ValueError: If the numbers of trees and arrays differ.

    Example:
        >>> from rntn_jax import data
        >>> tree = data.parse_tree("(3 film)")
        >>> most_confident_mistakes([tree], [[[0.9, 0.1, 0.0, 0.0, 0.0]]])[0].caption
        'predicted very negative (90.0%), gold positive'
    """
    if len(trees) != len(probabilities):
        raise ValueError(f"{len(trees)} trees but {len(probabilities)} arrays of probabilities")
    wrong = []
    for index, (tree, array) in enumerate(zip(trees, probabilities, strict=True)):
        rows, gold = np.asarray(array, dtype=np.float64), np.asarray(tree.labels)
        usable = np.isfinite(rows).all(axis=1) & (gold >= 0)
        rows = np.where(usable[:, None], rows, -1.0)
        sizes = np.where(usable & (rows.argmax(axis=1) != gold), rows.max(axis=1), -1.0)
        if not everywhere:
            sizes[:-1] = -1.0
        if sizes.max() >= 0:  # of equal ones the last node, the highest
            node = len(sizes) - 1 - int(sizes[::-1].argmax())
            wrong.append((-float(sizes[node]), index, node))
    return [
        TreePicture(
            trees[index],
            probabilities[index],
            _caption(view(trees[index], probabilities[index], class_names), node),
        )
        for _, index, node in sorted(wrong)[:count]
    ]


def _caption(seen: View, node: int) -> str:
    """How a node is labelled, and where it is not the root what it spans."""
    gold = "gold " + seen.names[seen.gold[node]] if seen.gold[node] >= 0 else "no gold label"
    shares = seen.distribution(node)
    if shares is None:
        return gold if seen.predicted is None else f"no finite prediction, {gold}"
    label = seen.shown[node]
    words = "" if node == len(seen.gold) - 1 else f"“{seen.span(node)}”: "
    return f"{words}predicted {seen.names[label]} ({shares[label]:.1%}), {gold}"


def _figure(seen: View, item: TreePicture, number: int, total: int, editable: bool) -> str:
    picture = render(seen)
    words = text.escape(
        _caption(seen, len(seen.gold) - 1) if item.caption is None else item.caption
    )
    prefix = f"{number}. " if total > 1 else ""
    tokens = f' data-tokens="{text.escape(editor.tokens(item.tree))}"' if editable else ""
    height = picture.split(' height="', 1)[1].split('"', 1)[0]
    return (
        f'<figure style="contain-intrinsic-size:auto {float(height) + 50:.0f}px">'
        f"<figcaption>{prefix}{words}</figcaption>"
        f'<div class="rj-scroll" tabindex="0" role="region" aria-label="Tree {number}"{tokens}>'
        f"{picture}</div></figure>"
    )


def _legend(seen: Sequence[View], editable: bool) -> str:
    names = seen[0].names
    items = []
    for index, name in enumerate(names):
        color = palette.class_color(index, len(names))
        symbol = palette.class_symbol(index, len(names)).replace("-", "\u2212")
        items.append(
            f'<li><i style="background:{color};color:{palette.ink(color)}">{symbol}</i>'
            f"{text.escape(name)}</li>"
        )
    if any(label < 0 for item in seen for label in item.shown):
        items.append('<li><i class="rj-none"></i>no label</li>')
    if any(item.predicted is not None for item in seen):
        items.append('<li><i class="rj-mark"></i>small disc: gold label where it differs</li>')
    if editable:
        items.append('<li><i class="rj-mine"></i>ring: corrected here</li>')
    return f'<ul class="rj-legend">{"".join(items)}</ul>'
