"""Scores of a graph's labellings: the container, its checks, and the score of a labelling."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rntn_jax.ops import accumulator, checks
from rntn_jax.ops.varying import vary_like
from rntn_jax.shapes import shapes_repr

__all__ = ["Parts", "Scores", "check", "check_labels", "complete", "has_nan", "score", "score_of"]


class Scores(NamedTuple):
    """Scores of the parts of a labelling, in nats; `marginals` come in the same container.

    ``-inf`` forbids a label or a pair. Masked nodes drop out with their edges, masked edges alone;
    they may hold anything. No edge may be a loop, and no two may join the same nodes.
    """

    node: Any  # [I, C]
    edge: Any  # [E, C, C]: [e, i, j] for label i of node edges[e, 0] and j of edges[e, 1]
    edges: Any  # int [E, 2]
    node_mask: Any = None  # bool [I]
    edge_mask: Any = None  # bool [E]

    __repr__ = shapes_repr


class Parts(NamedTuple):
    """Scores with masks in effect; those of masked parts are 0."""

    node: jax.Array  # [I, C]
    edge: jax.Array  # [E, C, C]
    edges: jax.Array  # int32 [E, 2], of masked edges 0
    node_mask: jax.Array  # bool [I]
    edge_mask: jax.Array  # bool [E], both nodes being real, too


def check(scores: Scores) -> Scores:
    """The same as arrays, shapes and dtypes being what they must be.

    Raises:
        AssertionError: naming the field, what it must be and what came.
    """
    sizes: dict[str, int] = {}
    node = checks.check("scores.node", scores.node, "float", "I C", sizes)
    edges, masks = scores.edges, scores[3:]
    if np.size(edges) == 0:  # an empty list is of floats
        edges = np.zeros((0, 2), np.int32)
    # These are not made jax arrays, which within jit would be tracers: plans are made of them.
    edges, *masks = (
        x if x is None or isinstance(x, jax.Array) else np.asarray(x) for x in (edges, *masks)
    )
    checks.check("scores.edges", edges, "int", "E 2", sizes)
    edge = checks.check("scores.edge", scores.edge, "float", "E C C", sizes)
    for name, mask, axes in zip(("node_mask", "edge_mask"), masks, "IE", strict=True):
        if mask is not None:
            checks.check(f"scores.{name}", mask, "bool", axes, sizes)
    return Scores(node, edge, edges, *masks)


def check_labels(labels: Any, scores: Scores, name: str = "labels", axes: str = "I") -> jax.Array:
    """Labels as an array, ``[I]`` or as the axes say.

    Args:
        labels: what came.
        scores: checked.
        name: of the argument, for messages.
        axes: its axes, one of them ``I``.

    Returns:
        An integer array.

    Raises:
        AssertionError: naming the argument, what it must be and what came.
    """
    return checks.check(name, labels, "int", axes, {"I": len(scores.node)})


def complete(scores: Scores) -> Parts:
    """Checks scores, and puts masks into effect.

    Raises:
        AssertionError: as `check`.
    """
    node, edge, edges, *masks = check(scores)
    lengths = len(node), len(edge)
    node_mask, edge_mask = (
        jnp.ones(n, bool) if mask is None else jnp.asarray(mask)
        for mask, n in zip(masks, lengths, strict=True)
    )
    edges = jnp.where(edge_mask[:, None], edges, 0).astype(jnp.int32)
    if len(node):
        edge_mask = edge_mask & node_mask[edges].all(axis=1)
    node = jnp.where(node_mask[:, None], node, 0)
    edge = jnp.where(edge_mask[:, None, None], edge, 0)
    return Parts(*vary_like((node, edge, edges, node_mask, edge_mask)))


def has_nan(parts: Parts) -> jax.Array:
    """Whether any score that counts is NaN, bool ``[]``."""
    return jnp.isnan(parts.node).any() | jnp.isnan(parts.edge).any()


def score(scores: Scores, labels: jax.Array) -> jax.Array:
    """Score of one labelling, a scalar.

    Computes ``s(y) = sum_i node[i, y_i] + sum_e edge[e, y_i, y_j]`` with ``(i, j) = edges[e]``, as
    source 004 has it. Gradient: indicators of the labelling.

    Args:
        scores: the CRF.
        labels: integer ``[I]``; those of masked nodes may be anything, another outside ``0 ..
            C-1`` makes the result NaN.

    Returns:
        Nats, in at least float32. Cost O(I + E).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> square = [(0, 1), (1, 2), (2, 3), (3, 0)]
        >>> scores = Scores(jnp.zeros((4, 2)), jnp.tile(jnp.eye(2), (4, 1, 1)), square)
        >>> float(score(scores, jnp.array([0, 0, 0, 1])))
        2.0
    """
    scores = check(scores)
    return _score(scores, check_labels(labels, scores))


@jax.jit
def _score(scores: Scores, labels: jax.Array) -> jax.Array:
    return score_of(complete(scores), labels)


def score_of(parts: Parts, labels: jax.Array) -> jax.Array:
    """`score` of checked scores.

    Args:
        parts: checked scores.
        labels: int ``[I]``.

    Returns:
        Nats in at least float32, a scalar.
    """
    node, edge, edges, node_mask, edge_mask = parts
    dtype, (count, classes) = accumulator(node, edge), node.shape
    legal = (~node_mask | ((labels >= 0) & (labels < classes))).all()
    labels = jnp.where(node_mask, jnp.clip(labels, 0, classes - 1), 0)
    node_scores = jnp.where(node_mask, node[jnp.arange(count), labels], 0)
    ends = labels[edges] if count else edges
    edge_scores = edge[jnp.arange(len(edge)), ends[:, 0], ends[:, 1]]
    edge_scores = jnp.where(edge_mask, edge_scores, 0)
    total = node_scores.sum(dtype=dtype) + edge_scores.sum(dtype=dtype)
    return jnp.where(legal, total, jnp.nan)
