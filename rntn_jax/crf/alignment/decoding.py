"""Alignments: the best, the best few, and draws; all end in a walk back from the last cell."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.alignment import forward
from rntn_jax.crf.alignment.queries import no_cells, of_empty
from rntn_jax.crf.alignment.scores import (
    MATCH,
    SKIP_RIGHT,
    Parts,
    Scores,
    alignment_score,
    by_row,
    check_scores,
    complete,
)
from rntn_jax.crf.nats import Nats, largest
from rntn_jax.ops.logspace import finite_max

__all__ = ["argmax", "sample", "top_k"]


@jax.jit
def argmax(scores: Scores) -> tuple[jax.Array, jax.Array]:
    """The best alignment of each row, and its score.

    Args:
        scores: of moves.

    Returns:
        ``(moves int32 [B, N, M], score [B])``: how each cell of the way is entered, 0 in all
        others. The score's gradient is the indicator of the moves. Where every alignment is
        forbidden the score is ``-inf``, where a score is NaN it is NaN, and the moves mean nothing.
        Of equal ways, matches come before skips on the left, and these before skips on the right.
        Cost as of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> moves, best = argmax(Scores(jnp.ones((1, 2, 3)), *jnp.zeros((2, 1, 2, 3))))
        >>> moves[0].tolist(), best.tolist()
        ([[1, 3, 0], [0, 0, 1]], [2.0])
    """
    moves, best = top_k(scores, 1)
    return moves[:, 0], best[:, 0]


@partial(jax.jit, static_argnames="k")
def top_k(scores: Scores, k: int) -> tuple[jax.Array, jax.Array]:
    """The ``k`` best alignments of each row, best first.

    Args:
        scores: of moves.
        k: how many; static.

    Returns:
        ``(moves [B, k, N, M], score [B, k])``. Where there are fewer than ``k``, scores at the end
        are ``-inf`` and their moves mean nothing. Cost O(B (N + M) N k log k).

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``k`` is not positive.

    Example:
        >>> moves, best = top_k(Scores(jnp.ones((1, 2, 2)), *jnp.zeros((2, 1, 2, 2))), 4)
        >>> best.tolist()
        [[2.0, 1.0, 1.0, -inf]]
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    scores = check_scores(scores)
    rows, n, m = scores.match.shape
    if no_cells(scores):
        best = of_empty(scores)[:, None]
        best = jnp.where((jnp.arange(k) > 0)[None] & ~jnp.isnan(best), -jnp.inf, best)
        return jnp.zeros((rows, k, n, m), jnp.int32), best
    parts = complete(lax.stop_gradient(scores))
    moves, possible = _k_best(parts, k, m)
    own = jax.vmap(lambda moves: alignment_score(scores, moves, True).value)(moves)
    lost = jnp.isnan(parts.moves.whole[0, 0, :, 0])
    own = jnp.where(lost[None], jnp.nan, jnp.where(possible, own, -jnp.inf))
    return moves.swapaxes(0, 1), own.T


def _k_best(parts: Parts, k: int, columns: int) -> tuple[jax.Array, jax.Array]:
    """Moves ``[k, B, N, M]``, and whether they are possible ``[k, B]``."""
    moves, lengths = parts
    diagonals, _, rows, n = moves.whole.shape

    def step(carry, inputs):
        one, two = carry  # [k, B, N]
        own, first = inputs
        own = Nats(*(x[None] for x in own))
        # Of the first cell there is one way, the best.
        start = first & (jnp.arange(k) == 0)
        ways = forward.from_cells(one, two, own, start)  # [k, 3, B, N]
        # Of equal ones the first: better ranks, then matches.
        a, at = largest(Nats(*(x.reshape(k * 3, rows, n) for x in ways)), k)
        top = finite_max(a.whole, (0, 2))
        a = Nats(a.whole - top, a.fraction)
        return (a, Nats(one.whole - top, one.fraction)), (at, a.whole)

    none = jnp.full_like(moves.whole, -jnp.inf, shape=(k, rows, n))
    nothing = Nats(none, jnp.zeros_like(none))
    first = jnp.arange(diagonals) == 0
    _, (at, whole) = lax.scan(step, (nothing, nothing), (moves, first))
    last = forward.final_cells(lengths, diagonals, n)[:, None]
    possible = jnp.where(last, whole, 0).sum(axis=(0, 3)) != -jnp.inf
    none, rank = (lengths == 0).any(axis=1)[None], jnp.arange(k)[:, None]
    empty = (lengths == 0).all(axis=1)[None] & (rank == 0)
    row = jnp.arange(rows)

    def choose(d, i, rank):
        found = at[d, rank, row, i]
        return found % 3, found // 3

    walk = lambda rank: _walk_back(choose, rank, lengths, (diagonals, n, columns))
    return jax.vmap(walk)(jnp.arange(k)), jnp.where(none, empty, possible)


Choose = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def _walk_back(
    choose: Choose, rank: jax.Array, lengths: jax.Array, size: tuple[int, int, int]
) -> jax.Array:
    """Moves ``[B, N, M]``, chosen from the last cell to the first.

    Args:
        choose: (diagonal, row of the grid ``[B]``, rank ``[B]``) -> the move from 0, and a rank.
        rank: int ``[]``, of the last cell.
        lengths: int ``[B, 2]``.
        size: diagonals, N and M.
    """
    diagonals, n, columns = size

    def step(carry, d):
        i, diagonal, rank = carry
        here = diagonal == d
        move, before = choose(d, jnp.clip(i, 0, n - 1), rank)
        own = here[:, None] & (jnp.arange(n)[None] == i[:, None])
        out = jnp.where(own, move[:, None] + MATCH, 0)
        i = jnp.where(here & (move + MATCH != SKIP_RIGHT), i - 1, i)
        diagonal = jnp.where(here, d - jnp.where(move + MATCH == MATCH, 2, 1), diagonal)
        return (i, diagonal, jnp.where(here, before, rank)), out

    some = (lengths > 0).all(axis=1)
    i = lengths[:, 0] - 1
    diagonal = jnp.where(some, lengths.sum(axis=1) - 2, -1)
    initial = i, diagonal, jnp.zeros_like(i) + rank.astype(jnp.int32)
    _, moves = lax.scan(step, initial, jnp.arange(diagonals, dtype=jnp.int32), reverse=True)
    return by_row(moves, columns)


@partial(jax.jit, static_argnames="num_samples")
def sample(key: jax.Array, scores: Scores, num_samples: int) -> jax.Array:
    """Draws alignments from the distribution: forward filtering, backward sampling.

    Args:
        key: a PRNG key.
        scores: of moves.
        num_samples: alignments to draw of each row, independently; static.

    Returns:
        Moves int32 ``[num_samples, B, N, M]``, as `argmax` returns them; where every alignment is
        forbidden, or a score is NaN, they mean nothing. Cost as of `log_partition`, and
        O(B N M) for each sample.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``num_samples`` is negative.

    Example:
        >>> scores = Scores(jnp.zeros((1, 2, 2)), *jnp.full((2, 1, 2, 2), -jnp.inf))
        >>> sample(jax.random.key(0), scores, 1).tolist()
        [[[[1, 0], [0, 1]]]]
    """
    if num_samples < 0:
        raise ValueError(f"num_samples must not be negative, got {num_samples}")
    scores = check_scores(lax.stop_gradient(scores))
    rows, n, m = scores.match.shape
    if no_cells(scores) or num_samples == 0:
        return jnp.zeros((num_samples, rows, n, m), jnp.int32)
    parts = complete(scores)
    logits, row = forward.log_conditionals(parts, forward.run(parts)), jnp.arange(rows)

    def one(key):
        def choose(d, i, rank):
            own = logits[d, :, row, i]
            found = jax.random.categorical(jax.random.fold_in(key, d), own)
            return found.astype(jnp.int32), rank

        size = len(logits), n, m
        return _walk_back(choose, jnp.zeros((), jnp.int32), parts.lengths, size)

    return jax.vmap(one)(jax.random.split(key, num_samples))
