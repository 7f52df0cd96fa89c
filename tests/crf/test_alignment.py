"""Alignments: the rule, textbook recursions as special cases, long sequences, wrong arguments."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.crf import alignment
from rntn_jax.crf.alignment import Scores, forward
from rntn_jax.crf.alignment.scores import by_diagonal, by_row, check_scores, complete
from tests.crf.battery.alignment import all_ways
from tests.helpers import check_orders, enable_x64


def random(seed: int, *shape: int, lengths=None) -> Scores:
    return Scores(*np.random.default_rng(seed).normal(size=(3, *shape)), lengths)


def test_there_are_as_many_alignments_as_delannoy_says():
    numbers = [[1, 1, 1, 1], [1, 3, 5, 7], [1, 5, 13, 25], [1, 7, 25, 63]]
    for n, row in enumerate(numbers, 1):
        for m, number in enumerate(row, 1):
            assert len(all_ways(n, m)) == number
    flat = Scores(*np.zeros((3, 1, 4, 4)))
    np.testing.assert_allclose(np.exp(alignment.log_partition(flat)), 63)


def test_the_rule_is_the_gradient_of_the_plain_recursion_twice():
    lengths = np.array([[3, 4], [2, 4], [0, 0]])

    def of(function):
        return lambda *moves: function(complete(check_scores(Scores(*moves, lengths))))

    rule = of(lambda parts: forward.log_partition(parts).value)
    check_orders(rule, of(forward.reference), tuple(random(0, 3, 3, 4))[:3])


def needleman_wunsch(similarity: np.ndarray, gap: float, best) -> float:
    """The table of the paper, of the maximum or a soft one."""
    n, m = similarity.shape
    table = np.zeros((n + 1, m + 1))
    table[:, 0], table[0] = gap * np.arange(n + 1), gap * np.arange(m + 1)
    for i in range(n):
        for j in range(m):
            ways = table[i, j] + similarity[i, j], table[i, j + 1] + gap, table[i + 1, j] + gap
            table[i + 1, j + 1] = best(ways)
    return table[n, m]


def soft_dtw(cost: np.ndarray, temperature: float) -> float:
    """Cuturi and Blondel 2017, algorithm 1."""
    n, m = cost.shape
    table = np.full((n + 1, m + 1), np.inf)
    table[0, 0] = 0
    for i in range(n):
        for j in range(m):
            ways = np.array([table[i, j], table[i, j + 1], table[i + 1, j]])
            least = -temperature * np.logaddexp.reduce(-ways / temperature)
            table[i + 1, j + 1] = cost[i, j] + least
    return table[n, m]


def test_textbook_recursions_are_special_cases():
    rng = np.random.default_rng(1)
    lengths, similarity = np.array([[4, 5], [3, 5], [2, 1]]), rng.normal(size=(3, 4, 5))
    own = [similarity[row, :n, :m] for row, (n, m) in enumerate(lengths)]
    scores = alignment.with_gaps(similarity, -0.7, lengths)
    np.testing.assert_allclose(
        alignment.argmax(scores)[1], [needleman_wunsch(x, -0.7, max) for x in own], rtol=1e-12
    )
    soft = alignment.with_gaps(similarity / 0.3, np.full(3, -0.7 / 0.3), lengths)
    np.testing.assert_allclose(
        alignment.log_partition(soft),
        [needleman_wunsch(x / 0.3, -0.7 / 0.3, np.logaddexp.reduce) for x in own],
        rtol=1e-12,
    )
    warped = Scores(*3 * [-(similarity**2) / 0.3], lengths)
    np.testing.assert_allclose(
        -0.3 * alignment.log_partition(warped), [soft_dtw(x**2, 0.3) for x in own], rtol=1e-12
    )


def test_cells_may_be_known():
    scores = random(2, 1, 3, 3)
    allowed = np.ones((1, 3, 3), bool)
    allowed[0, 1] = [False, True, False]
    moves = [way for way in all_ways(3, 3) if {c[:2] for c in way}.isdisjoint({(1, 0), (1, 2)})]
    worth = [sum(scores[move - 1][0, i, j] for i, j, move in way) for way in moves]
    found = alignment.log_partition(alignment.constrain(scores, allowed))
    np.testing.assert_allclose(found[0], np.logaddexp.reduce(worth), rtol=1e-12)


def test_an_alignment_may_be_none():
    scores = random(3, 6, 2, 2, lengths=np.array([*[[2, 2]] * 4, [0, 2], [3, 2]]))
    moves = np.tile([[1, 0], [2, 3]], (6, 1, 1))
    moves[1] = [[1, 0], [0, 2]]  # from a cell that is not on the way
    moves[2] = [[1, 3], [2, 1]]  # two ways at once
    moves[3] = [[2, 0], [0, 1]]  # the first cell is matched
    found = alignment.score(scores, moves)
    assert np.isnan(found).tolist() == [False, *[True] * 5]
    assert alignment.log_partition(scores)[4] == -np.inf


def test_diagonals_there_and_back():
    x = np.random.default_rng(4).normal(size=(2, 3, 4))
    found = by_diagonal(x)
    for i in range(3):
        for d in range(6):
            inside = 0 <= d - i < 4
            np.testing.assert_array_equal(found[d, :, i], x[:, i, d - i] if inside else -np.inf)
    np.testing.assert_array_equal(by_row(found, 4), x)


@pytest.mark.parametrize("size", [40, pytest.param(2000, marks=pytest.mark.slow)])
def test_single_precision_is_right_whatever_the_scores(size):
    for scale in (1, 1e4):
        own = [np.asarray(scale * x, np.float32) for x in random(5, 1, size, size)[:3]]
        right = Scores(*(x.astype(np.float64) for x in own))
        right_total, right_p = alignment.log_partition(right), alignment.marginals(right)
        with enable_x64(False):
            total, p = (f(Scores(*own)) for f in (alignment.log_partition, alignment.marginals))
        assert total.dtype == p.match.dtype == jnp.float32
        np.testing.assert_allclose(total, right_total, rtol=1e-5)
        for ours, theirs in zip(p[:3], right_p[:3]):
            matters = np.asarray(theirs) >= 1e-6
            np.testing.assert_allclose(ours[matters], theirs[matters], rtol=1e-4)


def test_wrong_arguments_are_named():
    good = random(6, 2, 3, 4)
    with pytest.raises(AssertionError, match=r"scores\.skip_left must be float \[B, N, M\]"):
        alignment.log_partition(good._replace(skip_left=np.zeros((2, 3, 3))))
    with pytest.raises(AssertionError, match=r"scores\.lengths must be int \[B, 2\] = \[2, 2\]"):
        alignment.log_partition(good._replace(lengths=np.array([3, 4])))
    with pytest.raises(AssertionError, match=r"moves must be int \[B, N, M\]"):
        alignment.score(good, np.zeros((2, 3, 3), int))
    with pytest.raises(AssertionError, match=r"q\.match must be float"):
        alignment.kl(good, random(6, 2, 3, 3))
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        alignment.top_k(good, 0)
    with pytest.raises(ValueError, match="num_samples must not be negative"):
        alignment.sample(None, good, -1)
