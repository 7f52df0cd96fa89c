"""`ops.tensor`: the bilinear product and its contraction."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.ops import outer_sum, slice_products, symmetric_slices, tensor_product
from tests.helpers import assert_close, check_rule, residual_bytes, size_in_bytes
from tests.oracles import rntn_numpy as eq


def draw(*shape) -> Any:
    """Fixed normal numbers, different for every shape."""
    return np.random.default_rng(shape).normal(size=shape)


def reference(x, v):
    """The definition."""
    return jnp.einsum("...i,kij,...j->...k", x, v, x)


def oracle(delta, x, v):
    """Row by row with source 000's equations 2, 14, 4 and 16."""
    value = np.array([[row @ slice_ @ row for slice_ in v] for row in x])
    dx = np.array([eq.eq14_S(v, d, row) for d, row in zip(delta, x, strict=True)])
    dv = sum(eq.eq4_dV_at_node(d, row) for d, row in zip(delta, x, strict=True))
    return value, (dx, dv)


def test_rule():
    check_rule(tensor_product, reference, (draw(5, 4), draw(3, 4, 4)), oracle=oracle)


@pytest.mark.parametrize("rows", [(), (2, 3), (0,)], ids=str)
def test_leading_axes(rows):
    x, v = draw(*rows, 3), draw(2, 3, 3)
    loss = lambda f: jax.jit(jax.value_and_grad(lambda x, v: (f(x, v) ** 2).sum(), (0, 1)))(x, v)
    assert_close(tensor_product(x, v), reference(x, v))
    assert_close(loss(tensor_product), loss(reference))


def test_gradient_of_the_tensor_is_symmetric_even_where_the_tensor_is_not():
    gradient = jax.grad(lambda v: tensor_product(draw(7, 3), v).sum())(draw(2, 3, 3))
    np.testing.assert_array_equal(gradient, gradient.swapaxes(1, 2))


def test_half_precision():
    x, v = draw(300, 6).astype(jnp.bfloat16), draw(2, 6, 6).astype(jnp.bfloat16)
    exact = [np.asarray(a, np.float64) for a in (x, v)]
    total = lambda x, v: tensor_product(x, v).astype(jnp.float32).sum()
    (dx, dv), (dx64, dv64) = (jax.jit(jax.grad(total, (0, 1)))(*args) for args in ((x, v), exact))
    assert dx.dtype == dv.dtype == jnp.bfloat16
    assert_close(dx, dx64, 0.02)  # a few ulps of bfloat16, whatever the number of rows
    assert_close(dv, dv64, 0.02)


def test_keeps_its_arguments_only():
    x, v = draw(50, 6), draw(3, 6, 6)
    assert residual_bytes(tensor_product, x, v) <= size_in_bytes((x, v))


@pytest.mark.parametrize(("x", "v"), [((4, 3), (2, 3, 4)), ((4, 3), (3, 3)), ((4, 2), (2, 3, 3))])
def test_wrong_shapes(x, v):
    with pytest.raises(AssertionError):
        tensor_product(jnp.zeros(x), jnp.zeros(v))


# Few and many rows, m even and odd, small and large: the sum may run in blocks of any of them.
SIZES = [
    (1, 1, 1),
    (1, 2, 3),
    (5, 3, 2),
    (4, 6, 1),
    (256, 2, 2),
    (1025, 5, 2),
    (2051, 4, 1),
    (3, 50, 2),
    (3, 51, 1),
    (3, 52, 2),
    (257, 107, 2),
    (0, 3, 2),
]


@pytest.mark.parametrize(("n", "m", "d"), SIZES)
def test_outer_sum(n, m, d):
    delta, x = draw(n, d), draw(n, m)
    total = jax.jit(outer_sum)(delta, x)
    assert_close(total, np.einsum("nk,ni,nj->kij", delta, x, x), 1e-12)
    np.testing.assert_array_equal(total, total.swapaxes(1, 2))


@pytest.mark.parametrize(("n", "m"), [(5, 4), (259, 53)])
def test_outer_sum_differentiates(n, m):
    delta, x = draw(n, 2), draw(n, m)
    plain = lambda delta, x: jnp.einsum("nk,ni,nj->kij", delta, x, x)
    weights = draw(2, m, m)
    gradient = lambda f: jax.jit(jax.grad(lambda delta, x: (f(delta, x) * weights).sum(), (0, 1)))(
        delta, x
    )
    assert_close(gradient(outer_sum), gradient(plain))


def test_outer_sum_accumulates_in_float32():
    ones = jnp.ones((2000, 1), jnp.bfloat16)  # in bfloat16 the sum of ones stops at 256
    total = outer_sum(ones, ones)
    assert total.dtype == jnp.float32
    assert float(total[0, 0, 0]) == 2000


def test_symmetric_slices_and_slice_products():
    x, v = draw(5, 4), draw(3, 4, 4)
    t = slice_products(x, symmetric_slices(v))
    assert_close(t, np.einsum("kij,nj->nki", v + v.swapaxes(1, 2), x), 1e-12)
    # Both uses of t: half of t . x is the value (2), t weighted by delta is S (14).
    assert_close(0.5 * np.einsum("nkj,nj->nk", t, x), reference(x, v), 1e-12)
    delta = draw(5, 3)
    S = [eq.eq14_S(v, d, row) for d, row in zip(delta, x, strict=True)]
    assert_close(np.einsum("nkj,nk->nj", t, delta), np.array(S), 1e-12)
    half = jnp.zeros((1, 4), jnp.bfloat16)
    assert slice_products(half, symmetric_slices(v.astype(jnp.bfloat16))).dtype == jnp.float32
