"""Gibbs, annealing, contrastive divergence, pseudo-likelihood, and good labellings."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.crf import graph
from rntn_jax.crf.graph.scores import complete
from tests.crf.graph.cases import CLASSES, NODES, as_model, random_scores
from tests.crf.graph.test_variational import planned, tree_scores
from tests.helpers import assert_close, check_orders
from tests.oracles import crf_numpy as eq

gibbs = jax.jit(graph.gibbs, static_argnames=("num_sweeps", "keep"))


@pytest.mark.parametrize("classes", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_gibbs_has_the_marginals(classes):
    scores = random_scores(1, classes=classes, forbid=0.05 if classes == 3 else 0)
    model, nodes, _ = as_model(scores)
    listed = eq.all_labellings(model)
    start = np.zeros((4000, NODES), int)
    start[:, nodes] = listed[eq.s(model, listed).argmax()]  # of positive probability
    draws = gibbs(jax.random.key(0), scores, start, num_sweeps=50, plan=planned(scores))
    found = (np.asarray(draws)[:, nodes, None] == np.arange(classes)).mean(0)
    p = eq.marginals(model)[0]
    assert np.all(np.abs(found - p) <= 5 * np.sqrt(p * (1 - p) / 4000) + 1e-9)
    assert np.all(np.delete(draws, nodes, axis=1) == 0)
    kept = gibbs(
        jax.random.key(0), scores, draws[:2], num_sweeps=3, plan=planned(scores), keep=True
    )
    assert kept.shape == (3, 2, NODES)


def test_annealed_importance_sampling_is_within_its_error():
    run = jax.jit(graph.annealed_log_partition, static_argnames=("num_steps", "num_chains"))
    deviations = []
    for seed in range(8):
        scores = random_scores(seed)
        found = run(
            jax.random.key(seed), scores, num_steps=100, num_chains=256, plan=planned(scores)
        )
        exact = eq.ln_z(as_model(scores)[0])
        assert found.std_error < 0.1 and abs(found.log_partition - exact) < 4 * found.std_error
        deviations.append(float((found.log_partition - exact) / found.std_error))
    assert np.std(deviations) < 2 and abs(np.mean(deviations)) < 1.5


@pytest.mark.parametrize("forbid", [0.0, 0.05])
def test_pseudo_likelihood(forbid):
    """The value as it is defined; its rule is autodiff's, to second order."""
    scores = random_scores(2, forbid=forbid)
    plan = jax.tree.map(jnp.asarray, planned(scores))
    model, nodes, on = as_model(scores)
    listed, worth = eq.all_labellings(model), eq.s(model, eq.all_labellings(model))
    gold = listed[worth.argmax()]
    want = 0.0
    for k in range(len(nodes)):
        same = np.delete(listed == gold, k, axis=1).all(axis=1)
        want += worth.max() - np.logaddexp.reduce(worth[same])
    labels = jnp.zeros(NODES, int).at[nodes].set(gold)

    def rule(node, edge):
        moved = scores._replace(node=node, edge=edge)
        return graph.pseudo_log_likelihood(moved, labels, plan=plan)

    def plain(node, edge):
        """Every node's scores given the others, written down from the edges."""
        parts = complete(scores._replace(node=node, edge=edge))
        rows = [parts.node[i] for i in range(NODES)]
        for e in on:
            i, j = (int(n) for n in scores.edges[e])
            rows[i] = rows[i] + parts.edge[e, :, labels[j]]
            rows[j] = rows[j] + parts.edge[e, labels[i], :]
        return sum(jax.nn.log_softmax(rows[i])[labels[i]] for i in nodes.tolist())

    np.testing.assert_allclose(jax.jit(rule)(scores.node, scores.edge), want, rtol=1e-12)
    parts = complete(scores)
    if forbid:
        gradient = jax.jit(jax.grad(rule, (0, 1)))(parts.node, parts.edge)
        assert all(np.isfinite(x).all() for x in gradient)
    else:
        check_orders(rule, plain, (parts.node, parts.edge))
    wrong = labels.at[nodes[0]].set(CLASSES)
    assert np.isnan(graph.pseudo_log_likelihood(scores, wrong, plan=plan))


@pytest.mark.slow
def test_contrastive_divergence_comes_to_the_exact_gradient():
    scores = random_scores(3, scale=0.5)
    plan = jax.tree.map(jnp.asarray, planned(scores))
    labels = jnp.asarray(np.random.default_rng(0).integers(0, CLASSES, NODES))
    chains = jnp.tile(labels[None], (20_000, 1))

    @jax.jit
    def sampled(node, edge):
        def loss(node, edge):
            moved = scores._replace(node=node, edge=edge)
            return graph.contrastive_divergence(
                jax.random.key(0), moved, labels, chains=chains, num_sweeps=20, plan=plan
            )

        return jax.grad(loss, (0, 1), has_aux=True)(node, edge)

    (d_node, d_edge), after = sampled(scores.node, scores.edge)
    model, nodes, on = as_model(scores)
    want_node, want_edge = eq.gradients(model, np.asarray(labels)[nodes])
    np.testing.assert_allclose(d_node[nodes], want_node, atol=0.02)
    np.testing.assert_allclose(d_edge[on], want_edge, atol=0.02)
    assert after.shape == chains.shape


@pytest.mark.slow
def test_contrastive_divergence_learns_a_known_model():
    """Persistent chains recover the scores of a triangle from its own samples."""
    rng = np.random.default_rng(4)
    edges = np.array([(0, 1), (1, 2), (2, 0)])
    plan, true = graph.neighbours(edges, 3), jnp.asarray(rng.normal(size=(3, 2, 2)))
    data = graph.sample(jax.random.key(0), graph.Scores(jnp.zeros((3, 2)), true, edges), 2000)
    want = graph.marginals(graph.Scores(jnp.zeros((3, 2)), true, edges)).edge

    @jax.jit
    def step(state, key):
        edge, chains = state
        scores = graph.Scores(jnp.zeros((3, 2)), edge, edges)

        def loss(edge):
            moved = scores._replace(edge=edge)
            of_data = jax.vmap(lambda y: graph.score(moved, y))(data).mean()
            surrogate, now = graph.contrastive_divergence(
                key, moved, data[0], chains=chains, plan=plan
            )
            return surrogate + graph.score(moved, data[0]) - of_data, now

        gradient, now = jax.grad(loss, has_aux=True)(edge)
        return (edge - 0.5 * gradient, now), None

    state = jnp.zeros((3, 2, 2)), data[:1000]
    (edge, _), _ = jax.lax.scan(step, state, jax.random.split(jax.random.key(1), 300))
    learned = graph.marginals(graph.Scores(jnp.zeros((3, 2)), edge, edges)).edge
    np.testing.assert_allclose(learned, want, atol=0.05)


def test_good_labellings():
    """Max-product is exact on trees; annealing finds the best, modes something no worse near by."""
    run = jax.jit(graph.argmax, static_argnames=("method", "num_sweeps"))
    for seed in range(4):
        scores = tree_scores(seed)
        model, _, _ = as_model(scores)
        labels, worth = run(scores, method="max_product", plan=planned(scores))
        np.testing.assert_allclose(worth, eq.s(model, eq.all_labellings(model)).max())
        scores = random_scores(seed)
        model, nodes, _ = as_model(scores)
        listed = eq.all_labellings(model)
        worths = eq.s(model, listed)
        for method in ("icm", "simulated_annealing", "max_product"):
            how = {"method": method, "plan": planned(scores), "key": jax.random.key(seed)}
            labels, worth = run(scores, num_sweeps=300, **how)
            near = (listed != np.asarray(labels)[nodes]).sum(1) <= 1
            np.testing.assert_allclose(worth, worths[near].max(), rtol=1e-12)
            if method == "simulated_annealing":
                np.testing.assert_allclose(worth, worths.max(), rtol=1e-12)


def test_masked_entries_may_hold_anything():
    scores = random_scores(7)
    _, nodes, on = as_model(scores)
    node = jnp.full_like(scores.node, jnp.nan).at[nodes].set(scores.node[nodes])
    edge = jnp.full_like(scores.edge, jnp.nan).at[on].set(scores.edge[on])
    dirty = scores._replace(node=node, edge=edge)
    plan, labels = planned(scores), jnp.zeros(NODES, int)

    def run(s):
        f = lambda n, e: graph.pseudo_log_likelihood(s._replace(node=n, edge=e), labels, plan=plan)
        return jax.value_and_grad(f, (0, 1))(s.node, s.edge)

    assert_close(jax.jit(lambda: run(dirty))(), jax.jit(lambda: run(scores))(), 1e-14)


def test_wrong_arguments_are_refused():
    scores = random_scores(0)
    for ask, message in (
        (lambda: graph.argmax(scores, method="guess"), "knows no method"),
        (lambda: graph.argmax(scores, method="simulated_annealing"), "needs a key"),
        (lambda: graph.sample(jax.random.key(0), scores, 1, method="x"), "knows no method"),
        (lambda: jax.jit(graph.pseudo_log_likelihood)(scores, np.zeros(NODES, int)), "outside"),
    ):
        with pytest.raises(ValueError, match=message):
            ask()
