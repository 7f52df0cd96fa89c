"""`ops.sparse`: products of a sparse matrix with a table."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.ops import sparse_matmul, sparse_matrix
from tests.helpers import assert_close, check_rule


def make(seed=0, shape=(9, 7), entries=40, values=True):
    """A matrix, packed and dense; some rows and columns are empty, some entries double."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, shape[0] - 1, entries), rng.integers(1, shape[1], entries)
    weights = rng.normal(size=entries).astype(np.float32) if values else None
    dense = np.zeros(shape)
    np.add.at(dense, (rows, columns), 1 if weights is None else weights)
    return sparse_matrix(rows, columns, weights, shape), dense


def test_rule():
    matrix, dense = make()
    table = np.random.default_rng(1).normal(size=(7, 3))

    def oracle(g, table):
        return dense @ table, (dense.T @ g,)

    check_rule(
        lambda t: sparse_matmul(matrix, t),
        lambda t: jnp.asarray(dense) @ t,
        (table,),
        oracle=oracle,
    )


@pytest.mark.parametrize("values", [False, True])
def test_bags_of_all_sizes(values):
    """From empty to more than 32 pieces of 32 entries: three levels."""
    rng = np.random.default_rng(2)
    sizes = [0, 1, 2, 3, 5, 9, 31, 32, 33, 64, 65, 1024, 1025, 2100]
    rows = np.repeat(np.arange(len(sizes)), sizes)
    columns = rng.integers(0, 50, len(rows))
    order = rng.permutation(len(rows))
    rows, columns = rows[order], columns[order]
    weights = rng.normal(size=len(rows)).astype(np.float32) if values else None
    dense = np.zeros((len(sizes), 50))
    np.add.at(dense, (rows, columns), 1 if weights is None else weights)
    matrix = sparse_matrix(rows, columns, weights, dense.shape)
    assert len(matrix.rows.ids) == 3 and matrix.shape == dense.shape
    assert matrix.T.shape == dense.shape[::-1]
    table, back = rng.normal(size=(50, 2)), rng.normal(size=(len(sizes), 2))
    multiply = jax.jit(sparse_matmul)
    assert_close(multiply(matrix, table), dense @ table)
    assert_close(multiply(matrix.T, back), dense.T @ back)


def test_no_entries():
    matrix = sparse_matrix(np.zeros(0, int), np.zeros(0, int), None, (3, 2))
    assert sparse_matmul(matrix, jnp.ones((2, 4))).tolist() == np.zeros((3, 4)).tolist()


def test_a_matrix_is_data():
    """Another matrix of the same shapes compiles nothing."""
    traces = []

    @jax.jit
    def f(matrix, table):
        traces.append(1)
        return sparse_matmul(matrix, table)

    for shift in range(2):
        columns = (np.arange(6) + shift) % 6
        matrix = sparse_matrix(np.arange(6), columns, None, (6, 6))
        assert f(matrix, jnp.arange(6.0)[:, None])[:, 0].tolist() == columns.tolist()
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("rows", "columns", "values", "message"),
    [
        ([0, 3], [0, 0], None, "row 3 is not in 3"),
        ([0, 0], [0, -1], None, "column -1 is not in 2"),
        ([0], [0, 1], None, "equally long"),
        ([0, 1], [0, 1], [1.0], "values"),
    ],
)
def test_bad_entries(rows, columns, values, message):
    with pytest.raises(ValueError, match=message):
        sparse_matrix(np.array(rows), np.array(columns), values, (3, 2))


def test_table_of_another_size():
    with pytest.raises(AssertionError):
        sparse_matmul(make()[0], jnp.ones((6, 2)))
