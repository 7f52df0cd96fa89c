"""Scores of moves through a grid, alignments, and both as the recursion takes them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.crf.nats import Nats, to_nats
from rntn_jax.ops import accumulator
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like
from rntn_jax.shapes import shapes_repr

__all__ = [
    "MATCH",
    "SKIP_LEFT",
    "SKIP_RIGHT",
    "Parts",
    "Scores",
    "alignment_score",
    "by_diagonal",
    "by_row",
    "check_moves",
    "check_scores",
    "complete",
    "constrain",
    "with_gaps",
]

MATCH, SKIP_LEFT, SKIP_RIGHT = 1, 2, 3  # moves into a cell; 0: a cell that is not on the way


class Scores(NamedTuple):
    """Scores of the moves into each cell, in nats; `marginals` come in the same container.

    An alignment is a way through the cells of a grid, from ``(0, 0)``, which is entered by a match,
    to the last one, ``(n - 1, m - 1)``. Each other cell is entered from ``(i - 1, j - 1)`` by a
    match, from ``(i - 1, j)`` by a skip on the left (the left sequence goes on alone), or from
    ``(i, j - 1)`` by a skip on the right. ``-inf`` forbids a move. Moves that no alignment has may
    hold anything: behind the ends, and into the first row and column from outside of the grid.
    Where both sequences are empty there is one alignment, of score 0; where one is, there is none.
    Lengths that are not in ``0 .. N`` and ``0 .. M`` make everything of their row NaN.
    """

    match: Any  # [B, N, M]
    skip_left: Any  # [B, N, M]
    skip_right: Any  # [B, N, M]
    lengths: Any = None  # int [B, 2], of the left and the right sequence; None: all of both

    __repr__ = shapes_repr


class Parts(NamedTuple):
    """Scores, checked: what the rule takes."""

    moves: Nats  # [D, 3, B, N], by diagonal i + j, match first; -inf where not read
    lengths: jax.Array  # int32 [B, 2], within 0 .. N and 0 .. M


def check_scores(scores: Scores, name: str = "scores") -> Scores:
    """The scores as arrays, full lengths where there was None.

    Args:
        scores: the container.
        name: of the argument, for messages.

    Returns:
        What the first line says.

    Raises:
        AssertionError: when shapes or dtypes do not match.
    """
    sizes: dict[str, int] = {}
    own = [
        check(f"{name}.{field}", getattr(scores, field), "float", "B N M", sizes)
        for field in ("match", "skip_left", "skip_right")
    ]
    if scores.lengths is None:
        lengths = jnp.broadcast_to(jnp.array([sizes["N"], sizes["M"]]), (sizes["B"], 2))
    else:
        lengths = check(f"{name}.lengths", scores.lengths, "int", "B 2", sizes)
    return Scores(own[0], own[1], own[2], lengths)


@jax.jit
def constrain(scores: Scores, allowed: jax.Array) -> Scores:
    """Forbids cells, by ``-inf``.

    So one learns from partly known alignments: forbid the cells that contradict them, and
    ``log_partition(constrain(scores, allowed)) - log_partition(scores)`` is ``ln P`` of all that
    are left. A band around the diagonal is another use.

    Args:
        scores: of moves.
        allowed: bool ``[B, N, M]``, cells that an alignment may pass.

    Returns:
        The scores, ``-inf`` where not allowed.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> from rntn_jax.crf.alignment import log_partition
        >>> scores = Scores(*jnp.zeros((3, 1, 2, 2)))
        >>> straight = constrain(scores, jnp.eye(2, dtype=bool)[None])
        >>> [round(float(jnp.exp(log_partition(s)[0])), 3) for s in (scores, straight)]
        [3.0, 1.0]
    """
    scores = check_scores(scores)
    allowed = check("allowed", allowed, "bool", "B N M", dict(zip("BNM", scores.match.shape)))
    match, left, right = (jnp.where(allowed, x, -jnp.inf) for x in scores[:3])
    return Scores(match, left, right, scores.lengths)


@jax.jit
def with_gaps(match: jax.Array, gap: jax.Array, lengths: jax.Array | None = None) -> Scores:
    """Scores of global alignments with gaps (Needleman and Wunsch 1970; Sellers 1974).

    Every element of either sequence is matched or skipped, the first ones too: the grid has a row
    and a column more, for what stands before both. With ``match = similarity / temperature``, the
    score of the best alignment is that of Needleman and Wunsch; with ``match = -(x_i != y_j)`` and
    ``gap = -1``, minus the edit distance; and `log_partition` is soft in place of the maximum.

    Args:
        match: float ``[B, N, M]``, of left i with right j.
        gap: a number, or float ``[B]``: of every element that is skipped.
        lengths: int ``[B, 2]``; None: all of both.

    Returns:
        `Scores` of ``[B, N + 1, M + 1]``; cell ``(i, j)`` is where i and j elements have passed.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> from rntn_jax.crf.alignment import argmax
        >>> left, right = (jnp.array([list(word.encode())]) for word in ("kitten", "sitting"))
        >>> differ = (left[:, :, None] != right[:, None]).astype(float)
        >>> float(-argmax(with_gaps(-differ, -1.0))[1][0])  # edit distance
        3.0
    """
    sizes: dict[str, int] = {}
    match = check("match", match, "float", "B N M", sizes)
    full = jnp.broadcast_to(jnp.array([sizes["N"], sizes["M"]]), (sizes["B"], 2))
    passed = full if lengths is None else check("lengths", lengths, "int", "B 2", sizes)
    gap = jnp.asarray(gap, match.dtype)
    if gap.ndim:
        gap = check("gap", gap, "float", "B", sizes)[:, None, None]
    match = jnp.pad(match, ((0, 0), (1, 0), (1, 0)))
    skips = jnp.broadcast_to(gap, match.shape)
    return Scores(match, skips, skips, passed + 1)


def by_diagonal(x: jax.Array) -> jax.Array:
    """``[N + M - 1, B, N]`` of ``[B, N, M]``: cell ``(i, d - i)`` at ``[d, :, i]``, else ``-inf``.

    Rows are padded and written one behind the other, which shifts each by one more: no gathers.
    """
    rows, n, m = x.shape
    wide = jnp.pad(x, ((0, 0), (0, 0), (0, n)), constant_values=-jnp.inf)
    flat = wide.reshape(rows, n * (n + m))[:, : n * (n + m - 1)]
    return jnp.moveaxis(flat.reshape(rows, n, n + m - 1), 2, 0)


def by_row(x: jax.Array, columns: int) -> jax.Array:
    """`by_diagonal` undone: ``[B, N, M]`` of ``[N + M - 1, B, N]``.

    Args:
        x: by diagonals.
        columns: ``M``.

    Returns:
        ``[B, N, M]``.
    """
    diagonals, rows, n = x.shape
    flat = jnp.moveaxis(x, 0, 2).reshape(rows, n * diagonals)
    wide = jnp.pad(flat, ((0, 0), (0, n))).reshape(rows, n, diagonals + 1)
    return wide[:, :, :columns]


def complete(scores: Scores, whole_row: bool = True) -> Parts:
    """The parts of scores that `check_scores` returns, in at least float32; N and M at least 1.

    NaN where it is read, like a length that cannot be, makes the whole row NaN: it is never taken
    for a low score, and no maximum or ``-inf`` hides it. Where ``whole_row`` is false, NaN stays
    where it is, as in the score of an alignment that does not have the move.

    Args:
        scores: the container.
        whole_row: whether NaN anywhere makes the whole row NaN.

    Returns:
        The same scores, as said above.
    """
    moves, lengths = readable(scores, whole_row)
    return Parts(to_nats(jnp.stack([by_diagonal(x) for x in moves], axis=1)), lengths)


def readable(scores: Scores, whole_row: bool) -> tuple[list[jax.Array], jax.Array]:
    """Moves ``[B, N, M]``, ``-inf`` where not read, NaN as `complete` says; and lengths."""
    *moves, lengths = vary_like(tuple(scores))
    n, m = moves[0].shape[1:]
    dtype = accumulator(*moves)
    possible = ((lengths >= 0) & (lengths <= jnp.array([n, m])[None])).all(axis=1)
    lengths = jnp.where(possible[:, None], lengths, jnp.array([n, m])[None]).astype(jnp.int32)
    i, j = jnp.arange(n)[None, :, None], jnp.arange(m)[None, None]
    real = (i < lengths[:, :1, None]) & (j < lengths[:, 1:, None])
    read = [real & ((i > 0) & (j > 0) | (i + j == 0)), real & (i > 0), real & (j > 0)]
    moves = [x.astype(dtype) for x in moves]
    some = jnp.stack([(jnp.isnan(x) & where).any(axis=(1, 2)) for x, where in zip(moves, read)])
    lost = (some.any(axis=0) & whole_row) | ~possible
    # An addition, so that the gradient is NaN too.
    bad = jnp.where(lost, jnp.nan, jnp.zeros((), dtype))[:, None, None]
    return [jnp.where(where, x + bad, -jnp.inf) for x, where in zip(moves, read)], lengths


def check_moves(moves: Any, scores: Scores) -> jax.Array:
    """Alignments as an array.

    Args:
        moves: what came.
        scores: of `check_scores`.

    Returns:
        int ``[B, N, M]``.

    Raises:
        AssertionError: when shape or dtype do not match.
    """
    return check("moves", moves, "int", "B N M", dict(zip("BNM", scores.match.shape)))


def alignment_score(scores: Scores, moves: jax.Array, whole_row: bool) -> Nats:
    """Scores ``[B]``; NaN where the moves are no way from the first cell to the last.

    Args:
        scores: of `check_scores`; N and M at least 1.
        moves: int ``[B, N, M]``.
        whole_row: whether NaN in any score makes its row NaN.

    Returns:
        `Nats` ``[B]``.
    """
    own, lengths = readable(scores, whole_row)
    n, m = moves.shape[1:]
    i, j = jnp.arange(n)[None, :, None], jnp.arange(m)[None, None]
    left, right = lengths[:, :1, None], lengths[:, 1:, None]
    moves = jnp.where((i < left) & (j < right), moves, 0)
    first, last = (i == 0) & (j == 0), (i == left - 1) & (j == right - 1)
    match, skip_left, skip_right = (moves == move for move in (MATCH, SKIP_LEFT, SKIP_RIGHT))
    known = match | skip_left | skip_right
    legal = known | (moves == 0)
    outside = match & ((i == 0) ^ (j == 0)) | skip_left & (i == 0) | skip_right & (j == 0)
    legal &= ~outside & (match | ~first) & (known | ~last)
    # Each cell on the way, but the last, is left once; no other cell is left.
    after = jnp.pad(match[:, 1:, 1:], ((0, 0), (0, 1), (0, 1))).astype(jnp.int32)
    after += jnp.pad(skip_left[:, 1:], ((0, 0), (0, 1), (0, 0))).astype(jnp.int32)
    after += jnp.pad(skip_right[:, :, 1:], ((0, 0), (0, 0), (0, 1))).astype(jnp.int32)
    legal &= after == (known & ~last)
    empty = (lengths == 0).all(axis=1)
    possible = jnp.where(empty, True, legal.all(axis=(1, 2)) & (lengths > 0).all(axis=1))
    chosen = [to_nats(jnp.where(on, x, 0)) for on, x in zip((match, skip_left, skip_right), own)]
    whole = sum(x.whole.sum(axis=(1, 2)) for x in chosen)
    fraction = sum(x.fraction.sum(axis=(1, 2)) for x in chosen)
    bad = own[0].sum(axis=(1, 2))
    whole = jnp.where(possible, whole, jnp.where(jnp.isnan(bad), bad, jnp.nan))
    whole = jnp.where(empty & jnp.isnan(bad), jnp.nan, whole)
    return Nats(whole, jnp.where(whole > -jnp.inf, fraction, 0))
