"""`ops.embed`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rntn_jax import ops
from tests.helpers import check_rule, residual_bytes

# Any: they take NumPy arrays as well as JAX's.
embed: Any = ops.embed
embed_sum: Any = ops.embed_sum

IDS = np.array([[2, 0, 2], [1, 2, 2]], np.int32)


def oracle(cotangent, table, ids):
    """Source 002: a word that occurs several times accumulates its gradients."""
    gradient = np.zeros_like(table)
    for position in np.ndindex(ids.shape):
        gradient[ids[position]] += cotangent[position]
    return np.array([[table[i] for i in row] for row in ids]), (gradient,)


def test_rule():
    table = np.random.default_rng(0).normal(size=(4, 3))
    check_rule(embed, lambda table, ids: table[ids], (table, IDS), oracle=oracle)


def test_repeated_ids_accumulate_and_unused_rows_get_nothing():
    gradient = jax.grad(lambda table: embed(table, IDS).sum())(jnp.ones((4, 1)))
    np.testing.assert_array_equal(gradient[:, 0], [1, 1, 4, 0])


def test_half_precision_table_accumulates_in_float32():
    ids = np.zeros(1000, np.int32)  # in bfloat16 the sum of ones stops at 256
    gradient = jax.grad(lambda table: embed(table, ids).astype(jnp.float32).sum())(
        jnp.ones((2, 1), jnp.bfloat16)
    )
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient[:, 0].astype(np.float32), [1000, 0])


def test_no_ids():
    table = jnp.ones((3, 2))
    ids = np.zeros((0,), np.int32)
    assert embed(table, ids).shape == (0, 2)
    assert not jax.grad(lambda table: embed(table, ids).sum())(table).any()


def test_keeps_no_rows():
    table, ids = jnp.zeros((4, 64)), jnp.zeros(1000, jnp.int32)
    assert residual_bytes(embed, table, ids) <= table.nbytes + ids.nbytes


@pytest.mark.parametrize(
    ("table", "ids"), [((3,), np.int32), ((3, 2, 1), np.int32), ((3, 2), np.float32)]
)
def test_wrong_ranks_and_dtypes(table, ids):
    with pytest.raises(AssertionError):
        embed(jnp.zeros(table), jnp.zeros(2, ids))


def test_sums_of_rows_and_their_gradient():
    rng = np.random.default_rng(5)
    table, ids = rng.normal(size=(3, 7, 4)), rng.integers(0, 7, (6, 3))
    ids[1] = ids[2]  # rows that hold the same words accumulate
    g = rng.normal(size=(6, 4))
    value, back = jax.vjp(lambda table: embed_sum(table, ids), table)
    expected, grad = np.zeros((6, 4)), np.zeros_like(table)
    for n, p in np.ndindex(ids.shape):
        expected[n] += table[p, ids[n, p]]
        grad[p, ids[n, p]] += g[n]
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(back(g)[0], grad, rtol=1e-12)
    check_grads(lambda table: embed_sum(table, ids), (table,), order=2, modes=("rev",))
    half = jnp.asarray(table, jnp.bfloat16)
    assert jax.grad(lambda t: embed_sum(t, ids).sum())(half).dtype == jnp.bfloat16
    with pytest.raises(AssertionError):
        embed_sum(table, ids[:, :2])
