"""`ops.activations`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.ops import ACTIVATIONS, activate, derivative_from_output

POINTS = np.concatenate([np.linspace(-3, 3, 20), [-40.0, 40.0]])  # 0 is not among them
FORMULAS = {
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "relu": lambda z: np.maximum(z, 0),
    "cube": lambda z: z**3,
    "identity": lambda z: z,
}


def test_names():
    assert set(ACTIVATIONS) == set(FORMULAS)


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_derivative_from_output_is_autodiff(name):
    z = jnp.asarray(POINTS)
    h = activate(name, z)
    np.testing.assert_allclose(h, FORMULAS[name](POINTS), rtol=1e-14)
    slope = jax.vmap(jax.grad(lambda z: activate(name, z)))(z)
    np.testing.assert_allclose(derivative_from_output(name, h), slope, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_derivative_from_output_differentiates_like_autodiff(name):
    z = jnp.asarray(POINTS)
    second = jax.vmap(jax.grad(jax.grad(lambda z: activate(name, z))))(z)
    through_output = jax.vmap(jax.grad(lambda z: derivative_from_output(name, activate(name, z))))
    np.testing.assert_allclose(through_output(z), second, rtol=1e-10, atol=1e-14)


def test_relu_has_slope_zero_at_zero():
    zero = jnp.zeros(())
    assert float(activate("relu", zero)) == 0
    assert float(jax.grad(lambda z: activate("relu", z))(zero)) == 0
    assert float(derivative_from_output("relu", zero)) == 0


def test_cube_has_slopes_zero_at_zero():
    zero = jnp.zeros(())
    slope = lambda z: derivative_from_output("cube", activate("cube", z))
    assert float(slope(zero)) == 0
    assert float(jax.grad(slope)(zero)) == 0


@pytest.mark.parametrize("name", sorted(FORMULAS))
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_dtype_is_kept(name, dtype):
    z = jnp.ones(3, dtype)
    assert activate(name, z).dtype == dtype
    assert derivative_from_output(name, z).dtype == dtype


@pytest.mark.parametrize("function", [activate, derivative_from_output])
def test_unknown_name(function):
    with pytest.raises(ValueError, match=r"'gelu'.*'identity', 'relu', 'sigmoid', 'tanh'"):
        function("gelu", jnp.zeros(1))
