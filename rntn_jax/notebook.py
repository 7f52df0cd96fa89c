"""What a notebook shows of trees, scores and marginals in the last line of a cell.

IPython is told of the types by their names: neither the types nor the pictures are imported before
one of them is shown.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["arcs_picture", "chain_picture", "dependency_picture", "register", "tree_picture"]

_SENTENCES, _WORDS, _LABELS = 3, 60, 30  # more are not drawn


def register(display_formatter: Any) -> None:
    """Tells IPython how trees, CoNLL-U sentences, and chain and arc scores look.

    `import rntn_jax` does it where a notebook or IPython runs.

    Args:
        display_formatter: ``get_ipython().display_formatter``.
    """
    show = display_formatter.formatters["text/html"].for_type_by_name
    show("rntn_jax.data.tree", "Tree", tree_picture)
    show("rntn_jax.data.conllu", "ConlluSentence", arcs_picture)
    show("rntn_jax.crf.chain.scores", "Scores", chain_picture)
    show("rntn_jax.crf.dependency.scores", "Scores", dependency_picture)


def tree_picture(tree: Any) -> str:
    """The drawing of a `data.Tree`.

    Args:
        tree: a `data.Tree`.

    Returns:
        SVG, as `plots.tree_svg` draws it.

    Example:
        >>> from rntn_jax import data
        >>> tree_picture(data.parse_tree("(3 (2 not) (1 bad))")).startswith("<svg")
        True
    """
    from rntn_jax import plots

    return str(plots.tree_svg(tree))


def arcs_picture(sentence: Any) -> str:
    """The arcs of a `data.ConlluSentence` above its words.

    Args:
        sentence: a `data.ConlluSentence`.

    Returns:
        SVG, as `plots.arcs_svg` draws it.
    """
    from rntn_jax import plots

    return str(
        plots.arcs_svg(sentence.forms, sentence.heads, sentence.relations, tags=sentence.upos)
    )


def chain_picture(scores: Any) -> str | None:
    """A heat map of what a `crf.chain.Scores` gives each label at each position.

    Args:
        scores: scores, or marginals.

    Returns:
        HTML of the first rows of the batch; None where nothing can be drawn: tracers, empty
        arrays, other shapes, more than 30 labels.

    Example:
        >>> from rntn_jax.crf import chain
        >>> "0.75" in chain_picture(chain.Scores(np.full((1, 2, 2), 0.75), np.zeros((2, 2))))
        True
    """
    from rntn_jax import plots

    node = _concrete(scores.node, 3)
    if node is None or node.shape[2] > _LABELS:
        return None
    mask = np.ones(node.shape[:2], bool) if scores.mask is None else np.asarray(scores.mask)
    labels = [str(label) for label in range(node.shape[2])]
    tables = []
    for row, real in zip(node[:_SENTENCES], mask):
        places = np.flatnonzero(real)[:_WORDS]
        tables.append(
            plots.heatmap_html(
                row[places], [str(place) for place in places], labels,
                label="by position and label", corner="position \\ label", decimals=2,
            )
        )  # fmt: skip
    return _stack(tables, len(node))


def dependency_picture(scores: Any) -> str | None:
    """A heat map of what a `crf.dependency.Scores` gives each arc.

    Args:
        scores: scores, or marginals; those with labels are not drawn.

    Returns:
        HTML of the first rows of the batch, a row a word and a column a head, 0 the root; None
        where nothing can be drawn.
    """
    from rntn_jax import plots

    arc = _concrete(scores.arc, 3)
    if arc is None:
        return None
    tables = []
    for row, length in zip(arc[:_SENTENCES], np.asarray(scores.length)):
        heads = [str(word) for word in range(min(int(length), _LABELS) + 1)]
        tables.append(
            plots.heatmap_html(
                row[: len(heads), 1 : len(heads)].T, heads[1:], heads,
                label="by word and head", corner="word \\ head", decimals=2,
            )
        )  # fmt: skip
    return _stack(tables, len(arc))


def _concrete(array: Any, rank: int) -> np.ndarray | None:
    """The array on the host, or None for a tracer, another rank, nothing."""
    if type(array).__name__.endswith("Tracer") or np.ndim(array) != rank or not np.size(array):
        return None
    return np.asarray(array, np.float64)


def _stack(tables: list[Any], total: int) -> str:
    from rntn_jax import plots

    more = total - len(tables)
    note = f'<p class="rj-note">and {more} more</p>' if more else ""
    return plots.Html("".join(tables) + note)._repr_html_()
