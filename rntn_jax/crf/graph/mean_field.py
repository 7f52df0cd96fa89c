"""Mean field: beliefs that are products of nodes', each in turn the best given the others.

Node by node (or colour by colour) ``b_i ~ exp(node_i + sum_{edges to j} edge[:, y_j] b_j)``, which
never lowers the bound. ``-inf`` counts as `_LOWEST` in these means.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.graph.belief_propagation import edges_by_slot
from rntn_jax.crf.graph.fixed_point import Options, solve
from rntn_jax.crf.graph.free_energy import Beliefs, make_beliefs, softmax
from rntn_jax.crf.graph.neighbours import Neighbours
from rntn_jax.crf.graph.scores import Parts
from rntn_jax.ops import accumulator
from rntn_jax.ops.logspace import finite_max

__all__ = ["mean_field"]

_LOWEST = -1e5  # what forbids in a mean, below the largest score of an edge


def mean_field(options: Options, parts: Parts, plan: Neighbours) -> Beliefs:
    """Beliefs whose free energy is a lower bound of ``ln Z``.

    Args:
        options: of the iterations.
        parts: checked scores.
        plan: neighbours.

    Returns:
        `Beliefs` in at least float32.
    """
    dtype = accumulator(parts.node, parts.edge)
    u = parts.node.astype(dtype).T
    edge = parts.edge.astype(dtype)
    edge_max = finite_max(edge, (1, 2))
    edge = jnp.maximum(edge - edge_max, _LOWEST)
    args = u - finite_max(u, 0), edges_by_slot(edge, plan), plan
    q, change, count = solve(partial(_ascend, options), options, args, softmax(u))
    both = q.T[parts.edges] if len(u.T) else jnp.zeros((0, 2, len(u)), dtype)
    b_edge = both[:, 0, :, None] * both[:, 1, None, :]
    bounded = parts._replace(edge=edge + edge_max)
    return make_beliefs(bounded, q.T, b_edge, jnp.zeros((), dtype), change, count)


def _ascend(options: Options, args, q: jax.Array) -> jax.Array:
    """New beliefs of all nodes, colour by colour: the bound never falls."""
    u, psi, plan = args

    def one_colour(q, colour):
        there = jnp.pad(q, ((0, 0), (0, 1)))[:, plan.other]
        # A barrier: left to itself XLA computes the sums several times.
        new = softmax(lax.optimization_barrier(u + (psi * there[None]).sum(axis=(1, 2))))
        new = options.damping * q + (1 - options.damping) * new
        return jnp.where((plan.colour == colour)[None], new, q), None

    return lax.scan(one_colour, q, plan.colour_ids)[0]
