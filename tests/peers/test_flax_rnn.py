"""flax's tests of its recurrent cells (tests/nnx/nn/recurrent_test.py), of `ElmanRNN`.

Sizes and inputs are theirs: two sequences of five steps, three features, four hidden ones.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from rntn_jax import nn
from rntn_jax.models.layers import recurrent_cell

B, T, E, D = 2, 5, 3, 4


@pytest.fixture
def layer() -> nn.ElmanRNN:
    made = nn.ElmanRNN(E, D, rngs=nnx.Rngs(0))
    made.bias[...] = jnp.arange(D, dtype=jnp.float32) / 10
    return made


def simple_cell(layer: nn.ElmanRNN) -> nnx.SimpleCell:
    """flax's cell with the same weights."""
    cell = nnx.SimpleCell(E, D, rngs=nnx.Rngs(1))
    cell.dense_i.kernel[...], cell.dense_i.bias[...] = layer.kernel[...], layer.bias[...]
    cell.dense_h.kernel[...] = layer.recurrent_kernel[...]
    return cell


def inputs() -> jax.Array:
    return jax.random.normal(jax.random.PRNGKey(42), (B, T, E), jnp.float32)


def test_step_by_step(layer):
    cell, x = simple_cell(layer), inputs()
    carry = cell.initialize_carry((B, E), nnx.Rngs(0))
    steps = []
    for t in range(T):
        carry, y = cell(carry, x[:, t])
        steps.append(y)
    hidden, last = layer(x, return_carry=True)
    assert hidden.shape == (B, T, D)
    np.testing.assert_allclose(hidden, jnp.stack(steps, 1), atol=1e-6)
    np.testing.assert_allclose(last, carry, atol=1e-6)


def test_linen_with_the_same_weights(layer):
    theirs = linen.RNN(linen.SimpleCell(D))
    weights = {
        "i": {"kernel": layer.kernel[...], "bias": layer.bias[...]},
        "h": {"kernel": layer.recurrent_kernel[...]},
    }
    expected = theirs.apply({"params": {"cell": weights}}, inputs())
    np.testing.assert_allclose(layer(inputs()), expected, atol=1e-6)


def test_a_carry_of_ones(layer):
    ones = jnp.ones((B, D), jnp.float32)
    expected = nnx.RNN(simple_cell(layer))(inputs(), initial_carry=ones)
    np.testing.assert_allclose(layer(inputs(), initial_carry=ones), expected, atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_lengths_and_order(layer, reverse):
    """Sequences of 3 and 5 steps, padded; in both directions, kept in order."""
    lengths = jnp.array([3, 5])
    mask = jnp.arange(T)[None] < lengths[:, None]
    theirs = nnx.RNN(simple_cell(layer), reverse=reverse, keep_order=True, return_carry=True)
    carry, expected = theirs(inputs(), seq_lengths=lengths)
    layer.reverse = reverse
    hidden, last = layer(inputs(), mask=mask, return_carry=True)
    np.testing.assert_allclose(hidden[mask], expected[mask], atol=1e-6)
    np.testing.assert_allclose(last, carry, atol=1e-6)


def test_dtypes():
    layer = nn.ElmanRNN(E, D, rngs=nnx.Rngs(0), param_dtype=jnp.bfloat16)
    assert layer(jnp.ones((B, T, E), jnp.bfloat16)).dtype == jnp.bfloat16
    keys = jax.random.split(jax.random.key(0))
    cell = recurrent_cell(*keys, E, D, scale=0.9, dtype=jnp.bfloat16)
    assert {weight.dtype for weight in cell} == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_allclose(cell.h @ cell.h.T, 0.81 * np.eye(D), atol=0.02)
