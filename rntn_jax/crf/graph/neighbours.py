"""Who is next to whom: the plan of all methods that only look at neighbours.

Also colours (no two neighbours have the same, so that all nodes of a colour can be drawn or
updated at once) and how often edges appear in a distribution over spanning forests.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rntn_jax.crf.graph.plan import check_edges
from rntn_jax.shapes import shapes_repr

__all__ = ["Neighbours", "colours", "neighbours"]

Array = Any  # numpy on the host, jax on the device

_TREES = 32  # spanning forests that appearances are counted in, at least
_MOST_SLOTS = 1 << 27


class Neighbours(NamedTuple):
    """Slots of neighbours: ``D`` for each of ``I`` nodes, and ``K`` colours; by `neighbours`."""

    other: Array  # int32 [D, I], the neighbour in a slot; I = none
    link: Array  # int32 [D, I], edge to it; E + e where the edge comes from it; 2 E = none
    back: Array  # int32 [D, I], slot d * I + i of the same edge at the neighbour; D * I = none
    slot: Array  # int32 [E, 2], slots of each edge at both its ends; D * I = none
    colour: Array  # int32 [I]
    colour_ids: Array  # int32 [K], 0 .. K - 1
    appearance: Array | None  # float32 [E], share of spanning forests that have the edge

    __repr__ = shapes_repr

    @property
    def num_colours(self) -> int:
        """``K``."""
        return self.colour_ids.shape[-1]


def colours(edges: Array, num_nodes: int) -> np.ndarray:
    """Colours int32 ``[I]`` such that neighbours' differ: few, two where two are enough.

    Greedy, from neighbour to neighbour: bipartite graphs (grids, trees) get two, others at most
    one more than the largest degree.

    Args:
        edges: int ``[E, 2]``.
        num_nodes: ``I``.

    Returns:
        int32 ``[I]``, from 0 on. O(I + E) time.

    Raises:
        ValueError: where edges are out of range, loops or repeated.

    Example:
        >>> colours([(0, 1), (1, 2), (2, 3), (3, 0)], 4).tolist()
        [0, 1, 0, 1]
    """
    edges = check_edges(edges, num_nodes)
    around: list[list[int]] = [[] for _ in range(num_nodes)]
    for i, j in edges.tolist():
        around[i].append(j)
        around[j].append(i)
    found = [-1] * num_nodes
    for first in range(num_nodes):
        if found[first] >= 0:
            continue
        found[first], queue = 0, [first]
        for v in queue:
            for u in around[v]:
                if found[u] < 0:
                    used = {found[w] for w in around[u]}
                    found[u] = next(c for c in range(len(used) + 1) if c not in used)
                    queue.append(u)
    return np.array(found, np.int32)


def neighbours(
    edges: Array, num_nodes: int, *, edge_mask: Array | None = None, forests: bool = False
) -> Neighbours:
    """Plans methods that look at neighbours only. Host code, to be called outside of any jit.

    Args:
        edges: int ``[E, 2]``.
        num_nodes: ``I``.
        edge_mask: bool ``[E]``; edges that are False now must stay so.
        forests: whether to count how often edges appear in spanning forests, which the
            tree-reweighted method needs.

    Returns:
        `Neighbours` of NumPy arrays, ``D`` the largest degree.

    Raises:
        ValueError: where edges are out of range, loops or repeated; where nodes times the largest
            degree is beyond memory.

    Example:
        >>> neighbours([(0, 1), (1, 2)], 3).other.tolist()
        [[1, 2, 1], [3, 0, 3]]
    """
    edges = check_edges(edges, num_nodes, edge_mask)
    used = np.arange(len(edges)) if edge_mask is None else np.flatnonzero(edge_mask)
    ends = edges[used]
    degree = np.bincount(ends.reshape(-1), minlength=num_nodes)
    most = max(int(degree.max(initial=0)), 1)
    if most * num_nodes > _MOST_SLOTS:
        raise ValueError(f"{num_nodes} nodes with up to {most} neighbours are too many slots")
    # Both directions of each edge, by the node they are seen from.
    here, there = ends.T.reshape(-1), ends[:, ::-1].T.reshape(-1)
    link = np.concatenate([used, len(edges) + used])
    order = np.argsort(here, kind="stable")
    rank = np.empty(len(here), np.int64)
    rank[order] = np.arange(len(here)) - (np.cumsum(degree) - degree)[here[order]]
    flat = rank * num_nodes + here
    none = most * num_nodes

    def slots(values, fill):
        out = np.full(none, fill, np.int32)
        out[flat] = values
        return out.reshape(most, num_nodes)

    slot = np.full((len(edges), 2), none, np.int32)
    both = flat.reshape(2, -1)
    slot[used] = both.T
    colour = colours(ends, num_nodes)
    appearance = None
    if forests:
        appearance = np.ones(len(edges), np.float32)
        appearance[used] = _appearances(ends, num_nodes)
    return Neighbours(
        other=slots(there, num_nodes),
        link=slots(link, 2 * len(edges)),
        back=slots(both[::-1].reshape(-1), none),
        slot=slot,
        colour=colour,
        colour_ids=np.arange(int(colour.max(initial=0)) + 1, dtype=np.int32),
        appearance=appearance,
    )


def _appearances(edges: np.ndarray, num_nodes: int) -> np.ndarray:
    """Shares of spanning forests, each of the edges that were taken least often so far.

    Each connected part of a graph gets those that it would get alone.
    """
    from scipy.sparse import coo_array  # late: half a second that few need
    from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

    ends = edges.astype(np.int32).T  # what csgraph reads, also before SciPy 1.15

    def matrix(weights: np.ndarray) -> Any:
        return coo_array((weights, (ends[0], ends[1])), shape=(num_nodes, num_nodes)).tocsr()

    _, part_of = connected_components(matrix(np.ones(len(edges))), directed=False)
    part = part_of[edges[:, 0]]
    order = np.argsort(part, kind="stable")
    sizes = np.bincount(part, minlength=1)
    rank = np.empty(len(edges), np.int64)  # among the edges of its part
    rank[order] = np.arange(len(edges)) - (np.cumsum(sizes) - sizes)[part[order]]
    place = {pair: e for e, pair in enumerate(map(tuple, np.sort(edges, axis=1).tolist()))}
    count, trees = np.zeros(len(edges)), np.zeros(len(sizes))
    missing = sizes  # edges of each part that no tree has yet
    while (more := (trees < _TREES) | (missing > 0)).any() and len(edges):
        # Numbers that do not depend on how many there are.
        noise = np.random.default_rng((0, int(trees.max()))).random(sizes.max())
        tree = minimum_spanning_tree(matrix(1 + count + noise[rank])).tocoo()
        pairs = np.sort(np.stack([tree.row, tree.col], axis=1), axis=1).tolist()
        taken = np.array([place[i, j] for i, j in pairs])
        count[taken[more[part[taken]]]] += 1
        trees += more
        missing = np.bincount(part[count == 0], minlength=len(sizes))
    return count / trees[part]
