"""Chains in float32 over the whole range of scores, against float64 in logarithms.

Values to 1e-5 relative, marginals to 1e-4, and nothing that is not a number.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.crf import chain
from rntn_jax.crf.chain import Scores, per_step_edges
from rntn_jax.crf.chain.shared_edges import MAX_LOG_RANGE
from rntn_jax.crf.chain.shared_edges import run as run_shared


def reference(node, edge, mask) -> tuple[np.ndarray, np.ndarray]:
    """``ln Z [B]`` and node marginals ``[B, T, C]`` in NumPy, float64, logarithms normalised."""
    node, edge = np.asarray(node, np.float64), np.asarray(edge, np.float64)
    rows, _, classes = node.shape
    log_z, marginals = np.zeros(rows), np.zeros(node.shape)

    def log_sum(x, axis):
        top = x.max(axis=axis, keepdims=True)
        top = np.where(np.isfinite(top), top, 0)
        with np.errstate(divide="ignore"):
            return np.log(np.exp(x - top).sum(axis=axis)) + top.squeeze(axis)

    def into(row, t):
        return edge if edge.ndim == 2 else edge[row, t - 1]

    for row in range(rows):
        real = np.flatnonzero(mask[row])
        if not len(real):
            continue
        states, total = [], 0.0
        for k, t in enumerate(real):
            a = node[row, t] + (log_sum(states[-1][:, None] + into(row, t), 0) if k else 0)
            top = a.max()
            if top == -np.inf:
                break
            total += top
            states.append(a - top)
        else:
            log_z[row] = total + log_sum(states[-1], 0)
            to_end = np.zeros(classes)
            for k in range(len(real))[::-1]:
                p = np.exp(states[k] + to_end - (states[k] + to_end).max())
                marginals[row, real[k]] = p / p.sum()
                if k:
                    t = real[k]
                    to_end = log_sum(into(row, t) + (node[row, t] + to_end)[None], 1)
                    to_end -= to_end.max()
            continue
        log_z[row] = -np.inf
    return log_z, marginals


def bio(classes: int) -> np.ndarray:
    """Edge scores 0, and -inf into an inside tag (odd labels) from anything but its own chunk."""
    edge = np.zeros((classes, classes))
    for inside in range(2, classes, 2):
        edge[:, inside] = -np.inf
        edge[[inside - 1, inside], inside] = 0
    return edge


def case(name: str, shared: bool) -> tuple[Any, Any, Any]:
    """Node scores, edge scores and mask of a case, in float32."""
    rng = np.random.default_rng(sum(map(ord, name)))
    rows, length, classes = 3, 200, 9
    node, edge = 2 * rng.normal(size=(rows, length, classes)), rng.normal(size=(classes, classes))
    mask = np.ones((rows, length), bool)
    kind, _, scale = name.partition(" ")
    if kind == "nodes":
        node *= float(scale) / 2
    elif kind == "edges":
        edge *= float(scale)
    elif kind == "both":
        node, edge = node * float(scale) / 2, edge * float(scale)
    elif kind == "bio":
        node, edge = node * float(scale) / 2, edge + bio(classes)
    elif kind == "shifted":
        node += float(scale)
    elif kind == "clamped":
        node[:, 77, 1:] = -np.inf
    elif kind == "holes":
        mask = rng.random((rows, length)) < 0.5
        mask[1] = False
        node[~mask] = np.nan
    elif kind == "impossible":
        node[1, 50] = -np.inf
        edge += bio(classes)
    elif kind == "revived":  # two chains that do not meet; the one far behind is all that can end
        edge[:4, 4:], edge[4:, :4] = float(scale), float(scale)
        node[:, 3, 4:] -= 300
        node[:, 190, :4] -= 600
    else:
        raise AssertionError(name)
    if not shared:
        noise = rng.normal(size=(rows, length - 1, classes, classes))
        edge = edge + noise if kind != "edges" else edge * noise
    return node.astype(np.float32), edge.astype(np.float32), mask


CASES = ["nodes 2", "nodes 100", "nodes 1e4", "edges 30", "edges 100", "edges 1e3", "edges 1e4"]
CASES += ["both 1e2", "both 1e4", "bio 2", "bio 20", "bio 100", "bio 1e4", "shifted -1e4"]
CASES += ["shifted 1e4", "clamped", "holes", "impossible", "revived -200", "revived -inf"]


@jax.jit
def run(scores):
    """Value and marginals; one program for all cases of a shape."""
    return chain.log_partition(scores), chain.marginals(scores)


def check(node, edge, mask, scores, *, tolerance=1e-4):
    """Value and marginals of the chain against the reference."""
    log_z, of_nodes = reference(node, edge, mask)
    value, probabilities = run(scores)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, log_z, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(probabilities.node, of_nodes, atol=tolerance)
    assert np.isfinite(probabilities.edge).all()
    real = (mask.sum(1) > 0) & (log_z > -np.inf)
    edges = (mask.sum(1) - 1)[real].sum()
    np.testing.assert_allclose(np.asarray(probabilities.edge, np.float64).sum(), edges, rtol=1e-4)


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_battery(name, shared):
    node, edge, mask = case(name, shared)
    check(node, edge, mask, Scores(node, edge, mask=mask))


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("shared", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_everything_else_is_finite_too(shared):
    """Best labellings, samples, entropies and second order on the hard cases."""

    @jax.jit
    def queries(scores):
        def trained(parts):
            h = chain.entropy(parts._replace(mask=scores.mask))
            return jnp.where(jnp.isfinite(h), h, 0).sum()

        labels, best = chain.argmax(scores)
        drawn = chain.sample(jax.random.key(0), scores, 2)
        return (
            labels,
            best,
            drawn,
            chain.score(scores, drawn[0]),
            jax.grad(trained)(scores._replace(mask=None)),
        )

    for name in ("both 1e2", "bio 100", "revived -inf", "impossible", "holes", "edges 1e4"):
        node, edge, mask = case(name, shared)
        labels, best, drawn, worth, gradient = queries(Scores(node, edge, mask=mask))
        assert labels.shape == mask.shape and drawn.shape == (2, *mask.shape)
        possible = reference(node, edge, mask)[0] > -np.inf
        assert np.isfinite(np.asarray(best)[possible]).all()
        assert np.all(np.asarray(best)[~possible] == -np.inf)
        best, worth = np.asarray(best)[possible], np.asarray(worth)[possible]
        assert np.all(worth <= best + 1e-6 * np.abs(best) + 1e-2)
        assert np.isfinite(worth).all()  # never over a forbidden transition
        for leaf in (gradient.node, gradient.edge):
            assert np.isfinite(leaf).all(), name


@pytest.mark.usefixtures("float32")
@pytest.mark.slow
def test_a_hundred_thousand_steps():
    rng = np.random.default_rng(0)
    node = (2 * rng.normal(size=(1, 100_000, 4))).astype(np.float32)
    edge = rng.normal(size=(4, 4)).astype(np.float32)
    mask = np.ones((1, 100_000), bool)
    check(node, edge, mask, Scores(node, edge, mask=mask), tolerance=1e-5)


@pytest.mark.usefixtures("float32")
def test_parallel_form_is_as_exact():

    @jax.jit
    def of_parallel(scores):
        p = chain.marginals(scores, method="parallel")
        return chain.log_partition(scores, method="parallel"), p.node

    for name in ("nodes 100", "both 1e2", "bio 100", "clamped", "holes", "revived -200"):
        node, edge, mask = case(name, True)
        node, mask = node[:, :99], mask[:, :99]
        log_z, of_nodes = of_parallel(Scores(node, edge, mask=mask))
        want, want_nodes = reference(node, edge, mask)
        np.testing.assert_allclose(log_z, want, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(of_nodes, want_nodes, atol=1e-4)


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("shared", [True, False])
def test_random_small_problems(shared):
    """Integer scores of all scales, a third of everything forbidden, many ways to go wrong."""
    paths, sweep = set(), jax.jit(run_shared if shared else per_step_edges.run)
    shape = (4, 4) if shared else (8, 11, 4, 4)
    for seed in range(150):
        rng = np.random.default_rng(seed)
        of_nodes, of_edges = 10.0 ** rng.uniform(0, 4, 2)
        node = np.round(of_nodes * rng.normal(size=(8, 12, 4))).astype(np.float32)
        edge = np.round(of_edges * rng.normal(size=shape)).astype(np.float32)
        if seed % 2:
            edge[rng.random(shape) < (0.35 if shared else 0.15)] = -np.inf
        if seed % 3 == 0:
            node[rng.random(node.shape) < 0.3] = -np.inf
        mask = np.ones((8, 12), bool)
        want, want_node = reference(node, edge, mask)
        got, probabilities = run(Scores(node, edge, mask=mask))
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5, err_msg=str(seed))
        np.testing.assert_allclose(probabilities.node, want_node, atol=1e-3, err_msg=str(seed))
        narrow = np.isfinite(edge).all() and np.ptp(edge, axis=-2).max() <= MAX_LOG_RANGE
        paths.add((bool(narrow), bool(sweep(node, edge, mask)[1].products)))
    if shared:  # certified beforehand, certified on the way, and neither
        assert paths == {(True, True), (False, True), (False, False)}
    else:
        assert {products for _, products in paths} == {True, False}


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("shared", [True, False])
def test_chains_that_nearly_decouple(shared):
    """Two pairs of labels that hardly meet, at the limits of what products can do; with holes."""
    for seed in range(400):
        rng = np.random.default_rng(seed)
        apart = np.kron(1 - np.eye(2), np.ones((2, 2))) * rng.choice([10, 20, 40])
        edge = rng.normal(size=(4, 4) if shared else (8, 11, 4, 4)) - apart
        node = rng.choice([20, 40, 80, 150]) * rng.normal(size=(8, 12, 4))
        node[:, 2, :2] -= rng.uniform(0, 120)
        node[:, -2, 2:] -= rng.uniform(0, 200)
        mask = rng.random((8, 12)) < 0.85
        node, edge = node.astype(np.float32), edge.astype(np.float32)
        want, want_node = reference(node, edge, mask)
        got, probabilities = run(Scores(node, edge, mask=mask))
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5, err_msg=str(seed))
        np.testing.assert_allclose(probabilities.node, want_node, atol=1e-4, err_msg=str(seed))
        assert np.isfinite(probabilities.edge).all(), seed


@pytest.mark.usefixtures("float32")
def test_entropy_and_divergence_are_no_differences_of_large_sums():
    """``T ln C`` where all labellings are alike, whatever the scores have in common."""
    for length, edge in ((1000, jnp.full((3, 3), 1e4)), (100_000, jnp.full((3, 3), -1e4))):
        alike = Scores(jnp.zeros((1, length, 3)), edge)
        np.testing.assert_allclose(chain.entropy(alike), [length * np.log(3)], rtol=2e-6)
        np.testing.assert_allclose(chain.kl(alike, alike._replace(edge=-edge)), [0.0], atol=1e-6)
    own = Scores(jnp.zeros((1, 1000, 3)), jnp.full((1, 999, 3, 3), 1e4))
    np.testing.assert_allclose(chain.entropy(own), [1000 * np.log(3)], rtol=2e-6)
    low = Scores(jnp.zeros((1, 30, 3), jnp.bfloat16), jnp.full((3, 3), 50, jnp.bfloat16))
    np.testing.assert_allclose(chain.entropy(low), [30 * np.log(3)], rtol=2e-6)
    # Independent positions, so that the right value is a sum; q nearly p, all scores near 10,000.
    rng = np.random.default_rng(0)
    node = (1e4 + rng.normal(size=(1, 1000, 3))).astype(np.float32)
    near = (node + rng.choice([-2, 0, 3], node.shape) / 1024).astype(np.float32)
    log_p, log_q = (np.float64(x) - 1e4 for x in (node, near))
    log_p, log_q = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (log_p, log_q))
    want = (np.exp(log_p) * (log_p - log_q)).sum()
    found = chain.kl(Scores(node, jnp.full((3, 3), 1e4)), Scores(near, jnp.full((3, 3), 1e4)))
    np.testing.assert_allclose(found, [want], rtol=1e-3)  # 1e-3 of 1e-6 of the scores' sum


@pytest.mark.usefixtures("float32")
def test_second_order_where_the_result_is_small():
    """The gradient of the entropy where all is alike is 0, and stays 0 at scores of 10,000."""
    node, edge = jnp.zeros((1, 200, 3)), jnp.full((3, 3), 1e4)
    d_node, d_edge = jax.grad(lambda n, e: chain.entropy(Scores(n, e)).sum(), (0, 1))(node, edge)
    np.testing.assert_allclose(d_node, 0, atol=1e-6)
    np.testing.assert_allclose(d_edge, 0, atol=1e-4)
