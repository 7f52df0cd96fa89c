"""Our side of the graphs benchmark: ln Z, marginals and samples by `crf.forest` and `crf.graph`.

What is made once for a graph (plans, compiled programs) is in the facts, not in a pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmark.graphs.problem import Answer, Prepared, Problem


def compiled(function: Callable[..., Any], *args: Any) -> tuple[Callable[[], Any], dict[str, Any]]:
    """The compiled program on these arguments, and what compiling took."""
    import jax

    args = jax.device_put(args)
    begin = time.perf_counter()
    lowered = jax.jit(function).lower(*args)
    traced = time.perf_counter()
    program = lowered.compile()
    analysis: Any = program.memory_analysis()
    facts = {
        "version": jax.__version__,
        "trace_seconds": traced - begin,
        "compile_seconds": time.perf_counter() - traced,
        "temp_mb": analysis.temp_size_in_bytes / 2**20,
    }
    return lambda: jax.block_until_ready(program(*args)), facts


def parents(edges: np.ndarray, count: int) -> np.ndarray:
    """Parents ``[I]`` from edges that go from the parent to the child."""
    parent = np.full(count, -1, np.int32)
    parent[edges[:, 1]] = edges[:, 0]
    return parent


def trees(problem: Problem, threads: int = 1) -> Prepared:
    """`crf.forest`: ln Z and marginals of all nodes and edges, a batch being one forest."""
    import jax

    from rntn_jax import crf

    begin = time.perf_counter()
    plan = crf.forest.plan(parents(problem.edges, len(problem.node)))
    facts = {"plan_seconds": time.perf_counter() - begin}
    child = problem.edges[:, 1]
    edge = np.zeros((*problem.node.shape, problem.node.shape[1]), np.float32)
    edge[child] = problem.edge

    def ask(node, edge, plan):
        def total(node, edge):
            return crf.forest.log_partition(crf.forest.Scores(node, edge, plan)).sum()

        log_z, (node, edge) = jax.value_and_grad(total, (0, 1))(node, edge)
        return log_z, node, edge

    program, more = compiled(ask, problem.node, edge, plan)

    def run() -> Answer:
        log_z, node, edge = program()
        return Answer(log_z, node, _Lazy(edge, child))

    return run, facts | more


class _Lazy:
    """Rows of an array, taken when they are wanted: no part of what is timed."""

    def __init__(self, whole: Any, rows: np.ndarray):
        self.whole, self.rows = whole, rows

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.whole)[self.rows]


def graph(problem: Problem, threads: int = 1) -> Prepared:
    """`crf.graph`, exact: the same, a batch being one graph."""
    import jax

    from rntn_jax import crf

    begin = time.perf_counter()
    plan = crf.graph.plan(problem.edges, *problem.node.shape)
    facts: dict[str, Any] = {"plan_seconds": time.perf_counter() - begin, "width": plan.width}

    def ask(scores, plan):
        def total(node, edge):
            return crf.graph.log_partition(crf.graph.Scores(node, edge, scores.edges), plan=plan)

        log_z, marginals = jax.value_and_grad(total, (0, 1))(scores.node, scores.edge)
        return log_z, *marginals

    program, more = compiled(ask, crf.graph.Scores(*problem[1:4]), plan)
    return (lambda: Answer(*program())), facts | more


def loopy(problem: Problem, threads: int = 1) -> Prepared:
    """Loopy propagation by `crf.graph`; told are beliefs of nodes, as PGMax does."""
    from rntn_jax import crf

    begin = time.perf_counter()
    plan = crf.graph.neighbours(problem.edges, len(problem.node))
    facts = {"plan_seconds": time.perf_counter() - begin}
    options = crf.graph.Options(problem.steps, tolerance=-1.0, damping=problem.damping)

    def ask(scores, plan):
        return crf.graph.beliefs(scores, method="loopy", plan=plan, options=options).node

    program, more = compiled(ask, crf.graph.Scores(*problem[1:4]), plan)
    return (lambda: Answer(node=program())), facts | more


def gibbs(problem: Problem, threads: int = 1) -> Prepared:
    """Gibbs sampling by `crf.graph`; told are the means over chains."""
    import jax
    import jax.numpy as jnp

    from rntn_jax import crf

    begin = time.perf_counter()
    plan = crf.graph.neighbours(problem.edges, len(problem.node))
    facts = {"plan_seconds": time.perf_counter() - begin}

    def ask(scores, plan, labels):
        return crf.graph.gibbs(jax.random.key(0), scores, labels, problem.steps, plan=plan)

    labels = jnp.zeros((problem.chains, len(problem.node)), jnp.int32)
    program, more = compiled(ask, crf.graph.Scores(*problem[1:4]), plan, labels)
    return (lambda: Answer(node=Means(program(), problem.edges))), facts | more


class Means:
    """How often a label is 1, and how often neighbours have the same: not timed."""

    def __init__(self, labels: Any, edges: np.ndarray):
        self.labels, self.edges = labels, edges

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        labels = np.asarray(self.labels).astype(np.int32)
        ends = labels[:, self.edges]
        return np.array([labels.mean(), (ends[..., 0] == ends[..., 1]).mean()])
