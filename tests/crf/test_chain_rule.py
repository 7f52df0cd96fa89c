"""The rules of `rntn_jax.crf.chain`: gradients, second order, dtypes, what they keep."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from rntn_jax import crf
from rntn_jax.crf.chain import Scores, associative_scan, per_step_edges
from rntn_jax.crf.chain.queries import rule_of
from rntn_jax.crf.chain.shared_edges import run as run_shared
from tests.crf.chain_samples import MASK, query, random_scores
from tests.helpers import assert_close, check_orders, check_rule, residual_bytes


@pytest.mark.parametrize(
    ("shared", "wide"),
    [
        (False, False),
        pytest.param(True, True, marks=pytest.mark.slow),  # in logarithms
        pytest.param(True, False, marks=pytest.mark.slow),
        pytest.param(False, True, marks=pytest.mark.slow),
    ],
)
def test_rule(shared, wide):
    """Value, gradient and second order are those of autodiff of the recursion in logarithms."""
    scores = random_scores(7, 3, 4, 3, shared=shared)
    mask = jnp.asarray(MASK[:3])
    edge = scores.edge * (60.0 if wide else 1.0)  # wide: matrix products will not do
    run = run_shared if shared else per_step_edges.run

    def rule(node, edge):
        return rule_of(edge).log_partition(node, edge, mask)

    def plain(node, edge):
        if edge.ndim == 2:
            edge = jnp.broadcast_to(edge[None, None], (3, 3, 3, 3))
        return per_step_edges.reference(node, edge, mask)

    if wide:
        assert not bool(run(scores.node, edge, mask)[1].products)
        check_orders(rule, plain, (scores.node, edge))
    else:
        assert bool(run(scores.node, edge, mask)[1].products)
        # Transformations of the rule are JAX's own affair: once is enough.
        (check_rule if shared else check_orders)(rule, plain, (scores.node, edge))


@pytest.mark.parametrize(
    ("wide", "second"),
    [(False, False), (True, False), pytest.param(False, True, marks=pytest.mark.slow)],
)
def test_edges_in_blocks_are_those_at_once(monkeypatch, wide, second):
    """Seven steps in blocks of two, with one left over; rows that begin late, end early."""
    scores = random_scores(9, 4, 8, 3, shared=False)
    at = jnp.arange(8)[None]
    mask = (at >= jnp.array([[0], [2], [0], [0]])) & (at < jnp.array([[8], [8], [5], [1]]))
    edge = scores.edge * (60.0 if wide else 1.0)
    ct = jnp.array([1.0, -0.5, 2.0, 0.3])

    def found():
        def value(node, edge):
            return (ct * per_step_edges.log_partition(node, edge, mask)).sum()

        def slope(node, edge):  # of second order
            g = jax.grad(value, (0, 1))(node, edge)
            return (g[0] * scores.node).sum() + (g[1] * jnp.cos(scores.edge)).sum()

        first = jax.jit(jax.value_and_grad(value, (0, 1)))(scores.node, edge)
        return (first, jax.jit(jax.grad(slope, 1))(scores.node, edge)) if second else first

    expected = found()
    assert bool(per_step_edges.run(scores.node, edge, mask)[1].products) != wide
    monkeypatch.setattr(per_step_edges, "_BLOCK", 2 * 4 * 9)
    assert 7 * 4 * 9 > 2 * per_step_edges._BLOCK
    assert_close(found(), expected, 1e-12)


@pytest.mark.parametrize("shared", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_parallel_rule(shared):
    scores = random_scores(8, 3, 4, 3, shared=shared)
    mask = jnp.asarray(MASK[:3])
    check_orders(
        lambda node, edge: associative_scan.log_partition(node, edge, mask),
        lambda node, edge: rule_of(edge).log_partition(node, edge, mask),
        (scores.node, scores.edge),
    )
    low = scores._replace(edge=scores.edge.astype(jnp.bfloat16), start=None, end=None, mask=mask)
    kept = jax.eval_shape(lambda s: query.marginals(s, method="parallel"), low)
    assert (kept.node.dtype, kept.edge.dtype) == (scores.node.dtype, jnp.bfloat16)


@pytest.mark.slow
def test_entropy_can_be_trained():
    """Its gradient is that of the entropy of the enumerated distribution."""
    for shared, wide in ((True, False), (True, True), (False, False)):
        scores = random_scores(9, 1, 4, 3, shared=shared)._replace(mask=None, start=None, end=None)
        if wide:  # products, but checked
            scores = scores._replace(edge=scores.edge.at[0, 1].set(-50.0))

        def of_chain(node, edge):
            return query.entropy(Scores(node, edge)).sum()

        def of_table(node, edge):
            table = crf.enumerate.of_chain(Scores(node, edge), 0)
            p = jax.nn.softmax(table.reshape(-1))
            return -(p * jnp.log(p)).sum()

        assert_close(
            jax.jit(jax.value_and_grad(of_chain, (0, 1)))(scores.node, scores.edge),
            jax.value_and_grad(of_table, (0, 1))(scores.node, scores.edge),
        )


def test_dtypes():
    scores = random_scores(17)._replace(mask=None)
    scores = jax.tree.map(lambda a: a.astype(jnp.bfloat16), scores)
    assert query.log_partition(scores).dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(query.marginals(scores))} == {
        jnp.dtype("bfloat16")
    }
    assert query.argmax(scores)[0].dtype == jnp.int32


def test_residuals_are_two_node_scores():
    """Besides the arguments: states and weights; and exponentials, where every step has its own."""
    node, edge = jnp.zeros((2, 50, 5)), jnp.zeros((2, 49, 5, 5))
    mask = jnp.ones((2, 50), bool)
    for e in (edge, edge[0, 0]):
        kept = residual_bytes(lambda n, e: rule_of(e).log_partition(n, e, mask), node, e)
        assert kept <= 3 * node.nbytes + (e.ndim // 2) * e.nbytes + 200


def test_one_program_for_all_values():
    count = 0

    @jax.jit
    def f(scores):
        nonlocal count
        count += 1
        return query.marginals(scores).node

    for seed in range(3):
        f(random_scores(seed))
    assert count == 1
