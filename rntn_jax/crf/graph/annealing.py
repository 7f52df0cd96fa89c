"""Annealing: Gibbs sampling at growing inverse temperatures ``beta``, for ln Z or for the best.

Chains that go from independent nodes to the whole distribution, the edges' share growing from 0 to
1 in many small steps, estimate ln Z (annealed importance sampling) with an error that they also
estimate; chains whose ``beta`` goes on growing find good labellings (simulated annealing).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.graph.inputs import neighbour_plan
from rntn_jax.crf.graph.neighbours import Neighbours
from rntn_jax.crf.graph.sampling import (
    gibbs_model,
    gibbs_sweep,
    independent_labels,
    initial_state,
    labels_of,
)
from rntn_jax.crf.graph.scores import Parts, Scores, check, complete, has_nan
from rntn_jax.ops import accumulator
from rntn_jax.ops.logspace import logsumexp
from rntn_jax.ops.varying import vary_like
from rntn_jax.shapes import shapes_repr

__all__ = ["Estimate", "annealed_log_partition", "simulated_annealing"]


class Estimate(NamedTuple):
    """An estimate of ln Z by annealed importance sampling."""

    log_partition: jax.Array  # [], nats; of E[exp(log_weight)], so that on average it is low
    std_error: jax.Array  # [], its standard error; NaN of a single chain
    log_weights: jax.Array  # [chains]
    labels: jax.Array  # int32 [chains, I], where the chains ended

    __repr__ = shapes_repr


def _edge_total(parts: Parts, state: jax.Array) -> jax.Array:
    """What edges score, ``[chains]``."""
    rows = jnp.arange(len(parts.edge))[:, None]
    first, second = (state[parts.edges[:, k]] for k in range(2))
    return parts.edge[rows, first, second].sum(axis=0)


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
    ``exp(log_weight)`` is unbiased for the ratio; the error is that of its mean over chains.

    Args:
        key: a PRNG key.
        scores: the CRF; scores of edges must be finite, as what they forbid is forbidden from the
            first step on, which the weights then miss.
        num_steps: static; more steps make weights more alike.
        num_chains: static.
        plan: made by `neighbours`; needed within jit.

    Returns:
        An `Estimate`. Cost: that of ``num_steps`` sweeps of `gibbs`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when there are no steps or chains; where the plan cannot be made.

    Example:
        >>> scores = Scores(jnp.zeros((2, 2)), jnp.zeros((1, 2, 2)), [(0, 1)])
        >>> found = annealed_log_partition(jax.random.key(0), scores, num_steps=4)
        >>> round(float(found.log_partition), 4), float(found.std_error)
        (1.3863, 0.0)
    """
    if num_steps < 1 or num_chains < 1:
        problem = f"got num_steps={num_steps}, num_chains={num_chains}"
        raise ValueError(f"num_steps and num_chains must be at least 1, {problem}")
    scores = check(scores)
    plan = neighbour_plan(scores, plan, method="annealed importance sampling")
    return _annealed_log_partition(key, scores, plan, num_steps, num_chains)


@partial(jax.jit, static_argnames=("num_steps", "num_chains"))
def _annealed_log_partition(
    key: jax.Array, scores: Scores, plan: Any, num_steps: int, num_chains: int
) -> Estimate:
    parts = lax.stop_gradient(complete(scores))
    dtype = accumulator(parts.node, parts.edge)
    parts = parts._replace(node=parts.node.astype(dtype), edge=parts.edge.astype(dtype))
    betas = jnp.linspace(0, 1, num_steps + 1, dtype=dtype)
    model = gibbs_model(parts, plan)
    first, rest = jax.random.split(key)

    def step(carry, inputs):
        state, log_weights = carry
        key, before, beta = inputs
        log_weights = log_weights + (beta - before) * _edge_total(parts, state)
        return (gibbs_sweep(key, parts, plan, model, state, edge_beta=beta), log_weights), None

    begin = initial_state(independent_labels(first, scores, num_chains), parts)
    keys = jax.random.split(rest, num_steps)
    carry = vary_like((begin, jnp.zeros(num_chains, dtype)), parts, plan, keys)
    (state, log_weights), _ = lax.scan(step, carry, (keys, betas[:-1], betas[1:]))
    independent = jnp.where(parts.node_mask, logsumexp(parts.node), 0).sum()
    mean = logsumexp(log_weights) - jnp.log(num_chains)
    std_error = jnp.exp(log_weights - mean).std(ddof=1) / jnp.sqrt(num_chains)
    log_z = jnp.where(has_nan(parts), jnp.nan, independent + mean)
    return Estimate(log_z, std_error, log_weights, labels_of(state))


def simulated_annealing(
    key: jax.Array, parts: Parts, labels: jax.Array, betas: jax.Array, plan: Neighbours
) -> jax.Array:
    """One Gibbs sweep with all scores times each of ``betas``, in their order.

    Args:
        key: PRNG key.
        parts: checked scores.
        labels: int ``[chains, I]``, where the chains begin.
        betas: ``[steps]``, inverse temperatures.
        plan: neighbours.

    Returns:
        int32 ``[chains, I]``, the labels after the last sweep.
    """
    model = gibbs_model(parts, plan)

    def step(state, inputs):
        key, beta = inputs
        return gibbs_sweep(key, parts, plan, model, state, beta=beta), None

    keys = jax.random.split(key, len(betas))
    start = vary_like(initial_state(labels, parts), parts, plan, keys)
    return labels_of(lax.scan(step, start, (keys, betas))[0])
