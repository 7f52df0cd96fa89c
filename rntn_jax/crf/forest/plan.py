"""Which node of a forest is computed when: planned on the host, executed as data.

Every node sends one message to its parent, once all its children have sent theirs. Each step of
the plan computes up to ``lanes`` nodes that are ready, those farthest from their root first (Hu
1961: for in-trees the least number of steps of a given width). A chain becomes many narrow steps,
a flat tree few wide ones, and what is padded is single lanes.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

import numpy as np

from rntn_jax.shapes import shapes_repr

__all__ = ["Plan", "plan"]

Array = Any  # numpy on the host, jax on the device

_WIDEST = 512  # lanes; beyond, steps fall out of cache


class Plan(NamedTuple):
    """Schedule of a forest: ``N`` nodes, ``T`` trees, ``S`` steps of ``B`` lanes. By `plan`.

    A node's slot is ``step * B + lane``; slot ``S * B`` is nobody's.
    """

    nodes: Array  # int32 [S, B], node of each slot; N = none
    up: Array  # int32 [S, B], slot of its parent; S * B = none
    slot: Array  # int32 [N], slot of each node; S * B = none
    tree: Array  # int32 [N], tree of each node; T = none
    roots: Array  # int32 [T], root of each tree; N = none
    parent: Array  # int32 [N], parent of each node; N = none

    __repr__ = shapes_repr


def plan(
    parent: Array,
    mask: Array | None = None,
    *,
    lanes: int | None = None,
    steps: int | None = None,
    trees: int | None = None,
) -> Plan:
    """Plans the sweeps over a forest. Host code, to be called outside of any jit.

    One compiled program serves all plans of the same shapes. Cost O(N log N).

    Args:
        parent: int ``[N]``, the parent of each node, -1 at roots. Nodes may come in any order.
        mask: bool ``[N]``, False at padding, which is never computed and belongs to no tree.
        lanes: nodes a step; by default what the forest's shape can fill.
        steps: steps to pad to; by default as many as needed, rounded up by at most an eighth.
        trees: trees to pad to; by default as many as there are.

    Returns:
        A `Plan` of NumPy arrays; trees are numbered as their roots are.

    Raises:
        ValueError: where ``parent`` is not a forest, or does not fit into ``steps`` or ``trees``.

    Example:
        >>> plan([-1, 0, 0, 1], lanes=1).nodes.ravel().tolist()
        [3, 1, 2, 0]
    """
    parent = np.asarray(parent)
    if parent.ndim != 1 or (parent.dtype.kind not in "iu" and parent.size):
        raise ValueError(f"parent must be integers [N], got {parent.dtype} {list(parent.shape)}")
    parent, n = parent.astype(np.int64), len(parent)
    real = np.ones(n, bool) if mask is None else np.asarray(mask)
    if real.shape != (n,) or real.dtype != bool:
        raise ValueError(f"mask must be bool [{n}], got {real.dtype} {list(real.shape)}")
    wrong = np.flatnonzero((parent < -1) | (parent >= n))
    if len(wrong):
        raise ValueError(f"node {wrong[0]} has parent {parent[wrong[0]]}, but there are {n} nodes")
    parent = np.where(real & (parent >= 0) & real[parent], parent, n)  # n stands for none
    depth, top = _depths(parent)

    height = int(depth[:n].max(initial=0)) + 1
    if lanes is None:
        lanes = 1
        while lanes * 2 * height <= n and lanes < _WIDEST:
            lanes *= 2
    if lanes < 1:
        raise ValueError(f"lanes must be at least 1, got {lanes}")
    rows = _schedule(parent, depth, real, lanes)
    steps = _round_up(len(rows)) if steps is None else steps
    if steps < len(rows):
        raise ValueError(f"the forest needs {len(rows)} steps of {lanes} lanes, got {steps}")
    roots = np.flatnonzero(real & (parent[:n] == n))
    trees = len(roots) if trees is None else trees
    if trees < len(roots):
        raise ValueError(f"the forest has {len(roots)} trees, got {trees}")

    order = np.fromiter((i for row in rows for i in row), np.int64)
    sizes = np.array([len(row) for row in rows], np.int64)
    begin = np.cumsum(sizes) - sizes
    lane = np.arange(len(order)) - np.repeat(begin, sizes)
    slot = np.full(n + 1, steps * lanes, np.int32)
    slot[order] = np.repeat(np.arange(len(rows)), sizes) * lanes + lane
    nodes = np.full(steps * lanes, n, np.int32)
    nodes[slot[order]] = order
    up = slot[np.append(parent, n)][nodes]
    tree = np.full(n + 1, trees, np.int32)
    tree[roots] = np.arange(len(roots))
    tree = np.where(real, tree[top], trees).astype(np.int32)
    padded_roots = np.full(trees, n, np.int32)
    padded_roots[: len(roots)] = roots
    shape = steps, lanes
    parent = parent.astype(np.int32)
    return Plan(nodes.reshape(shape), up.reshape(shape), slot[:n], tree, padded_roots, parent)


def _depths(parent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the root ``[N + 1]`` and the root ``[N]`` of each node, by pointer doubling."""
    n = len(parent)
    ahead = np.append(parent, n)
    depth = (ahead < n).astype(np.int64)
    top = np.where(ahead < n, ahead, np.arange(n + 1))
    for _ in range(n.bit_length()):
        depth = depth + depth[ahead]
        ahead, top = ahead[ahead], top[top]
    if (ahead < n).any():
        raise ValueError(f"node {np.flatnonzero(ahead < n)[0]} is its own ancestor")
    return depth, top[:n]


def _schedule(parent, depth, real, lanes: int) -> list[list[int]]:
    """The nodes of each step: of those that are ready the deepest."""
    n = len(parent)
    waiting = np.bincount(parent, minlength=n + 1)[:n]
    ready = [(-d, i) for d, i in zip(depth[:n].tolist(), range(n)) if real[i] and not waiting[i]]
    heapify(ready)
    waiting, parent, depth, rows = waiting.tolist(), parent.tolist(), depth.tolist(), []
    while ready:
        row = [heappop(ready)[1] for _ in range(min(lanes, len(ready)))]
        rows.append(row)
        for i in row:
            above = parent[i]
            if above < n:
                waiting[above] -= 1
                if not waiting[above]:
                    heappush(ready, (-depth[above], above))
    return rows


def _round_up(n: int) -> int:
    """The next number with at most four binary digits that are not 0, and at least 1."""
    grain = 1 << max(n.bit_length() - 4, 0)
    return max(-(-n // grain) * grain, 1)
