"""Which node of a forest is computed when: planned on the host, executed as data.

Every node sends one message to its parent, once all its children have sent theirs. The steps are
those of `rntn_jax.schedule`: as few as there can be for their width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rntn_jax.schedule import depths, schedule
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
        [3, 2, 1, 0]
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
    depth, top = depths(np.where(parent < n, parent, -1))

    height = int(depth[:n].max(initial=0)) + 1
    if lanes is None:
        lanes = 1
        while lanes * 2 * height <= n and lanes < _WIDEST:
            lanes *= 2
    if lanes < 1:
        raise ValueError(f"lanes must be at least 1, got {lanes}")
    step, lane = schedule(np.where(parent < n, parent, -1), depth[:n], lanes, real)
    needed = int(step.max(initial=-1)) + 1
    steps = _round_up(needed) if steps is None else steps
    if steps < needed:
        raise ValueError(f"the forest needs {needed} steps of {lanes} lanes, got {steps}")
    roots = np.flatnonzero(real & (parent[:n] == n))
    trees = len(roots) if trees is None else trees
    if trees < len(roots):
        raise ValueError(f"the forest has {len(roots)} trees, got {trees}")

    slot = np.full(n + 1, steps * lanes, np.int32)
    slot[:n][real] = step[real] * lanes + lane[real]
    nodes = np.full(steps * lanes, n, np.int32)
    nodes[slot[:n][real]] = np.flatnonzero(real)
    up = slot[np.append(parent, n)][nodes]
    tree = np.full(n + 1, trees, np.int32)
    tree[roots] = np.arange(len(roots))
    tree = np.where(real, tree[top], trees).astype(np.int32)
    padded_roots = np.full(trees, n, np.int32)
    padded_roots[: len(roots)] = roots
    shape = steps, lanes
    parent = parent.astype(np.int32)
    return Plan(nodes.reshape(shape), up.reshape(shape), slot[:n], tree, padded_roots, parent)


def _round_up(n: int) -> int:
    """The next number with at most four binary digits that are not 0, and at least 1."""
    grain = 1 << max(n.bit_length() - 4, 0)
    return max(-(-n // grain) * grain, 1)
