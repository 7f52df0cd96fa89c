"""Positions of a tree's nodes: leaves on one baseline, parents centred above their children."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

RADIUS = 13.0
WORD_GAP = 12.0
_MIN_LEVEL, _MAX_LEVEL, _COMFORTABLE_HEIGHT = 32.0, 46.0, 520.0


class Layout(NamedTuple):
    """Centres of the nodes in pixels, y downwards, in node order; the drawing starts at (0, 0).

    Leaf `i` owns the box `x[i] ± boxes[i] / 2` of the baseline; boxes do not overlap. Nodes are
    at least `2 * RADIUS` apart, and a parent joined to its children by a horizontal bar and two
    vertical drops crosses no other edge, whatever the shape of the tree.
    """

    x: list[float]
    y: list[float]
    boxes: list[float]
    width: float
    height: float


def place(children: Sequence[Sequence[int]], word_widths: Sequence[float]) -> Layout:
    """Places the nodes of a binary tree whose children precede their parents.

    A leaf gets the width of its word (at least that of its circle); a parent stands midway
    between its two children, one level above the higher of them. One pass over the nodes, no
    recursion.

    Args:
        children: The two child ids of each of the L-1 internal nodes, in node order.
        word_widths: Drawn width of each of the L words, in pixels.

    Returns:
        The `Layout`.

    Example:
        >>> placed = place([(0, 1)], [30.0, 50.0])
        >>> placed.x, placed.y[2] < placed.y[0]
        ([15.0, 67.0, 41.0], True)
    """
    boxes = [max(width, 2 * RADIUS) for width in word_widths]
    x: list[float] = []
    edge = 0.0
    for box in boxes:
        x.append(edge + box / 2)
        edge += box + WORD_GAP
    levels = [0] * len(boxes)
    for left, right in children:
        x.append((x[left] + x[right]) / 2)
        levels.append(1 + max(levels[left], levels[right]))
    top = levels[-1]
    step = min(max(_COMFORTABLE_HEIGHT / max(top, 1), _MIN_LEVEL), _MAX_LEVEL)
    y = [RADIUS + (top - level) * step for level in levels]
    return Layout(x, y, boxes, edge - WORD_GAP, 2 * RADIUS + top * step)
