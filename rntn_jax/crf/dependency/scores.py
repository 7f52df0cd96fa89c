"""Scores of arcs, trees of arcs, and both as the recursions take them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.crf.nats import Nats, log_sum, to_nats
from rntn_jax.ops import accumulator
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like
from rntn_jax.shapes import shapes_repr

__all__ = [
    "Arcs",
    "Scores",
    "check_scores",
    "check_tree",
    "constrain",
    "is_tree",
    "readable",
    "tree_score",
    "undirected",
    "without_labels",
]


class Scores(NamedTuple):
    """Scores of arcs, in nats; `marginals` come in the same container.

    Words count from 1; 0 is the root, the head of the first word or words. ``-inf`` forbids an
    arc. What is not read may hold anything: arcs into the root, from a word to itself, and what
    lies behind a sentence's end. A sentence of no word has one tree, of score 0. A length that is
    not in ``0 .. T`` makes everything of its row NaN.
    """

    arc: Any  # [B, T + 1, T + 1]: [b, h, d], word h as head of d; or [B, T + 1, T + 1, R], labelled
    length: Any  # int [B], words

    __repr__ = shapes_repr


class Arcs(NamedTuple):
    """Trees with labels; those without are the array of heads alone."""

    heads: Any  # int [B, T], of the words 1 .. T, 0 the root; 0 behind a sentence's end
    labels: Any  # int [B, T], 0 .. R - 1, of the arc into each word

    __repr__ = shapes_repr


def check_scores(scores: Scores, name: str = "scores") -> tuple[jax.Array, jax.Array, int]:
    """Scores of arcs and lengths as they came, and ``T``.

    Args:
        scores: the container.
        name: of the argument, for messages.

    Returns:
        What the first line says.

    Raises:
        AssertionError: when shapes or dtypes do not match.
    """
    sizes: dict[str, int] = {}
    axes = "B T+1 T+1 R" if jnp.ndim(scores.arc) == 4 else "B T+1 T+1"
    arc = check(f"{name}.arc", scores.arc, "float", axes, sizes)
    return arc, check(f"{name}.length", scores.length, "int", "B", sizes), sizes["T"]


@jax.jit
def constrain(scores: Scores, allowed: jax.Array) -> Scores:
    """Forbids arcs, by ``-inf``.

    So one learns from sentences in which only some heads are known: forbid all other heads of
    these words, and ``log_partition(constrain(scores, allowed)) - log_partition(scores)`` is
    ``ln P`` of all trees that it may be; the gradient is a difference of marginals.

    Args:
        scores: of arcs.
        allowed: bool, of the shape of ``scores.arc``.

    Returns:
        The scores, ``-inf`` where not allowed.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> from rntn_jax.crf.dependency import log_partition
        >>> scores = Scores(jnp.zeros((1, 4, 4)), jnp.array([3]))
        >>> known = scores.arc.at[0, :, 2].set(jnp.array([-jnp.inf, 0, 0, -jnp.inf])) == 0
        >>> round(float(jnp.exp(log_partition(constrain(scores, known))[0])), 3)  # 1 over 2
        3.0
    """
    arc, length, words = check_scores(scores)
    sizes = {"B": len(arc), "T": words} | ({"R": arc.shape[3]} if arc.ndim == 4 else {})
    axes = "B T+1 T+1 R" if arc.ndim == 4 else "B T+1 T+1"
    allowed = check("allowed", allowed, "bool", axes, sizes)
    return Scores(jnp.where(allowed, arc, -jnp.inf), length)


@jax.jit
def undirected(edge: jax.Array, num_nodes: jax.Array) -> Scores:
    """Scores of arcs whose trees are the spanning trees of graphs without directions.

    A spanning tree has one orientation away from node 0, so that with ``arc[h, d] = arc[d, h]`` the
    trees over the other nodes as words, crossing ones and with many roots among them, are the
    spanning trees: of the determinant of the graph's Laplacian without node 0 (Kirchhoff 1847) all
    verbs hold, called with ``projective=False, single_root=False``. The tree's edges are ``{d,
    heads[d]}``; the gradient with respect to ``edge`` is ``P({i, j} is in the tree)``, which is
    ``p + p^T`` of the arcs' marginals.

    Args:
        edge: float ``[B, N, N]``, of the edge between i and j > i at ``[b, i, j]``; what is not
            above the diagonal is not read. ``-inf``: there is no such edge.
        num_nodes: int ``[B]``, at least 1: the first nodes are there.

    Returns:
        `Scores` of arcs ``[B, N, N]``.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> from rntn_jax.crf.dependency import log_partition
        >>> scores = undirected(jnp.zeros((1, 4, 4)), jnp.array([4]))
        >>> total = log_partition(scores, projective=False, single_root=False)
        >>> round(float(jnp.exp(total[0])), 3)  # Cayley's 4^2
        16.0
    """
    sizes: dict[str, int] = {}
    edge = check("edge", edge, "float", "B N N", sizes)
    num_nodes = check("num_nodes", num_nodes, "int", "B", sizes)
    at = jnp.arange(sizes["N"])
    above = (at[:, None] < at[None])[None]
    below = edge.swapaxes(1, 2)
    either = jnp.where(above, edge, jnp.where(above.swapaxes(1, 2), below, 0))
    return Scores(either, num_nodes - 1)


def readable(arc: jax.Array, length: jax.Array, whole_row: bool = True) -> tuple[Nats, jax.Array]:
    """Scores ``[B, T + 1, T + 1, R]`` in at least float32, ``-inf`` where not read.

    NaN where it is read, like a length that cannot be, makes the whole row NaN: it is never taken
    for a low score, and no maximum or ``-inf`` hides it. Where ``whole_row`` is false, NaN stays
    where it is, as in the score of a tree that does not have the arc.

    Args:
        arc: scores of arcs, as said above.
        length: int ``[B]``, words.
        whole_row: whether NaN anywhere makes the whole row NaN.

    Returns:
        ``(arc, length)``, lengths within ``0 .. T``.
    """
    arc, length = vary_like((arc.astype(accumulator(arc)), length))
    arc = arc if arc.ndim == 4 else arc[..., None]
    at = jnp.arange(arc.shape[1])
    possible = (length >= 0) & (length < len(at))
    length = jnp.where(possible, length, len(at) - 1).astype(jnp.int32)
    arcs = (at[:, None] != at[None]) & (at > 0)[None]
    real = at[None] <= length[:, None]
    read = (arcs[None] & real[:, :, None] & real[:, None])[..., None]
    lost = ((jnp.isnan(arc) & read).any(axis=(1, 2, 3)) & whole_row) | ~possible
    # An addition, so that the gradient is NaN too.
    arc = arc + jnp.where(lost, jnp.nan, jnp.zeros((), arc.dtype))[:, None, None, None]
    return to_nats(jnp.where(read, arc, -jnp.inf)), length


def without_labels(arc: Nats) -> Nats:
    """Labels summed out: ``ln sum_r exp arc[.., r]``, ``[B, T + 1, T + 1]``."""
    if arc.whole.shape[-1] == 1:
        return Nats(arc.whole[..., 0], arc.fraction[..., 0])
    return log_sum(arc, axis=3)


def check_tree(tree: Any, arc: jax.Array, words: int) -> tuple[jax.Array, jax.Array | None]:
    """Heads, and labels if there are any, as arrays.

    Args:
        tree: heads, or `Arcs`.
        arc: scores of arcs, as said above.
        words: ``T``.

    Returns:
        ``(heads, labels or None)``.

    Raises:
        AssertionError: when a shape or dtype does not match, or labels came for what has none.
    """
    sizes = {"B": len(arc), "T": words}
    if not isinstance(tree, Arcs):
        return check("heads", tree, "int", "B T", sizes), None
    if arc.ndim < 4:
        raise AssertionError("heads must be int [B, T] where arcs have no labels, got Arcs")
    heads = check("tree.heads", tree.heads, "int", "B T", sizes)
    return heads, check("tree.labels", tree.labels, "int", "B T", sizes)


def is_tree(
    heads: jax.Array, length: jax.Array, *, projective: bool, single_root: bool
) -> jax.Array:
    """Whether heads ``[B, T]``, each one that can be, make a tree of that kind, bool ``[B]``.

    Args:
        heads: int ``[B, T]``.
        length: int ``[B]``, words.
        projective: whether arcs may not cross.
        single_root: whether one word hangs from the root.

    Returns:
        bool ``[B]``.
    """
    words = heads.shape[1]
    at = jnp.arange(words + 1)
    real = (at[None] >= 1) & (at[None] <= length[:, None])
    heads = jnp.pad(heads, ((0, 0), (1, 0)))
    heads = jnp.where(real, heads, 0)
    above = heads
    for _ in range(words.bit_length()):  # the head's head, and so on: in strides that double
        above = jnp.take_along_axis(above, above, axis=1)
    good = (above == 0).all(axis=1)
    if single_root:
        good &= (real & (heads == 0)).sum(axis=1) == jnp.minimum(length, 1)
    if projective:
        low, high = jnp.minimum(heads, at[None]), jnp.maximum(heads, at[None])
        inside = (low[:, :, None] < low[:, None]) & (low[:, None] < high[:, :, None])
        crossing = inside & (high[:, :, None] < high[:, None])
        good &= ~(crossing & real[:, :, None] & real[:, None]).any(axis=(1, 2))
    return good


def tree_score(
    arc: Nats,
    length: jax.Array,
    heads: jax.Array,
    labels: jax.Array | None,
    *,
    projective: bool,
    single_root: bool,
) -> Nats:
    """Scores ``[B]`` of trees; NaN where a head or label cannot be, ``-inf`` where no such tree.

    Args:
        arc: ``[B, T + 1, T + 1, R]``.
        length: int ``[B]``.
        heads: int ``[B, T]``.
        labels: int ``[B, T]``; without them labels are summed out.
        projective: whether arcs may not cross.
        single_root: whether one word hangs from the root.

    Returns:
        `Nats` ``[B]``.
    """
    words, count = heads.shape[1], arc.whole.shape[-1]
    word = jnp.arange(1, words + 1)[None]
    real = word <= length[:, None]
    legal = (heads >= 0) & (heads <= length[:, None]) & (heads != word)
    heads = jnp.where(real & legal, heads, 0)
    rows = jnp.arange(len(heads))[:, None]
    if labels is None:
        own = jax.tree.map(lambda x: x[rows, heads, word], without_labels(arc))
    else:
        legal &= (labels >= 0) & (labels < count)
        labels = jnp.clip(labels, 0, count - 1)
        own = jax.tree.map(lambda x: x[rows, heads, word, labels], arc)
    good = is_tree(heads, length, projective=projective, single_root=single_root)
    whole = jnp.where(real, own.whole, 0).sum(axis=1)
    fraction = jnp.where(real & (whole > -jnp.inf)[:, None], own.fraction, 0).sum(axis=1)
    legal = (legal | ~real).all(axis=1)
    lost = ~legal | jnp.isnan(whole)
    whole = jnp.where(good & legal, whole, -jnp.inf)
    return Nats(jnp.where(lost, jnp.nan, whole), jnp.where(good & legal, fraction, 0))
