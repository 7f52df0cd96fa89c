"""What every public function does first: checks, and the plan, made here where none is given.

Plans are made on the host and kept, by the bytes of the edges, for whoever asks with equal edges
again. They go into the compiled functions as arguments, so that new edges of the same sizes compile
nothing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import numpy as np

from rntn_jax.crf.graph.neighbours import Neighbours, neighbours
from rntn_jax.crf.graph.plan import Plan, plan
from rntn_jax.crf.graph.scores import Scores

__all__ = ["elimination_plan", "neighbour_plan"]

PLANS = 32  # kept of each kind


def elimination_plan(scores: Scores, given: Any = None) -> Plan:
    """A `Plan` for checked scores: the given one, or one for their edges.

    Args:
        scores: checked.
        given: what the caller gave.

    Returns:
        A `Plan`.

    Raises:
        ValueError: when it is none, or not one for as many labels; when edges are traced, out of
            range, loops or repeated; when the graph is too wide.
    """
    count, classes = scores.node.shape
    if given is None:
        return _planned(*_keys(scores, "plan"), count, classes)
    if not isinstance(given, Plan):
        raise ValueError(f"exact inference needs a plan, got {type(given).__name__}")
    if given.send.shape[-1] != classes**given.width:
        raise ValueError(f"the plan is not one for {classes} labels")
    return given


def neighbour_plan(
    scores: Scores, given: Any = None, *, forests: bool = False, method: str = "this method"
) -> Neighbours:
    """`Neighbours` for checked scores: the given ones, or those of their edges.

    Args:
        scores: checked.
        given: what the caller gave.
        forests: whether spanning forests are needed.
        method: that asks, for messages.

    Returns:
        `Neighbours`.

    Raises:
        ValueError: when they are none, or not of as many nodes and edges; when edges are traced,
            out of range, loops or repeated.
    """
    count, size = len(scores.node), len(scores.edge)
    if given is None:
        return _neighbours(*_keys(scores, "neighbours"), count, forests)
    if not isinstance(given, Neighbours):
        raise ValueError(f"method {method!r} needs neighbours, got {type(given).__name__}")
    sizes = given.colour.shape[-1], given.slot.shape[-2]
    if sizes != (count, size):
        raise ValueError(
            f"plan must be neighbours of {count} nodes and {size} edges, got {sizes[0]} and "
            f"{sizes[1]}"
        )
    if forests and given.appearance is None:
        raise ValueError("the tree-reweighted method needs neighbours(..., forests=True)")
    return given


def _keys(scores: Scores, maker: str) -> tuple[bytes, bytes | None]:
    """Edges and their mask, as they can be looked up."""
    try:
        edges = np.asarray(scores.edges, np.int64)
        mask = None if scores.edge_mask is None else np.asarray(scores.edge_mask)
    except jax.errors.TracerArrayConversionError:
        problem = f"edges are traced: give plan={maker}(edges, ...), made outside of jit"
        raise ValueError(problem) from None
    return edges.tobytes(), None if mask is None else mask.tobytes()


def _arrays(edges: bytes, mask: bytes | None) -> tuple[np.ndarray, np.ndarray | None]:
    pairs = np.ndarray((len(edges) // 16, 2), np.int64, edges)
    return pairs, None if mask is None else np.ndarray(len(mask), bool, mask)


@lru_cache(maxsize=PLANS)
def _planned(edges: bytes, mask: bytes | None, num_nodes: int, num_labels: int) -> Plan:
    pairs, edge_mask = _arrays(edges, mask)
    return plan(pairs, num_nodes, num_labels, edge_mask=edge_mask)


@lru_cache(maxsize=PLANS)
def _neighbours(edges: bytes, mask: bytes | None, num_nodes: int, forests: bool) -> Neighbours:
    pairs, edge_mask = _arrays(edges, mask)
    return neighbours(pairs, num_nodes, edge_mask=edge_mask, forests=forests)
