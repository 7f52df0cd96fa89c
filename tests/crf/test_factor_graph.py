"""Graphs of tables: the rule, the graph of pairs, and another solver; faults."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.crf import factor_graph, graph
from rntn_jax.crf.factor_graph import Scopes, Scores, elimination
from tests.crf.battery.factor_graph import SCOPES, SIZES
from tests.helpers import check_orders, enable_x64


def tables_of(scopes, sizes, seed: int = 0, scale: float = 1.0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=[sizes[v] for v in scope]) * scale for scope in scopes)


def test_the_rule_is_the_gradient_of_the_definition_twice():
    scopes = Scopes([(0, 1, 2), (2, 3), (3, 0)])
    tables = tables_of(scopes, [2, 3, 2, 2])
    check_orders(
        lambda tables: factor_graph.log_partition(Scores(tables, scopes)),
        lambda tables: elimination.reference(tables, scopes),
        (tables,),
    )


def test_pairs_are_a_graph():
    edges = graph.grid_edges(3, 3)
    rng = np.random.default_rng(1)
    node, edge = rng.normal(size=(9, 2)), rng.normal(size=(len(edges), 2, 2))
    of_pairs = graph.Scores(node, edge, edges)
    scores = Scores((*node, *edge), [*((v,) for v in range(9)), *map(tuple, edges.tolist())])
    np.testing.assert_allclose(
        factor_graph.log_partition(scores), graph.log_partition(of_pairs), rtol=1e-12
    )
    ours, theirs = factor_graph.variable_marginals(scores), graph.marginals(of_pairs).node
    np.testing.assert_allclose(np.stack(ours), theirs, atol=1e-12)


@pytest.mark.slow
def test_single_precision_is_right_whatever_the_scores():
    """Against float64, on a loop of 12 tables of three variables with three labels each."""
    scopes = Scopes([(v, (v + 1) % 12, (v + 2) % 12) for v in range(12)])
    ask = jax.jit(lambda x: (factor_graph.log_partition(x), factor_graph.marginals(x).tables,
                             factor_graph.entropy(x)))  # fmt: skip
    for scale in (1, 100, 1e4):
        wide = [x.astype(np.float32) for x in tables_of(scopes, [3] * 12, 2, scale)]
        right = ask(Scores(tuple(x.astype(np.float64) for x in wide), scopes))
        with enable_x64(False):
            total, p, entropy = ask(Scores(tuple(wide), scopes))
        assert total.dtype == p[0].dtype == jnp.float32
        np.testing.assert_allclose(total, right[0], rtol=1e-6)
        np.testing.assert_allclose(entropy, right[2], rtol=1e-4, atol=1e-6)
        for own, theirs in zip(p, right[1]):
            np.testing.assert_allclose(own, theirs, rtol=1e-4, atol=1e-8)


# The warning is SWIG's; turned into an error, it ends the process.
@pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")
def test_agrees_with_another_solver():
    gum: Any = pytest.importorskip("pyagrum", reason="pyAgrum, the other solver, is not installed")
    scopes = [(v, (v + 1) % 14, (v + 5) % 14) for v in range(14)]
    sizes = [2 + v % 2 for v in range(14)]
    tables = tables_of(scopes, sizes, 3)
    model = gum.MarkovRandomField()
    for v, size in enumerate(sizes):
        model.add(gum.RangeVariable(str(v), "", 0, size - 1))
    for table, scope in zip(tables, scopes):
        factor = gum.Tensor()
        for v in scope:
            factor.add(model.variable(v))
        factor.fillWith(np.exp(table.T).reshape(-1).tolist())  # the first variable fastest
        model.addFactor(factor)
    inference = gum.ShaferShenoyMRFInference(model)
    inference.makeInference()
    found = factor_graph.variable_marginals(Scores(tables, scopes))
    for v, own in enumerate(found):
        np.testing.assert_allclose(own, inference.posterior(str(v)).toarray(), atol=1e-10)
    clamped = factor_graph.clamp(Scores(tables, scopes), {3: 1})
    inference.addEvidence("3", 1)
    inference.makeInference()
    for v, own in enumerate(factor_graph.variable_marginals(clamped)):
        if v != 3:
            np.testing.assert_allclose(own, inference.posterior(str(v)).toarray(), atol=1e-10)


def test_several_at_once():
    scopes = Scopes(SCOPES)
    several = [tables_of(SCOPES, SIZES, seed) for seed in range(3)]
    stacked = Scores(tuple(map(np.stack, zip(*several))), scopes)
    found = jax.vmap(factor_graph.log_partition)(stacked)
    one = [factor_graph.log_partition(Scores(tables, scopes)) for tables in several]
    np.testing.assert_allclose(found, one, rtol=1e-12)


def test_wrong_arguments_are_named():
    good = tables_of(SCOPES, SIZES)
    with pytest.raises(AssertionError, match=re.escape("scores.tables[1] must be float [C2, C1]")):
        factor_graph.log_partition(Scores((good[0], good[1].T, *good[2:]), SCOPES))
    with pytest.raises(ValueError, match="has 5 tables, but 4 scopes"):
        factor_graph.log_partition(Scores(good, SCOPES[:4]))
    with pytest.raises(ValueError, match="variable 1 stands in no table"):
        factor_graph.log_partition(Scores((np.zeros((2, 2)),), [(0, 2)]))
    with pytest.raises(ValueError, match=re.escape("scopes[0] must be different variables")):
        factor_graph.log_partition(Scores((np.zeros((2, 2)),), [(0, 0)]))
    with pytest.raises(ValueError, match="are traced: give Scopes"):
        jax.jit(factor_graph.log_partition)(Scores(good, SCOPES))
    with pytest.raises(ValueError, match="there is no variable 6, of 6"):
        factor_graph.clamp(Scores(good, SCOPES), {6: 0})
    with pytest.raises(ValueError, match=r"q\.scopes must be"):
        factor_graph.kl(Scores(good, SCOPES), Scores(good[:4], SCOPES[:4]))
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        factor_graph.top_k(Scores(good, SCOPES), 0)
    wide = [(u, v) for u in range(30) for v in range(u)]
    with pytest.raises(ValueError, match="needs a table of 1073741824 entries"):
        factor_graph.log_partition(Scores((np.zeros((2, 2)),) * len(wide), wide))
