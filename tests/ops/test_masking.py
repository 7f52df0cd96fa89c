"""`ops.masking`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.ops import accumulator, cast_like, masked, masked_mean

NAN = np.nan


def test_masked_replaces_anything_and_aligns_with_the_leading_axes():
    x = jnp.array([[1.0, NAN], [np.inf, 4.0], [5.0, 6.0]])
    where = jnp.array([False, False, True])
    np.testing.assert_array_equal(masked(x, where), [[0, 0], [0, 0], [5, 6]])
    np.testing.assert_array_equal(masked(x, where, -1.0), [[-1, -1], [-1, -1], [5, 6]])
    assert masked(x, None) is x
    assert masked(x.astype(jnp.bfloat16), where, -np.inf).dtype == jnp.bfloat16


def test_masked_has_gradient_zero_behind_the_mask():
    x, where = jnp.array([2.0, NAN]), jnp.array([True, False])
    gradient = jax.grad(lambda x: (masked(x, where) ** 2).sum())(x)
    np.testing.assert_array_equal(gradient, [4, 0])


def test_masked_mean():
    x = jnp.array([1.0, NAN, 4.0])
    where = jnp.array([True, False, True])
    value, gradient = jax.value_and_grad(masked_mean)(x, where)
    assert float(value) == 2.5
    np.testing.assert_array_equal(gradient, [0.5, 0, 0.5])
    assert float(masked_mean(jnp.array([1.0, 4.0]))) == 2.5


def test_masked_mean_of_nothing_is_zero():
    value, gradient = jax.value_and_grad(masked_mean)(jnp.full(3, NAN), jnp.zeros(3, bool))
    assert float(value) == 0
    np.testing.assert_array_equal(gradient, np.zeros(3))


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ([jnp.bfloat16], jnp.float32),
        ([jnp.float16, jnp.float16], jnp.float32),
        ([jnp.float32], jnp.float32),
        ([jnp.float64], jnp.float64),
        ([jnp.bfloat16, jnp.float64], jnp.float64),
    ],
)
def test_accumulator_is_at_least_float32(dtypes, expected):
    with jax.numpy_dtype_promotion("standard"):
        assert accumulator(*(jnp.zeros(1, dtype) for dtype in dtypes)) == expected


def test_cast_like_gives_every_cotangent_its_primals_dtype():
    primals = {"a": jnp.zeros(2, jnp.bfloat16), "b": (jnp.zeros((), jnp.float32), None)}
    cotangents = {"a": jnp.ones(2, jnp.float32), "b": (jnp.ones((), jnp.float64), None)}
    cast = cast_like(cotangents, primals)
    assert cast["a"].dtype == jnp.bfloat16
    assert cast["b"][0].dtype == jnp.float32
    assert cast["b"][1] is None


def test_cast_like_refuses_another_shape():
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        cast_like(jnp.zeros(2), jnp.zeros(3))
