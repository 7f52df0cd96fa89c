"""`rntn_jax.crf.graph`, exact: every query against source 004, brute force, forest and chain."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax import crf
from rntn_jax.crf import forest, graph
from rntn_jax.crf.graph import exact
from rntn_jax.crf.graph.order import eliminate, neighbours
from rntn_jax.crf.graph.scores import complete
from tests.crf.graph.cases import CLASSES, EDGES, NODES, SHAPE, as_model, random_scores
from tests.helpers import assert_close, check_orders, check_rule, enable_x64
from tests.oracles import crf_numpy as eq

NAMES = ("score", "log_partition", "marginals", "argmax", "entropy", "expected_score", "kl")
query = SimpleNamespace(**{name: jax.jit(getattr(graph, name)) for name in NAMES})
query.sample = jax.jit(graph.sample, static_argnames="num_samples")


def planned(scores) -> graph.Plan:
    """Plans of one shape, so that one program serves them all."""
    return graph.plan(scores.edges, NODES, CLASSES, edge_mask=scores.edge_mask, shape=SHAPE)


@pytest.mark.parametrize("forbid", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_every_query_is_that_of_enumeration(seed, forbid):
    """The model marginals theorem among them: gradients are marginals, in every entry."""
    scores = random_scores(seed, forbid=forbid)
    plan = planned(scores)
    allowed = jnp.asarray(np.random.default_rng(seed).random((NODES, CLASSES)) < 0.8)
    model, nodes, on = as_model(scores)
    listed, z = eq.all_labellings(model), eq.ln_z(model)
    worth = eq.s(model, listed)
    np.testing.assert_allclose(query.log_partition(scores, plan=plan), z, rtol=1e-12)
    inside = np.asarray(allowed)[nodes][np.arange(len(nodes)), listed].all(axis=1)
    want = np.logaddexp.reduce(worth[inside], initial=-np.inf)
    of_allowed = query.log_partition(scores, allowed, plan=plan)
    np.testing.assert_allclose(of_allowed, want, rtol=1e-12)
    probabilities = query.marginals(scores, plan=plan)
    of_nodes, of_edges = eq.marginals(model)
    want_node, want_edge = np.zeros((NODES, CLASSES)), np.zeros((EDGES, CLASSES, CLASSES))
    want_node[nodes], want_edge[on] = of_nodes, of_edges
    np.testing.assert_allclose(probabilities.node, want_node, atol=1e-12)
    np.testing.assert_allclose(probabilities.edge, want_edge, atol=1e-12)
    labels, best = query.argmax(scores, plan=plan)
    np.testing.assert_allclose(best, worth.max(), rtol=1e-12)
    assert np.array_equal(labels[nodes], listed[worth.argmax()])
    np.testing.assert_allclose(query.score(scores, labels), worth.max(), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("forbid", [0.0, 0.1])
def test_entropies_and_means_are_those_of_enumeration(forbid):
    scores, other = random_scores(1, forbid=forbid), random_scores(51)
    other = scores._replace(node=other.node, edge=other.edge)
    plan, (model, _, _) = planned(scores), as_model(scores)
    listed, p = eq.all_labellings(model), eq.p_s(model)
    own = p > 0
    p, values = p[own], eq.s(as_model(other)[0], listed)[own]
    np.testing.assert_allclose(query.expected_score(scores, other, plan=plan), p @ values)
    np.testing.assert_allclose(query.entropy(scores, plan=plan), -p @ np.log(p), atol=1e-11)
    divergence = p @ (np.log(p) - values) + eq.ln_z(as_model(other)[0])
    np.testing.assert_allclose(query.kl(scores, other, plan=plan), divergence, atol=1e-11)


def test_gradient_is_marginals_less_indicators():
    scores = random_scores(2)
    plan, (model, nodes, on) = planned(scores), as_model(scores)
    labels = jnp.asarray(np.random.default_rng(0).integers(0, CLASSES, NODES))

    def loss(node, edge):
        return -graph.log_prob(scores._replace(node=node, edge=edge), labels, plan=plan)

    value, (d_node, d_edge) = jax.jit(jax.value_and_grad(loss, (0, 1)))(scores.node, scores.edge)
    want_node, want_edge = eq.gradients(model, np.asarray(labels)[nodes])
    np.testing.assert_allclose(value, eq.loss(model, np.asarray(labels)[nodes]), rtol=1e-12)
    np.testing.assert_allclose(d_node[nodes], want_node, atol=1e-12)
    np.testing.assert_allclose(d_edge[on], want_edge, atol=1e-12)
    assert np.isnan(query.score(scores, labels.at[nodes[0]].set(CLASSES)))


def _rule_and_reference(scores):
    masks, plan = complete(scores)[3:], jax.tree.map(jnp.asarray, planned(scores))
    return (
        lambda node, edge: exact.log_partition(node, edge, *masks, plan),
        lambda node, edge: exact.reference(node, edge, *masks, plan),
    )


@pytest.mark.slow
def test_marginals_can_be_trained():
    """Second order, against the enumerated distribution."""
    scores = random_scores(3)
    plan, parts = planned(scores), complete(scores)
    on = np.flatnonzero(parts.edge_mask)
    pairs = np.asarray(scores.edges)[on].tolist()
    way = jnp.asarray(np.random.default_rng(0).normal(size=(NODES, CLASSES)))

    def of_graph(node, edge):
        moved = scores._replace(node=node, edge=edge)
        return (graph.marginals(moved, plan=plan).node * way).sum()

    def of_table(node, edge):
        node = jnp.where(parts.node_mask[:, None], node, 0)
        table = crf.enumerate.table(node, edge[on], pairs)
        p = [crf.enumerate.marginal(table, i) for i in range(NODES)]
        return (jnp.stack(p) * way * parts.node_mask[:, None]).sum()

    ours, theirs = (
        jax.jit(jax.value_and_grad(f, (0, 1)))(parts.node, parts.edge) for f in (of_graph, of_table)
    )
    assert_close(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("forbid", [0.0, 0.1])
def test_rule(forbid):
    """Value, gradient and second order are those of autodiff in logarithms."""
    scores = random_scores(3, forbid=forbid)
    parts = complete(scores)
    check_orders(*_rule_and_reference(scores), (parts.node, parts.edge))


@pytest.mark.slow
def test_rule_under_transformations():
    scores = random_scores(3)
    parts = complete(scores)
    check_rule(*_rule_and_reference(scores), (parts.node, parts.edge))


def test_products_and_logarithms_agree():
    """Widely spread scores are done in logarithms, others not; orders do not matter."""
    run = jax.jit(exact._run)
    for scale, products in ((1.0, True), (40.0, False)):
        scores = random_scores(4, scale=scale)
        plan, parts = jax.tree.map(jnp.asarray, planned(scores)), complete(scores)
        total, ran = run(parts.node, parts.edge, parts.node_mask, parts.edge_mask, plan)
        assert bool(ran.products) == products
        np.testing.assert_allclose(total, eq.ln_z(as_model(scores)[0]), rtol=1e-12)
    p = query.marginals(scores, plan=plan)
    model, nodes, _ = as_model(scores)
    np.testing.assert_allclose(p.node[nodes], eq.marginals(model)[0], atol=1e-12)


@pytest.mark.parametrize("lanes", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_trees_and_wide_steps(lanes):
    """A forest with the other algorithm; several bags a step."""
    rng = np.random.default_rng(5)
    parent = np.array([-1] + [rng.integers(-1, i) for i in range(1, 30)])
    node, edge = rng.normal(size=(30, 2)), rng.normal(size=(30, 2, 2))
    child = np.flatnonzero(parent >= 0)
    edges = np.stack([parent[child], child], axis=1)
    shape = graph.Shape(2, 30, lanes, 4, 20)
    plan = graph.plan(edges, 30, 2, shape=shape)
    ours = query.marginals(graph.Scores(node, edge[child], edges), plan=plan)
    of_forest = forest.Scores(jnp.asarray(node), jnp.asarray(edge), forest.plan(parent))
    theirs = jax.jit(forest.marginals)(of_forest)
    assert_close((ours.node, ours.edge), (theirs.node, theirs.edge[child]), 1e-12)
    total = query.log_partition(graph.Scores(node, edge[child], edges), plan=plan)
    np.testing.assert_allclose(total, jax.jit(forest.log_partition)(of_forest).sum(), rtol=1e-13)


def test_samples_have_the_probabilities():
    scores = random_scores(6, forbid=0.1)
    plan, (model, nodes, _) = planned(scores), as_model(scores)
    draws = query.sample(jax.random.key(0), scores, num_samples=20_000, plan=plan)
    codes = np.asarray(draws)[:, nodes] @ CLASSES ** np.arange(len(nodes))[::-1]
    p = eq.p_s(model)
    found = np.bincount(codes, minlength=len(p)) / 20_000
    assert np.all(np.abs(found - p) <= 5 * np.sqrt(p * (1 - p) / 20_000) + 1e-12)


def test_masked_entries_may_hold_anything():
    scores = random_scores(7)
    parts = complete(scores)
    dirty = scores._replace(
        node=jnp.where(parts.node_mask[:, None], scores.node, jnp.nan),
        edge=jnp.where(parts.edge_mask[:, None, None], scores.edge, jnp.nan),
    )
    plan = planned(scores)
    for name in ("log_partition", "marginals", "argmax"):
        ask = getattr(query, name)
        left, right = (jax.tree.leaves(ask(s, plan=plan))[:2] for s in (dirty, scores))
        assert_close(left, right, 1e-14)


def test_what_is_impossible_is_minus_infinity_without_nan():
    scores = random_scores(8, masked=False)
    bad = scores._replace(node=scores.node.at[2].set(-jnp.inf))
    plan = planned(scores)
    assert query.log_partition(bad, plan=plan) == -np.inf
    p = query.marginals(bad, plan=plan)
    assert np.all(p.node == 0) and np.all(p.edge == 0)
    assert query.argmax(bad, plan=plan)[1] == -np.inf


def test_one_program_serves_all_graphs_and_stacks_of_them():
    cases = [random_scores(seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *cases)
    plans = jax.tree.map(lambda *x: np.stack(x), *(planned(s) for s in cases))
    both = jax.jit(jax.vmap(lambda s, plan: graph.log_partition(s, plan=plan)))(stacked, plans)
    assert_close(both, jnp.array([eq.ln_z(as_model(s)[0]) for s in cases]), 1e-12)


@pytest.mark.slow
@pytest.mark.usefixtures("float32")
def test_wide_grid_in_float32():
    rng = np.random.default_rng(9)
    at = np.arange(6 * 60).reshape(60, 6)
    edges = np.concatenate(
        [
            np.stack([at[:, :-1], at[:, 1:]], -1).reshape(-1, 2),
            np.stack([at[:-1], at[1:]], -1).reshape(-1, 2),
        ]
    )
    plan = graph.plan(edges, 360, 2)
    assert plan.width == 7
    node, edge = 2 * rng.normal(size=(360, 2)), 2 * rng.normal(size=(len(edges), 2, 2))
    node, edge = node.astype(np.float32), edge.astype(np.float32)

    def run(node, edge):
        scores = graph.Scores(jnp.asarray(node), jnp.asarray(edge), edges)
        return query.log_partition(scores, plan=plan), query.marginals(scores, plan=plan)

    value, p = run(node, edge)
    with enable_x64(True):
        want, exact = run(node.astype(np.float64), edge.astype(np.float64))
    np.testing.assert_allclose(value, want, rtol=1e-6)
    np.testing.assert_allclose(p.edge, exact.edge, atol=2e-5)


@pytest.mark.slow
def test_small_graphs():
    nothing = graph.Scores(jnp.zeros((0, 2)), jnp.zeros((0, 2, 2)), [])
    assert graph.log_partition(nothing) == 0
    isolated = graph.Scores(jnp.zeros((3, 2)), jnp.zeros((0, 2, 2)), [])
    np.testing.assert_allclose(graph.log_partition(isolated), 3 * np.log(2), rtol=1e-15)
    assert graph.marginals(isolated).edge.shape == (0, 2, 2)
    one = graph.Scores(jnp.ones((2, 1)), jnp.ones((1, 1, 1)), [(1, 0)])
    np.testing.assert_allclose(graph.log_partition(one), 3, rtol=1e-15)


def test_orders():
    """Width of grids and circles; separators are what elimination says."""
    for width, plan in (
        (3, graph.plan([(i, (i + 1) % 50) for i in range(50)], 50, 2)),
        (2, graph.plan([(0, i) for i in range(1, 50)], 50, 2)),
        (1, graph.plan([], 50, 2)),
    ):
        assert plan.width == width
    around = neighbours(np.array([(0, 1), (0, 2), (0, 3)]), 4)
    assert [len(them) for them in eliminate(around, [0, 1, 2, 3], 9)] == [3, 2, 1, 0]
    assert graph.plan([(0, 1), (0, 2), (0, 3)], 4, 2, order=[0, 1, 2, 3]).width == 4


@pytest.mark.parametrize("height, width", [(4, 30), (30, 4), (8, 30), (30, 8), (7, 7)])
def test_grids_are_as_wide_as_their_shorter_side(height, width):
    """However they lie, and whatever the numbers of their nodes."""
    edges = np.asarray(graph.grid_edges(height, width))
    nodes = height * width
    assert graph.plan(edges, nodes, 2).width == min(height, width) + 1
    shuffled = np.random.default_rng(0).permutation(nodes)[edges]
    assert graph.plan(shuffled, nodes, 2).width <= min(height, width) + 2


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([(0, 4)], "edge 0 joins \\(0, 4\\), of 4 nodes"),
        ([(0, 1), (-1, 0)], "edge 1 joins"),
        ([(0, 1), (2, 2)], "edge 1 joins node 2 to itself"),
        ([(0, 1), (2, 3), (1, 0)], "edges 0 and 2 join the same nodes"),
        ([(0.5, 1)], "must be integers"),
        ([(0, 1, 2)], "must be integers"),
    ],
)
def test_bad_edges_are_refused(edges, message):
    with pytest.raises(ValueError, match=message):
        graph.plan(edges, 4, 2)


def test_what_is_too_wide_is_refused():
    complete_graph = [(i, j) for i in range(40) for j in range(i)]
    with pytest.raises(ValueError, match=r"tables of at least 2.* entries .* GiB"):
        graph.plan(complete_graph, 40, 2)
    with pytest.raises(ValueError, match=r"2\^40 entries"):
        graph.plan(complete_graph, 40, 2, order=np.arange(40))
    with pytest.raises(ValueError, match="needs 40 steps"):
        graph.plan(complete_graph, 40, 1, shape=SHAPE)
    with pytest.raises(ValueError, match="each of 4 nodes once"):
        graph.plan([], 4, 2, order=[0, 1, 2, 2])
    with pytest.raises(ValueError, match="outside of jit"):
        query.log_partition(random_scores(0))
    with pytest.raises(ValueError, match="labels"):
        graph.log_partition(random_scores(0), plan=graph.plan([], NODES, 2))


def test_dtypes():
    scores = random_scores(10)
    low = scores._replace(
        node=scores.node.astype(jnp.bfloat16), edge=scores.edge.astype(jnp.bfloat16)
    )
    plan = planned(scores)
    assert query.log_partition(low, plan=plan).dtype == jnp.float32
    assert jax.eval_shape(graph.marginals, low, plan=plan).edge.dtype == jnp.bfloat16
    assert crf.graph is graph
