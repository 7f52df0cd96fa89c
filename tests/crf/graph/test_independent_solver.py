"""Exact inference against pyAgrum, through UAI files, on graphs too large to enumerate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rntn_jax.crf import graph
from rntn_jax.data import read_uai, write_uai

gum: Any = pytest.importorskip("pyagrum", reason="pyAgrum, the other solver, is not installed")
# Of SWIG; turned into an error, it ends the process.
pytestmark = pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")


def _read_by_pyagrum(path: Path) -> Any:
    model = gum.MarkovRandomField()
    model.loadUAI(str(path))
    return model


def _read_by_us(path: Path) -> Any:
    """The file as `read_uai` has it, put into pyAgrum's model table by table."""
    read, model = read_uai(path), gum.MarkovRandomField()
    for i, labels in enumerate(read.num_labels.tolist()):
        model.add(gum.RangeVariable(str(i), "", 0, labels - 1))
    scopes = [[i] for i in range(len(read.node))] + read.edges.tolist()
    for scope, table in zip(scopes, [*read.node, *read.edge]):
        factor = gum.Tensor()
        for i in scope:
            factor.add(model.variable(i))
        factor.fillWith(np.exp(table.T).reshape(-1).tolist())  # the first variable fastest
        model.addFactor(factor)
    return model


def _marginals(model: Any, edges: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    inference = gum.ShaferShenoyMRFInference(model)
    for i, j in edges.tolist():
        inference.addJointTarget({str(i), str(j)})
    inference.makeInference()
    edge = []
    for i, j in edges.tolist():
        joint = inference.jointPosterior({str(i), str(j)})
        table = joint.toarray()  # the last of its variables first
        edge.append(table if joint.names[0] == str(j) else table.T)
    node = [inference.posterior(str(i)).toarray() for i in range(count)]
    return np.stack(node), np.stack(edge)


def _log_prob(model: Any, labels: list[int]) -> float:
    """``ln P(labels)``, label by label given those before."""
    total, inference = 0.0, gum.ShaferShenoyMRFInference(model)
    for i, label in enumerate(labels):
        inference.makeInference()
        total += np.log(inference.posterior(str(i)).toarray()[label])
        inference.addEvidence(str(i), label)
    return total


@pytest.mark.parametrize(
    ("edges", "count", "classes"),
    [
        (graph.grid_edges(12, 5), 60, 2),
        (graph.random_edges(np.random.default_rng(0), 40, 55), 40, 3),
    ],
)
@pytest.mark.parametrize("symmetric", [False, True])
def test_agrees_with_another_solver(tmp_path: Path, edges, count, classes, symmetric):
    """Every marginal, and ln Z: the score of a labelling minus its log-probability.

    pyAgrum 3.3 reads the format, but not the order of a table's variables: it may read tables that
    are not symmetric turned round. Those are given to it by its own functions.
    """
    rng = np.random.default_rng(count)
    node, edge = rng.normal(size=(count, classes)), rng.normal(size=(len(edges), classes, classes))
    edge[0, 0, 1] = -np.inf
    if symmetric:
        edge += edge.swapaxes(1, 2)
    path = tmp_path / "model.uai"
    write_uai(path, node, edge, edges)
    model = (_read_by_pyagrum if symmetric else _read_by_us)(path)

    scores, plan = graph.Scores(node, edge, edges), graph.plan(edges, count, classes)
    ours = jax.jit(graph.marginals)(scores, plan=plan)
    of_nodes, of_edges = _marginals(model, edges, count)
    near = 1e-6 if symmetric else 1e-10  # it reads numbers of single precision
    np.testing.assert_allclose(ours.node, of_nodes, atol=near)
    np.testing.assert_allclose(ours.edge, of_edges, atol=near)
    if not symmetric:
        labels = np.asarray(of_nodes.argmax(axis=1))
        ours = jax.jit(graph.log_prob)(scores, labels, plan=plan)
        np.testing.assert_allclose(ours, _log_prob(model, labels.tolist()), atol=1e-9)
