"""`rntn_jax.crf.forest`: every query against source 004, brute force and the chain."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax import crf
from rntn_jax.crf import chain, forest
from rntn_jax.crf.forest import Scores
from rntn_jax.crf.forest import scores as forest_scores
from rntn_jax.crf.forest import sweep as forest_sweep
from tests.helpers import assert_close, check_orders, check_rule, enable_x64
from tests.oracles import crf_numpy as eq

query = SimpleNamespace(
    **{
        name: jax.jit(
            getattr(forest, name),
            static_argnames={"sample": "num_samples", "top_k": "k"}.get(name),
        )
        for name in forest.__all__
        if name not in ("Scores", "Plan", "plan")
    }
)
NODES, CLASSES = 8, 3


def random_parents(rng, n: int, kind: str) -> np.ndarray:
    """Parents of a random forest, its nodes in any order."""
    if kind == "chain":
        parent = np.arange(n) - 1
    elif kind == "star":
        parent = np.append(-1, np.zeros(n - 1, int))
    else:
        parent = np.array([-1] + [rng.integers(0, i) for i in range(1, n)])
        parent[rng.random(n) < (0.3 if kind == "forest" else 0)] = -1
    order = rng.permutation(n)
    shuffled = np.empty(n, int)
    shuffled[order] = np.where(parent < 0, -1, order[parent])
    return shuffled


def planned(parent, mask=None) -> forest.Plan:
    """Plans of one shape, so that one program serves them all."""
    return forest.plan(parent, mask, lanes=2, steps=NODES, trees=NODES)


def random_scores(seed, kind="forest", *, shared=False, forbid=0.0, masked=True) -> Scores:
    """Scores of 8 nodes with 3 labels, that share of entries forbidden."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        values = rng.normal(size=shape)
        return jnp.asarray(np.where(rng.random(shape) < forbid, -np.inf, values))

    edge = (CLASSES, CLASSES) if shared else (NODES, CLASSES, CLASSES)
    parent = random_parents(rng, NODES, kind)
    mask = rng.random(NODES) < (0.85 if masked else 1)
    return Scores(draw(NODES, CLASSES), draw(*edge), planned(parent), jnp.asarray(mask))


def as_models(scores: Scores):
    """Each tree as source 004 writes it, its nodes, and which nodes' edges it has."""
    tree = scores.parent
    for t in range(NODES):
        real = np.flatnonzero((tree.tree == t) & np.asarray(scores.mask)).tolist()
        into = [n for n in real if tree.parent[n] in real]
        edge = np.asarray(scores.edge)
        parts = np.array([edge if edge.ndim == 2 else edge[n] for n in into])
        edges = [(real.index(tree.parent[n]), real.index(n)) for n in into]
        model = eq.Model(np.asarray(scores.node)[real], parts.reshape(-1, CLASSES, CLASSES), edges)
        yield t, model, real, into


@pytest.mark.parametrize("forbid", [0.0, 0.2])
@pytest.mark.parametrize("shared", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["forest", "tree", "chain", "star"])
def test_every_query_is_that_of_enumeration(kind, shared, forbid):
    """The model marginals theorem among them: gradients are marginals, in every entry."""
    scores = random_scores(len(kind), kind, shared=shared, forbid=forbid)
    other = random_scores(50, kind, shared=shared)._replace(parent=scores.parent, mask=scores.mask)
    allowed = jnp.asarray(np.random.default_rng(1).random((NODES, CLASSES)) < 0.8)
    log_z, of_allowed = query.log_partition(scores), query.log_partition(scores, allowed)
    probabilities = query.marginals(scores)
    best, best_score = query.argmax(scores)
    entropy, kl = query.entropy(scores), query.kl(scores, other)
    mean = query.expected_score(scores, other)
    others = {t: model for t, model, _, _ in as_models(other)}
    edge_sum = np.zeros(np.shape(scores.edge))
    for t, model, real, into in as_models(scores):
        listed, p, z = eq.all_labellings(model), eq.p_s(model), eq.ln_z(model)
        worth = eq.s(model, listed)
        np.testing.assert_allclose(log_z[t], z, rtol=1e-12, atol=1e-12)
        inside = np.asarray(allowed)[real][np.arange(len(real)), listed].all(axis=1)
        want = np.logaddexp.reduce(worth[inside], initial=-np.inf)
        np.testing.assert_allclose(of_allowed[t], want, rtol=1e-12, atol=1e-12)
        of_nodes, of_edges = eq.marginals(model)
        np.testing.assert_allclose(probabilities.node[np.array(real, int)], of_nodes, atol=1e-12)
        if shared:
            edge_sum += of_edges.sum(0)
        else:
            edge_sum[into] = of_edges
        np.testing.assert_allclose(best_score[t], worth.max(), rtol=1e-12, atol=1e-12)
        if z == -np.inf:
            continue
        assert np.array_equal(best[np.array(real, int)], listed[worth.argmax()])
        own = p > 0
        p, values = p[own], eq.s(others[t], listed)[own]
        np.testing.assert_allclose(mean[t], p @ values, atol=1e-11)
        np.testing.assert_allclose(entropy[t], -p @ np.log(p), atol=1e-11)
        np.testing.assert_allclose(kl[t], p @ (np.log(p) - values) + eq.ln_z(others[t]), atol=1e-11)
    np.testing.assert_allclose(probabilities.edge, edge_sum, atol=1e-12)
    assert np.all(probabilities.node[~scores.mask] == 0)


def test_edge_scores_that_all_nodes_share():
    scores = random_scores(1, shared=True, forbid=0.1)
    own = scores._replace(edge=jnp.tile(scores.edge[None], (NODES, 1, 1)))
    np.testing.assert_allclose(query.log_partition(scores), query.log_partition(own), rtol=1e-13)
    ours, theirs = query.marginals(scores), query.marginals(own)
    assert_close((ours.node, ours.edge), (theirs.node, theirs.edge.sum(0)), 1e-12)


def test_gradient_is_marginals_less_indicators():
    scores = random_scores(2, "tree", masked=False)
    labels = jnp.asarray(np.random.default_rng(0).integers(0, CLASSES, NODES))
    loss = lambda s: -forest.log_prob(s._replace(parent=scores.parent, mask=None), labels).sum()
    floats = scores._replace(parent=None, mask=None)
    value, gradient = jax.jit(jax.value_and_grad(loss))(floats)
    _, model, real, into = next(as_models(scores))
    gold = np.asarray(labels)[real]
    want_node, want_edge = eq.gradients(model, gold)
    np.testing.assert_allclose(value, eq.loss(model, gold), rtol=1e-12)
    np.testing.assert_allclose(gradient.node[np.array(real)], want_node, atol=1e-12)
    np.testing.assert_allclose(gradient.edge[np.array(into)], want_edge, atol=1e-12)
    wrong = query.score(scores, labels.at[real[0]].set(CLASSES))
    assert np.isnan(wrong[0]) and np.all(wrong[1:] == 0)


@pytest.mark.parametrize("shared", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_rule(shared):
    """Value, gradient and second order are those of autodiff of the upward sweep."""
    scores = random_scores(3, shared=shared, forbid=0.1)
    check_orders(*_rule_and_reference(scores), (scores.node, scores.edge))


@pytest.mark.slow
def test_rule_under_transformations():
    scores = random_scores(3)
    check_rule(*_rule_and_reference(scores), (scores.node, scores.edge))


def _rule_and_reference(scores):
    rest = scores.mask, scores.parent
    return (
        lambda node, edge: forest_sweep.log_partition(node, edge, *rest),
        lambda node, edge: forest_sweep.reference(node, edge, *rest),
    )


def test_chains_are_chains():
    """Trees that are rows of a chain CRF, all its queries."""
    rng = np.random.default_rng(4)
    rows, length = 3, 5
    of_chain = chain.Scores(
        jnp.asarray(rng.normal(size=(rows, length, CLASSES))),
        jnp.asarray(rng.normal(size=(rows, length - 1, CLASSES, CLASSES))),
    )
    parent = np.arange(rows * length) - 1
    parent[::length] = -1
    edge = jnp.pad(of_chain.edge, ((0, 0), (1, 0), (0, 0), (0, 0)), constant_values=jnp.nan)
    scores = Scores(
        of_chain.node.reshape(-1, CLASSES), edge.reshape(-1, CLASSES, CLASSES), forest.plan(parent)
    )
    assert_close(query.log_partition(scores), jax.jit(chain.log_partition)(of_chain), 1e-12)
    ours, theirs = query.marginals(scores), jax.jit(chain.marginals)(of_chain)
    assert_close(ours.node.reshape(theirs.node.shape), theirs.node, 1e-12)
    of_edges = ours.edge.reshape(edge.shape)
    assert_close(of_edges[:, 1:], theirs.edge, 1e-12)
    assert np.all(of_edges[:, 0] == 0)


def test_entropy_can_be_trained():
    scores = random_scores(5, "tree", masked=False)
    order = [int(n) for n in scores.parent.nodes.ravel() if n < NODES][::-1]  # parents first
    pairs = [(int(scores.parent.parent[n]), n) for n in order[1:]]

    def of_forest(node, edge):
        return forest.entropy(scores._replace(node=node, edge=edge)).sum()

    def of_table(node, edge):
        table = crf.enumerate.table(node, edge[jnp.array([n for _, n in pairs])], pairs)
        p = jax.nn.softmax(table.reshape(-1))
        return -(p * jnp.log(p)).sum()

    both = jax.jit(
        lambda n, e: [jax.value_and_grad(f, (0, 1))(n, e) for f in (of_forest, of_table)]
    )
    assert_close(*both(scores.node, scores.edge))


def test_samples_have_the_probabilities():
    scores = random_scores(6, "forest", forbid=0.1)
    draws = np.asarray(query.sample(jax.random.key(0), scores, num_samples=20_000))
    assert np.all(draws[:, ~scores.mask] == 0)
    for t, model, real, _ in as_models(scores):
        if eq.ln_z(model) == -np.inf:
            continue
        codes = draws[:, real] @ CLASSES ** np.arange(len(real), dtype=int)[::-1]
        p = eq.p_s(model)
        found = np.bincount(codes, minlength=len(p)) / 20_000
        assert np.all(np.abs(found - p) <= 5 * np.sqrt(p * (1 - p) / 20_000)), t


def test_masked_entries_and_roots_may_hold_anything():
    scores = random_scores(7, "forest")
    mask = np.asarray(scores.mask)
    on = np.asarray(forest_sweep.linked(jax.tree.map(jnp.asarray, scores.parent), scores.mask))
    dirty = scores._replace(
        node=jnp.where(mask[:, None], scores.node, jnp.nan),
        edge=jnp.where(on[:, None, None], scores.edge, jnp.nan),
    )
    for name in ("log_partition", "marginals", "argmax", "entropy"):
        ask = getattr(query, name)
        assert_close(ask(dirty)[:2], ask(scores)[:2], 1e-14)
    # Left out of the plan, or masked: the same, but that the former are no trees.
    parent = np.where(scores.parent.parent < NODES, scores.parent.parent, -1)
    left_out = scores._replace(parent=planned(parent, mask), mask=None)
    assert_close(query.marginals(left_out).node, query.marginals(scores).node, 1e-14)
    total = query.log_partition(left_out).sum()
    np.testing.assert_allclose(total, query.log_partition(scores).sum(), rtol=1e-14)


def test_impossible_trees_leave_the_others_alone():
    scores = random_scores(8, "forest", masked=False)._replace(mask=None)
    assert isinstance(scores.parent, forest.Plan)
    first = scores.parent.tree == 0
    bad = scores._replace(node=scores.node.at[np.flatnonzero(first)[-1]].set(-jnp.inf))

    def total(node, edge):
        nats = forest.log_partition(scores._replace(node=node, edge=edge))
        entropies = forest.entropy(scores._replace(node=node, edge=edge))
        return jnp.where(nats > -jnp.inf, nats + entropies, 0).sum(), nats

    run = jax.jit(jax.grad(total, (0, 1), has_aux=True))
    (d_node, d_edge), nats = run(bad.node, bad.edge)
    (want_node, want_edge), _ = run(scores.node, scores.edge)
    assert nats[0] == -np.inf and np.isfinite(nats[1:]).all()
    assert np.isfinite(d_node).all() and np.isfinite(d_edge).all()
    assert_close((d_node[~first], d_edge[~first]), (want_node[~first], want_edge[~first]), 1e-13)
    assert np.all(d_node[first] == 0)


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize(
    ("kind", "scale"),
    [
        ("tree", 1.0),
        ("chain", 1e3),
        pytest.param("tree", 1e3, marks=pytest.mark.slow),
        pytest.param("chain", 1.0, marks=pytest.mark.slow),
    ],
)
def test_a_hundred_thousand_nodes(kind, scale):
    """float32 against the same sweep in float64: values to 1e-5, marginals to 1e-4."""
    n, rng = 100_000, np.random.default_rng(0)
    if kind == "tree":
        parent = np.append(-1, (rng.random(n - 1) * np.arange(1, n)).astype(int))
    else:
        parent = np.arange(n) - 1
    plan = forest.plan(parent)
    node, edge = scale * rng.normal(size=(n, 3)), scale * rng.normal(size=(3, 3))
    node, edge = node.astype(np.float32), edge.astype(np.float32)

    def run(node, edge):
        scores = Scores(jnp.asarray(node), jnp.asarray(edge), plan)
        return query.log_partition(scores), query.marginals(scores)

    value, p = run(node, edge)
    with enable_x64(True):
        want, exact = run(node.astype(np.float64), edge.astype(np.float64))
    np.testing.assert_allclose(value, want, rtol=1e-5)
    np.testing.assert_allclose(p.node, exact.node, atol=1e-4)
    np.testing.assert_allclose(p.edge.sum(), n - 1, rtol=1e-4)


def test_one_program_serves_all_forests_of_a_shape():
    traced = []

    @jax.jit
    def run(scores):
        traced.append(1)
        return forest.log_partition(scores)

    for seed, kind in enumerate(("forest", "tree", "chain", "star")):
        run(random_scores(seed, kind))
    assert len(traced) == 1


def test_plans_fit_the_forest():
    n = 1000
    for parent, steps, lanes in (
        (np.arange(n) - 1, 1000, 1),
        (np.append(-1, np.zeros(n - 1, int)), 5, 256),
    ):
        plan = forest.plan(parent)
        assert plan.nodes.shape[1] == lanes and steps <= len(plan.nodes) <= steps * 9 / 8
        done = np.append(plan.slot // lanes, len(plan.nodes))
        assert np.all(done[:-1] < done[plan.parent])
    empty = Scores(jnp.zeros((0, 2)), jnp.zeros((0, 2, 2)), np.zeros(0, int))
    assert forest.log_partition(empty).shape == (0,)
    assert forest.marginals(empty).edge.shape == (0, 2, 2)


@pytest.mark.parametrize(
    ("parent", "message"),
    [
        ([1, 0], "its own ancestor"),
        ([0], "its own ancestor"),
        ([-1, 2], "node 1 has parent 2"),
        ([-2, 0], "node 0 has parent -2"),
        ([0.5], "must be integers"),
        ([[-1]], "must be integers"),
    ],
)
def test_what_is_no_forest_is_refused(parent, message):
    with pytest.raises(ValueError, match=message):
        forest.plan(parent)


def test_wrong_arguments_are_refused():
    scores = random_scores(9)
    for kwargs in ({"lanes": 0}, {"lanes": 1, "steps": 2}, {"trees": 0}):
        with pytest.raises(ValueError):
            forest.plan([-1, 0, 0], **kwargs)
    with pytest.raises(ValueError, match="mask must be bool"):
        forest.plan([-1], np.ones(2, bool))
    with pytest.raises(ValueError, match="outside of jit"):
        query.log_partition(scores._replace(parent=jnp.zeros(NODES, int)))
    for wrong in (
        scores._replace(node=scores.node[:-1]),
        scores._replace(edge=scores.edge[:, :2]),
        scores._replace(node=scores.node.astype(int)),
        scores._replace(mask=jnp.ones(NODES)),
    ):
        with pytest.raises(AssertionError):
            forest.log_partition(wrong)


def test_dtypes():
    scores = random_scores(10)
    low = scores._replace(
        node=scores.node.astype(jnp.bfloat16), edge=scores.edge.astype(jnp.bfloat16)
    )
    assert query.log_partition(low).dtype == jnp.float32
    assert query.marginals(low).edge.dtype == jnp.bfloat16


@pytest.mark.usefixtures("float32")
def test_entropy_is_no_difference_of_large_sums():
    for length in (200, 20_000):
        plan = forest.plan(np.arange(length) - 1)
        alike = Scores(jnp.zeros((length, 3)), jnp.full((3, 3), 1e4), plan)
        np.testing.assert_allclose(forest.entropy(alike), [length * np.log(3)], rtol=2e-6)
        np.testing.assert_allclose(forest.kl(alike, alike._replace(edge=-alike.edge)), [0.0])
    low = Scores(jnp.zeros((30, 3), jnp.bfloat16), jnp.full((3, 3), 50, jnp.bfloat16), plan)
    low = low._replace(parent=np.arange(30) - 1)
    np.testing.assert_allclose(forest.entropy(low), [30 * np.log(3)], rtol=2e-6)


def test_a_plan_is_made_once_for_equal_parents():
    scores = Scores(jnp.zeros((3, 2)), jnp.zeros((2, 2)), np.array([-1, 0, 0]))
    again = scores._replace(parent=[-1, 0, 0])
    first, second = (forest_scores.planned(x).parent for x in (scores, again))
    assert isinstance(first, forest.Plan) and isinstance(second, forest.Plan)
    assert first.nodes is second.nodes
    with pytest.raises(ValueError, match="read-only"):
        first.nodes[:] = 0
