"""Orders of elimination: which variable of a graph is summed out when.

Summing out a variable joins all its neighbours. A variable and the neighbours it then has make a
bag; the largest bag's size is the width that all cost depends on, and finding the order of least
width is NP-hard. Tried are the given order, a front that moves through the graph from one end (the
best there is on grids, however they lie, and bands) and greedy least fill-in (good on sparse,
irregular graphs).
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np

__all__ = ["TooWide", "best_order", "eliminate", "neighbours"]


class TooWide(Exception):
    """A bag was larger than allowed; the argument is its size."""


def neighbours(edges: np.ndarray, count: int) -> list[set[int]]:
    """The neighbours of each node.

    Args:
        edges: int ``[E, 2]``.
        count: of nodes.

    Returns:
        A set for each node.
    """
    around: list[set[int]] = [set() for _ in range(count)]
    for i, j in edges.tolist():
        around[i].add(j)
        around[j].add(i)
    return around


def eliminate(around: list[set[int]], order: list[int], widest: int) -> list[list[int]]:
    """What each node, in this order, is joined to when it is summed out.

    Args:
        around: the neighbours of each node.
        order: all nodes.
        widest: the largest bag allowed.

    Returns:
        Of each node of the order, its separator.

    Raises:
        TooWide: when a bag has more than ``widest`` nodes.
    """
    around = [set(them) for them in around]
    separators = []
    for v in order:
        them = around[v]
        if len(them) >= widest:
            raise TooWide(len(them) + 1)
        separators.append(list(them))
        for u in them:
            around[u] |= them
            around[u] -= {u, v}
    return separators


def best_order(
    edges: np.ndarray, count: int, widest: int
) -> tuple[list[int], list[list[int]], list[int]]:
    """The best order tried, its separators, and the sizes of bags where all are too large.

    Best is the least width, then the least sum of table sizes, as if of three labels.

    Args:
        edges: int ``[E, 2]``.
        count: of nodes.
        widest: the largest bag allowed.

    Returns:
        ``(order, separators, widths)``; the first two are empty when every order has a bag larger
        than ``widest``, and ``widths`` are then the sizes at which they were given up.
    """
    around = neighbours(edges, count)
    found, widths = [], []
    for candidate in (_given, _front, _least_fill):
        try:
            order = candidate(edges, around, widest)
            separators = eliminate(around, order, widest)
        except TooWide as problem:
            widths.append(problem.args[0])
            continue
        sizes = [len(them) + 1 for them in separators]
        cost = max(sizes, default=0), sum(3.0**size for size in sizes)
        found.append((cost, len(found), order, separators))
        widest = min(widest, max(cost[0], 1))  # what is wider need not be finished
    if not found:
        return [], [], widths
    _, _, order, separators = min(found)
    return order, separators, []


def _given(edges, around, widest) -> list[int]:
    return list(range(len(around)))


def _front(edges, around, widest) -> list[int]:
    """Of the nodes at the front the one with the fewest neighbours beyond it goes first.

    Of several, the one that has been there longest, so that the front moves evenly.
    """
    beyond = [len(them) for them in around]
    arrived: dict[int, int] = {}  # at the front or gone: which number it was
    gone = [False] * len(around)
    heap: list[tuple[int, int, int]] = []
    order: list[int] = []

    def arrive(v):
        arrived[v] = len(arrived)
        heappush(heap, (beyond[v], arrived[v], v))
        for u in around[v]:
            beyond[u] -= 1
            if u in arrived and not gone[u]:
                heappush(heap, (beyond[u], arrived[u], u))

    for start in _from_an_end(edges, len(around)):
        if start not in arrived:
            arrive(start)
        while heap:
            number, _, v = heappop(heap)
            if gone[v] or number != beyond[v]:
                continue
            order.append(v)
            gone[v] = True
            for u in sorted(around[v]):
                if u not in arrived:
                    arrive(u)
    return order


def _from_an_end(edges, count) -> list[int]:
    """The nodes, one far from the others first; by reverse Cuthill-McKee."""
    from scipy.sparse import coo_array  # late: half a second that few need
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    if not count:
        return []
    ones = np.ones(2 * len(edges), np.int8)
    ends = np.concatenate([edges, edges[:, ::-1]]).astype(np.int32).reshape(-1, 2)
    matrix = coo_array((ones, (ends[:, 0], ends[:, 1])), shape=(count, count)).tocsr()
    return reverse_cuthill_mckee(matrix, symmetric_mode=True).tolist()


def _least_fill(edges, around, widest) -> list[int]:
    """Whoever joins the fewest pairs of neighbours that are not joined yet goes first."""
    around = [set(them) for them in around]

    def fill(v):
        them = around[v]
        if len(them) >= widest:  # surely not now
            return len(them) ** 2
        return sum(len(them - around[u]) - 1 for u in them) // 2

    current = [fill(v) for v in range(len(around))]
    heap = [(f, len(around[v]), v) for v, f in enumerate(current)]
    heapify(heap)
    order: list[int] = []
    gone = [False] * len(around)
    while heap:
        f, degree, v = heappop(heap)
        if gone[v] or f != current[v] or degree != len(around[v]):
            continue
        if degree >= widest:
            raise TooWide(degree + 1)
        order.append(v)
        gone[v] = True
        them, touched = around[v], set()
        for u in them:
            around[u] |= them
            around[u] -= {u, v}
        if f:
            for u in them:
                touched |= around[u]
        for u in touched | them:
            current[u] = fill(u)
            heappush(heap, (current[u], len(around[u]), u))
    return order
