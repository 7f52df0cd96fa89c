"""torch-struct's tests (test_algorithms.py, test_distributions.py) in substance.

Its structures in their terms here: a chain of edge potentials is `crf.chain` with scores of every
step, `TreeCRF` is `crf.constituency`. Sizes are those that it draws: two to four.
"""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax import crf

B, T, C = 3, 4, 3
LENGTHS = np.array([2, 3, 4])
MASK = jnp.asarray(np.arange(T) < LENGTHS[:, None])


def potentials(seed: int) -> crf.chain.Scores:
    edge = np.random.default_rng(seed).uniform(0, 1, (B, T - 1, C, C))
    return crf.chain.Scores(jnp.zeros((B, T, C)), jnp.asarray(edge), mask=MASK)


def every_chain(scores: crf.chain.Scores, row: int) -> tuple[np.ndarray, np.ndarray]:
    """All labellings ``[n, T]`` of a row, zeros behind its end, and their scores."""
    length = LENGTHS[row]
    chains = np.array(list(itertools.product(range(C), repeat=length)))
    edge = np.asarray(scores.edge)[row]
    found = sum(edge[t, chains[:, t], chains[:, t + 1]] for t in range(length - 1))
    return np.pad(chains, ((0, 0), (0, T - length))), np.asarray(found)


@pytest.mark.parametrize(("n", "c"), [(1, 2), (2, 3), (3, 4)])
def test_ones_count(n, c):
    """A chain of n edges has `c ** (n + 1)` labellings."""
    scores = crf.chain.Scores(jnp.zeros((2, n + 1, c)), jnp.zeros((2, n, c, c)))
    np.testing.assert_allclose(jnp.exp(crf.chain.log_partition(scores)), c ** (n + 1), rtol=1e-10)


@pytest.mark.parametrize("seed", [1, 2])
def test_all_of_a_chain(seed):
    """Support, entropy, cross-entropy, divergence, best, two best, samples against marginals."""
    p, q = potentials(seed), potentials(seed + 100)
    log_z, entropy = crf.chain.log_partition(p), crf.chain.entropy(p)
    kl = crf.chain.kl(p, q)
    best, best_score = crf.chain.argmax(p)
    two, two_scores = crf.chain.top_k(p, 2)
    marginals = crf.chain.marginals(p)
    drawn = np.asarray(crf.chain.sample(jax.random.key(seed), p, 500))
    cross = crf.chain.log_partition(q) - crf.chain.expected_score(p, q)
    for row in range(B):
        chains, scores = every_chain(p, row)
        log_p = scores - np.logaddexp.reduce(scores)
        other = every_chain(q, row)[1]
        log_q = other - np.logaddexp.reduce(other)
        np.testing.assert_allclose(log_z[row], np.logaddexp.reduce(scores), rtol=1e-10)
        np.testing.assert_allclose(entropy[row], -(np.exp(log_p) * log_p).sum(), rtol=1e-9)
        np.testing.assert_allclose(kl[row], (np.exp(log_p) * (log_p - log_q)).sum(), rtol=1e-8)
        np.testing.assert_allclose(cross[row], -(np.exp(log_p) * log_q).sum(), rtol=1e-9)
        order = np.argsort(-scores)
        np.testing.assert_array_equal(best[row], chains[order[0]])
        np.testing.assert_allclose(best_score[row], scores[order[0]], rtol=1e-10)
        np.testing.assert_array_equal(two[row], chains[order[:2]])
        np.testing.assert_allclose(two_scores[row], scores[order[:2]], rtol=1e-10)
        share = (drawn[:, row, 0, None] == np.arange(C)).mean(0)
        assert np.abs(share - marginals.node[row, 0]).max() < 0.1
    assert (np.asarray(best_score) <= np.asarray(log_z)).all()


def test_lengths_are_masks():
    whole = potentials(3)
    for row, length in enumerate(LENGTHS):
        alone = crf.chain.Scores(
            whole.node[row : row + 1, :length], whole.edge[row : row + 1, : length - 1]
        )
        np.testing.assert_allclose(
            crf.chain.log_partition(alone)[0], crf.chain.log_partition(whole)[row], rtol=1e-10
        )


@pytest.mark.slow
def test_both_ways_to_differentiate():
    """By its rule and by autodiff of the recursion in O(log T) steps: the same marginals."""
    scores = potentials(4)
    log_z = lambda method: jax.grad(
        lambda s: crf.chain.log_partition(s, method=method).sum(), allow_int=True
    )(scores)
    for found, expected in zip(log_z("scan")[:2], log_z("parallel")[:2]):
        np.testing.assert_allclose(found, expected, atol=1e-10)


# --- Counting: potentials of 1 sum to the number of structures ---


def segmentations(n: int, most: int, labels: int) -> int:
    """Of n tokens into segments of up to so many tokens."""
    found = [1]
    for _ in range(n):
        found.append(labels * sum(found[-most:]))
    return found[n]


def delannoy(n: int, m: int) -> int:
    """Ways by n steps and m steps, or both at once."""
    if n == 0 or m == 0:
        return 1
    return delannoy(n - 1, m) + delannoy(n, m - 1) + delannoy(n - 1, m - 1)


@pytest.mark.slow
def test_ones_count_structures():
    """SemiMarkov, DepTree, the matrix-tree theorem, Alignment: rows of other lengths among them."""
    lengths = np.array([4, 3, 2])
    count = lambda log_z: np.exp(np.asarray(log_z))
    of_segments = crf.semi_markov.Scores(jnp.zeros((3, 4, 3, 2)), length=lengths)
    expected = [segmentations(n, 3, 2) for n in lengths]
    np.testing.assert_allclose(count(crf.semi_markov.log_partition(of_segments)), expected)
    arcs = crf.dependency.Scores(jnp.zeros((3, 5, 5)), lengths)
    for projective, single_root, expected in (
        (True, True, [30, 7, 2]),
        (True, False, [55, 12, 3]),
        (False, True, [64, 9, 2]),
        (False, False, [125, 16, 3]),
    ):
        kind = {"projective": projective, "single_root": single_root}
        found = count(crf.dependency.log_partition(arcs, **kind))
        np.testing.assert_allclose(found, expected, rtol=1e-10, err_msg=str(kind))
    zero = jnp.zeros((2, 3, 4))
    both = np.array([[3, 4], [2, 3]])
    found = count(crf.alignment.log_partition(crf.alignment.Scores(zero, zero, zero, both)))
    # From the first cell of the grid to the last.
    np.testing.assert_allclose(found, [delannoy(2, 3), delannoy(1, 2)], rtol=1e-10)
    labelled = crf.constituency.Scores(jnp.zeros((3, 5, 5, 2)), lengths)
    catalan = np.array([5, 2, 1])  # of trees, of 2 n - 1 nodes with two labels each
    found = count(crf.constituency.log_partition(labelled))
    np.testing.assert_allclose(found, catalan * 2.0 ** (2 * lengths - 1), rtol=1e-10)


# --- TreeCRF, of one label ---


def every_tree(span: np.ndarray, i: int, j: int) -> Any:
    """Scores of all binary trees over the words i .. j-1; single words score nothing."""
    if j == i + 1:
        return [0.0]
    halves = ((every_tree(span, i, k), every_tree(span, k, j)) for k in range(i + 1, j))
    return [span[i, j] + a + b for left, right in halves for a in left for b in right]


def test_tree_crf():
    lengths = np.array([2, 3, 4])
    span = np.random.default_rng(0).uniform(0, 1, (3, 5, 5))
    scores = crf.constituency.Scores(jnp.asarray(span), jnp.asarray(lengths))
    log_z = crf.constituency.log_partition(scores)
    best = crf.constituency.argmax(scores)[-1]
    for row, n in enumerate(lengths):
        every = every_tree(span[row], 0, n)
        np.testing.assert_allclose(log_z[row], np.logaddexp.reduce(every), rtol=1e-10)
        np.testing.assert_allclose(best[row], max(every), rtol=1e-10)
    marginals = np.asarray(crf.constituency.marginals(scores).span)
    np.testing.assert_allclose(marginals.sum((1, 2)), lengths - 1, rtol=1e-10)


@pytest.mark.slow
def test_a_grammar():
    """`SentCFG` of torch-struct 0.5 with these scores: its partition and marginals."""
    n, p, words = 2, 3, 4
    wave = lambda f, *shape: f(np.arange(np.prod(shape)).reshape(shape))
    scores = crf.grammar.Scores(
        wave(np.cos, n), wave(np.sin, n, n + p, n + p), wave(np.cos, 1, words, p)
    )
    np.testing.assert_allclose(crf.grammar.log_partition(scores), 10.024350371353155, rtol=1e-12)
    found = crf.grammar.marginals(scores)
    np.testing.assert_allclose(found.root, [0.6056430431499046, 0.3943569568500956], rtol=1e-10)
    theirs = [
        [0.5326878570766774, 0.3085785107983617, 0.15873363212496172],
        [0.1055578872789219, 0.16495344762675662, 0.7294886650943222],
        [0.5924385450465467, 0.30702155716770485, 0.10053989778574907],
        [0.22856546641296663, 0.2501812340149146, 0.5212532995721193],
    ]
    np.testing.assert_allclose(found.terminal[0], theirs, rtol=1e-10)
