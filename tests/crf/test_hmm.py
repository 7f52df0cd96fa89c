"""Hidden Markov models as chains, against sums over all sequences of states."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rntn_jax.crf import chain

STEPS, STATES, SYMBOLS = 5, 3, 4
MASK = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0]], bool)


def random_hmm(seed: int) -> chain.HMM:
    rng = np.random.default_rng(seed)
    draw = lambda *shape: np.log(rng.dirichlet(np.ones(shape[-1]), shape[:-1]))
    return chain.HMM(draw(STATES), draw(STATES, STATES), draw(STATES, SYMBOLS))


def observations(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, SYMBOLS, (2, STEPS))


def scores_of(hmm: chain.HMM, symbols: np.ndarray) -> chain.Scores:
    observed = np.moveaxis(hmm.emission[:, symbols], 0, 2)
    return chain.from_hmm(hmm.initial, hmm.transition, observed, MASK)


def joint(hmm: chain.HMM, symbols: np.ndarray, steps: int) -> np.ndarray:
    """``P(states, symbols)`` of the first steps, an axis for each."""
    table = np.zeros((STATES,) * steps)
    for states in itertools.product(range(STATES), repeat=steps):
        own = hmm.initial[states[0]] + sum(hmm.emission[s, o] for s, o in zip(states, symbols))
        own += sum(hmm.transition[i, j] for i, j in itertools.pairwise(states))
        table[states] = np.exp(own)
    return table


def test_filtering_smoothing_and_prediction_are_sums_over_all_states():
    hmm, symbols = random_hmm(0), observations(1)
    scores = scores_of(hmm, symbols)
    filtered, ahead = chain.filtered(scores), chain.predicted(scores, 2)
    smoothed = {lag: chain.smoothed(scores, lag) for lag in (0, 1, 2, 9)}
    p = np.exp(hmm.transition)
    for row, mask in enumerate(MASK):
        real = np.flatnonzero(mask)
        own = symbols[row, real]
        total = joint(hmm, own, len(real)).sum()
        np.testing.assert_allclose(chain.log_partition(scores)[row], np.log(total), rtol=1e-12)
        for at, t in enumerate(real):
            for lag, found in smoothed.items():
                table = joint(hmm, own, min(at + lag + 1, len(real)))
                right = table.sum(tuple(i for i in range(table.ndim) if i != at))
                np.testing.assert_allclose(found[row, t], right / right.sum(), rtol=1e-10)
            np.testing.assert_allclose(filtered[row, t], smoothed[0][row, t], rtol=1e-12)
            np.testing.assert_allclose(ahead[row, t], filtered[row, t] @ p @ p, rtol=1e-12)
        assert (np.asarray(filtered)[row, ~mask] == 0).all()
    np.testing.assert_allclose(smoothed[9], chain.marginals(scores).node, atol=1e-12)


def test_transitions_of_each_step():
    hmm, symbols = random_hmm(2), observations(3)
    shared = scores_of(hmm, symbols)
    edge = np.tile(hmm.transition, (2, STEPS - 1, 1, 1))
    each = chain.from_hmm(hmm.initial, edge, shared.node, MASK)
    np.testing.assert_allclose(chain.filtered(each), chain.filtered(shared), atol=1e-12)
    np.testing.assert_allclose(chain.smoothed(each, 2), chain.smoothed(shared, 2), atol=1e-12)


def test_em_never_loses_and_its_first_step_is_that_of_expected_counts():
    hmm, symbols = random_hmm(4), observations(5)
    new, likelihood = chain.em_step(hmm, symbols, MASK)
    p = chain.marginals(scores_of(hmm, symbols))
    counts = np.zeros((STATES, SYMBOLS))
    for row, t in zip(*np.nonzero(MASK)):
        counts[:, symbols[row, t]] += p.node[row, t]
    np.testing.assert_allclose(np.exp(new.emission), counts / counts.sum(1, keepdims=True))
    np.testing.assert_allclose(np.exp(new.initial), p.start / p.start.sum())
    np.testing.assert_allclose(
        np.exp(new.transition), p.edge / np.asarray(p.edge).sum(1, keepdims=True)
    )
    found = [likelihood.sum()]
    for _ in range(20):
        new, likelihood = chain.em_step(new, symbols, MASK)
        found.append(likelihood.sum())
    assert (np.diff(found) >= -1e-12).all() and found[-1] > found[0] + 1


def test_what_is_impossible_is_nowhere():
    hmm = random_hmm(6)
    scores = scores_of(hmm, observations(7))
    node = np.asarray(scores.node).copy()
    node[0, 2] = -np.inf
    found = chain.filtered(scores._replace(node=node))
    assert (np.asarray(found)[0, 2:] == 0).all() and not np.isnan(found).any()
    with pytest.raises(ValueError, match="steps must not be negative, got -1"):
        chain.predicted(scores, -1)
    with pytest.raises(ValueError, match="lag must not be negative, got -1"):
        chain.smoothed(scores, -1)
    with pytest.raises(AssertionError, match=r"initial must be float \[C\] = \[3\]"):
        chain.from_hmm(np.zeros(2), hmm.transition, node)
