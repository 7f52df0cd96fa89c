"""What must surface or stay: NaN, large scores, graphs of nothing, and compiled programs."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.crf import graph
from rntn_jax.crf.graph import exact, inputs, variational
from rntn_jax.crf.graph.scores import complete
from tests.crf.battery.graph import SLOW_CASES
from tests.crf.battery.test_battery import Problem, variants
from tests.crf.graph.cases import CLASSES, NODES, as_model, random_scores
from tests.crf.graph.test_exact import planned
from tests.helpers import assert_close, compilations, enable_x64
from tests.oracles import crf_numpy as eq

KEY = jax.random.key(0)


def line(length: int, node, table) -> graph.Scores:
    """A chain as a graph, all of whose edges have one table."""
    edges = np.stack([np.arange(length - 1), np.arange(1, length)], axis=1)
    return graph.Scores(node, jnp.tile(jnp.asarray(table), (length - 1, 1, 1)), edges)


# Every public function that reads all scores, with a value to look at.
EVERY_SCORE = {
    "log_partition": graph.log_partition,
    "log_prob": lambda s: graph.log_prob(s, np.ones(len(s.node), int)),
    "marginals": lambda s: graph.marginals(s).node,
    "entropy": graph.entropy,
    "kl": lambda s: graph.kl(s, s),
    "expected_score": lambda s: graph.expected_score(s, s),
    "argmax": lambda s: graph.argmax(s)[1],
    "top_k": lambda s: graph.top_k(s, 2)[1],
    "max_product": lambda s: graph.argmax(s, method="max_product")[1],
    "icm": lambda s: graph.argmax(s, method="icm", num_sweeps=2)[1],
    "simulated_annealing": lambda s: graph.argmax(
        s, method="simulated_annealing", key=KEY, num_sweeps=2
    )[1],
    "annealed": lambda s: graph.annealed_log_partition(KEY, s, num_steps=2).log_partition,
    "contrastive_divergence": lambda s: graph.contrastive_divergence(
        KEY, s, np.ones(len(s.node), int)
    )[0],
    **{
        f"{verb}, {method}": partial(ask, method=method)
        for method in variational.METHODS
        for verb, ask in (
            ("log_partition", graph.log_partition),
            ("entropy", graph.entropy),
            ("beliefs", lambda s, method: graph.beliefs(s, method=method).node),
        )
    },
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "x64"), [(jnp.float64, True), (jnp.float32, False), (jnp.bfloat16, False)]
)
@pytest.mark.parametrize("case", SLOW_CASES, ids=repr)
def test_messages_are_exact_on_trees(case, dtype, x64):
    """The battery, for methods that need much compiling: all magnitudes, `-inf` and NaN."""
    with enable_x64(x64), jax.numpy_dtype_promotion("standard"):
        problem = Problem(case, case.sizes[0], dtype)
        for what, theta in variants(problem):
            problem.check(theta, what)
        for size in case.sizes[1:] if dtype == jnp.float32 else ():
            small = Problem(case, size, dtype, k=1)
            small.check(small.theta, f"size {size}")


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("name", EVERY_SCORE)
def test_nan_surfaces(name):
    """Of a node and of an edge, at labels that nothing chooses; and not where it is masked."""
    ask = EVERY_SCORE[name]
    scores = line(2, np.array([[0.0, 5.0], [0.0, 5.0]], np.float32), np.zeros((2, 2), np.float32))
    nodes = scores.node.copy()
    nodes[0, 0] = np.nan
    for bad in (
        scores._replace(node=nodes),
        scores._replace(edge=scores.edge.at[0, 0, 0].set(np.nan)),
    ):
        assert np.isnan(ask(bad)).all(), name
    assert np.isfinite(ask(scores)).all()


@pytest.mark.usefixtures("float32")
def test_nan_that_is_masked_counts_nothing():
    node, mask = np.full((3, 2), np.nan, np.float32), np.array([True, True, False])
    node[:2] = [[0, 1], [0, 1]]
    scores = line(3, node, np.zeros((2, 2), np.float32))._replace(node_mask=mask)
    scores = scores._replace(edge=scores.edge.at[1].set(jnp.nan))
    want = 2 * np.log(1 + np.e)
    for method in ("exact", *variational.METHODS):
        np.testing.assert_allclose(graph.log_partition(scores, method=method), want, rtol=1e-6)


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_entropy_of_large_scores(scale):
    """200 nodes: ``200 ln 3``, which ``ln Z - E[score]`` misses by more than 1."""
    table = np.full((3, 3), scale, np.float32)
    scores = line(200, np.zeros((200, 3), np.float32), table)
    for method in ("exact", *variational.METHODS):
        h = graph.entropy(scores, method=method)
        np.testing.assert_allclose(h, 200 * np.log(3), rtol=1e-5, err_msg=method)


@pytest.mark.usefixtures("float32")
def test_divergence_of_large_scores():
    """Of chains whose nodes are independent, all edges being large: 200 times that of a node."""
    p, q = np.array([0.2, 0.3, 0.5]), np.array([0.5, 0.25, 0.25])
    large = np.full((3, 3), 1e4, np.float32)
    ours, theirs = (
        line(200, np.tile(np.log(x).astype(np.float32), (200, 1)), large) for x in (p, q)
    )
    np.testing.assert_allclose(graph.kl(ours, theirs), 200 * (p @ np.log(p / q)), rtol=1e-5)
    assert graph.kl(ours, ours) == 0
    forbidden = theirs._replace(node=np.where(np.arange(3) == 0, -np.inf, theirs.node))
    assert graph.kl(ours, forbidden) == np.inf and np.isfinite(graph.kl(forbidden, ours))


@pytest.mark.slow
def test_divergence_is_that_of_its_reference():
    """Value and gradient; NaN where there is no labelling."""
    scores, other = random_scores(1, forbid=0.1), random_scores(2)
    plan = jax.tree.map(jnp.asarray, planned(scores))
    p, q = complete(scores), complete(scores._replace(node=other.node, edge=other.edge))

    def both(of, p_node, p_edge, q_node, q_edge):
        theirs = p._replace(node=q_node, edge=q_edge)
        return of(p._replace(node=p_node, edge=p_edge), theirs, plan)

    ours, wanted = (
        jax.jit(jax.value_and_grad(partial(both, of), (0, 1, 2, 3)))(*p[:2], *q[:2])
        for of in (exact.divergence, exact.divergence_reference)
    )
    finite = [jnp.where(jnp.isfinite(x), y, 0) for x, y in zip(p[:2], ours[1][:2])]
    wanted = (
        wanted[0],
        (*[jnp.where(jnp.isfinite(x), y, 0) for x, y in zip(p[:2], wanted[1])], *wanted[1][2:]),
    )
    assert_close((ours[0], (*finite, *ours[1][2:])), wanted, 1e-9)
    none = p._replace(node=jnp.full_like(p.node, -jnp.inf))
    assert np.isnan(jax.jit(exact.divergence)(none, q, plan))


@pytest.mark.parametrize("seed", range(3))
def test_top_k_is_that_of_enumeration(seed):
    """With equal scores, forbidden ones, and masked nodes; k beyond what the best tell."""
    scores = random_scores(seed, forbid=0.1 * (seed > 0))
    if seed == 2:  # equal scores everywhere
        scores = jax.tree.map(lambda x: jnp.round(x) if x.dtype == float else x, scores)
    model, nodes, _ = as_model(scores)
    labels, worth = graph.top_k(scores, 40, plan=planned(scores))
    worths = np.sort(eq.s(model, eq.all_labellings(model)))[::-1][:40]
    np.testing.assert_allclose(worth, worths, rtol=1e-12)
    np.testing.assert_allclose(eq.s(model, np.asarray(labels)[:, nodes]), worths, rtol=1e-12)
    assert len(np.unique(np.asarray(labels), axis=0)) == 40


@pytest.mark.parametrize(
    ("nodes", "classes"), [(0, 2), (1, 1), pytest.param(1, 3, marks=pytest.mark.slow)]
)
def test_graphs_of_little(nodes, classes):
    """No edges: every verb; no nodes: one labelling, of score 0."""
    scores = graph.Scores(np.zeros((nodes, classes)), np.zeros((0, classes, classes)), [])
    total = nodes * np.log(classes)
    np.testing.assert_allclose(graph.log_partition(scores), total)
    np.testing.assert_allclose(graph.entropy(scores), total, atol=1e-15)
    labels, best = graph.argmax(scores)
    assert labels.shape == (nodes,) and best == 0
    assert graph.sample(KEY, scores, 2).shape == (2, nodes)
    assert graph.top_k(scores, 2)[1].tolist() == [0, 0 if classes**nodes > 1 else -np.inf]
    chains = graph.gibbs(KEY, scores, np.zeros((3, nodes), int), 2)
    assert chains.shape == (3, nodes) and np.all(chains < classes) and np.all(chains >= 0)
    for method in variational.METHODS:
        np.testing.assert_allclose(graph.log_partition(scores, method=method), total)


@pytest.mark.slow
def test_a_second_call_compiles_nothing():
    """Of what the battery does not ask, with edges in a list, NumPy arrays, `grad` and `vmap`."""
    edges = graph.grid_edges(5, 5).tolist()

    def calls(seed):
        rng = np.random.default_rng(seed)
        node, table = rng.normal(size=(25, 2)), rng.normal(size=(len(edges), 2, 2))
        scores, labels = graph.Scores(node, table, edges), rng.integers(0, 2, 25)
        key, chains = jax.random.key(seed), rng.integers(0, 2, (4, 25))
        graph.marginals(scores)
        for method in variational.METHODS:
            graph.marginals(scores, method=method)
            graph.entropy(scores, method=method)
        graph.pseudo_log_likelihood(scores, labels)
        graph.contrastive_divergence(key, scores, labels, chains=chains)
        graph.annealed_log_partition(key, scores, num_steps=3, num_chains=4)
        graph.gibbs(key, scores, chains, 2)
        graph.icm(scores, chains, 2)
        graph.sample(key, scores, 3, method="gibbs", num_sweeps=2)
        graph.argmax(scores, method="max_product")
        graph.argmax(scores, method="simulated_annealing", key=key, num_sweeps=2)
        loss = lambda node: -graph.log_prob(scores._replace(node=node), labels, method="loopy")
        jax.grad(loss)(node)
        jax.vmap(loss)(node[None])

    calls(0)
    with compilations() as compiled:
        calls(1)
    assert not compiled


def test_plans_are_kept_for_equal_edges():
    scores = graph.Scores(np.zeros((3, 2)), np.zeros((2, 2, 2)), np.array([[0, 1], [1, 2]]))
    first = inputs.elimination_plan(scores)
    assert inputs.elimination_plan(scores._replace(edges=scores.edges.copy())) is first
    masked = scores._replace(edge_mask=np.array([True, False]))
    assert inputs.elimination_plan(masked) is not first
    assert inputs.elimination_plan(scores._replace(edges=np.array([[0, 2], [1, 2]]))) is not first


def test_wrong_arguments_are_named():
    scores = random_scores(0)
    labels, plan = np.zeros(NODES, int), planned(scores)
    for ask, message in (
        (
            lambda: graph.score(scores, labels[:3]),
            r"labels must be int \[I\] = \[7\], got int64 \[3\]",
        ),
        (lambda: graph.log_prob(scores, labels + 0.5, plan=plan), "labels must be int .* float64"),
        (
            lambda: graph.entropy(scores._replace(node=scores.node[0]), plan=plan),
            r"scores.node must be float \[I, C\], got float64 \[3\]",
        ),
        (
            lambda: graph.argmax(scores._replace(edge=scores.edge[:, :2]), plan=plan),
            r"scores.edge must be float \[E, C, C\] = \[10, 3, 3\], got float64 \[10, 2, 3\]",
        ),
        (
            lambda: graph.marginals(scores._replace(node_mask=scores.edge_mask), plan=plan),
            r"scores.node_mask must be bool \[I\] = \[7\], got bool \[10\]",
        ),
        (lambda: graph.kl(scores, scores._replace(node=labels), plan=plan), "q.node must be float"),
        (lambda: graph.gibbs(KEY, scores, labels, 1), r"labels must be int \[K, I\]"),
        (
            lambda: graph.log_partition(scores, np.ones((NODES, CLASSES)), plan=plan),
            r"allowed must be bool \[I, C\] = \[7, 3\], got float",
        ),
    ):
        with pytest.raises(AssertionError, match=message):
            ask()
    nothing = graph.Scores(np.zeros((2, 0)), np.zeros((0, 0, 0)), [])
    for ask, message in (
        (lambda: graph.top_k(scores, 0, plan=plan), "k must be at least 1"),
        (lambda: graph.log_partition(nothing), "num_labels must be at least 1"),
        (
            lambda: graph.gibbs(KEY, scores, labels[None], 1, plan=graph.neighbours([], 3)),
            "plan must be neighbours of 7 nodes and 10 edges, got 3 and 0",
        ),
        (lambda: graph.annealed_log_partition(KEY, scores, num_steps=0), "at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            ask()
