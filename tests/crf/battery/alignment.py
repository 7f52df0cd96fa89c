"""Alignments for the battery: grids of every size, moves that no way has are NaN."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from rntn_jax.crf import alignment
from tests.crf.battery.case import Case, Listed

FROM = {1: (1, 1), 2: (1, 0), 3: (0, 1)}  # how far back the cell is that a move comes from


def ways(i: int, j: int) -> list[tuple[tuple[int, int, int], ...]]:
    """All ways from the first cell to this one: cells with the moves into them."""
    if (i, j) == (0, 0):
        return [((0, 0, 1),)]
    return [
        (*way, (i, j, move))
        for move, (down, across) in FROM.items()
        if i >= down and j >= across
        for way in ways(i - down, j - across)
    ]


def all_ways(n: int, m: int) -> list[tuple[tuple[int, int, int], ...]]:
    """Those to the last cell; of two empty sequences one, of one empty sequence none."""
    if 0 in (n, m):
        return [()] if n == m else []
    return ways(n - 1, m - 1)


def _make(rng, rows, n, m):
    lengths = np.array([[n, m], [max(n - 1, 0), m], [0, 0], [0, m]])[:rows]
    found = rng.normal(size=(3, rows, n, m))
    for row, own in enumerate(lengths):
        read = np.zeros((3, n, m), bool)
        for way in all_ways(*own):
            for i, j, move in way:
                read[move - 1, i, j] = True
        found[:, row][~read] = np.nan
    return alignment.Scores(*found, lengths)


def _listed(scores) -> list[Listed]:
    rows, n, m = scores.match.shape
    out = []
    for row, own in enumerate(scores.lengths):
        answers, counts = [], []
        for way in all_ways(*own):
            read, answer = np.zeros((3, rows, n, m)), np.zeros((n, m), int)
            for i, j, move in way:
                read[move - 1, row, i, j], answer[i, j] = 1, move
            answers.append(answer)
            counts.append(read.ravel())
        shape = len(answers), 3 * rows * n * m
        out.append(Listed(np.reshape(answers, (len(answers), n, m)), np.reshape(counts, shape)))
    return out


CASES = [
    Case(
        name="alignments",
        module=alignment,
        make=_make,
        listed=_listed,
        pack=lambda scores, answers: np.reshape(answers, scores.match.shape).astype(int),
        unpack=lambda scores, moves: list(np.asarray(moves)),
        best=lambda scores, moves, i: moves[:, i],
        sizes=[(3, 3, 4), (2, 0, 0), (2, 1, 2)],
        slow_sizes=[(0, 2, 3), (4, 2, 2), (2, 3, 1)],
        allowed="match",
        forbid=lambda scores, allowed: scores._replace(
            match=jnp.where(allowed, scores.match, -jnp.inf)
        ),
        slow="most",
    )
]
