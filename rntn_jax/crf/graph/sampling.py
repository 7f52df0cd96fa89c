"""Markov chains over labellings: Gibbs sampling colour by colour, and what is made of it.

Nodes of one colour have no edge among them: given all others they are independent, and are drawn
at once. `anneal` goes from independent nodes to the whole distribution in many small steps, which
estimates ln Z (annealed importance sampling) with an error that it also estimates; or on to colder
and colder ones, which finds good labellings.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.graph.neighbours import Neighbours, neighbours
from rntn_jax.crf.graph.scores import Parts, Scores, complete
from rntn_jax.ops import accumulator

__all__ = [
    "Estimate",
    "anneal",
    "annealed_log_partition",
    "conditional_scores",
    "cool",
    "gibbs",
    "improve",
    "ready",
    "start",
]


_FORBIDDEN = -1e20  # in place of -inf, where two are subtracted


class Estimate(NamedTuple):
    """An estimate of ln Z by annealed importance sampling."""

    log_partition: jax.Array  # [], nats; of E[exp(weight)], so that on average it is low
    error: jax.Array  # [], its standard error
    weights: jax.Array  # [chains], log-weights
    labels: jax.Array  # int32 [chains, I], where the chains ended


def _tables(edge, plan: Neighbours):
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
    """
    of_edges = _from_neighbours(
        _tables(parts.edge, plan) if tables is None else tables, plan, labels
    )
    of_nodes = parts.node.T.reshape(*parts.node.T.shape, *(1,) * (labels.ndim - 1))
    return jnp.broadcast_to(of_nodes, of_edges.shape), of_edges


def _from_neighbours(tables, plan: Neighbours, labels):
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


def start(key: jax.Array, scores: Scores, num_chains: int) -> jax.Array:
    """Labellings int32 ``[chains, I]`` of independent nodes, to start chains from."""
    node, _, _, node_mask, _ = complete(scores)
    drawn = jax.random.categorical(key, node, axis=-1, shape=(num_chains, len(node)))
    return jnp.where(node_mask[None], drawn, 0).astype(jnp.int32)


def _state(labels, parts: Parts):
    """Chains as sweeps have them: ``[I, chains]``, in few bytes."""
    labels = jnp.where(parts.node_mask[None], jnp.asarray(labels), 0).T
    return labels.astype(jnp.uint8 if parts.node.shape[1] <= 256 else jnp.int32)


def _labels(state):
    return state.swapaxes(-1, -2).astype(jnp.int32)


class _Model(NamedTuple):
    """What sweeps read; of two labels only by how much the second one scores more."""

    node: jax.Array  # [C, I], or [1, I]
    tables: jax.Array  # [D, C, C, I], or [D, 2, 1, I]


def _model(parts: Parts, plan: Neighbours) -> _Model:
    node, tables = parts.node.T, _tables(parts.edge, plan)
    if len(node) != 2:
        return _Model(node, tables)
    node, tables = (jnp.maximum(x, _FORBIDDEN) for x in (node, tables))
    return _Model(node[1:] - node[:1], tables[:, :, 1:] - tables[:, :, :1])


def _sweep(key, parts: Parts, plan: Neighbours, model: _Model, state, heat=None, cold=1.0):
    """All nodes ``[I, chains]`` drawn once; edges weigh ``heat``, all scores times ``cold``."""
    node, tables = model
    dtype = accumulator(parts.node, parts.edge)
    # Every node is drawn once, so that all colours can have their noise at once.
    if len(node) == 1:
        noise = jax.random.logistic(key, (1, *state.shape), dtype)
    else:
        noise = jax.random.gumbel(key, (len(node), *state.shape), dtype)

    def of_colour(state, colour):
        of_edges = _from_neighbours(tables, plan, state)
        if heat is not None:
            of_edges = jnp.where(of_edges == -jnp.inf, -jnp.inf, heat * of_edges)
        logits = cold * (node[..., None] + of_edges) + noise
        drawn = logits[0] > 0 if len(node) == 1 else logits.argmax(axis=0)
        return _where_colour(parts, plan, colour, drawn, state), None

    return lax.scan(of_colour, state, plan.palette)[0]


def _where_colour(parts: Parts, plan: Neighbours, colour, new, state):
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
        keep: whether to return the labels after every sweep.

    Returns:
        int32 ``[chains, I]``, or ``[sweeps, chains, I]``. Cost O(colours x slots x C) a sweep.

    Example:
        >>> node = jnp.array([[0.0, -jnp.inf], [-jnp.inf, 0.0]])
        >>> scores = Scores(node, jnp.zeros((1, 2, 2)), [(0, 1)])
        >>> gibbs(jax.random.key(0), scores, jnp.zeros((1, 2), int), 1).tolist()
        [[0, 1]]
    """
    parts, plan = ready(lax.stop_gradient(scores), plan)
    model = _model(parts, plan)

    def step(state, key):
        state = _sweep(key, parts, plan, model, state)
        return state, state if keep else None

    last, kept = lax.scan(step, _state(labels, parts), jax.random.split(key, num_sweeps))
    return _labels(last if kept is None else kept)


def ready(scores: Scores, plan: Neighbours | None) -> tuple[Parts, Neighbours]:
    """Checked scores, and the plan as arrays, made here where it is not given."""
    parts = complete(scores)
    if plan is None:
        try:
            plan = neighbours(scores.edges, len(parts.node), edge_mask=scores.edge_mask)
        except jax.errors.TracerArrayConversionError:
            problem = "edges are traced: give neighbours(edges, ...), made outside of jit"
            raise ValueError(problem) from None
    return parts, jax.tree.map(jnp.asarray, plan)


def _edge_total(parts: Parts, state):
    """What edges score, ``[chains]``."""
    rows = jnp.arange(len(parts.edge))[:, None]
    first, second = (state[parts.edges[:, k]] for k in range(2))
    return parts.edge[rows, first, second].sum(axis=0)


def anneal(
    key: jax.Array,
    scores: Scores,
    heats: jax.Array,
    num_chains: int,
    plan: Neighbours | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Chains ``[chains, I]`` at the last heat, and the log-weights that their way gives them.

    Args:
        key: a PRNG key.
        scores: the CRF; what edges forbid is forbidden from the first heat on, which the weights
            then miss: edges must be finite for weights that mean something.
        heats: ``[steps]`` from 0 to 1, the share of the edges' scores at each step.
        num_chains: static.
        plan: made by `neighbours`; needed within jit.
    """
    parts, plan = ready(lax.stop_gradient(scores), plan)
    model = _model(parts, plan)
    first, rest = jax.random.split(key)

    def step(carry, inputs):
        state, weights = carry
        key, before, heat = inputs
        weights = weights + (heat - before) * _edge_total(parts, state)
        return (_sweep(key, parts, plan, model, state, heat), weights), None

    begin = _state(start(first, scores, num_chains), parts)
    weights = jnp.zeros(num_chains, accumulator(parts.node, parts.edge))
    keys = jax.random.split(rest, len(heats) - 1)
    (state, weights), _ = lax.scan(step, (begin, weights), (keys, heats[:-1], heats[1:]))
    return _labels(state), weights


def annealed_log_partition(
    key: jax.Array,
    scores: Scores,
    *,
    num_steps: int = 500,
    num_chains: int = 64,
    plan: Neighbours | None = None,
) -> Estimate:
    """``ln Z`` by annealed importance sampling (Neal 2001), with its standard error.

    Chains start as independent nodes, whose ln Z is known, and edges come in step by step.
    ``exp(weight)`` is unbiased for the ratio; the error is that of its mean over chains.

    Args:
        key: a PRNG key.
        scores: the CRF; scores of edges must be finite.
        num_steps: static; more steps make weights more alike.
        num_chains: static.
        plan: made by `neighbours`; needed within jit.

    Example:
        >>> scores = Scores(jnp.zeros((2, 2)), jnp.zeros((1, 2, 2)), [(0, 1)])
        >>> found = annealed_log_partition(jax.random.key(0), scores, num_steps=4)
        >>> round(float(found.log_partition), 4), float(found.error)
        (1.3863, 0.0)
    """
    parts, plan = ready(lax.stop_gradient(scores), plan)
    heats = jnp.linspace(0, 1, num_steps + 1, dtype=accumulator(parts.node, parts.edge))
    labels, weights = anneal(key, scores, heats, num_chains, plan)
    alone = jnp.where(parts.node_mask, jax.nn.logsumexp(parts.node, axis=1), 0).sum()
    mean = jax.nn.logsumexp(weights) - jnp.log(num_chains)
    spread = jnp.exp(weights - mean)
    error = spread.std(ddof=1) / jnp.sqrt(num_chains)
    return Estimate(alone + mean, error, weights, labels)


def improve(
    scores: Scores, labels: jax.Array, num_sweeps: int, *, plan: Neighbours | None = None
) -> jax.Array:
    """Iterated conditional modes: every node takes its best label given the others.

    The score never falls; the end is a labelling that no change of one node improves.

    Args:
        scores: the CRF.
        labels: int ``[chains, I]``.
        num_sweeps: static.
        plan: made by `neighbours`; needed within jit.

    Example:
        >>> scores = Scores(jnp.array([[0.0, 1.0], [0.0, 0.0]]), 3 * jnp.eye(2)[None], [(0, 1)])
        >>> improve(scores, jnp.zeros((1, 2), int), 2).tolist()
        [[0, 0]]
    """
    parts, plan = ready(lax.stop_gradient(scores), plan)
    tables = _tables(parts.edge, plan)

    def of_colour(state, colour):
        of_nodes, of_edges = conditional_scores(parts, plan, state, tables)
        best = (of_nodes + of_edges).argmax(axis=0)
        return _where_colour(parts, plan, colour, best, state), None

    def sweep(state, _):
        return lax.scan(of_colour, state, plan.palette)[0], None

    return _labels(lax.scan(sweep, _state(labels, parts), None, length=num_sweeps)[0])


def cool(
    key: jax.Array, scores: Scores, labels: jax.Array, colds: jax.Array, plan: Neighbours
) -> jax.Array:
    """Simulated annealing: a Gibbs sweep with all scores times each of ``colds [steps]``."""
    parts, plan = ready(lax.stop_gradient(scores), plan)
    model = _model(parts, plan)

    def step(state, inputs):
        key, cold = inputs
        return _sweep(key, parts, plan, model, state, cold=cold), None

    keys = jax.random.split(key, len(colds))
    return _labels(lax.scan(step, _state(labels, parts), (keys, colds))[0])
