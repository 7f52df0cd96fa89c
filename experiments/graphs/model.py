"""A grid CRF whose scores are linear in what is seen, and what each method makes of it.

A minibatch is one graph that falls into as many parts as it has images: so no method needs to know
of batches, and belief propagation decides once for all of it whether it may compute in products.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.graphs.config import Config
from rntn_jax.crf import graph

__all__ = ["INFERENCE", "Batch", "Grids", "Params", "answers", "grids", "init", "loss", "scores"]

# Marginals are asked for as they were in training; sampling is too noisy to ask.
INFERENCE = {
    "unary": "loopy",  # without edges it has nothing to approximate
    "pseudo_likelihood": "loopy",
    "cd": "loopy",
    "mean_field": "mean_field",
    "tree_reweighted": "tree_reweighted",
    "loopy": "loopy",
    "exact": "exact",
}


class Params(NamedTuple):
    """Weights."""

    node: jax.Array  # [1 + window^2, 2]: of 1, and of the pixels around
    edge: jax.Array  # [2, 2, 2, 2]: within rows, within columns; of 1, and of the pixels' distance


class Batch(NamedTuple):
    """Images of a minibatch."""

    seen: Any  # float32 [B, H, W]
    truth: Any  # int32 [B, H, W]
    real: Any  # bool [B], the others fill up


class Grids(NamedTuple):
    """The graph of ``B`` images, and the plans for it."""

    edges: np.ndarray  # int32 [E, 2], image after image
    vertical: np.ndarray  # int32 [E], whether an edge is within a column
    around: graph.Neighbours
    plan: graph.Plan | None  # None: too wide


def grids(count: int, height: int, width: int, config: Config) -> Grids:
    """Plans for that many images of that size.

    Raises:
        ValueError: when the method is exact, and the grid too wide.
    """
    pixels = height * width
    one = graph.grid_edges(height, width)
    first = pixels * np.arange(count)
    edges = (first[:, None, None] + one).reshape(-1, 2)
    vertical = np.tile(np.arange(len(one)) >= height * (width - 1), count).astype(np.int32)
    around = graph.neighbours(edges, count * pixels, forests=True)
    # Along the longer side: tables are as wide as the shorter one.
    order = np.arange(pixels).reshape(height, width)
    order = order.T if height < width else order
    try:
        plan = graph.plan(
            edges, count * pixels, 2, order=(first[:, None] + order.reshape(-1)).reshape(-1)
        )
    except ValueError:
        if config.method == "exact":
            raise
        plan = None
    return Grids(edges, vertical, around, plan)


def init(config: Config) -> Params:
    """All weights zero."""
    return Params(jnp.zeros((1 + config.window**2, 2)), jnp.zeros((2, 2, 2, 2)))


def scores(params: Params, batch: Batch, on: Grids) -> graph.Scores:
    """Scores of a minibatch's graph."""
    count, height, width = batch.seen.shape
    side = int((len(params.node) - 1) ** 0.5)
    around = (side // 2, side // 2)
    padded = jnp.pad(batch.seen, ((0, 0), around, around))
    features = jnp.stack(
        [jnp.ones_like(batch.seen)]
        + [padded[:, i : i + height, j : j + width] for i in range(side) for j in range(side)],
        axis=-1,
    )
    ends = batch.seen.reshape(-1)[on.edges]
    distance = jnp.abs(ends[:, 0] - ends[:, 1])[:, None, None]
    tables = params.edge[on.vertical]
    return graph.Scores(
        node=features.reshape(count * height * width, -1) @ params.node,
        edge=tables[:, 0] + distance * tables[:, 1],
        edges=jnp.asarray(on.edges),
        node_mask=jnp.repeat(batch.real, height * width),
    )


def _how(method: str, config: Config, on: Grids) -> dict[str, Any]:
    # One colour after the other is safe with mean fields, which else may go round in circles.
    schedule = "colours" if method == "mean_field" else "flooding"
    options = graph.Options(config.iterations, config.tolerance, config.damping, schedule)
    plan = on.plan if method == "exact" else on.around
    return {"method": method, "plan": plan, "options": options}


def loss(method: str, config: Config, on: Grids, params: Params, batch: Batch, key: jax.Array):
    """Nats an image: what a method takes for ``-ln P(truth)``.

    That of contrastive divergence means nothing but by its gradient.
    """
    found, truth = scores(params, batch, on), batch.truth.reshape(-1)
    if method == "unary":
        found = found._replace(edge=jnp.zeros_like(found.edge))
    if method in ("unary", "pseudo_likelihood"):
        nats = -graph.pseudo_log_likelihood(found, truth, plan=on.around)
    elif method == "cd":
        nats, _ = graph.contrastive_divergence(
            key, found, truth, num_sweeps=config.sweeps, plan=on.around
        )
    else:
        nats = -graph.log_prob(found, truth, **_how(method, config, on))
    return nats / jnp.maximum(batch.real.sum(), 1), None


def answers(inference: str, config: Config, on: Grids, found: graph.Scores, truth: jax.Array):
    """Probabilities ``[B, H, W]`` of 1, and ``-ln P(truth)`` of all images together."""

    def log_partition(node):
        return graph.log_partition(found._replace(node=node), **_how(inference, config, on))

    log_z, p = jax.value_and_grad(log_partition)(found.node)
    return p[:, 1].reshape(truth.shape), log_z - graph.score(found, truth.reshape(-1))
