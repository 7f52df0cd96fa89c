"""Recurrent layers: Elman's, and the long short-term memory."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rntn_jax import recurrent

__all__ = ["LSTM", "ElmanRNN"]

Initializer = Any  # a key, a shape and a dtype to an array

XAVIER = nnx.initializers.xavier_uniform()


def orthogonal(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """A random rotation; the QR decomposition behind it knows no dtype below float32."""
    wide = jnp.promote_types(dtype, jnp.float32)
    return nnx.initializers.orthogonal()(key, shape, wide).astype(dtype)


class ElmanRNN(nnx.Module):
    """``h_t = f(h_{t-1} H + x_t I + b)`` over whole sequences, by backpropagation through time.

    Args:
        in_features: ``E``.
        hidden_features: ``D``.
        rngs: for the initial weights.
        activation: ``tanh``, ``sigmoid``, ``relu`` or ``identity``.
        reverse: from the last step to the first.
        kernel_init: initialiser of the input weights.
        recurrent_kernel_init: of the recurrent ones, a random rotation by default.
        param_dtype: of the weights.

    Attributes:
        kernel, recurrent_kernel, bias: ``I [E, D]``, ``H [D, D]``, ``b [D]``.

    Source: 001, ``h^(t)``; 003, equation 1a.

    Example:
        >>> layer = ElmanRNN(3, 4, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((2, 5, 3))).shape
        (2, 5, 4)
        >>> hidden, carry = layer(jnp.ones((2, 5, 3)), return_carry=True)
        >>> carry.shape
        (2, 4)
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        rngs: nnx.Rngs,
        activation: str = "tanh",
        reverse: bool = False,
        kernel_init: Initializer = XAVIER,
        recurrent_kernel_init: Initializer = orthogonal,
        param_dtype: Any = jnp.float32,
    ):
        d = hidden_features
        self.in_features, self.hidden_features = in_features, d
        self.activation, self.reverse = activation, reverse
        self.kernel = nnx.Param(kernel_init(rngs.params(), (in_features, d), param_dtype))
        self.recurrent_kernel = nnx.Param(recurrent_kernel_init(rngs.params(), (d, d), param_dtype))
        self.bias = nnx.Param(jnp.zeros(d, param_dtype))

    def __call__(
        self,
        x: jax.Array,
        *,
        initial_carry: jax.Array | None = None,
        mask: jax.Array | None = None,
        return_carry: bool = False,
    ) -> Any:
        """States of all steps.

        Args:
            x: ``[B, T, E]``.
            initial_carry: ``[B, D]``; zeros by default.
            mask: bool ``[B, T]``, any pattern; a false step leaves the state as it was.
            return_carry: also return the last state.

        Returns:
            ``hidden [B, T, D]``, or ``(hidden, carry [B, D])``.
        """
        cell = recurrent.Cell(self.recurrent_kernel[...], self.kernel[...], self.bias[...])
        hidden, carry = recurrent.rnn(
            cell, x, initial_carry, mask, activation=self.activation, reverse=self.reverse
        )
        return (hidden, carry) if return_carry else hidden


def gates(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Four random rotations side by side, ``[D, 4 D]``."""
    side = (shape[0], shape[1] // 4)
    return jnp.concatenate([orthogonal(k, side, dtype) for k in jax.random.split(key, 4)], axis=1)


class LSTM(nnx.Module):
    """A long short-term memory over whole sequences, by backpropagation through time.

    Args:
        in_features: ``E``.
        hidden_features: ``D``.
        rngs: for the initial weights.
        reverse: from the last step to the first.
        kernel_init: initialiser of the input weights, of one gate.
        recurrent_kernel_init: of the recurrent ones, a random rotation a gate by default.
        param_dtype: of the weights.

    Attributes:
        kernel, recurrent_kernel, bias: ``I [E, 4 D]``, ``H [D, 4 D]``, ``b [4 D]``; columns of the
            gates i, f and o and of the candidate u, the bias of f being 1 at first.

    Source: `rntn_jax.recurrent.lstm`.

    Example:
        >>> layer = LSTM(3, 4, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((2, 5, 3))).shape
        (2, 5, 4)
        >>> hidden, carry = layer(jnp.ones((2, 5, 3)), return_carry=True)
        >>> carry.c.shape
        (2, 4)
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        rngs: nnx.Rngs,
        reverse: bool = False,
        kernel_init: Initializer = XAVIER,
        recurrent_kernel_init: Initializer = gates,
        param_dtype: Any = jnp.float32,
    ):
        d = hidden_features
        self.in_features, self.hidden_features, self.reverse = in_features, d, reverse
        kernels = [kernel_init(rngs.params(), (in_features, d), param_dtype) for _ in range(4)]
        self.kernel = nnx.Param(jnp.concatenate(kernels, axis=1))
        self.recurrent_kernel = nnx.Param(
            recurrent_kernel_init(rngs.params(), (d, 4 * d), param_dtype)
        )
        self.bias = nnx.Param(jnp.zeros(4 * d, param_dtype).at[d : 2 * d].set(1))

    def __call__(
        self,
        x: jax.Array,
        *,
        initial_carry: recurrent.LSTMState | None = None,
        mask: jax.Array | None = None,
        return_carry: bool = False,
    ) -> Any:
        """States of all steps.

        Args:
            x: ``[B, T, E]``.
            initial_carry: state and memory ``[B, D]``; zeros by default.
            mask: bool ``[B, T]``, any pattern; a false step leaves both as they were.
            return_carry: also return the last ones.

        Returns:
            ``hidden [B, T, D]``, or ``(hidden, LSTMState of [B, D])``.
        """
        cell = recurrent.LSTMCell(self.recurrent_kernel[...], self.kernel[...], self.bias[...])
        hidden, carry = recurrent.lstm(cell, x, initial_carry, mask, reverse=self.reverse)
        return (hidden, carry) if return_carry else hidden
