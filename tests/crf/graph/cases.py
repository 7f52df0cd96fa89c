"""Random graphs for the tests, as containers and as source 004 writes them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from rntn_jax.crf import graph
from tests.oracles import crf_numpy as eq

NODES, EDGES, CLASSES = 7, 10, 3
SHAPE = graph.Shape(width=5, steps=8, lanes=1, patterns=25, pool=8)


def random_edges(rng, nodes=NODES, edges=EDGES) -> np.ndarray:
    """Distinct edges between distinct nodes, in either direction."""
    pairs = np.array([(i, j) for i in range(nodes) for j in range(i)])
    chosen = pairs[rng.permutation(len(pairs))[:edges]]
    return np.where(rng.random((edges, 1)) < 0.5, chosen, chosen[:, ::-1])


def random_scores(seed, *, forbid=0.0, masked=True, scale=1.0, classes=CLASSES) -> graph.Scores:
    """Scores on 7 nodes with 10 edges, with cycles; two edges masked, a node in some."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        values = scale * rng.normal(size=shape)
        return jnp.asarray(np.where(rng.random(shape) < forbid, -np.inf, values))

    edges = random_edges(rng)
    node_mask, edge_mask = np.ones(NODES, bool), np.ones(EDGES, bool)
    if masked:
        node_mask[rng.integers(NODES)] = rng.random() < 0.5
        edge_mask[:2] = False
        edges[0] = 0  # what is masked may be anything
    return graph.Scores(
        draw(NODES, classes), draw(EDGES, classes, classes), edges, node_mask, edge_mask
    )


def as_model(scores: graph.Scores) -> tuple[eq.Model, np.ndarray, np.ndarray]:
    """The graph as source 004 writes it; which nodes and which edges it has."""
    nodes = np.flatnonzero(scores.node_mask)
    place = {int(n): k for k, n in enumerate(nodes)}
    ends = np.asarray(scores.edges)
    on = [
        e
        for e in np.flatnonzero(scores.edge_mask).tolist()
        if ends[e, 0] in place and ends[e, 1] in place
    ]
    pairs = [(place[int(ends[e, 0])], place[int(ends[e, 1])]) for e in on]
    model = eq.Model(np.asarray(scores.node)[nodes], np.asarray(scores.edge)[on], pairs)
    return model, nodes, np.array(on, int)
