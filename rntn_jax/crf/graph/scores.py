"""Scores of a graph's labellings: the container, its checks, and the score of a labelling."""

from __future__ import annotations

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from rntn_jax.ops import accumulator

__all__ = ["Parts", "Scores", "complete", "score"]


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


class Parts(NamedTuple):
    """Scores, checked, with all masks made; those of masked parts are 0."""

    node: jax.Array  # [I, C]
    edge: jax.Array  # [E, C, C]
    edges: jax.Array  # int32 [E, 2], of masked edges 0
    node_mask: jax.Array  # bool [I]
    edge_mask: jax.Array  # bool [E], both nodes being real, too


def complete(scores: Scores) -> Parts:
    """Checks shapes and dtypes, and puts masks into effect.

    Raises:
        AssertionError: when shapes or dtypes do not match.
    """
    node, edge = jnp.asarray(scores.node), jnp.asarray(scores.edge)
    edges = jnp.asarray(scores.edges)
    chex.assert_rank(node, 2)
    chex.assert_type([node, edge], float)
    count, classes = node.shape
    size = len(edge)
    chex.assert_shape(edge, (size, classes, classes))
    edges = edges if edges.size else jnp.zeros((0, 2), jnp.int32)
    chex.assert_shape(edges, (size, 2))
    chex.assert_type(edges, int)
    masks = []
    for given, length in ((scores.node_mask, count), (scores.edge_mask, size)):
        mask = jnp.ones(length, bool) if given is None else jnp.asarray(given)
        chex.assert_shape(mask, (length,))
        chex.assert_type(mask, bool)
        masks.append(mask)
    node_mask, edge_mask = masks
    edges = jnp.where(edge_mask[:, None], edges, 0).astype(jnp.int32)
    if count:
        edge_mask = edge_mask & node_mask[edges].all(axis=1)
    node = jnp.where(node_mask[:, None], node, 0)
    edge = jnp.where(edge_mask[:, None, None], edge, 0)
    return Parts(node, edge, edges, node_mask, edge_mask)


def score(scores: Scores, labels: jax.Array) -> jax.Array:
    """Score of one labelling, a scalar.

    Computes ``s(y) = sum_i node[i, y_i] + sum_e edge[e, y_i, y_j]`` with ``(i, j) = edges[e]``, as
    source 004 has it. Labels of masked nodes may be anything; another label outside ``0 .. C-1``
    makes the result NaN.

    Args:
        scores: the CRF.
        labels: integer ``[I]``.

    Example:
        >>> square = [(0, 1), (1, 2), (2, 3), (3, 0)]
        >>> scores = Scores(jnp.zeros((4, 2)), jnp.tile(jnp.eye(2), (4, 1, 1)), square)
        >>> float(score(scores, jnp.array([0, 0, 0, 1])))
        2.0
    """
    node, edge, edges, node_mask, edge_mask = complete(scores)
    labels = jnp.asarray(labels)
    chex.assert_shape(labels, node_mask.shape)
    chex.assert_type(labels, int)
    dtype, (count, classes) = accumulator(node, edge), node.shape
    legal = (~node_mask | ((labels >= 0) & (labels < classes))).all()
    labels = jnp.where(node_mask, jnp.clip(labels, 0, classes - 1), 0)
    of_nodes = jnp.where(node_mask, node[jnp.arange(count), labels], 0).sum(dtype=dtype)
    ends = labels[edges] if count else edges
    of_edges = edge[jnp.arange(len(edge)), ends[:, 0], ends[:, 1]]
    of_edges = jnp.where(edge_mask, of_edges, 0).sum(dtype=dtype)
    return jnp.where(legal, of_nodes + of_edges, jnp.nan)
