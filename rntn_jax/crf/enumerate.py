"""Brute force: all labellings of a small model, written down. The oracle, and the definition.

Source: 004, ``s(y)``, ``P_s(y)`` and the model marginals, as they stand there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp

from rntn_jax.crf.chain.scores import Scores
from rntn_jax.ops.checks import check

__all__ = ["LIMIT", "log_partition", "marginal", "of_chain", "table"]

LIMIT = 1_000_000  # labellings


def table(node: jax.Array, edge: jax.Array, edges: Iterable[Sequence[int]]) -> jax.Array:
    """Scores of all labellings: ``table[y_0, y_1, ...] = s(y)``.

    Computes ``sum_i node[i, y_i] + sum_e edge[e, y_i, y_j]`` with ``(i, j) = edges[e]``.

    Args:
        node: ``[I, C]``.
        edge: ``[E, C, C]``.
        edges: E pairs of nodes; an array ``[E, 2]`` will do, but not a traced one.

    Returns:
        ``[C, C, ...]``, an axis for each of the I nodes.

    Raises:
        AssertionError: for scores of other shapes, or no floating point numbers.
        ValueError: when there are more than `LIMIT` labellings, or an edge leads nowhere.

    Example:
        >>> scores = table(jnp.zeros((2, 3)), jnp.ones((1, 3, 3)), [(0, 1)])
        >>> scores.shape, float(scores.sum())
        ((3, 3), 9.0)
    """
    sizes: dict[str, int] = {}
    pairs = [(int(i), int(j)) for i, j in edges]
    node = check("node", node, "float", "I C", sizes)
    edge = check("edge", edge, "float", f"{len(pairs)} C C", sizes)
    count, classes = node.shape
    if classes**count > LIMIT:
        raise ValueError(f"{classes}^{count} labellings are more than {LIMIT}")
    total = jnp.zeros((classes,) * count, jnp.result_type(node, edge))
    for i in range(count):
        total = total + node[i].reshape(_axes(count, classes, i))
    for e, (i, j) in enumerate(pairs):
        if not (0 <= i < count and 0 <= j < count and i != j):
            raise ValueError(f"edge {e} leads from {i} to {j}, but there are {count} nodes")
        scores = edge[e] if i < j else edge[e].T
        total = total + scores.reshape(_axes(count, classes, i, j))
    return total


def _axes(count: int, classes: int, *used: int) -> tuple[int, ...]:
    return tuple(classes if axis in used else 1 for axis in range(count))


def of_chain(scores: Scores, row: int) -> jax.Array:
    """`table` of one row of a chain: an axis for each real position.

    Args:
        scores: the CRF.
        row: number of the sequence.

    Returns:
        ``[C, ..., C]`` nats.

    Example:
        >>> mask = jnp.array([[True, False, True]])
        >>> of_chain(Scores(jnp.zeros((1, 3, 2)), jnp.zeros((2, 2)), mask=mask), 0).shape
        (2, 2)
    """
    node, edge = jnp.asarray(scores.node)[row], jnp.asarray(scores.edge)
    real = [t for t in range(len(node)) if scores.mask is None or bool(scores.mask[row, t])]
    if not real:
        return jnp.zeros((), node.dtype)
    parts = node[jnp.array(real)]
    if scores.start is not None:
        parts = parts.at[0].add(scores.start)
    if scores.end is not None:
        parts = parts.at[-1].add(scores.end)
    pairs = [(i, i + 1) for i in range(len(real) - 1)]
    if not pairs:
        return table(parts, jnp.zeros((0, *edge.shape[-2:]), edge.dtype), pairs)
    into = [edge if edge.ndim == 2 else edge[row, t - 1] for t in real[1:]]
    return table(parts, jnp.stack(into), pairs)


def log_partition(table: jax.Array) -> jax.Array:
    """``ln Z`` of a table: ``ln sum_y exp(s(y))``, in nats; ``-inf`` where all is forbidden."""
    return jax.nn.logsumexp(table)


def marginal(table: jax.Array, *nodes: int) -> jax.Array:
    """Joint probabilities of the labels of some nodes, in their order: ``P(y_i = c, ...)``.

    Args:
        table: scores of all labellings, an axis for each node, of `table`.
        nodes: numbers of nodes, each once.

    Returns:
        An axis for each of these nodes. Cost: the size of the table.

    Example:
        >>> marginal(jnp.log(jnp.array([[1.0, 2.0], [3.0, 4.0]])), 1).round(1).tolist()
        [0.4000000059604645, 0.6000000238418579]
    """
    p = jax.nn.softmax(table.reshape(-1)).reshape(table.shape)
    p = p.sum(tuple(axis for axis in range(p.ndim) if axis not in nodes))
    kept = sorted(nodes)
    return p.transpose([kept.index(node) for node in nodes])
