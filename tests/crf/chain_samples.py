"""Chains for tests: random scores, source 004's notation, compiled queries."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from rntn_jax.crf import chain
from rntn_jax.crf.chain import Scores
from tests.oracles import crf_numpy as eq

# Compiled: eagerly, each operation would be compiled for itself.
STATIC = {"log_partition": "method", "log_prob": "method", "marginals": "method"}
STATIC |= {"top_k": "k", "sample": "num_samples"}
query = SimpleNamespace(
    **{
        name: jax.jit(getattr(chain, name), static_argnames=STATIC.get(name))
        for name in chain.__all__
        if name not in ("Scores", "constrain")
    }
)
MASK = np.array([[1, 1, 1, 1], [1, 0, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0]], bool)


def random_scores(seed: int, rows=4, length=4, classes=3, *, shared=True, forbid=0.0) -> Scores:
    """Scores with all fields, a random mask, and that share of entries forbidden."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        values = rng.normal(size=shape)
        return jnp.asarray(np.where(rng.random(shape) < forbid, -np.inf, values))

    edge = (classes, classes) if shared else (rows, length - 1, classes, classes)
    mask = rng.random((rows, length)) < 0.8
    node, start, end = draw(rows, length, classes), draw(classes), draw(classes)
    return Scores(node, draw(*edge), start, end, jnp.asarray(mask))


def as_model(scores: Scores, row: int) -> tuple[eq.Model, list[int]]:
    """One row as source 004 writes it, and which positions its nodes are."""
    node, edge = np.array(scores.node[row]), np.asarray(scores.edge)
    mask = np.ones(len(node), bool) if scores.mask is None else np.asarray(scores.mask[row])
    real = np.flatnonzero(mask).tolist()
    parts = node[real]
    if real and scores.start is not None:
        parts[0] += scores.start
    if real and scores.end is not None:
        parts[-1] += scores.end
    edges = [(i, i + 1) for i in range(len(real) - 1)]
    into = [edge if edge.ndim == 2 else edge[row, t - 1] for t in real[1:]]
    return eq.Model(parts, np.array(into).reshape(-1, *edge.shape[-2:]), edges), real


def row_of(scores: Scores, i: int) -> Scores:
    """A batch of that row alone."""
    edge = scores.edge if scores.edge.ndim == 2 else scores.edge[i : i + 1]
    mask = None if scores.mask is None else scores.mask[i : i + 1]
    return Scores(scores.node[i : i + 1], edge, scores.start, scores.end, mask)
