"""What several models are made of: linear layers, recurrent cells, and how both begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.recurrent import Cell, LSTMCell
from rntn_jax.shapes import shapes_repr

__all__ = ["Layer", "check_config", "glorot", "linear", "lstm_cell", "recurrent_cell"]


class Layer(NamedTuple):
    """A linear layer, ``x W + b``."""

    w: jax.Array  # [in, out]
    b: jax.Array  # [out]

    __repr__ = shapes_repr


def glorot(key: jax.Array, inputs: int, outputs: int, dtype: jnp.dtype = jnp.float32) -> jax.Array:
    """Weights ``[inputs, outputs]``, uniform ``+-sqrt(6 / (inputs + outputs))``.

    Glorot and Bengio (2010): activations and gradients then have about one variance in all layers.

    Args:
        key: a PRNG key.
        inputs: width of what comes in.
        outputs: width of what goes out.
        dtype: of the weights.

    Returns:
        ``[inputs, outputs]`` of that dtype.

    Example:
        >>> bool(jnp.abs(glorot(jax.random.key(0), 4, 2)).max() <= 1)
        True
    """
    r = (6 / max(inputs + outputs, 1)) ** 0.5
    return jax.random.uniform(key, (inputs, outputs), dtype, -r, r)


def linear(key: jax.Array, inputs: int, outputs: int, dtype: jnp.dtype = jnp.float32) -> Layer:
    """A layer with weights in Glorot's range and bias 0.

    Args:
        key: a PRNG key.
        inputs: width of what comes in.
        outputs: width of what goes out.
        dtype: of the weights.

    Returns:
        Weights ``[inputs, outputs]`` and bias ``[outputs]``.

    Example:
        >>> linear(jax.random.key(0), 4, 2).w.shape
        (4, 2)
    """
    return Layer(glorot(key, inputs, outputs, dtype), jnp.zeros(outputs, dtype))


def recurrent_cell(
    recurrent_key: jax.Array,
    input_key: jax.Array,
    inputs: int,
    dim: int,
    scale: float,
    dtype: jnp.dtype = jnp.float32,
) -> Cell:
    """An Elman cell: a random rotation times ``scale``, inputs in Glorot's range, bias 0.

    Args:
        recurrent_key: a PRNG key, for the recurrent weights.
        input_key: a PRNG key, for the input weights.
        inputs: width of the input.
        dim: width of the state.
        scale: of the rotation; below 1 the state forgets.
        dtype: of the weights.

    Returns:
        Weights ``h [dim, dim]`` and ``i [inputs, dim]``, bias ``[dim]``.

    Example:
        >>> cell = recurrent_cell(*jax.random.split(jax.random.key(0)), 4, 2, scale=0.9)
        >>> cell.h.shape, cell.i.shape
        ((2, 2), (4, 2))
    """
    wide = jnp.promote_types(dtype, jnp.float32)  # QR knows no dtype below it
    rotation = scale * jax.random.orthogonal(recurrent_key, dim, dtype=wide)
    return Cell(rotation.astype(dtype), *linear(input_key, inputs, dim, dtype))


def lstm_cell(
    recurrent_key: jax.Array,
    input_key: jax.Array,
    inputs: int,
    dim: int,
    scale: float,
    dtype: jnp.dtype = jnp.float32,
) -> LSTMCell:
    """A gated cell, each gate as in `recurrent_cell`; the bias of the gate that keeps is 1.

    So it keeps much of its memory from the beginning (Jozefowicz, Zaremba and Sutskever 2015).

    Args:
        recurrent_key: a PRNG key, for the recurrent weights.
        input_key: a PRNG key, for the input weights.
        inputs: width of the input.
        dim: width of the state.
        scale: of the rotations.
        dtype: of the weights.

    Returns:
        Weights ``h [dim, 4 dim]`` and ``i [inputs, 4 dim]``, bias ``[4 dim]``.

    Example:
        >>> cell = lstm_cell(*jax.random.split(jax.random.key(0)), 4, 2, scale=0.9)
        >>> cell.i.shape, cell.b.tolist()
        ((4, 8), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    """
    keys = zip(jax.random.split(recurrent_key, 4), jax.random.split(input_key, 4), strict=True)
    gates = [recurrent_cell(*own, inputs, dim, scale, dtype) for own in keys]
    cell = LSTMCell(*(jnp.concatenate(own, axis=-1) for own in zip(*gates, strict=True)))
    return cell._replace(b=cell.b.at[dim : 2 * dim].set(1))


def check_config(
    config: object, at_least: dict[str, int], not_negative: Sequence[str] = ()
) -> None:
    """Refuses values of a configuration.

    Args:
        config: a dataclass.
        at_least: of each field that holds a whole number, the least that it may be.
        not_negative: fields that hold any number from 0 on.

    Raises:
        ValueError: naming the field and its value.

    Example:
        >>> from rntn_jax.models import rnn_lm
        >>> rnn_lm.Config(vocab_size=5, layers=0)
        Traceback (most recent call last):
        ValueError: layers must be an integer of at least 1, got 0
    """
    for name, least in at_least.items():
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    for name in not_negative:
        value = getattr(config, name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
            raise ValueError(f"{name} must be a number, not negative, got {value!r}")
