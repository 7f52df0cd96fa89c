"""`rntn_jax.data.uai`: what is written comes back; files as others write them; faults."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rntn_jax.data import DataError, read_uai, read_uai_tables, write_uai
from rntn_jax.data.uai import as_pairs

EXAMPLE = """MARKOV
3
2 2 3
3
1 0
2 0 1
2 2 1

2
 0.436 0.564

4
 0.128 0.872
 0.920 0.080

6
 0.210 0.333
 0.457 0.811
 0.000 0.189
"""


def test_a_file_as_others_write_it():
    model = read_uai(io.StringIO(EXAMPLE))
    assert model.num_labels.tolist() == [2, 2, 3] and model.edges.tolist() == [[0, 1], [2, 1]]
    np.testing.assert_allclose(np.exp(model.node[0]), [0.436, 0.564, 0])
    np.testing.assert_allclose(np.exp(model.node[2]), [1, 1, 1])
    np.testing.assert_allclose(np.exp(model.edge[0, :2, :2]), [[0.128, 0.872], [0.92, 0.08]])
    np.testing.assert_allclose(np.exp(model.edge[1, :, :2])[2], [0, 0.189])
    assert np.isneginf(model.edge[1, 2, 0]) and np.isneginf(model.node[1, 2])


def test_tables_over_the_same_variables_are_multiplied():
    text = "MARKOV 2 2 3 4  2 0 1  2 1 0  1 1  1 1  6 1 2 3 4 5 6  6 1 2 3 4 5 6  3 1 2 3  3 2 2 2"
    model = read_uai(io.StringIO(text))
    assert model.edges.tolist() == [[0, 1]]
    want = np.array([[1, 2, 3], [4, 5, 6]]) * np.array([[1, 2], [3, 4], [5, 6]]).T
    np.testing.assert_allclose(np.exp(model.edge[0, :2]), want)
    np.testing.assert_allclose(np.exp(model.node[1]), [2, 4, 6])


@given(st.integers(0, 2**32 - 1))
def test_what_is_written_comes_back(seed):
    rng = np.random.default_rng(seed)
    count, labels = rng.integers(1, 6), rng.integers(1, 4)
    pairs = np.array([(i, j) for i in range(count) for j in range(i)]).reshape(-1, 2)
    edges = pairs[rng.random(len(pairs)) < 0.5]
    node = rng.normal(size=(count, labels)) * 100
    edge = rng.normal(size=(len(edges), labels, labels)) * 100
    edge[rng.random(edge.shape) < 0.2] = -np.inf
    file = io.StringIO()
    taken = write_uai(file, node, edge, edges)
    for source in (io.StringIO(file.getvalue()), io.BytesIO(file.getvalue().encode())):
        model = read_uai(source)
        tops = edge.max(axis=(1, 2), initial=-np.inf)
        tops = np.where(np.isneginf(tops), 0, tops)
        np.testing.assert_allclose(taken, node.max(1).sum() + tops.sum(), atol=1e-9)
        np.testing.assert_array_equal(model.edges, edges)
        with np.errstate(under="ignore"):
            np.testing.assert_allclose(
                np.exp(model.node), np.exp(node - node.max(1, keepdims=True)), rtol=1e-12
            )
            np.testing.assert_allclose(
                np.exp(model.edge), np.exp(edge - tops[:, None, None]), rtol=1e-12
            )


def test_paths_and_numbers_of_labels(tmp_path):
    model = read_uai(io.StringIO(EXAMPLE))
    path = tmp_path / "model.uai"
    write_uai(path, model.node, model.edge, model.edges, model.num_labels)
    again = read_uai(path)
    np.testing.assert_array_equal(again.num_labels, model.num_labels)
    p, q = np.exp(again.edge[1, :, :2]), np.exp(model.edge[1, :, :2])
    np.testing.assert_allclose(p / p.max(), q / q.max())


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "the file ends where the word MARKOV"),
        ("BAYES\n1", 1, "only MARKOV networks"),
        ("MARKOV\nx", 2, "number of variables must be an integer"),
        ("MARKOV\n1\n0", 3, "number of labels must be an integer, at least 1"),
        ("MARKOV\n3\n2 2 2\n1\n3 0 1 2", 5, "over one or two variables, here over 3"),
        ("MARKOV\n1\n2\n1\n0", 5, "here over 0"),
        ("MARKOV\n2\n2 2\n1\n2 0 2", 5, r"a variable must be an integer, 0 .. 1, got '2'"),
        ("MARKOV\n2\n2 2\n1\n2 1 1", 5, "over variable 1 twice"),
        ("MARKOV\n1\n2\n1\n1 0\n3 1 1 1", 6, "needs 2 entries"),
        ("MARKOV\n1\n2\n1\n1 0\n2\n1 -1", 7, "at least 0, got '-1'"),
        ("MARKOV\n1\n2\n1\n1 0\n2\n1 nan", 7, "at least 0"),
        ("MARKOV\n1\n2\n1\n1 0\n2\n1 inf", 7, "at least 0"),
        ("MARKOV\n1\n2\n1\n1 0\n2\n1", 7, "the file ends where an entry"),
        ("MARKOV\n1\n2\n1\n1 0\n2\n1 1\n1", 8, "goes on after the last table"),
    ],
)
def test_faults_are_named(text, line, message):
    with pytest.raises(DataError, match=message) as caught:
        read_uai(io.StringIO(text))
    assert caught.value.line == line and caught.value.file == "<stream>"


@given(st.text(alphabet="MARKOV 0123.-\n", max_size=60))
def test_nothing_but_data_errors(text):
    for start in ("", "MARKOV 2 2 2 1 "):
        try:
            read_uai(io.StringIO(start + text))
        except DataError:
            pass


def test_what_cannot_be_written():
    node, edge, edges = np.zeros((2, 2)), np.zeros((1, 2, 2)), np.array([(0, 1)])
    for wrong in (
        (node, edge[:, :1], edges),
        (node + np.nan, edge, edges),
        (node, edge + np.inf, edges),
        (node, edge, edges + 1),
    ):
        with pytest.raises(ValueError):
            write_uai(io.StringIO(), *wrong)
    with pytest.raises(DataError, match="UTF-8"):
        read_uai(io.BytesIO(b"\xff"))


def test_what_would_fill_memory_is_refused_before_it_does():
    """Tables are filled up to the variable with most labels: a square of them for each pair."""
    wide = "MARKOV 3  20000 2 2  1  2 1 2  4  1 2 3 4"
    model = read_uai_tables(io.StringIO(wide))  # by itself it is small
    with pytest.raises(ValueError, match="3 variables of up to 20000 labels are too many"):
        as_pairs(model)
    with pytest.raises(DataError, match="3 variables of up to 20000 labels are too many"):
        read_uai(io.StringIO(wide))
    with pytest.raises(DataError, match="1 variables of up to 1000000000 labels"):
        read_uai_tables(io.StringIO("MARKOV 1  1000000000  0"))
