"""Which node of a forest is computed in which step: Hu's schedule, for packed trees and for CRFs.

A node waits for all of its children. Each step computes up to ``lanes`` nodes that are ready, those
farthest from their root first (T. C. Hu, 1961). For in-trees of unit tasks that is the least number
of steps for a given width, so that padding costs single lanes and not whole levels: a chain becomes
many narrow steps, a flat tree few wide ones.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np

__all__ = ["depths", "schedule"]


def schedule(
    parent: np.ndarray, depth: np.ndarray, lanes: int, mask: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Step and lane of each node of a forest. Host code.

    Args:
        parent: int ``[N]``, the parent of each node, -1 at roots. Nodes may come in any order.
        depth: int ``[N]``, distance to the root.
        lanes: nodes a step, at least 1.
        mask: bool ``[N]``; false nodes are never computed, and are nobody's children.

    Returns:
        ``(step, lane)``, int32 ``[N]``, -1 for what is masked. Among nodes of one depth those that
        have been ready longest come first. Cost O(N log height).

    Example:
        >>> step, lane = schedule(np.array([-1, 0, 0, 1]), np.array([0, 1, 1, 2]), lanes=2)
        >>> step.tolist(), lane.tolist()
        ([2, 1, 0, 0], [0, 0, 1, 0])
    """
    count = len(parent)
    real = np.ones(count, bool) if mask is None else mask
    above = parent[real & (parent >= 0)]
    open_children = np.bincount(above, minlength=count)
    # Of each depth a queue of nodes that are ready, and a heap of the depths that have some.
    queues: dict[int, list[int]] = {}
    for node in np.flatnonzero(real & (open_children == 0)).tolist():
        queues.setdefault(int(depth[node]), []).append(node)
    heads = dict.fromkeys(queues, 0)
    levels = [-level for level in queues]
    heapify(levels)
    order, sizes = [], []
    waiting, up, level_of = open_children.tolist(), parent.tolist(), depth.tolist()
    while levels:
        row: list[int] = []
        while levels and len(row) < lanes:
            level = -levels[0]
            queue, head = queues[level], heads[level]
            room = lanes - len(row)
            row += queue[head : head + room]
            if len(queue) - head <= room:
                heappop(levels)
                queues[level], heads[level] = [], 0
            else:
                heads[level] = head + room
        for node in row:
            node = up[node]
            if node >= 0:
                waiting[node] -= 1
                if not waiting[node]:
                    level = level_of[node]
                    queue = queues.setdefault(level, [])
                    if not queue:
                        heads[level] = 0
                        heappush(levels, -level)
                    queue.append(node)
        order += row
        sizes.append(len(row))
    step, lane = np.full((2, count), -1, np.int32)
    step[order] = np.repeat(np.arange(len(sizes)), sizes)
    starts = np.cumsum(sizes) - sizes
    lane[order] = np.arange(len(order)) - np.repeat(starts, sizes).astype(int)
    return step, lane


def depths(parent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the root, and the root, of each node of a forest, by pointer doubling. Host code.

    Args:
        parent: int ``[N]``, -1 at roots. Nodes may come in any order.

    Returns:
        ``(depth, root)``, int64 ``[N]``. Cost O(N log height).

    Raises:
        ValueError: naming a node that is its own ancestor.

    Example:
        >>> depth, root = depths(np.array([-1, 0, 1, -1]))
        >>> depth.tolist(), root.tolist()
        ([0, 1, 2, 0], [0, 0, 0, 3])
    """
    n = len(parent)
    ahead = np.append(np.where(parent < 0, n, parent), n)  # n stands for none
    depth = (ahead < n).astype(np.int64)
    root = np.where(ahead < n, ahead, np.arange(n + 1))
    for _ in range(n.bit_length()):
        depth = depth + depth[ahead]
        ahead, root = ahead[ahead], root[root]
    if (ahead < n).any():
        raise ValueError(f"node {np.flatnonzero(ahead < n)[0]} is its own ancestor")
    return depth[:n], root[:n]
