"""The softmax classifier of node states, which all recursive models share (source 000, section 3).

It sees the states ``[N, S]`` of all slots of a forest and nothing of the cell that made them.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.ops import linear_cross_entropy
from rntn_jax.shapes import shapes_repr
from rntn_jax.trees import Forest

__all__ = ["Aux", "Head", "apply", "init", "loss"]


class Head(NamedTuple):
    """Classification weights ``W^s`` and ``b^s``."""

    w: jax.Array  # [S, C]
    b: jax.Array  # [C]

    __repr__ = shapes_repr


class Aux(NamedTuple):
    """Counts that come with the loss."""

    nodes: jax.Array  # labelled nodes
    correct: jax.Array  # of these, how many the most probable class gets right
    roots: jax.Array  # labelled roots
    roots_correct: jax.Array

    __repr__ = shapes_repr


def init(
    w_key: jax.Array, b_key: jax.Array, width: int, num_classes: int, dtype: jnp.dtype = jnp.float32
) -> Head:
    """Random weights as CoreNLP draws them: ``W^s ~ U(+-1/sqrt S)``, ``b^s ~ U(0, 1)``.

    Args:
        w_key: a PRNG key, for the weights.
        b_key: a PRNG key, for the bias.
        width: of a state, ``S``.
        num_classes: ``C``.
        dtype: of the weights.

    Returns:
        Weights ``[S, C]`` and bias ``[C]``.

    Example:
        >>> init(*jax.random.split(jax.random.key(0)), width=3, num_classes=5).w.shape
        (3, 5)
    """
    r = width**-0.5
    return Head(
        w=jax.random.uniform(w_key, (width, num_classes), dtype, -r, r),
        b=jax.random.uniform(b_key, (num_classes,), dtype, 0.0, 1.0),
    )


def apply(head: Head, states: jax.Array) -> jax.Array:
    """Logits ``W^s h + b^s`` of every slot, ``[N, C]`` (source 000, equation 9 before the softmax).

    Args:
        head: the weights.
        states: ``[N, S]`` floating point.

    Returns:
        ``[N, C]`` of the states' dtype.

    Example:
        >>> apply(Head(jnp.ones((2, 1)), jnp.ones(1)), jnp.ones((3, 2))).ravel().tolist()
        [3.0, 3.0, 3.0]
    """
    return states @ head.w + head.b[None]


def loss(head: Head, states: jax.Array, forest: Forest) -> tuple[jax.Array, Aux]:
    """Cross-entropy summed over all labelled nodes, divided by the number of trees, in nats.

    Gradient, with ``delta = y_hat - y``: that of `rntn_jax.ops.linear_cross_entropy`.

    Source: 000, E before equation 1, equations 1, 10 and 12.
    Differs from source: E is the negative log-likelihood, over every labelled node (errata 000);
    division by trees as CoreNLP does.

    Args:
        head: the weights.
        states: ``[N, S]`` floating point.
        forest: arrays, made by `rntn_jax.trees.pack`; unlabelled nodes are skipped.

    Returns:
        ``(loss, aux)``.

    Example:
        >>> from rntn_jax import data, trees
        >>> tree = data.parse_tree("(1 (0 so) (1 good))")
        >>> forest = trees.pack([tree], data.Vocabulary.build(tree.tokens))
        >>> head = Head(jnp.zeros((3, 2)), jnp.zeros(2))
        >>> nats, aux = loss(head, jnp.ones((forest.shape.slots, 3)), forest)
        >>> round(float(nats), 4), int(aux.nodes), int(aux.roots)  # 3 log 2
        (2.0794, 3, 1)
    """
    forest = jax.tree.map(jnp.asarray, forest)
    nats = linear_cross_entropy(states, *head, forest.labels, forest.labelled)
    best = jnp.argmax(jax.lax.stop_gradient(apply(head, states)), axis=-1)
    right = (best == forest.labels) & forest.labelled
    roots = forest.labelled[forest.roots] & (forest.roots > 0)
    aux = Aux(
        nodes=forest.labelled.sum(),
        correct=right.sum(),
        roots=roots.sum(),
        roots_correct=(right[forest.roots] & roots).sum(),
    )
    return nats.sum() / forest.num_trees.astype(nats.dtype), aux
