"""Beliefs in place of marginals: loopy belief propagation, tree-reweighted, and mean field.

Each method maximises an approximation of ``ln Z`` over beliefs ``b`` of nodes and edges::

    ln Z ~ sum_i <b_i, node_i> + sum_e <b_e, edge_e> + sum_i H(b_i) - sum_e r_e I(b_e)

with entropies H and mutual informations I. ``r = 1`` is Bethe's free energy, exact on trees; ``r``
the share of spanning forests that hold an edge makes the maximum an upper bound of ``ln Z``; and
beliefs that are products (``I = 0``) a lower one. As beliefs are where this is stationary, its
gradient with respect to the scores is the beliefs: the model marginals theorem holds for
approximations, too. The plain oracle of that rule is autodiff of the unrolled iterations
(``gradient="unrolled"``).

Source: 004 leaves the approximation open.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax

from rntn_jax.crf.graph import belief_propagation
from rntn_jax.crf.graph.fixed_point import Options
from rntn_jax.crf.graph.free_energy import Beliefs
from rntn_jax.crf.graph.mean_field import mean_field
from rntn_jax.crf.graph.neighbours import Neighbours
from rntn_jax.crf.graph.scores import Parts
from rntn_jax.ops import cast_like
from rntn_jax.ops.varying import vary_like

__all__ = ["METHODS", "infer", "log_partition"]

METHODS = ("loopy", "tree_reweighted", "mean_field")


def infer(method: str, options: Options, parts: Parts, plan: Neighbours) -> Beliefs:
    """Beliefs, by iteration until they converge or the iterations are used up.

    Args:
        method: of `METHODS`.
        options: of the iterations.
        parts: checked scores.
        plan: neighbours.

    Returns:
        `Beliefs`.
    """
    parts, plan = vary_like((parts, plan))
    if method == "mean_field":
        return mean_field(options, parts, plan)
    return belief_propagation.propagate(method == "tree_reweighted", options, parts, plan)


def log_partition(method: str, options: Options, parts: Parts, plan: Neighbours) -> jax.Array:
    """The approximation of ``ln Z``; its gradient is the beliefs.

    Args:
        method, options, parts, plan: as `infer` takes them.

    Returns:
        Nats in at least float32, a scalar.
    """
    if options.gradient == "unrolled":
        return infer(method, options, parts, plan).log_partition
    parts, plan = vary_like((parts, plan))
    _, _, edges, node_mask, edge_mask = parts
    rest = edges, node_mask, edge_mask, plan
    return _log_partition(method, options, parts.node, parts.edge, rest)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _log_partition(method, options, node, edge, rest) -> jax.Array:
    *others, plan = rest
    return infer(method, options, Parts(node, edge, *others), plan).log_partition


class _Residuals(NamedTuple):
    node: jax.Array  # [I, C], beliefs in the dtype of the scores
    edge: jax.Array  # [E, C, C]


def _fwd(method, options, node, edge, rest) -> tuple[jax.Array, _Residuals]:
    *others, plan = rest
    found = infer(method, options, Parts(node, edge, *others), plan)
    return found.log_partition, _Residuals(*cast_like((found.node, found.edge), (node, edge)))


def _bwd(method, options, res: _Residuals, ct) -> tuple:
    return *cast_like((res.node * ct, res.edge * ct), tuple(res)), None


_log_partition.defvjp(_fwd, _bwd)
