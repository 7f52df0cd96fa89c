"""`rntn_jax.tagger.online`: the algorithms, by what defines them."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax import data
from rntn_jax.models import sparse_crf
from rntn_jax.tagger import CRF, online
from rntn_jax.tagger.arguments import resolve
from rntn_jax.tagger.encoding import TrainingData
from tests.helpers import assert_close

RNG = np.random.default_rng(0)
SPLITS = data.demo_tags.splits(40, 0, 20)
X, XT = ([[[r[0], r[1]] for r in rows] for rows in SPLITS[n]] for n in ("train", "test"))
Y, YT = ([[r[-1] for r in rows] for rows in SPLITS[n]] for n in ("train", "test"))


def scores(node, edge):
    """Of all labellings."""
    every = itertools.product(range(node.shape[1]), repeat=len(node))
    return {
        y: sum(node[t, c] for t, c in enumerate(y)) + sum(edge[p] for p in itertools.pairwise(y))
        for y in every
    }


@pytest.mark.parametrize(("steps", "classes"), [(1, 3), (4, 3), (5, 2), (3, 1)])
def test_viterbi_and_expectations_by_enumeration(steps, classes):
    node, edge = RNG.normal(size=(steps, classes)), RNG.normal(size=(classes, classes)) * 3
    every = scores(node, edge)
    labels, score = online.viterbi(node, edge)
    assert every[tuple(labels.tolist())] == pytest.approx(score)
    assert score == pytest.approx(max(every.values()))
    log_z, marginals, pairs = online.expectations(node, edge)
    assert log_z == pytest.approx(np.logaddexp.reduce(list(every.values())), rel=1e-12)
    expected, expected_pairs = np.zeros_like(node), np.zeros_like(edge)
    for y, s in every.items():
        p = np.exp(s - log_z)
        for t, c in enumerate(y):
            expected[t, c] += p
        for pair in itertools.pairwise(y):
            expected_pairs[pair] += p
    assert_close(marginals, expected)
    assert_close(pairs, expected_pairs)


def test_the_first_of_equally_good_labels_wins():
    assert online.viterbi(np.zeros((3, 4)), np.zeros((4, 4)))[0].tolist() == [0, 0, 0]
    late = np.zeros((2, 3))
    late[1, 1:] = 1.0
    assert online.viterbi(late, np.zeros((3, 3)))[0].tolist() == [0, 1]


def problem():
    """A sentence with weights, a token without attributes, and an attribute given twice."""
    bags, ids = np.array([0, 0, 1, 1, 3]), np.array([0, 1, 1, 1, 2])
    weights = np.array([1.0, 0.5, 2.0, -1.0, 1.0], np.float32)
    labels = np.array([0, 1, 2, 1], np.int32)
    found = TrainingData(bags, ids, labels, np.array([4]), 3, 3, weights)
    return found, sparse_crf.features(
        *found[:6], weights=weights, all_states=True, all_transitions=True
    )


def rows(report: list[Any]):
    """A report that keeps what it is told."""
    return lambda *row, **_: report.append(row)


def test_a_gradient_step_is_that_of_the_loss():
    """One sentence, one step from 0: the step size is known, the gradient is JAX's."""
    train, features = problem()
    arguments = resolve({"algorithm": "l2sgd", "c2": 0.5, "max_iterations": 1})
    arguments |= {"calibration_eta": 0.2, "calibration_max_trials": 1}
    report: list[Any] = []
    online.fit_online(train, features, arguments, rows(report))
    start = sparse_crf.init(features, jnp.float64)
    packed = sparse_crf.pack_sentences(*train[:6], weights=train.weights)
    gradient = jax.grad(sparse_crf.loss)(start, packed, features)
    expected = jax.tree.map(lambda g: -0.2 * np.asarray(g), gradient)
    assert_close(jax.tree.map(np.float64, report[0][2]), expected, 1e-6)
    squares = sum(np.square(w).sum() for w in jax.tree.leaves(expected))
    assert report[0][1] == pytest.approx(4 * np.log(3) + 0.5 * squares)


@pytest.mark.parametrize("error_sensitive", [False, True])
def test_a_passive_aggressive_step_reaches_the_margin(error_sensitive):
    """Type 0: the right labels lead the guessed ones by exactly the margin that was asked for."""
    train, features = problem()
    arguments = resolve({"algorithm": "pa", "pa_type": 0, "error_sensitive": error_sensitive})
    arguments |= {"averaging": False, "max_iterations": 1}
    state, edge = online.fit_online(train, features, arguments, rows([]))
    weights = np.zeros((3, 3))
    weights[features.attribute, features.label] = state
    node = np.zeros((4, 3))
    for bag, attribute, x in zip(train.bags, train.ids, train.weights):
        node[bag] += x * weights[attribute]
    every = scores(node, np.asarray(edge))
    # All weights were 0, so that the guess was label 0 everywhere: three of the four are wrong.
    margin = every[tuple(train.labels.tolist())] - every[0, 0, 0, 0]
    assert margin == pytest.approx(3**0.5 if error_sensitive else 1.0, rel=1e-6)


def test_the_averaged_perceptron_is_the_mean_of_its_weights(monkeypatch):
    """After each sentence; the start, all 0, counts as one."""
    train, features = problem()
    after: dict[int, np.ndarray] = {}

    class Noted(online._AveragedPerceptron):
        def update(self, *arguments):
            loss = super().update(*arguments)
            after[self.count] = self.w.copy()
            return loss

    monkeypatch.setattr(online, "_AveragedPerceptron", Noted)
    report: list[Any] = []
    online.fit_online(
        train, features, resolve({"algorithm": "ap", "max_iterations": 5}), rows(report)
    )
    assert 1 in after and len(after) < 5  # at the end there are no mistakes
    weights = total = np.zeros_like(after[1])
    for count in range(1, 6):
        weights = after.get(count, weights)
        total = total + weights
    expected = online._Problem(train, features).params(total / 6)
    assert_close(*(jax.tree.map(np.float64, p) for p in (report[-1][2], expected)), 1e-6)


@pytest.mark.parametrize("algorithm", ["l2sgd", "ap", "pa", "arow"])
def test_learns_and_is_reproducible(algorithm, float32):
    options: Any = {"max_iterations": 8, "c2": 0.1 if algorithm == "l2sgd" else None}
    crf, again = (CRF(algorithm, seed=3, **options).fit(X, Y) for _ in range(2))
    assert crf.score(X, Y) > 0.9 and crf.score(XT, YT) > 0.7
    assert crf.state_features_ == again.state_features_
    other = CRF(algorithm, seed=4, **options).fit(X, Y)
    assert other.state_features_ != crf.state_features_


@pytest.mark.slow
def test_gradient_descent_ends_at_the_minimum_of_the_objective(float32):
    sgd = CRF("l2sgd", c2=0.5, max_iterations=60).fit(X, Y)
    best = CRF("lbfgs", c2=0.5).fit(X, Y).training_log_[-1]["loss"]
    at_the_end = -sgd.log_prob(X, Y).sum() + 0.5 * sum(
        w * w for w in [*sgd.state_features_.values(), *sgd.transition_features_.values()]
    )
    assert best * (1 - 1e-5) < at_the_end < best * 1.01


def test_step_sizes_that_are_too_long_are_passed_over(float32):
    crf = CRF("l2sgd", calibration_eta=1e6, max_iterations=4, calibration_max_trials=40)
    assert crf.fit(X, Y).score(X, Y) > 0.8
    assert all(np.isfinite(row["loss"]) for row in crf.training_log_)
