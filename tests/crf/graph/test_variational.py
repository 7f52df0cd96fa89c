"""Loopy, tree-reweighted and mean field: bounds, exactness on trees, gradients."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.crf import graph
from rntn_jax.crf.graph import belief_propagation, fixed_point, variational
from rntn_jax.crf.graph.scores import complete
from tests.crf.graph.cases import CLASSES, EDGES, NODES, as_model, random_scores
from tests.helpers import assert_close
from tests.oracles import crf_numpy as eq

SLOTS = 6  # the largest possible degree: one program for all graphs
FINE = graph.Options(max_iterations=2000, tolerance=1e-12, damping=0.3)


@partial(jax.jit, static_argnames=("method", "options"))
def infer(scores, plan, method, options=FINE):
    return graph.beliefs(scores, method=method, plan=plan, options=options)


def planned(scores):
    """Neighbours, padded so that one program serves all graphs."""
    plan = graph.neighbours(scores.edges, NODES, edge_mask=scores.edge_mask, forests=True)
    d, none = len(plan.other), len(plan.other) * NODES
    grow = lambda x, fill: np.concatenate([x, np.full((SLOTS - d, NODES), fill, np.int32)])
    moved = lambda x: np.where(x == none, SLOTS * NODES, x)
    return plan._replace(
        other=grow(plan.other, NODES),
        link=grow(plan.link, 2 * EDGES),
        back=moved(grow(plan.back, none)),
        slot=moved(plan.slot),
        colour_ids=np.arange(NODES, dtype=np.int32),
    )


def tree_scores(seed, *, forbid=0.0, scale=1.0):
    """A tree among the 10 edges, the others masked."""
    scores = random_scores(seed, forbid=forbid, masked=False, scale=scale)
    rng = np.random.default_rng(seed)
    edges = np.zeros((EDGES, 2), int)
    edges[: NODES - 1] = [(rng.integers(0, i), i) for i in range(1, NODES)]
    return scores._replace(edges=edges, edge_mask=np.arange(EDGES) < NODES - 1)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_bounds_hold_on_random_graphs(scale):
    for seed in range(12):
        scores = random_scores(seed, scale=scale)
        exact = eq.ln_z(as_model(scores)[0])
        low = infer(scores, planned(scores), "mean_field")
        high = infer(scores, planned(scores), "tree_reweighted")
        assert low.residual < 1e-6 and low.log_partition <= exact + 1e-9, seed
        assert high.residual < 1e-6 and high.log_partition >= exact - 1e-9, seed


@pytest.mark.parametrize(
    ("method", "schedule", "scale", "forbid"),
    [
        ("loopy", "flooding", 1.0, 0.0),
        ("loopy", "flooding", 1.0, 0.1),
        ("loopy", "flooding", 40.0, 0.0),
        ("loopy", "colours", 1.0, 0.1),
        ("tree_reweighted", "flooding", 1.0, 0.0),
        ("tree_reweighted", "flooding", 40.0, 0.0),
    ],
)
def test_exact_on_trees(method, schedule, scale, forbid):
    """In probabilities, with what is forbidden, and with scores that need logarithms."""
    options = FINE._replace(damping=0.0, schedule=schedule)
    scores = tree_scores(3, forbid=forbid, scale=scale)
    found, (model, _, on) = infer(scores, planned(scores), method, options), as_model(scores)
    of_nodes, of_edges = eq.marginals(model)
    np.testing.assert_allclose(found.log_partition, eq.ln_z(model), rtol=1e-9)
    np.testing.assert_allclose(found.node, of_nodes, atol=1e-9)
    np.testing.assert_allclose(found.edge[on], of_edges, atol=1e-9)
    if method == "loopy":
        assert found.iterations <= 12 and found.residual < 1e-12


def test_products_and_logarithms_make_the_same_messages(monkeypatch):
    scores = random_scores(4)
    plan = jax.tree.map(jnp.asarray, planned(scores))
    options = FINE._replace(max_iterations=3)
    run = lambda method: jax.jit(
        lambda: variational.infer(method, options, complete(scores), plan)
    )()
    for method in ("loopy", "tree_reweighted"):
        by_products = run(method)
        monkeypatch.setattr(belief_propagation, "MAX_MESSAGE_RANGE", -1.0)
        assert_close(run(method), by_products, 1e-12)
        monkeypatch.undo()


@pytest.mark.parametrize(
    ("damping", "schedule"),
    [
        (0.3, "flooding"),
        *(pytest.param(0.0, s, marks=pytest.mark.slow) for s in ("flooding", "colours")),
    ],
)
def test_two_labels_as_ratios_are_products_and_logarithms(monkeypatch, damping, schedule):
    """Some nodes have one label alone; and the gradient is that of the other forms."""
    scores = random_scores(4, classes=2)
    node = scores.node.at[jnp.array([1, 4]), jnp.array([0, 1])].set(-jnp.inf)
    plan = jax.tree.map(jnp.asarray, planned(scores))
    parts = complete(scores)
    weights = np.random.default_rng(0).normal(size=scores.node.shape)

    def run(node, **options):
        options = graph.Options(damping=damping, schedule=schedule, **options)
        return variational.infer("loopy", options, parts._replace(node=node), plan)

    def after_few():
        found = jax.jit(partial(run, max_iterations=7, tolerance=0.0))(node)
        assert found.iterations == 7
        return found._replace(residual=0)

    def gradient():
        value = lambda node: (weights * run(node, max_iterations=4000, tolerance=1e-13).node).sum()
        return jax.jit(jax.grad(value))(node)

    shares = jnp.ones(len(scores.edge))
    assert belief_propagation._in_range(belief_propagation._inputs(parts, shares, None, plan)[0])
    slow = not damping  # the quick test has no gradient
    by_ratios = after_few(), gradient() if slow else None
    monkeypatch.setattr(belief_propagation, "_search_ratios", fixed_point.iterate)
    assert_close((after_few(), gradient() if slow else None), by_ratios, 1e-9)
    monkeypatch.setattr(belief_propagation, "MAX_MESSAGE_RANGE", -1.0)
    assert_close(after_few(), by_ratios[0], 1e-9)


def _along_a_line(method):
    """The value as a function of how far the scores have moved, and its slope by beliefs."""
    scores = random_scores(5, masked=False, scale=0.5)
    plan = jax.tree.map(jnp.asarray, planned(scores))
    rng = np.random.default_rng(0)
    way = rng.normal(size=scores.node.shape), rng.normal(size=scores.edge.shape)

    def value(t, options=FINE):
        moved = scores._replace(node=scores.node + t * way[0], edge=scores.edge + t * way[1])
        return graph.log_partition(moved, method=method, plan=plan, options=options)

    found = infer(scores, plan, method)
    return value, (found.node * way[0]).sum() + (found.edge * way[1]).sum()


@pytest.mark.parametrize("method", variational.METHODS)
def test_gradients_are_beliefs(method):
    """By finite differences: the theorem holds for what is stationary, too."""
    value, slope = _along_a_line(method)
    run = jax.jit(value)
    np.testing.assert_allclose((run(1e-4) - run(-1e-4)) / 2e-4, slope, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.grad(value))(0.0), slope, rtol=1e-9)


@pytest.mark.parametrize(
    "method",
    [
        "mean_field",
        *(pytest.param(m, marks=pytest.mark.slow) for m in ("loopy", "tree_reweighted")),
    ],
)
def test_beliefs_have_gradients(method):
    """Implicit ones, by finite differences; and those of unrolled iterations."""
    value, slope = _along_a_line(method)
    change = jax.jit(jax.grad(value))
    second = jax.jit(jax.grad(jax.grad(value)))(0.0)
    np.testing.assert_allclose(second, (change(1e-4) - change(-1e-4)) / 2e-4, rtol=1e-5)
    unrolled = FINE._replace(max_iterations=60, gradient="unrolled")
    of_unrolled = jax.jit(jax.grad(lambda t: value(t, unrolled)))(0.0)
    np.testing.assert_allclose(of_unrolled, slope, rtol=1e-6)


def test_masked_entries_may_hold_anything():
    scores = random_scores(7)
    _, nodes, on = as_model(scores)
    node = jnp.full_like(scores.node, jnp.nan).at[nodes].set(scores.node[nodes])
    edge = jnp.full_like(scores.edge, jnp.nan).at[on].set(scores.edge[on])
    dirty = scores._replace(node=node, edge=edge)
    for method in variational.METHODS:
        plan = planned(scores)
        assert_close(infer(dirty, plan, method), infer(scores, plan, method), 1e-14)


def test_entropies_agree_on_trees():
    scores = tree_scores(8)
    plan = planned(scores)
    run = jax.jit(partial(graph.entropy, method="loopy", options=FINE))
    p = eq.p_s(as_model(scores)[0])
    np.testing.assert_allclose(run(scores, plan=plan), -(p @ np.log(p)), rtol=1e-9)


def test_colours_and_neighbours():
    rng = np.random.default_rng(9)
    pairs = np.array([(i, j) for i in range(30) for j in range(i)])
    edges = pairs[rng.permutation(len(pairs))[:60]]
    colour = graph.colours(edges, 30)
    assert np.all(colour[edges[:, 0]] != colour[edges[:, 1]])
    assert graph.colours([(i, i + 1) for i in range(9)], 10).max() == 1
    plan = graph.neighbours(edges, 30, forests=True)
    for (i, j), (a, b) in zip(edges, plan.slot, strict=True):
        assert plan.other.reshape(-1)[a] == j and plan.other.reshape(-1)[b] == i
        assert plan.back.reshape(-1)[a] == b and plan.back.reshape(-1)[b] == a
    assert np.all(plan.appearance > 0) and np.all(plan.appearance <= 1)
    np.testing.assert_allclose(plan.appearance.sum(), 29, rtol=1e-5)


def test_spanning_forests_of_a_part_do_not_depend_on_the_others():
    ring, grid = np.array([(0, 1), (1, 2), (2, 0)]), graph.grid_edges(3, 4)
    parts = [(grid, 12), (ring, 3), (grid, 12), (np.zeros((0, 2), int), 1), ([(0, 1)], 2)]
    first = np.cumsum([0] + [nodes for _, nodes in parts])
    alone = [graph.neighbours(e, n, forests=True).appearance for e, n in parts]
    edges = np.concatenate([np.asarray(e) + at for (e, _), at in zip(parts, first)])
    together = graph.neighbours(edges, int(first[-1]), forests=True).appearance
    np.testing.assert_array_equal(together, np.concatenate(alone))
    assert alone[1].sum() == pytest.approx(2) and alone[4].tolist() == [1]
    assert len(set(alone[0].tolist())) > 1


def test_wrong_arguments_are_refused():
    scores = random_scores(0)
    ask = partial(graph.log_partition, scores)
    for kwargs, message in (
        ({"method": "guess"}, "method must be one of"),
        ({"method": "loopy", "options": graph.Options(schedule="x")}, "schedule"),
        ({"method": "loopy", "options": graph.Options(gradient="x")}, "gradient"),
        ({"method": "loopy", "options": graph.Options(damping=1.0)}, "damping"),
        ({"method": "loopy", "plan": graph.plan([], NODES, CLASSES)}, "needs neighbours"),
        ({"plan": graph.neighbours([], NODES)}, "needs a plan"),
    ):
        with pytest.raises(ValueError, match=message):
            ask(**kwargs)
    star = [(0, i) for i in range(1, 20_000)]
    with pytest.raises(ValueError, match="too many slots"):
        graph.neighbours(star, 20_000)


@pytest.mark.usefixtures("float32")
def test_many_neighbours_that_contradict_each_other_do_not_underflow():
    edges = np.array([(0, i) for i in range(1, 13)])
    node = np.zeros((13, 2), np.float32)
    node[1:7, 0] = node[7:, 1] = 60
    scores = graph.Scores(jnp.asarray(node), jnp.tile(50 * jnp.eye(2), (12, 1, 1)), edges)
    found = infer(scores, graph.neighbours(edges, 13), "loopy", graph.Options(20))
    # Half of the edges are satisfied, in each of two ways.
    np.testing.assert_allclose(found.log_partition, 12 * 60 + 6 * 50 + np.log(2), rtol=1e-5)
    np.testing.assert_allclose(found.node[0], 0.5, atol=1e-5)
