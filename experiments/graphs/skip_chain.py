"""Skip-chain CRFs over sparse features.

Tokens have the attributes of the sparse CRF of `experiments.chunking`, each with a weight for each
label; an edge of the chain has a table ``[C, C]``, and one more each for what `SKIP_FEATURES` says
of a skip edge. With all tables of skip edges 0 this is the linear chain. The loss is CRFsuite's,
``-ln P(labels)`` of all sentences and an L2 penalty; it is convex wherever inference is exact.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.graphs.config import Config
from experiments.graphs.text import SKIP_FEATURES, Batch, Skips
from rntn_jax.crf import chain, graph
from rntn_jax.ops import embed

__all__ = [
    "Params",
    "answers",
    "chain_scores",
    "graph_scores",
    "init",
    "loss",
    "method_for",
]


class Params(NamedTuple):
    """Weights."""

    state: jax.Array  # [A, C], of attributes; the first, none, counts nothing
    edge: jax.Array  # [C, C], of neighbours
    skip: jax.Array  # [3, C, C], of skip edges: the earlier word's label, the later word's


def init(num_attributes: int, num_labels: int) -> Params:
    """All weights zero."""
    c = num_labels
    state, edge = jnp.zeros((num_attributes, c)), jnp.zeros((c, c))
    return Params(state, edge, jnp.zeros((len(SKIP_FEATURES), c, c)))


def chain_scores(params: Params, batch: Batch) -> chain.Scores:
    """Scores of a minibatch without its skip edges."""
    of_attributes = embed(params.state, batch.ids)
    node = jnp.where(batch.ids[..., None] > 0, of_attributes, 0).sum(axis=2)
    return chain.Scores(node, params.edge, mask=batch.mask)


def graph_scores(params: Params, batch: Batch) -> graph.Scores:
    """Scores of a minibatch's graph, which must be there."""
    on = batch.skips
    assert on is not None
    node, edge = chain_scores(params, batch)[:2]
    skips = jnp.einsum("sf,fij->sij", on.features, params.skip)
    neighbours = jnp.broadcast_to(edge, (len(on.edges) - len(skips), *edge.shape))
    return graph.Scores(
        node=node.reshape(-1, node.shape[-1]),
        edge=jnp.concatenate([neighbours, skips]),
        edges=on.edges,
        node_mask=batch.mask.reshape(-1),
        edge_mask=on.edge_mask,
    )


def answers(method: str, config: Config, params: Params, batch: Batch):
    """Marginals ``[B, T, C]``, and ``-ln P(labels)`` of all rows together.

    Sentences without skip edges are chains, whatever the method (the linear chain sees no others);
    those that are too wide for exact inference are left to loopy BP.
    """
    on = batch.skips
    if on is None:
        scores = chain_scores(params, batch)
        p = chain.marginals(scores).node
        return p, -chain.log_prob(scores, batch.labels).sum()
    scores = graph_scores(params, batch)
    how = method_for(method, config, on)

    def log_partition(node):
        return graph.log_partition(scores._replace(node=node), **how)

    log_z, p = jax.value_and_grad(log_partition)(scores.node)
    nats = log_z - graph.score(scores, batch.labels.reshape(-1))
    return p.reshape(*batch.mask.shape, -1), nats


def method_for(method: str, config: Config, on: Skips) -> dict[str, Any]:
    """How a minibatch is computed: exactly only where there is a plan for it."""
    if method == "exact" and on.plan is not None:
        return {"method": method, "plan": on.plan}
    options = graph.Options(config.iterations, config.tolerance, config.damping)
    method = "loopy" if method == "exact" else method
    return {"method": method, "plan": on.around, "options": options}


def loss(
    method: str, config: Config, size: int, params: Params, batch: Batch, key: jax.Array
) -> tuple[jax.Array, None]:
    """Nats a sentence, with its share of the penalty, ``size`` being all training sentences."""
    if batch.skips is None:
        nats = -chain.log_prob(chain_scores(params, batch), batch.labels).sum()
    else:
        how = method_for(method, config, batch.skips)
        nats = -graph.log_prob(graph_scores(params, batch), batch.labels.reshape(-1), **how)
    squares = sum(jnp.square(weights).sum() for weights in params)
    sentences = jnp.maximum(batch.mask.any(axis=1).sum(), 1)
    return nats / sentences + config.c2 / size * squares, None
