"""Plans of exact inference: elimination as a machine with few registers, executed as data.

Each variable is kept in one of ``W`` registers, W being the size of the largest bag, from the
first step that needs it until it is summed out (bags make a chordal graph, so that W registers
are enough). A table has one axis a register. Summing out the variable of register k is a sum over
axis k, and the result means the same to the next bag: nothing is ever rearranged but the axis
that the next bag sums over.

Bags make a forest, each sending its message to the bag of the first of its neighbours to go;
`rntn_jax.crf.forest.plan` says which bags are computed at once.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from rntn_jax.crf.forest.plan import plan as plan_forest
from rntn_jax.crf.graph.order import best_order, eliminate, neighbours
from rntn_jax.shapes import shapes_repr

__all__ = ["Plan", "Shape", "check_edges", "plan"]

Array = Any  # numpy on the host, jax on the device

_AT_ONCE = 1 << 13  # table entries a step, that all lanes stay in cache


class Shape(NamedTuple):
    """Static sizes of a `Plan`: plans of one shape share a compiled program, and can be stacked."""

    width: int  # W, registers
    steps: int  # S
    lanes: int  # B
    patterns: int  # P
    pool: int  # L


class Plan(NamedTuple):
    """Elimination of a graph with ``I`` nodes, ``E`` edges and ``C`` labels; made by `plan`."""

    nodes: Array  # int32 [S, B], the variable summed out; I = none
    others: Array  # int32 [S, B, W-1], variables of the other registers; I = none
    edges: Array  # int32 [S, B, W-1], edge to it; E + e where reversed, 2 E = none
    own: Array  # int32 [S, B], where messages for the bag lie in the pool; 0 = there are none
    up: Array  # int32 [S, B], where those for its parent lie; 1 = nowhere
    pattern: Array  # int32 [S, B], which row of `send` and `back`
    send: Array  # int32 [P, C^W], entry of a message for each entry of the parent's table
    back: Array  # int32 [P, C^W], the reverse, those that are summed lying C^(W-1) apart
    places: Array  # int32 [L], those of the pool

    __repr__ = shapes_repr

    @property
    def width(self) -> int:
        """The size of the largest bag: treewidth of the order + 1."""
        return self.others.shape[-1] + 1

    @property
    def group(self) -> int:
        """Steps between those whose messages are kept for the backward pass."""
        steps = self.nodes.shape[-2]
        return next(k for k in range(math.isqrt(steps), 0, -1) if steps % k == 0)

    @property
    def shape(self) -> Shape:
        """The static sizes."""
        steps, lanes = self.nodes.shape[-2:]
        return Shape(self.width, steps, lanes, self.send.shape[-2], self.places.shape[-1])


def check_edges(edges: Array, num_nodes: int, edge_mask: Array | None = None) -> np.ndarray:
    """Edges ``[E, 2]`` as they must be, those masked counting nothing.

    Args:
        edges: integers ``[E, 2]``.
        num_nodes: ``I``.
        edge_mask: bool ``[E]``; None: all edges are there.

    Returns:
        int64 ``[E, 2]``.

    Raises:
        ValueError: naming the first edge that is out of range, a loop, or a repetition.
    """
    edges = np.asarray(edges)
    if edges.size == 0:
        edges = np.zeros((0, 2), np.int64)
    if edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype.kind not in "iu":
        raise ValueError(f"edges must be integers [E, 2], got {edges.dtype} {list(edges.shape)}")
    edges = edges.astype(np.int64)
    real = np.ones(len(edges), bool) if edge_mask is None else np.asarray(edge_mask)
    if real.shape != (len(edges),) or real.dtype != bool:
        raise ValueError(f"edge_mask must be bool [{len(edges)}], got {real.dtype} {real.shape}")
    wrong = real & ((edges < 0) | (edges >= num_nodes)).any(axis=1)
    if wrong.any():
        e = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"edge {e} joins {tuple(edges[e].tolist())}, of {num_nodes} nodes")
    loops = np.flatnonzero(real & (edges[:, 0] == edges[:, 1]))
    if len(loops):
        raise ValueError(f"edge {loops[0]} joins node {edges[loops[0], 0]} to itself")
    code = np.sort(edges, axis=1) @ np.array([num_nodes, 1])
    used = np.flatnonzero(real)
    _, first, inverse = np.unique(code[used], return_index=True, return_inverse=True)
    again = np.flatnonzero(first[inverse] != np.arange(len(used)))
    if len(again):
        e, before = used[again[0]], used[first[inverse[again[0]]]]
        raise ValueError(f"edges {before} and {e} join the same nodes {tuple(edges[e].tolist())}")
    return edges


def plan(
    edges: Array,
    num_nodes: int,
    num_labels: int,
    *,
    edge_mask: Array | None = None,
    order: Array | None = None,
    shape: Shape | None = None,
    max_bytes: int = 1 << 31,
) -> Plan:
    """Plans exact inference on a graph. Host code, to be called outside of any jit.

    Args:
        edges: int ``[E, 2]``.
        num_nodes: ``I``.
        num_labels: ``C``.
        edge_mask: bool ``[E]``; edges that are False now must stay so.
        order: the order in which variables are summed out; by default the best of the given one,
            of a front that moves through the graph, and of least fill-in.
        shape: sizes to pad to, those of another plan for instance.
        max_bytes: the memory that tables in float32 may take: ``4 C^W`` for each node.

    Returns:
        A `Plan` of NumPy arrays. Whoever uses it needs O(I C^W) time, and that memory for
        gradients.

    Raises:
        ValueError: where edges are out of range, loops or repeated; where the graph needs more
            memory than allowed; where it does not fit the shape.

    Example:
        >>> plan([(0, 1), (1, 2), (2, 3), (3, 0)], num_nodes=4, num_labels=2).width
        3
    """
    edges = check_edges(edges, num_nodes, edge_mask)
    used = np.arange(len(edges)) if edge_mask is None else np.flatnonzero(edge_mask)
    if num_labels < 1:
        raise ValueError(f"num_labels must be at least 1, got {num_labels}")
    widest = 0
    while widest < num_nodes and 4 * num_nodes * num_labels ** (widest + 1) <= max_bytes:
        widest += 1
    if order is None:
        given, separators, widths = best_order(edges[used], num_nodes, widest)
        if widths:
            raise _too_wide(min(widths), num_nodes, num_labels, max_bytes, "at least ")
    else:
        given: list[int] = np.asarray(order).tolist()
        if sorted(given) != list(range(num_nodes)):
            raise ValueError(f"order must hold each of {num_nodes} nodes once")
        separators = eliminate(neighbours(edges[used], num_nodes), given, num_nodes + 1)
        width = max((len(them) + 1 for them in separators), default=1)
        if width > max(widest, 1):
            raise _too_wide(width, num_nodes, num_labels, max_bytes)
    return _compile(edges, used, num_nodes, num_labels, given, separators, shape)


def _too_wide(width, num_nodes, num_labels, max_bytes, least="") -> ValueError:
    memory = 4.0 * num_nodes * float(num_labels) ** width / 2**30
    return ValueError(
        f"exact inference needs tables of {least}{num_labels}^{width} entries for each of "
        f"{num_nodes} nodes, {least}{memory:.3g} GiB, more than the {max_bytes / 2**30:.3g} GiB "
        "allowed: take another method, or raise max_bytes"
    )


def _compile(edges, used, num_nodes, num_labels, order, separators, shape: Shape | None) -> Plan:
    """The plan of an order, whose separators are known."""
    width = max((len(them) + 1 for them in separators), default=1)
    when = np.empty(num_nodes, np.int64)
    when[order] = np.arange(num_nodes)
    parent = np.full(num_nodes, -1)
    for v, them in zip(order, separators, strict=True):
        if them:
            parent[v] = min(them, key=when.__getitem__)

    # Registers, from the last variable to go to the first: any that its bag leaves free; of the
    # one in use longest ago first, so that neighbouring bags sum over neighbouring axes.
    if shape is not None:
        width = max(shape.width, width)
    register = np.full(num_nodes + 1, -1)
    for i in range(num_nodes - 1, -1, -1):
        v = order[i]
        taken = {int(register[u]) for u in separators[i]}
        above = int(register[parent[v]]) if separators[i] else 0
        register[v] = next(k for j in range(width) if (k := (above - 1 - j) % width) not in taken)

    lanes = None if shape is None else shape.lanes
    if lanes is None:
        lanes = max(_AT_ONCE // num_labels**width, 1)
        height = max(_height(parent, order), 1)
        while lanes > 1 and lanes * height > num_nodes:
            lanes //= 2
    steps = None if shape is None else shape.steps
    forest = plan_forest(parent, lanes=lanes, steps=steps)
    rows, lanes = forest.nodes.shape

    edge_of = {}
    for e in used.tolist():
        i, j = edges[e].tolist()
        edge_of[i, j], edge_of[j, i] = e, len(edges) + e
    others = np.full((num_nodes + 1, width), num_nodes, np.int32)
    links = np.full((num_nodes + 1, width), 2 * len(edges), np.int32)
    for v, them in zip(order, separators, strict=True):
        for u in them:
            others[v, register[u]] = u
            links[v, register[u]] = edge_of.get((v, u), 2 * len(edges))
    rest = np.array([[j for j in range(width) if j != k] for k in range(width)], np.int64)
    rest = rest.reshape(width, width - 1)
    at = register[forest.nodes]
    at[forest.nodes == num_nodes] = 0
    place = forest.nodes[..., None], rest[at]

    own, up, pool = _pool_places(parent, forest, num_nodes)
    pairs = np.stack([at, register[np.append(parent, -1)[forest.nodes]]], axis=-1)
    pairs[pairs[..., 1] < 0] = 0
    distinct, pattern = np.unique(pairs.reshape(-1, 2), axis=0, return_inverse=True)
    if shape is not None:
        need = Shape(width, rows, lanes, len(distinct), pool)
        if any(n > s for n, s in zip(need, shape, strict=True)):
            raise ValueError(f"the graph needs {need}, which does not fit into {shape}")
    patterns = len(distinct) if shape is None else shape.patterns
    send, back = np.zeros((2, patterns, num_labels**width), np.int32)
    for p, (of_child, of_parent) in enumerate(distinct.tolist()):
        send[p], back[p] = _maps(of_child, of_parent, width, num_labels)
    return Plan(
        nodes=forest.nodes,
        others=others[place],
        edges=links[place],
        own=own,
        up=up,
        pattern=pattern.reshape(at.shape).astype(np.int32),
        send=send,
        back=back,
        places=np.arange(pool if shape is None else shape.pool, dtype=np.int32),
    )


def _height(parent, order) -> int:
    """The longest way from a bag to its root, in bags."""
    height = np.ones(len(parent), np.int64)
    for v in order:
        if parent[v] >= 0:
            height[parent[v]] = max(height[parent[v]], height[v] + 1)
    return int(height.max(initial=1))


def _pool_places(parent, forest, num_nodes) -> tuple[np.ndarray, np.ndarray, int]:
    """Places of messages in the pool: as few as are in use at a time. 0 and 1 are reserved."""
    place = np.zeros(num_nodes + 1, np.int32)
    free: list[int] = []
    size = 2
    for row in forest.nodes.tolist():
        done = [v for v in row if v < num_nodes and place[v]]
        for v in row:
            above = parent[v] if v < num_nodes else -1
            if above >= 0 and not place[above]:
                if not free:
                    free.append(size)
                    size += 1
                place[above] = free.pop()
        free += [int(place[v]) for v in done]
    up = np.append(np.where(parent >= 0, place[parent], 1), 1)[forest.nodes]
    return place[forest.nodes], up.astype(np.int32), size


def _maps(
    of_child: int, of_parent: int, width: int, labels: int
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """``send`` and ``back`` of a child and a parent that sum over these registers.

    Tables are laid out with the own register first, the others after it in their order; messages
    without the own.
    """
    if of_child == of_parent:  # nobody's
        return np.zeros((2, labels**width), np.int32)

    def layout(own):
        axes = [own] + [k for k in range(width) if k != own]
        return np.arange(labels**width).reshape((labels,) * width), axes

    table, axes = layout(of_child)
    # Entry of the child's table at each setting of all registers, in the order of registers.
    of_setting = table.transpose(np.argsort(axes))
    message = of_setting % labels ** (width - 1)
    _, parent_axes = layout(of_parent)
    send = message.transpose(parent_axes).reshape(-1)
    table, _ = layout(of_parent)
    back = table.transpose(np.argsort(parent_axes)).transpose(axes).reshape(-1)
    return send, back
