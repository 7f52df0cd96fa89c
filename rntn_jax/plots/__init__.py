"""Pictures: sentiment trees, dependency arcs, learning curves, heat maps, matrices, reports.

Everything returns text (SVG, HTML or plain) that needs no other file and no network. Importing
this package imports numpy only; learning curves import matplotlib when they are drawn. Pictures
that stand in the last line of a notebook's cell show themselves.

A picture of a tree and a page of trees:
    >>> from rntn_jax import data, plots
    >>> tree = data.parse_tree("(3 (3 (1 not) (1 bad)) (2 (2 at) (2 all)))")
    >>> svg = plots.tree_svg(tree, title="not bad at all")
    >>> page = plots.trees_html([tree, tree], title="Two trees")

A report of a run, with whatever parts it has:
    >>> report = plots.report_html(
    ...     title="Sentiment, RNTN",
    ...     scores={"dev": {"all nodes": 0.807, "root": 0.438}},
    ...     examples=[plots.TreePicture(tree, caption="negation")],
    ... )
"""

from rntn_jax.plots.arcs import arcs_svg
from rntn_jax.plots.curves import Curves, curves_svg
from rntn_jax.plots.display import Html, Svg
from rntn_jax.plots.heatmap import arc_marginals_html, heatmap_html, marginals_html
from rntn_jax.plots.heatmap_svg import heatmap_svg, marginals_svg
from rntn_jax.plots.page import (
    Section,
    TreePicture,
    most_confident_mistakes,
    page_html,
    pictures_html,
    trees_html,
)
from rntn_jax.plots.palette import line_colors
from rntn_jax.plots.report import report_html
from rntn_jax.plots.tables import confusion_html, scores_html, texts_html
from rntn_jax.plots.tree import tree_svg, tree_text
from rntn_jax.plots.view import TreeLike

__all__ = [
    "Curves",
    "Html",
    "Section",
    "Svg",
    "TreeLike",
    "TreePicture",
    "arc_marginals_html",
    "arcs_svg",
    "confusion_html",
    "curves_svg",
    "heatmap_html",
    "heatmap_svg",
    "line_colors",
    "marginals_html",
    "marginals_svg",
    "most_confident_mistakes",
    "page_html",
    "pictures_html",
    "report_html",
    "scores_html",
    "texts_html",
    "tree_svg",
    "tree_text",
    "trees_html",
]


def __dir__() -> list[str]:
    return sorted(__all__)
