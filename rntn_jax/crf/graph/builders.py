"""Edges of graphs that are often wanted. Host code."""

from __future__ import annotations

import numpy as np

__all__ = ["grid_edges", "random_edges"]


def grid_edges(rows: int, columns: int, *, diagonals: bool = False) -> np.ndarray:
    """Edges int32 ``[E, 2]`` of a grid, its nodes numbered row by row.

    Those within rows come first, then those within columns (and then both diagonals), each from
    the lower number to the higher.

    Args:
        rows: how many.
        columns: how many.
        diagonals: whether to join the nodes that touch at a corner, too.

    Returns:
        int32 ``[E, 2]``, ``E = rows (columns - 1) + (rows - 1) columns`` without diagonals.

    Example:
        >>> grid_edges(2, 2).tolist()
        [[0, 1], [2, 3], [0, 2], [1, 3]]
    """
    at = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    pairs = [(at[:, :-1], at[:, 1:]), (at[:-1], at[1:])]
    if diagonals:
        pairs += [(at[:-1, :-1], at[1:, 1:]), (at[:-1, 1:], at[1:, :-1])]
    return np.concatenate([np.stack(pair, axis=-1).reshape(-1, 2) for pair in pairs])


def random_edges(rng: np.random.Generator, num_nodes: int, num_edges: int) -> np.ndarray:
    """Edges int32 ``[E, 2]``, all pairs of nodes being equally likely, none twice.

    Args:
        rng: random numbers.
        num_nodes: ``I``.
        num_edges: ``E``.

    Returns:
        int32 ``[E, 2]``, sorted by the second node, then by the first, which is the lower one.

    Raises:
        ValueError: when there are not that many pairs.

    Example:
        >>> random_edges(np.random.default_rng(0), 3, 3).tolist()
        [[0, 1], [0, 2], [1, 2]]
    """
    pairs = num_nodes * (num_nodes - 1) // 2
    if not 0 <= num_edges <= pairs:
        raise ValueError(f"{num_nodes} nodes have {pairs} pairs, not {num_edges}")
    code = np.sort(rng.choice(pairs, num_edges, replace=False))
    # Pair k of the list (0, 1), (0, 2), (1, 2), (0, 3), ...: the second node starts at j(j-1)/2.
    second = ((1 + np.sqrt(1 + 8 * code.astype(np.float64))) / 2).astype(np.int64)
    second -= second * (second - 1) // 2 > code
    second += (second + 1) * second // 2 <= code
    first = code - second * (second - 1) // 2
    return np.stack([first, second], axis=1).astype(np.int32)
