"""Gibbs sampling colour by colour, and iterated conditional modes.

Nodes of one colour have no edge among them: given all others they are independent, and are drawn,
or take their best label, at once. `rntn_jax.crf.graph.annealing` makes more of the same sweeps.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.graph.inputs import neighbour_plan
from rntn_jax.crf.graph.neighbours import Neighbours
from rntn_jax.crf.graph.scores import Parts, Scores, check, check_labels, complete
from rntn_jax.ops import accumulator
from rntn_jax.ops.varying import vary_like
from rntn_jax.shapes import shapes_repr

__all__ = [
    "GibbsModel",
    "conditional_modes",
    "conditional_scores",
    "gibbs",
    "gibbs_model",
    "gibbs_sweep",
    "icm",
    "independent_labels",
    "initial_state",
    "labels_of",
]

_FORBIDDEN = -1e20  # in place of -inf, where two are subtracted


def _tables(edge, plan: Neighbours) -> jax.Array:
    """Edge scores ``[D, C there, C here, I]``, 0 where there is none."""
    none = jnp.zeros_like(edge, shape=(1, *edge.shape[1:]))
    both = jnp.concatenate([edge.swapaxes(1, 2), edge, none])
    return jnp.moveaxis(both[plan.link], 1, 3)


def conditional_scores(
    parts: Parts, plan: Neighbours, labels: jax.Array, tables: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Scores of each node's labels given all others', of nodes ``[C, I, ..]`` and of edges.

    Args:
        parts: checked scores.
        plan: neighbours.
        labels: integer ``[I, ..]``; chains come last, so that a node's are read at once.
        tables: edge scores by slot, where they are needed often.

    Returns:
        ``(node, edge)``, each ``[C, I, ..]`` nats: of every label of the node.
    """
    edge_scores = _from_neighbours(
        _tables(parts.edge, plan) if tables is None else tables, plan, labels
    )
    node_scores = parts.node.T.reshape(*parts.node.T.shape, *(1,) * (labels.ndim - 1))
    return jnp.broadcast_to(node_scores, edge_scores.shape), edge_scores


def _from_neighbours(tables, plan: Neighbours, labels) -> jax.Array:
    """The sum over slots of ``tables [D, C there, C here, I]`` at their labels: ``[C, I, ..]``."""
    slots, classes, here, count = tables.shape
    ones = (1,) * (labels.ndim - 1)
    padded = jnp.concatenate([labels, jnp.zeros_like(labels[:1])])
    total = jnp.zeros_like(tables, shape=(here, *labels.shape))
    for d in range(slots):
        there = lax.optimization_barrier(padded[plan.other[d]])
        if classes > 8:
            node = jnp.arange(count).reshape(count, *ones)
            total = total + jnp.moveaxis(tables[d, there, :, node], -1, 0)
            continue
        rows = tables[d].reshape(classes, here, count, *ones)
        chosen = jnp.broadcast_to(rows[0], total.shape)
        for c in range(1, classes):  # quicker than a gather
            row = jnp.broadcast_to(rows[c], total.shape)
            chosen = jnp.where((there == c)[None], row, chosen)
        total = total + chosen
    return total


@partial(jax.jit, static_argnames="num_chains")
def independent_labels(key: jax.Array, scores: Scores, num_chains: int) -> jax.Array:
    """Labellings of the nodes alone, as if there were no edges: to start chains from.

    Args:
        key: PRNG key.
        scores: of which those of edges are not read.
        num_chains: how many.

    Returns:
        int32 ``[chains, I]``, 0 where masked.
    """
    node, _, _, node_mask, _ = complete(scores)
    drawn = jax.random.categorical(key, node, axis=-1, shape=(num_chains, len(node)))
    return jnp.where(node_mask[None], drawn, 0).astype(jnp.int32)


def initial_state(labels: jax.Array, parts: Parts) -> jax.Array:
    """Chains ``[chains, I]`` as sweeps have them: ``[I, chains]``, in few bytes.

    Args:
        labels: int ``[chains, I]``.
        parts: checked scores.

    Returns:
        uint8 or int32 ``[I, chains]``, 0 where masked.
    """
    labels = jnp.where(parts.node_mask[None], jnp.asarray(labels), 0).T
    return labels.astype(jnp.uint8 if parts.node.shape[1] <= 256 else jnp.int32)


def labels_of(state: jax.Array) -> jax.Array:
    """Labels int32 ``[chains, I]`` of a state."""
    return state.swapaxes(-1, -2).astype(jnp.int32)


class GibbsModel(NamedTuple):
    """What sweeps read; of two labels only by how much the second one scores more."""

    node: jax.Array  # [C, I], or [1, I]
    tables: jax.Array  # [D, C, C, I], or [D, 2, 1, I]

    __repr__ = shapes_repr


def gibbs_model(parts: Parts, plan: Neighbours) -> GibbsModel:
    """Scores as `gibbs_sweep` reads them, in at least float32.

    Args:
        parts: checked scores.
        plan: neighbours.

    Returns:
        A `GibbsModel`.
    """
    dtype = accumulator(parts.node, parts.edge)
    node, tables = parts.node.astype(dtype).T, _tables(parts.edge.astype(dtype), plan)
    if len(node) != 2:
        return GibbsModel(node, tables)
    node, tables = (jnp.maximum(x, _FORBIDDEN) for x in (node, tables))
    return GibbsModel(node[1:] - node[:1], tables[:, :, 1:] - tables[:, :, :1])


def gibbs_sweep(
    key: jax.Array,
    parts: Parts,
    plan: Neighbours,
    model: GibbsModel,
    state: jax.Array,
    edge_beta: jax.Array | None = None,
    beta: jax.Array | float = 1.0,
) -> jax.Array:
    """All nodes ``[I, chains]`` drawn once; edges weigh ``edge_beta``, all scores ``beta``.

    Args:
        key: PRNG key.
        parts: checked scores.
        plan: neighbours.
        model: of `gibbs_model`.
        state: ``[I, chains]``, of `initial_state`.
        edge_beta: ``[]``; None: 1.
        beta: ``[]``.

    Returns:
        The next state, ``[I, chains]``.
    """
    node, tables = model
    binary = parts.node.shape[1] == 2
    # Every node is drawn once, so that all colours can have their noise at once.
    draw = jax.random.logistic if binary else jax.random.gumbel
    noise = draw(key, (len(node), *state.shape), node.dtype)

    def one_colour(state, colour):
        edge_scores = _from_neighbours(tables, plan, state)
        if edge_beta is not None:
            edge_scores = jnp.where(edge_scores == -jnp.inf, -jnp.inf, edge_beta * edge_scores)
        logits = beta * (node[..., None] + edge_scores) + noise
        drawn = logits[0] > 0 if binary else logits.argmax(axis=0)
        return _where_colour(parts, plan, colour, drawn, state), None

    return lax.scan(one_colour, state, plan.colour_ids)[0]


def _where_colour(parts: Parts, plan: Neighbours, colour, new, state) -> jax.Array:
    mine = (plan.colour == colour) & parts.node_mask
    return jnp.where(mine[:, None], new.astype(state.dtype), state)


def gibbs(
    key: jax.Array,
    scores: Scores,
    labels: jax.Array,
    num_sweeps: int,
    *,
    plan: Neighbours | None = None,
    keep: bool = False,
) -> jax.Array:
    """Runs Markov chains: every sweep draws each node once, given its neighbours.

    Args:
        key: a PRNG key.
        scores: the CRF.
        labels: int ``[chains, I]``, where the chains begin; of positive probability, or they may
            never come to labellings that are.
        num_sweeps: static.
        plan: made by `neighbours`; needed within jit.
        keep: whether to return the labels after every sweep. Static.

    Returns:
        int32 ``[chains, I]``, or ``[sweeps, chains, I]``. Cost O(colours x slots x C) a sweep.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: where the plan cannot be made.

    Example:
        >>> node = jnp.array([[0.0, -jnp.inf], [-jnp.inf, 0.0]])
        >>> scores = Scores(node, jnp.zeros((1, 2, 2)), [(0, 1)])
        >>> gibbs(jax.random.key(0), scores, jnp.zeros((1, 2), int), 1).tolist()
        [[0, 1]]
    """
    scores = check(scores)
    labels = check_labels(labels, scores, axes="K I")
    plan = neighbour_plan(scores, plan, method="gibbs")
    return _gibbs(key, scores, labels, plan, num_sweeps, keep)


@partial(jax.jit, static_argnames=("num_sweeps", "keep"))
def _gibbs(
    key: jax.Array, scores: Scores, labels: jax.Array, plan: Any, num_sweeps: int, keep: bool
) -> jax.Array:
    parts = lax.stop_gradient(complete(scores))
    model = gibbs_model(parts, plan)

    def step(state, key):
        state = gibbs_sweep(key, parts, plan, model, state)
        return state, state if keep else None

    keys = jax.random.split(key, num_sweeps)
    start = vary_like(initial_state(labels, parts), plan, keys)
    last, kept = lax.scan(step, start, keys)
    return labels_of(last if kept is None else kept)


def icm(
    scores: Scores, labels: jax.Array, num_sweeps: int, *, plan: Neighbours | None = None
) -> jax.Array:
    """Iterated conditional modes (Besag 1986): every node takes its best label given the others.

    The score never falls; the end is a labelling that no change of one node improves.

    Args:
        scores: the CRF.
        labels: int ``[chains, I]``.
        num_sweeps: static.
        plan: made by `neighbours`; needed within jit.

    Returns:
        int32 ``[chains, I]``. Cost O(colours x slots x C) a sweep.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: where the plan cannot be made.

    Example:
        >>> scores = Scores(jnp.array([[0.0, 1.0], [0.0, 0.0]]), 3 * jnp.eye(2)[None], [(0, 1)])
        >>> icm(scores, jnp.zeros((1, 2), int), 2).tolist()
        [[0, 0]]
    """
    scores = check(scores)
    labels = check_labels(labels, scores, axes="K I")
    return _icm(scores, labels, neighbour_plan(scores, plan, method="icm"), num_sweeps)


@partial(jax.jit, static_argnames="num_sweeps")
def _icm(scores: Scores, labels: jax.Array, plan: Any, num_sweeps: int) -> jax.Array:
    return conditional_modes(lax.stop_gradient(complete(scores)), labels, num_sweeps, plan)


def conditional_modes(
    parts: Parts, labels: jax.Array, num_sweeps: int, plan: Neighbours
) -> jax.Array:
    """`icm` of checked scores.

    Args:
        parts: checked scores.
        labels: int ``[chains, I]``, where to begin.
        num_sweeps: over all nodes, colour by colour.
        plan: neighbours.

    Returns:
        int32 ``[chains, I]``.
    """
    dtype = accumulator(parts.node, parts.edge)
    parts = parts._replace(node=parts.node.astype(dtype), edge=parts.edge.astype(dtype))
    tables = _tables(parts.edge, plan)

    def one_colour(state, colour):
        node_scores, edge_scores = conditional_scores(parts, plan, state, tables)
        best = (node_scores + edge_scores).argmax(axis=0)
        return _where_colour(parts, plan, colour, best, state), None

    def sweep(state, _):
        return lax.scan(one_colour, state, plan.colour_ids)[0], None

    start = vary_like(initial_state(labels, parts), parts, plan)
    return labels_of(lax.scan(sweep, start, None, length=num_sweeps)[0])
