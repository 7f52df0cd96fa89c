"""CRF layers: they hold the scores of edges, a network gives those of nodes (the emissions).

Calling a layer gives the `Scores` of the distribution; every function of `rntn_jax.crf` takes them.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rntn_jax.crf import chain, forest, graph

__all__ = ["ChainCRF", "ForestCRF", "GraphCRF"]

Initializer = Any  # a key, a shape and a dtype to an array

ZEROS = nnx.initializers.zeros_init()
DEFAULT = graph.Options()


def _edge_scores(num_labels: int, init: Initializer, rngs: nnx.Rngs, dtype: Any) -> nnx.Param:
    """Scores ``[C, C]`` of pairs of labels."""
    if num_labels < 1:
        raise ValueError(f"num_labels must be at least 1, got {num_labels}")
    return nnx.Param(init(rngs.params(), (num_labels, num_labels), dtype))


class ChainCRF(nnx.Module):
    """A linear-chain CRF: transition scores, and scores of the first and the last label.

    Args:
        num_labels: ``C``.
        rngs: for the initial scores; zeros need none of it, other initialisers do.
        boundaries: hold scores of the first and the last label of a sequence.
        edge_init: initialiser of the transition scores; the others start at 0.
        param_dtype: of the scores.

    Attributes:
        edge: ``[C, C]``, from a label (row) to the next.
        start, end: ``[C]``, or None.

    Example:
        >>> crf = ChainCRF(3, rngs=nnx.Rngs(0))
        >>> emissions, labels = jnp.zeros((2, 4, 3)), jnp.zeros((2, 4), int)
        >>> round(float(crf.loss(emissions, labels)), 3)  # 4 ln 3
        4.394
        >>> crf.decode(emissions).shape, crf.marginals(emissions).shape
        ((2, 4), (2, 4, 3))
    """

    def __init__(
        self,
        num_labels: int,
        *,
        rngs: nnx.Rngs,
        boundaries: bool = True,
        edge_init: Initializer = ZEROS,
        param_dtype: Any = jnp.float32,
    ):
        self.num_labels = num_labels
        self.edge = _edge_scores(num_labels, edge_init, rngs, param_dtype)
        self.start = nnx.Param(jnp.zeros(num_labels, param_dtype)) if boundaries else nnx.data(None)
        self.end = nnx.Param(jnp.zeros(num_labels, param_dtype)) if boundaries else nnx.data(None)

    def __call__(self, emissions: jax.Array, mask: jax.Array | None = None) -> chain.Scores:
        """The distribution over labellings.

        Args:
            emissions: ``[B, T, C]``, scores of the labels at each position.
            mask: bool ``[B, T]``, any pattern; None: all positions are real.

        Returns:
            `chain.Scores`, which all functions of `rntn_jax.crf.chain` take.
        """
        start = None if self.start is None else self.start[...]
        end = None if self.end is None else self.end[...]
        return chain.Scores(emissions, self.edge[...], start, end, mask)

    def loss(
        self, emissions: jax.Array, labels: jax.Array, mask: jax.Array | None = None
    ) -> jax.Array:
        """Mean of ``-ln P(labels)`` over the sequences, in nats.

        Source: 004, L. Gradient: marginals minus indicators of the labels.

        Args:
            emissions: ``[B, T, C]``.
            labels: int ``[B, T]``; anything where masked.
            mask: bool ``[B, T]``, any pattern.

        Returns:
            A scalar.
        """
        return -chain.log_prob(self(emissions, mask), labels).mean()

    def decode(self, emissions: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """The best labels (Viterbi).

        Args:
            emissions: ``[B, T, C]``.
            mask: bool ``[B, T]``, any pattern.

        Returns:
            int32 ``[B, T]``, 0 where masked.
        """
        return chain.argmax(self(emissions, mask))[0]

    def marginals(self, emissions: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """The probability of each label at each position, ``P(y_t = c)``.

        Args:
            emissions: ``[B, T, C]``.
            mask: bool ``[B, T]``, any pattern.

        Returns:
            ``[B, T, C]``, 0 where masked.
        """
        return chain.marginals(self(emissions, mask)).node


class ForestCRF(nnx.Module):
    """A CRF on trees of any shape: scores of a parent's label with a child's.

    Args:
        num_labels: ``C``.
        rngs: for the initial scores.
        edge_init: initialiser of the scores.
        param_dtype: of the scores.

    Attributes:
        edge: ``[C, C]``, the parent's label (row) with the child's.

    Example:
        >>> crf = ForestCRF(2, rngs=nnx.Rngs(0))
        >>> plan = forest.plan([-1, 0, 0])
        >>> round(float(crf.loss(jnp.zeros((3, 2)), plan, jnp.zeros(3, int))), 3)  # 3 ln 2
        2.079
    """

    def __init__(
        self,
        num_labels: int,
        *,
        rngs: nnx.Rngs,
        edge_init: Initializer = ZEROS,
        param_dtype: Any = jnp.float32,
    ):
        self.num_labels = num_labels
        self.edge = _edge_scores(num_labels, edge_init, rngs, param_dtype)

    def __call__(
        self, emissions: jax.Array, parent: Any, mask: jax.Array | None = None
    ) -> forest.Scores:
        """The distribution over labellings.

        Args:
            emissions: ``[N, C]``, scores of the nodes' labels.
            parent: int ``[N]``, -1 at roots; within jit the `forest.plan` made of it.
            mask: bool ``[N]``; None: all nodes are real.

        Returns:
            `forest.Scores`, which all functions of `rntn_jax.crf.forest` take.
        """
        return forest.Scores(emissions, self.edge[...], parent, mask)

    def loss(
        self, emissions: jax.Array, parent: Any, labels: jax.Array, mask: jax.Array | None = None
    ) -> jax.Array:
        """Mean of ``-ln P(labels)`` over the trees, in nats.

        Args:
            emissions: ``[N, C]``.
            parent: int ``[N]`` or a plan, as the layer takes it.
            labels: int ``[N]``; anything where masked.
            mask: bool ``[N]``.

        Returns:
            A scalar.
        """
        return -forest.log_prob(self(emissions, parent, mask), labels).mean()

    def decode(self, emissions: jax.Array, parent: Any, mask: jax.Array | None = None) -> jax.Array:
        """The best labels of each tree.

        Args:
            emissions: ``[N, C]``.
            parent: int ``[N]`` or a plan, as the layer takes it.
            mask: bool ``[N]``.

        Returns:
            int32 ``[N]``, 0 where masked.
        """
        return forest.argmax(self(emissions, parent, mask))[0]


class GraphCRF(nnx.Module):
    """A CRF on any graph, all of whose edges share their scores.

    Args:
        num_labels: ``C``.
        rngs: for the initial scores.
        edge_init: initialiser of the scores.
        param_dtype: of the scores.

    Attributes:
        edge: ``[C, C]``, the label of an edge's first node (row) with that of its second.

    Example:
        >>> crf = GraphCRF(2, rngs=nnx.Rngs(0))
        >>> scores = crf(jnp.zeros((4, 2)), graph.grid_edges(2, 2))
        >>> round(float(graph.log_partition(scores)), 3)  # 4 ln 2
        2.773
    """

    def __init__(
        self,
        num_labels: int,
        *,
        rngs: nnx.Rngs,
        edge_init: Initializer = ZEROS,
        param_dtype: Any = jnp.float32,
    ):
        self.num_labels = num_labels
        self.edge = _edge_scores(num_labels, edge_init, rngs, param_dtype)

    def __call__(self, emissions: jax.Array, edges: Any) -> graph.Scores:
        """The distribution over labellings.

        Args:
            emissions: ``[I, C]``, scores of the nodes' labels.
            edges: int ``[E, 2]``; the functions of `rntn_jax.crf.graph` take a plan made of it
                where it is traced.

        Returns:
            `graph.Scores`, which all functions of `rntn_jax.crf.graph` take.
        """
        edge = jnp.broadcast_to(self.edge[...], (len(edges), *self.edge.shape))
        return graph.Scores(emissions, edge, edges)

    def loss(
        self,
        emissions: jax.Array,
        edges: Any,
        labels: jax.Array,
        *,
        method: str = "exact",
        plan: Any = None,
        options: graph.Options = DEFAULT,
    ) -> jax.Array:
        """``-ln P(labels)`` of one labelling of the graph, in nats.

        Args:
            emissions: ``[I, C]``.
            edges: int ``[E, 2]``.
            labels: int ``[I]``.
            method: as in `rntn_jax.crf.graph.log_prob`.
            plan: likewise.
            options: likewise.

        Returns:
            A scalar.
        """
        scores = self(emissions, edges)
        return -graph.log_prob(scores, labels, method=method, plan=plan, options=options)

    def decode(
        self,
        emissions: jax.Array,
        edges: Any,
        *,
        method: str = "exact",
        plan: Any = None,
        options: graph.Options = DEFAULT,
        key: jax.Array | None = None,
        num_sweeps: int = 100,
    ) -> jax.Array:
        """The best labels, or good ones.

        Args:
            emissions: ``[I, C]``.
            edges: int ``[E, 2]``.
            method: as in `rntn_jax.crf.graph.argmax`.
            plan: likewise.
            options: likewise.
            key: likewise.
            num_sweeps: likewise.

        Returns:
            int32 ``[I]``.
        """
        return graph.argmax(
            self(emissions, edges),
            method=method,
            plan=plan,
            options=options,
            key=key,
            num_sweeps=num_sweeps,
        )[0]
