"""Scores of a chain's labellings: the container, its checks, and what it may be restricted to."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.ops import accumulator
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like
from rntn_jax.shapes import shapes_repr

__all__ = ["Parts", "Scores", "check_labels", "complete", "constrain"]


class Scores(NamedTuple):
    """Scores of the parts of a labelling, in nats; `marginals` come in the same container.

    ``-inf`` forbids a label or a transition. A mask may hold any pattern: an edge leads from each
    real position to the next real one, whatever lies between, with the edge scores of the position
    it enters; masked entries may hold anything. A row without real positions has one labelling,
    of score 0. NaN that is not masked comes out as NaN of every query of its row.
    """

    node: jax.Array  # [B, T, C]
    edge: jax.Array  # [C, C], or [B, T-1, C, C]: [b, t] leads from t (or before) to t + 1
    start: jax.Array | None = None  # [C], of the first real label
    end: jax.Array | None = None  # [C], of the last
    mask: jax.Array | None = None  # bool [B, T]

    __repr__ = shapes_repr


class Parts(NamedTuple):
    """Scores, checked: what the rules take."""

    node: jax.Array  # [B, T, C], with start, end and what is allowed put in
    edge: jax.Array  # [C, C] or [B, T-1, C, C], the latter only where T is 2 or more
    mask: jax.Array  # bool [B, T]


def complete(scores: Scores, allowed: jax.Array | None = None, name: str = "scores") -> Parts:
    """The checked parts.

    Args:
        scores: the CRF.
        allowed: bool ``[B, T, C]``; other labels are forbidden.
        name: of the scores, for messages.

    Returns:
        `Parts`: start, end and what is allowed are in the node scores.

    Raises:
        AssertionError: when a shape or dtype does not fit; the message names the field.
    """
    sizes: dict[str, int] = {}
    node = check(f"{name}.node", scores.node, "float", "B T C", sizes)
    shared = jnp.ndim(scores.edge) == 2
    axes = "C C" if shared else "B T-1 C C"
    edge = check(f"{name}.edge", scores.edge, "float", axes, sizes)
    rows, length, classes = node.shape
    if not shared and length < 2:  # there are no edges
        edge = jnp.zeros((classes, classes), edge.dtype)
    if scores.mask is None:
        mask = jnp.ones((rows, length), bool)
    else:
        mask = check(f"{name}.mask", scores.mask, "bool", "B T", sizes)
    count = jnp.cumsum(mask, axis=1)
    for field, where in (
        ("start", mask & (count == 1)),
        ("end", mask & (count == count[:, -1:])),
    ):
        extra = getattr(scores, field)
        if extra is not None:
            extra = check(f"{name}.{field}", extra, "float", "C", sizes)
            dtype = accumulator(node, extra)  # bfloat16 has no digits to spare for a sum
            extra = jnp.where(where[..., None], extra.astype(dtype)[None, None], 0)
            node = node.astype(dtype) + extra
    if allowed is not None:
        permitted = check("allowed", allowed, "bool", "B T C", sizes)
        node = jnp.where(permitted, node, -jnp.inf)
    return Parts(*vary_like((node, edge, mask)))


def check_labels(labels: jax.Array, mask: jax.Array) -> jax.Array:
    """``labels`` as an array.

    Args:
        labels: int ``[B, T]``.
        mask: bool ``[B, T]`` of checked scores.

    Returns:
        int ``[B, T]``.

    Raises:
        AssertionError: where shape or dtype do not fit.
    """
    return check("labels", labels, "int", "B T", dict(zip("BT", mask.shape)))


def constrain(
    scores: Scores,
    transitions: jax.Array | None = None,
    start: jax.Array | None = None,
    end: jax.Array | None = None,
) -> Scores:
    """Forbids what is not allowed, by ``-inf``.

    Args:
        scores: the CRF.
        transitions: bool ``[C, C]``, from a label (row) to the next; as
            `rntn_jax.data.chunks.allowed_transitions` makes it for BIO and BIOES tags.
        start: bool ``[C]``, labels allowed first.
        end: bool ``[C]``, labels allowed last.

    Returns:
        The scores with ``-inf`` in ``edge``, ``start`` and ``end``.

    Raises:
        AssertionError: where an argument is not bool of that shape.

    Example:
        >>> free = Scores(node=jnp.zeros((1, 2, 2)), edge=jnp.zeros((2, 2)))
        >>> never_same = constrain(free, transitions=~jnp.eye(2, dtype=bool))
        >>> never_same.edge.tolist()
        [[-inf, 0.0], [0.0, -inf]]
    """
    node = check("scores.node", scores.node, "float", "B T C")
    sizes = {"C": node.shape[-1]}

    def only(name, values, allowed, axes):
        if allowed is None:
            return values
        allowed = check(name, allowed, "bool", axes, sizes)
        values = jnp.zeros(allowed.shape, node.dtype) if values is None else jnp.asarray(values)
        return jnp.where(allowed, values, -jnp.inf)

    return scores._replace(
        edge=only("transitions", scores.edge, transitions, "C C"),
        start=only("start", scores.start, start, "C"),
        end=only("end", scores.end, end, "C"),
    )
