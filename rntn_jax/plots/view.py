"""What the pictures need to know of a tree, computed once from the tree and its probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from rntn_jax.plots import palette, text

_TOKEN_LIMIT = 160


class TreeLike(Protocol):
    """A binary tree of L leaves, as `rntn_jax.data.Tree`; any object with these attributes.

    Node ids: the leaves `0..L-1` in sentence order, then the internal nodes in post-order, the
    root last. `children` holds the two child ids of each internal node, `labels` the class of
    each node or -1.
    """

    @property
    def tokens(self) -> Sequence[str]:
        """The words, one a leaf."""
        ...

    @property
    def children(self) -> npt.NDArray[Any]:
        """Child ids `[L-1, 2]`, one row an internal node."""
        ...

    @property
    def labels(self) -> npt.NDArray[Any]:
        """Classes `[2L-1]`, -1 = unlabelled."""
        ...


class View(NamedTuple):
    """A checked tree as plain Python lists, one entry a node unless stated otherwise."""

    words: list[str]  # one a leaf, as drawn
    tokens: list[str]  # one a leaf, clean, for descriptions
    children: list[list[int]]  # one pair an internal node
    starts: list[int]  # first leaf below the node
    stops: list[int]  # one past the last leaf below the node
    gold: list[int]  # -1 = unlabelled
    predicted: list[int] | None  # -1 = no finite prediction
    probabilities: list[list[float]] | None
    names: list[str]  # one a class

    @property
    def shown(self) -> list[int]:
        """The class drawn at each node: predicted where there are predictions, else gold."""
        return self.gold if self.predicted is None else self.predicted

    def span(self, node: int) -> str:
        """The text below a node, its middle left out when long."""
        return text.span(self.tokens, self.starts[node], self.stops[node])

    def is_mistake(self, node: int) -> bool:
        """Whether the gold label is known and another class is shown."""
        return self.gold[node] >= 0 and self.gold[node] != self.shown[node]

    def distribution(self, node: int) -> list[float] | None:
        """The predicted distribution at a node, None where there is no finite prediction."""
        if self.predicted is None or self.probabilities is None or self.predicted[node] < 0:
            return None
        return self.probabilities[node]


def view(
    tree: TreeLike,
    probabilities: npt.ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
) -> View:
    """Checks a tree and its probabilities and returns what is drawn of them.

    The number of classes is that of `probabilities`, else of `class_names`, else five, or more
    where the labels ask for more.

    Args:
        tree: A binary tree, see `TreeLike`.
        probabilities: Predicted distribution of each node `[2L-1, C]`, or None. A row that is
            not finite counts as no prediction.
        class_names: Names of the C classes, or None for the default ones.

    Returns:
        The `View`; time and memory linear in the number of nodes.

    Raises:
        ValueError: If the shapes do not fit each other, a child does not precede its parent, or
            a label is outside the classes.

    Example:
        >>> from rntn_jax import data
        >>> view(data.parse_tree("(3 (2 good) (2 film))")).span(2)
        'good film'
    """
    tokens = list(tree.tokens)
    leaves = len(tokens)
    nodes = 2 * leaves - 1
    if leaves == 0:
        raise ValueError("a tree needs at least one leaf")
    children = np.asarray(tree.children, dtype=np.int64).reshape(-1, 2)
    labels = np.asarray(tree.labels, dtype=np.int64).reshape(-1)
    if len(children) != leaves - 1 or len(labels) != nodes:
        raise ValueError(
            f"{leaves} leaves need {leaves - 1} internal nodes and {nodes} labels, "
            f"got {len(children)} and {len(labels)}"
        )
    if np.any(children < 0) or np.any(children >= leaves + np.arange(leaves - 1)[:, None]):
        raise ValueError("children must precede their parents (internal nodes in post-order)")

    predicted = rows = None
    if probabilities is not None:
        array = np.asarray(probabilities, dtype=np.float64)
        if array.ndim != 2 or array.shape[0] != nodes or array.shape[1] < 2:
            raise ValueError(f"probabilities have shape {array.shape}, expected ({nodes}, C >= 2)")
        finite = np.isfinite(array).all(axis=1)
        predicted = np.where(finite, np.nan_to_num(array).argmax(axis=1), -1).tolist()
        rows = array.tolist()
        num_classes = array.shape[1]
    elif class_names is not None:
        num_classes = len(class_names)
    else:
        num_classes = max(5, int(labels.max()) + 1)
    if labels.max() >= num_classes:
        raise ValueError(f"label {labels.max()} is outside the {num_classes} classes")

    starts, stops = list(range(leaves)), list(range(1, leaves + 1))
    pairs = children.tolist()
    for left, right in pairs:
        starts.append(starts[left])
        stops.append(stops[right])
    return View(
        words=[text.word(token) for token in tokens],
        tokens=[text.shorten(text.clean(token), _TOKEN_LIMIT) for token in tokens],
        children=pairs,
        starts=starts,
        stops=stops,
        gold=np.maximum(labels, -1).tolist(),
        predicted=predicted,
        probabilities=rows,
        names=palette.class_names(num_classes, class_names),
    )
