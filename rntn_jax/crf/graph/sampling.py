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


class Estimate(NamedTuple):
    """An estimate of ln Z by annealed importance sampling."""

    log_partition: jax.Array  # [], nats; of E[exp(weight)], so that on average it is low
    error: jax.Array  # [], its standard error
    weights: jax.Array  # [chains], log-weights
    labels: jax.Array  # int32 [chains, I], where the chains ended


def _tables(edge, plan: Neighbours):
    """Edge scores ``[D, I, C there, C here]``, 0 where there is none."""
    none = jnp.zeros_like(edge, shape=(1, *edge.shape[1:]))
    both = jnp.concatenate([edge.swapaxes(1, 2), edge, none])
    return both[plan.link]


def conditional_scores(
    parts: Parts, plan: Neighbours, labels: jax.Array, tables: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Scores ``[.., I, C]`` of each node's labels given all others', of nodes and of edges.

    Args:
        parts: checked scores.
        plan: neighbours.
        labels: int32 ``[.., I]``.
        tables: edge scores by slot, where they are needed often.
    """
    tables = _tables(parts.edge, plan) if tables is None else tables
    count = labels.shape[-1]
    padded = jnp.concatenate([labels, jnp.zeros_like(labels[..., :1])], axis=-1)
    here = jnp.broadcast_to(jnp.arange(count), labels.shape)
    classes = tables.shape[-1]
    of_edges = jnp.zeros_like(tables, shape=(*labels.shape, classes))
    for d in range(len(tables)):
        there = padded[..., plan.other[d]]
        if classes > 8:
            of_edges = of_edges + tables[d, here, there]
            continue
        chosen = jnp.broadcast_to(tables[d, :, 0], of_edges.shape)
        for c in range(1, classes):  # quicker than a gather
            row = jnp.broadcast_to(tables[d, :, c], of_edges.shape)
            chosen = jnp.where((there == c)[..., None], row, chosen)
        of_edges = of_edges + chosen
    return jnp.broadcast_to(parts.node, of_edges.shape), of_edges


def start(key: jax.Array, scores: Scores, num_chains: int) -> jax.Array:
    """Labellings int32 ``[chains, I]`` of independent nodes, to start chains from."""
    node, _, _, node_mask, _ = complete(scores)
    drawn = jax.random.categorical(key, node, axis=-1, shape=(num_chains, len(node)))
    return jnp.where(node_mask[None], drawn, 0).astype(jnp.int32)


def _sweep(key, parts: Parts, plan: Neighbours, tables, labels, heat, cold=1.0):
    """All nodes drawn once; edges weigh ``heat``, and all scores times ``cold``."""

    classes, dtype = parts.node.shape[1], accumulator(parts.node, parts.edge)
    # Every node is drawn once, so that all colours can have their noise at once.
    if classes == 2:
        noise = jax.random.logistic(key, labels.shape, dtype)
    else:
        noise = jax.random.gumbel(key, (*labels.shape, classes), dtype)

    def of_colour(labels, colour):
        of_nodes, of_edges = conditional_scores(parts, plan, labels, tables)
        logits = cold * (of_nodes + jnp.where(of_edges == -jnp.inf, -jnp.inf, heat * of_edges))
        if classes == 2:
            drawn = logits[..., 0] < logits[..., 1] + noise
        else:
            drawn = (logits + noise).argmax(axis=-1)
        mine = ((plan.colour == colour) & parts.node_mask)[None]
        return jnp.where(mine, drawn.astype(jnp.int32), labels), None

    return lax.scan(of_colour, labels, plan.palette)[0]


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
    tables = _tables(parts.edge, plan)

    def step(labels, key):
        labels = _sweep(key, parts, plan, tables, labels, 1.0)
        return labels, labels if keep else None

    labels = jnp.where(parts.node_mask[None], jnp.asarray(labels), 0).astype(jnp.int32)
    last, kept = lax.scan(step, labels, jax.random.split(key, num_sweeps))
    return last if kept is None else kept


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


def _edge_total(parts: Parts, labels):
    """What edges score, ``[chains]``."""
    ends = labels[:, parts.edges]
    rows = jnp.arange(len(parts.edge))[None]
    return parts.edge[rows, ends[..., 0], ends[..., 1]].sum(axis=1)


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
    tables = _tables(parts.edge, plan)
    first, rest = jax.random.split(key)

    def step(state, inputs):
        labels, weights = state
        key, before, heat = inputs
        weights = weights + (heat - before) * _edge_total(parts, labels)
        return (_sweep(key, parts, plan, tables, labels, heat), weights), None

    labels = start(first, scores, num_chains)
    weights = jnp.zeros(num_chains, accumulator(parts.node, parts.edge))
    keys = jax.random.split(rest, len(heats) - 1)
    (labels, weights), _ = lax.scan(step, (labels, weights), (keys, heats[:-1], heats[1:]))
    return labels, weights


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

    def of_colour(labels, colour):
        of_nodes, of_edges = conditional_scores(parts, plan, labels, tables)
        best = (of_nodes + of_edges).argmax(axis=-1)
        mine = ((plan.colour == colour) & parts.node_mask)[None]
        return jnp.where(mine, best.astype(jnp.int32), labels), None

    def sweep(labels, _):
        return lax.scan(of_colour, labels, plan.palette)[0], None

    labels = jnp.where(parts.node_mask[None], jnp.asarray(labels), 0).astype(jnp.int32)
    return lax.scan(sweep, labels, None, length=num_sweeps)[0]


def cool(
    key: jax.Array, scores: Scores, labels: jax.Array, colds: jax.Array, plan: Neighbours
) -> jax.Array:
    """Simulated annealing: a Gibbs sweep with all scores times each of ``colds [steps]``."""
    parts, plan = ready(lax.stop_gradient(scores), plan)
    tables = _tables(parts.edge, plan)

    def step(labels, inputs):
        key, cold = inputs
        return _sweep(key, parts, plan, tables, labels, 1.0, cold), None

    return lax.scan(step, labels, (jax.random.split(key, len(colds)), colds))[0]
