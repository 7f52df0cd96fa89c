"""Known nodes and joint distributions of several nodes, against all labellings."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.crf import graph

EDGES = np.array([[0, 1], [1, 2], [2, 3], [3, 0], [3, 4]])
I, C = 5, 3


@pytest.fixture(scope="module")
def scores() -> graph.Scores:
    rng = np.random.default_rng(0)
    return graph.Scores(rng.normal(size=(I, C)), rng.normal(size=(len(EDGES), C, C)), EDGES)


def every(scores) -> tuple[np.ndarray, np.ndarray]:
    """All labellings and their scores."""
    labels = np.array(list(itertools.product(range(C), repeat=I)))
    s = np.asarray(scores.node)[np.arange(I), labels].sum(axis=1)
    for e, (i, j) in enumerate(EDGES):
        s = s + np.asarray(scores.edge)[e, labels[:, i], labels[:, j]]
    return labels, s


def test_evidence_is_a_condition(scores):
    labels, s = every(scores)
    known, answer = np.array([True, False, True, False, False]), np.array([2, 9, 0, -1, 7])
    own = (labels[:, known] == answer[known]).all(axis=1)
    given = graph.clamp(scores, answer, known)
    np.testing.assert_allclose(graph.log_partition(given), np.logaddexp.reduce(s[own]), rtol=1e-12)
    p = np.exp(s[own] - np.logaddexp.reduce(s[own]))
    wanted = np.array([[p[labels[own, i] == c].sum() for c in range(C)] for i in range(I)])
    np.testing.assert_allclose(graph.marginals(given).node, wanted, atol=1e-12)


def test_nodes_may_have_labels_of_different_number(scores):
    labels, s = every(scores)
    counts = np.array([1, 2, 3, 2, 3])
    own = (labels < counts).all(axis=1)
    fewer = graph.constrain(scores, np.arange(C)[None] < counts[:, None])
    np.testing.assert_allclose(graph.log_partition(fewer), np.logaddexp.reduce(s[own]), rtol=1e-12)
    best, score = graph.argmax(fewer)
    np.testing.assert_array_equal(best, labels[own][s[own].argmax()])
    np.testing.assert_allclose(score, s[own].max(), rtol=1e-12)


@pytest.mark.parametrize("nodes", [(4, 1), pytest.param((0, 2, 4), marks=pytest.mark.slow), ()])
def test_joint_marginals_are_sums_over_the_other_nodes(scores, nodes):
    labels, s = every(scores)
    p = np.exp(s - np.logaddexp.reduce(s))
    wanted = np.zeros((C,) * len(nodes))
    for own, share in zip(labels, p):
        wanted[tuple(own[list(nodes)])] += share
    found = graph.joint_marginals(scores, nodes, plan=graph.plan(EDGES, I, C))
    np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.slow
def test_joint_marginals_have_the_gradient_of_the_table(scores):
    of_joint = lambda node: graph.joint_marginals(scores._replace(node=node), (0, 2))[1, 2]
    labels, _ = every(scores)

    def of_table(node):
        s = node[np.arange(I), labels].sum(axis=1)
        for e, (i, j) in enumerate(EDGES):
            s = s + scores.edge[e][labels[:, i], labels[:, j]]
        return jax.nn.softmax(s)[(labels[:, 0] == 1) & (labels[:, 2] == 2)].sum()

    node = jnp.asarray(scores.node)
    np.testing.assert_allclose(
        jax.jit(jax.grad(of_joint))(node), jax.grad(of_table)(node), rtol=1e-9, atol=1e-12
    )


def test_where_everything_is_forbidden_and_wrong_arguments(scores):
    none = scores._replace(node=np.full((I, C), -np.inf))
    np.testing.assert_array_equal(graph.joint_marginals(none, (0,)), 0)
    with pytest.raises(ValueError, match=r"nodes must be different numbers of 0 \.\. 4"):
        graph.joint_marginals(scores, (0, 5))
    with pytest.raises(ValueError, match="nodes must be different"):
        graph.joint_marginals(scores, (1, 1))
    with pytest.raises(AssertionError, match=r"known must be bool \[I\]"):
        graph.clamp(scores, np.zeros(I, int), np.zeros(I))
