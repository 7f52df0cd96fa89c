"""dynamax's tests of HMM inference (hidden_markov_model/inference_test.py), of HMMs as chains.

An HMM is a chain: log-likelihoods of the observations are node scores, logarithms of the transition
matrix edge scores, of the initial distribution start scores. Inputs and sizes are theirs.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp

from rntn_jax import crf

T, S = 5, 2


def random_hmm(steps: int, states: int, scale: float = 1.0, stationary: bool = True):
    """Initial probabilities, transition matrices and log-likelihoods."""
    rng = np.random.default_rng(0)
    initial = rng.uniform(size=states)
    shape = (states, states) if stationary else (steps - 1, states, states)
    transition = rng.uniform(size=shape)
    likelihoods = scale * rng.normal(size=(steps, states))
    return initial / initial.sum(), transition / transition.sum(-1, keepdims=True), likelihoods


def as_chain(initial, transition, likelihoods) -> crf.chain.Scores:
    edge = jnp.log(transition) if transition.ndim == 2 else jnp.log(transition)[None]
    return crf.chain.Scores(jnp.asarray(likelihoods)[None], edge, start=jnp.log(initial))


def log_joint(initial, transition, likelihoods) -> np.ndarray:
    """The table of all state sequences, an axis a step."""
    steps, states = likelihoods.shape
    table = np.zeros((states,) * steps)
    for y in itertools.product(range(states), repeat=steps):
        moves = sum(np.log(transition[a, b]) for a, b in itertools.pairwise(y))
        table[y] = np.log(initial[y[0]]) + moves + sum(map(lambda row, c: row[c], likelihoods, y))
    return table


@pytest.fixture(scope="module")
def hmm():
    return random_hmm(T, S)


def test_filter(hmm):
    """The distribution of a state given what came up to it is the last marginal of the prefix."""
    scores = as_chain(*hmm)
    np.testing.assert_allclose(crf.chain.log_partition(scores)[0], logsumexp(log_joint(*hmm)))
    for t in range(T):
        table = log_joint(hmm[0], hmm[1], hmm[2][: t + 1])
        expected = np.exp(logsumexp(table, axis=tuple(range(t))) - logsumexp(table))
        prefix = scores._replace(mask=jnp.arange(T)[None] <= t)
        np.testing.assert_allclose(crf.chain.marginals(prefix).node[0, t], expected, rtol=1e-9)


def test_smoother_and_transitions(hmm):
    joint = log_joint(*hmm)
    joint = np.exp(joint - logsumexp(joint))
    marginals = crf.chain.marginals(as_chain(*hmm))
    for t in range(T):
        expected = joint.sum(tuple(i for i in range(T) if i != t))
        np.testing.assert_allclose(marginals.node[0, t], expected, rtol=1e-9)
    counts = sum(joint.sum(tuple(i for i in range(T) if i not in (t, t + 1))) for t in range(T - 1))
    np.testing.assert_allclose(marginals.edge, counts, rtol=1e-9)


def test_mode(hmm):
    table = log_joint(*hmm)
    labels, best = crf.chain.argmax(as_chain(*hmm))
    np.testing.assert_array_equal(labels[0], np.unravel_index(table.argmax(), table.shape))
    np.testing.assert_allclose(best[0], table.max())


def test_fixed_lag_smoother_and_prediction(hmm):
    """Of no lag it is the filter, of T - 1 the smoother."""
    initial, transition, likelihoods = hmm
    scores = crf.chain.from_hmm(
        jnp.log(initial), jnp.log(transition), jnp.asarray(likelihoods)[None]
    )
    filtered, whole = crf.chain.filtered(scores)[0], crf.chain.marginals(scores).node[0]
    np.testing.assert_allclose(crf.chain.smoothed(scores, lag=0)[0], filtered, rtol=1e-9)
    np.testing.assert_allclose(crf.chain.smoothed(scores, lag=T - 1)[0], whole, rtol=1e-9)
    lagged = crf.chain.smoothed(scores, lag=1)[0]
    for t in range(T - 1):
        table = log_joint(initial, transition, likelihoods[: t + 2])
        p = np.exp(table - logsumexp(table))
        expected = p.sum(tuple(i for i in range(t + 2) if i != t))
        np.testing.assert_allclose(lagged[t], expected, rtol=1e-9)
    ahead = np.asarray(filtered) @ np.linalg.matrix_power(transition, 2)
    np.testing.assert_allclose(crf.chain.predicted(scores, 2)[0], ahead, rtol=1e-9)


def test_matrices_that_change():
    """Ten steps, five states, a matrix a step: the same by another grouping of the states."""
    initial, transition, likelihoods = random_hmm(10, 5, stationary=False)
    alpha = np.log(initial) + likelihoods[0]
    for step, row in zip(transition, likelihoods[1:]):
        alpha = np.logaddexp.reduce(alpha[:, None] + np.log(step), axis=0) + row
    scores = as_chain(initial, transition, likelihoods)
    np.testing.assert_allclose(crf.chain.log_partition(scores)[0], np.logaddexp.reduce(alpha))
    np.testing.assert_allclose(crf.chain.marginals(scores).node.sum(-1), 1, rtol=1e-10)
    np.testing.assert_allclose(crf.chain.marginals(scores).edge.sum((-2, -1)), 1, rtol=1e-10)


def test_sampling_follows_each_matrix():
    """First stay, then change: forbidden moves are never drawn."""
    transition = np.stack([np.eye(2), np.fliplr(np.eye(2))])
    scores = as_chain(np.array([0.5, 0.5]), transition, np.zeros((3, 2)))
    drawn = np.asarray(crf.chain.sample(jax.random.key(0), scores, 50))[:, 0]
    assert (drawn[:, 0] == drawn[:, 1]).all() and (drawn[:, 1] != drawn[:, 2]).all()
    assert 0 < drawn[:, 0].mean() < 1


def test_samples_are_of_the_joint(hmm):
    joint = log_joint(*hmm)
    joint = np.exp(joint - logsumexp(joint))
    drawn = np.asarray(crf.chain.sample(jax.random.key(1), as_chain(*hmm), 20_000))[:, 0]
    counts = np.zeros_like(joint)
    np.add.at(counts, tuple(drawn.T), 1 / len(drawn))
    np.testing.assert_allclose(counts, joint, atol=0.015)  # four standard errors


@pytest.mark.slow
def test_parallel_is_sequential():
    scores = as_chain(*random_hmm(100, 3))

    def log_z(node, way):
        return crf.chain.log_partition(scores._replace(node=node), method=way).sum()

    in_turn, at_once = (jax.value_and_grad(log_z)(scores.node, w) for w in ("scan", "parallel"))
    np.testing.assert_allclose(in_turn[0], at_once[0], rtol=1e-10)
    np.testing.assert_allclose(in_turn[1], at_once[1], atol=1e-9)


@pytest.mark.usefixtures("float32")
def test_large_likelihoods_in_float32():
    """2,000 steps, 100 states, log-likelihoods of some 100: finite, and sums are 1."""
    node = crf.chain.marginals(as_chain(*map(np.float32, random_hmm(2000, 100, 100.0)))).node
    assert np.isfinite(node).all()
    np.testing.assert_allclose(node.sum(-1), 1, atol=1e-5)
