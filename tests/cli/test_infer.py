"""Answers about networks: against enumeration and pyAgrum, in the competition's format."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from rntn_jax.cli.infer import Answer, infer, solve
from rntn_jax.crf import graph
from rntn_jax.data import DataError, MarkovModel, read_uai, read_uai_tables, write_uai

# Three variables of two, two and three labels in a chain, one pair of them impossible.
EXAMPLE = """MARKOV
3
2 2 3
2
2 0 1
2 1 2
4
 4.000 2.400
 1.000 0.000
6
 2.2500 3.2500 3.7500
 0.0000 0.0000 10.0000
"""


def cycle() -> MarkovModel:
    """Four variables in a circle, of two to three labels."""
    rng = np.random.default_rng(0)
    sizes = np.array([2, 3, 3, 2], np.int32)
    node = np.where(np.arange(3) < sizes[:, None], rng.normal(size=(4, 3)), -np.inf)
    edges = np.array([[0, 1], [1, 2], [3, 2], [0, 3]], np.int32)
    return MarkovModel(node, rng.normal(size=(4, 3, 3)), edges, sizes)


def enumerated(
    model: MarkovModel, evidence: dict[int, int]
) -> tuple[float, list[np.ndarray], list[int]]:
    """log10 Z, marginals and the best labelling, each labelling by itself."""
    marginals = [np.zeros(n) for n in model.num_labels]
    total, best = 0.0, (-1.0, [])
    for labels in itertools.product(*map(range, model.num_labels)):
        if any(labels[i] != label for i, label in evidence.items()):
            continue
        score = sum(model.node[i, c] for i, c in enumerate(labels))
        score += sum(t[labels[i], labels[j]] for (i, j), t in zip(model.edges, model.edge))
        weight = math.exp(score)
        total += weight
        for p, c in zip(marginals, labels):
            p[c] += weight
        best = max(best, (weight, list(labels)))
    return math.log10(total), [p / total for p in marginals], best[1]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    (tmp_path / "example.uai").write_text(EXAMPLE)
    return tmp_path / "example.uai"


@pytest.mark.parametrize("evidence", [{}, {1: 2}, {0: 1, 3: 0}])
def test_exact_answers_are_those_of_enumeration(evidence):
    model = cycle()
    log10_z, marginals, labels = enumerated(model, evidence)
    np.testing.assert_allclose(solve(model, "pr", evidence=evidence).log10_z, log10_z, rtol=1e-10)
    assert solve(model, "map", evidence=evidence).labels.tolist() == labels
    found = solve(model, "mar", evidence=evidence).marginals
    for p, expected in zip(found, marginals, strict=True):
        np.testing.assert_allclose(p, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("evidence", [{}, {1: 0}])
def test_on_trees_loopy_and_tree_reweighted_are_exact(example: Path, evidence):
    model = read_uai(example)
    exact = solve(model, "mar", evidence=evidence).marginals
    log10_z, expected, labels = enumerated(model, evidence)
    for method in ("loopy", "tree_reweighted"):
        found = solve(model, "mar", method, evidence)
        assert found.residual <= 1e-8
        for p, q, r in zip(found.marginals, exact, expected, strict=True):
            np.testing.assert_allclose(p, q, atol=1e-7)
            np.testing.assert_allclose(p, r, atol=1e-7)
        np.testing.assert_allclose(solve(model, "pr", method, evidence).log10_z, log10_z, 1e-7)
    assert solve(model, "map", "loopy", evidence).labels.tolist() == labels


def test_bounds_on_a_cycle():
    model = cycle()
    exact = enumerated(model, {})[0]
    assert solve(model, "pr", "mean_field").log10_z < exact
    assert solve(model, "pr", "tree_reweighted").log10_z > exact
    np.testing.assert_allclose(solve(model, "pr", "loopy").log10_z, exact, atol=0.05)


def test_formats(example: Path, tmp_path: Path, capsys):
    """The competition's: log10 Z of 4*9.25 + 2.4*10 + 1*9.25; every variable with its size."""
    infer(str(example), query="pr")
    head, value = capsys.readouterr().out.split("\n")[:2]
    assert head == "PR"
    np.testing.assert_allclose(float(value), math.log10(4 * 9.25 + 2.4 * 10 + 9.25), rtol=1e-10)
    infer(str(example))
    head, line, end = capsys.readouterr().out.split("\n")
    words = line.split(" ")
    assert (head, end, words[0], words[1], words[4], words[7]) == ("MAR", "", "3", "2", "2", "3")
    assert len(words) == 1 + 3 + 2 + 2 + 3
    infer(str(example), query="map", output=str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "MPE\n3 0 1 2\n"
    assert capsys.readouterr() == ("", "")
    (tmp_path / "e").write_text("1 1 0\n")  # the first label of the second variable
    infer(str(example), query="map", evidence=str(tmp_path / "e"))
    assert capsys.readouterr().out == "MPE\n3 0 0 2\n"
    assert Answer(marginals=[]).to_text() == "MAR\n0\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (EXAMPLE.replace("MARKOV", "BAYES"), r":1: only MARKOV networks .*'BAYES'; a Markov"),
        ("MARKOV 3 2 2 2 1 0", r"tables are over one variable or more, here over 0"),
        ("MARKOV 2 2 2 1 2 0 1 4 0 0 0 0", "there is no labelling of positive probability$"),
    ],
)
def test_what_cannot_be_answered(tmp_path: Path, text: str, expected: str):
    (tmp_path / "x.uai").write_text(text)
    with pytest.raises(ValueError, match=expected):
        infer(str(tmp_path / "x.uai"))


def test_tables_over_three_variables(tmp_path: Path):
    """Two of them over five variables, one of which stands in no table."""
    rng = np.random.default_rng(1)
    sizes, scopes = (2, 3, 2, 2, 2), [(0, 1, 2), (2, 3, 0)]
    weights = [rng.random([sizes[v] for v in scope]) for scope in scopes]
    weights[1][0, 1, 1] = 0
    lines = ["MARKOV", "5", " ".join(map(str, sizes)), "2", "3 0 1 2", "3 2 3 0"]
    lines += [f"{x.size} " + " ".join(map(repr, x.ravel().tolist())) for x in weights]
    (tmp_path / "x.uai").write_text("\n".join(lines))
    model = read_uai_tables(tmp_path / "x.uai")
    joint = np.einsum("abc,cda,e->abcde", *weights, np.ones(2))
    for evidence, own in (({}, joint), ({3: 1}, joint * np.array([0, 1])[:, None])):
        found = solve(model, "pr", evidence=evidence).log10_z
        np.testing.assert_allclose(found, np.log10(own.sum()), rtol=1e-12)
        best = np.unravel_index(own[..., 0].argmax(), own.shape[:4])
        assert solve(model, "map", evidence=evidence).labels.tolist()[:4] == list(best)
        for v, p in enumerate(solve(model, "mar", evidence=evidence).marginals):
            right = own.sum(tuple(u for u in range(5) if u != v)) / own.sum()
            np.testing.assert_allclose(p, right, atol=1e-12)
    with pytest.raises(
        ValueError, match="must be exact for tables over three variables, got loopy"
    ):
        solve(model, method="loopy")


def test_impossible_evidence_and_other_arguments(example: Path, tmp_path: Path):
    model = read_uai(example)
    impossible = {0: 1, 1: 1}
    with pytest.raises(ValueError, match="no labelling of positive probability that agrees"):
        solve(model, "map", evidence=impossible)
    with pytest.raises(ValueError, match="no labelling of positive probability that agrees"):
        solve(model, "mar", evidence=impossible)
    assert solve(model, "pr", evidence=impossible).to_text() == "PR\n-inf\n"
    for query, method, expected in [
        ("mpe", "exact", "query must be one of .*'mpe'"),
        ("mar", "gibbs", "method must be one of .*'gibbs'"),
        ("map", "mean_field", "by exact or loopy, not mean_field"),
    ]:
        with pytest.raises(ValueError, match=expected):
            solve(model, query, method)
    edges = graph.grid_edges(40, 40)
    scores = np.zeros((1600, 2)), np.zeros((len(edges), 2, 2)), edges
    with pytest.raises(ValueError, match=r"tables of at least .*: take another method, loopy"):
        solve(MarkovModel(*scores, np.full(1600, 2)))
    (tmp_path / "e").write_text("1 5 0")
    with pytest.raises(DataError, match=r"a variable must be an integer, 0 .. 2, got '5'"):
        infer(str(example), evidence=str(tmp_path / "e"))


def test_what_has_not_converged_is_said(tmp_path: Path, capsys):
    model = cycle()
    write_uai(tmp_path / "x.uai", *model)
    options = graph.Options(max_iterations=1)
    infer(str(tmp_path / "x.uai"), method="loopy", options=options)
    out, err = capsys.readouterr()
    assert out.startswith("MAR\n4 2 ") and err.startswith("warning: loopy has not converged")


@pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")  # of SWIG
@pytest.mark.parametrize("evidence", [{}, {1: 2, 3: 0}])
def test_agrees_with_pyagrum(evidence):
    gum = pytest.importorskip("pyagrum", reason="pyAgrum, the other solver, is not installed")
    model, other = cycle(), gum.MarkovRandomField()
    sizes = model.num_labels.tolist()
    for i, labels in enumerate(sizes):
        other.add(gum.RangeVariable(str(i), "", 0, labels - 1))
    scopes = [[i] for i in range(4)] + model.edges.tolist()
    for scope, table in zip(scopes, [*model.node, *model.edge]):
        factor = gum.Tensor()
        for i in scope:
            factor.add(other.variable(i))
        table = table[tuple(slice(sizes[i]) for i in scope)]
        factor.fillWith(np.exp(table.T).reshape(-1).tolist())  # the first variable fastest
        other.addFactor(factor)
    solver = gum.ShaferShenoyMRFInference(other)
    for i, label in evidence.items():
        solver.addEvidence(str(i), label)
    solver.makeInference()
    found = solve(model, "mar", evidence=evidence).marginals
    for i, p in enumerate(found):
        np.testing.assert_allclose(p, solver.posterior(str(i)).toarray(), atol=1e-12)
