"""The free energy that beliefs of nodes and edges have, and their entropy::

    ln Z ~ sum_i <b_i, node_i> + sum_e <b_e, edge_e> + sum_i H(b_i) - sum_e r_e I(b_e)

The last two sums are the entropy, of entropies and mutual informations of single nodes and edges,
so that nothing large is subtracted from anything large.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.crf.graph.scores import Parts
from rntn_jax.ops.logspace import finite_max
from rntn_jax.shapes import shapes_repr

__all__ = ["Beliefs", "make_beliefs", "normalize_first", "softmax"]


class Beliefs(NamedTuple):
    """What was found, and how well: beliefs that have not converged bound nothing."""

    log_partition: jax.Array  # [], in nats
    node: jax.Array  # [I, C]
    edge: jax.Array  # [E, C, C]
    entropy: jax.Array  # [], in nats: what `log_partition` has besides the mean score
    residual: jax.Array  # [], the largest change in the last iteration
    iterations: jax.Array  # int32 []

    __repr__ = shapes_repr


def softmax(x: jax.Array) -> jax.Array:
    """Probabilities along the first axis; 0 where everything is ``-inf``, NaN where one is NaN."""
    return normalize_first(jnp.exp(x - finite_max(x, 0)))


def normalize_first(p: jax.Array) -> jax.Array:
    """``p`` divided by its sum along the first axis; zeros stay."""
    total = p.sum(axis=0, keepdims=True)
    return p / jnp.where(total == 0, 1, total)


def _local_entropy(p: jax.Array, axes: int | tuple[int, ...]) -> jax.Array:
    return -(p * jnp.log(jnp.where(p > 0, p, 1))).sum(axes)


def _entropies(
    b_node: jax.Array, b_edge: jax.Array, weight: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """``H(b_i) [I]``, and minus the weighted mutual informations, ``-r_e I(b_e) [E]``."""
    first, second = b_edge.sum(2), b_edge.sum(1)
    information = _local_entropy(first, 1) + _local_entropy(second, 1)
    information = information - _local_entropy(b_edge, (1, 2))
    return _local_entropy(b_node, 1), -weight * information


def _inner(p: jax.Array, scores: jax.Array) -> jax.Array:
    """``<p, scores>`` with ``0 times -inf = 0``, over all axes but the first."""
    product = jnp.where(p == 0, 0, p * jnp.where(p == 0, 0, scores))
    return product.sum(tuple(range(1, p.ndim)))


def make_beliefs(
    parts: Parts,
    b_node: jax.Array,
    b_edge: jax.Array,
    weight: jax.Array,
    change: jax.Array,
    iterations: jax.Array,
) -> Beliefs:
    """What was found, with the approximation of ``ln Z`` at these beliefs, and their entropy.

    Where the last change was NaN, all beliefs are.

    Args:
        parts: checked scores.
        b_node: ``[I, C]``.
        b_edge: ``[E, C, C]``.
        weight: ``[E]`` or ``[]``, of the mutual informations.
        change: ``[]``, the last one.
        iterations: int32 ``[]``.

    Returns:
        `Beliefs`; ``ln Z`` is ``-inf`` and the entropy NaN where a node has no label left.
    """
    change_nan = jnp.isnan(change)
    b_node = jnp.where(parts.node_mask[:, None], jnp.where(change_nan, jnp.nan, b_node), 0)
    b_edge = jnp.where(parts.edge_mask[:, None, None], jnp.where(change_nan, jnp.nan, b_edge), 0)
    node_entropy, edge_entropy = _entropies(b_node, b_edge, weight)
    node_part = (_inner(b_node, parts.node) + node_entropy).sum()
    edge_part = (_inner(b_edge, parts.edge) + edge_entropy).sum()
    impossible = (parts.node_mask & (b_node.sum(axis=1) == 0)).any()
    return Beliefs(
        jnp.where(impossible, -jnp.inf, node_part + edge_part),
        b_node,
        b_edge,
        jnp.where(impossible, jnp.nan, node_entropy.sum() + edge_entropy.sum()),
        change,
        iterations,
    )
