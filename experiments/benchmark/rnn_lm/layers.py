"""One gated layer over whole sequences: value and gradients of weights and inputs.

The hand rule, autodiff of the scan as anybody would write it, flax's layer, PyTorch's; the same
weights and inputs, and the same sum of squares of all states.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmark import problem_file

__all__ = ["SYSTEMS", "Problem", "make", "problem"]

Train = Callable[[], list[float]]
SYSTEMS = {
    "lstm": "rntn_jax, recurrent.lstm",
    "lstm_autodiff": "JAX autodiff of the plain scan",
    "lstm_flax": "flax.nnx.RNN(OptimizedLSTMCell)",
    "lstm_torch": "PyTorch nn.LSTM",
}


class Problem(NamedTuple):
    """What all are given; the columns of weights are those of the gates i, f, o and of u."""

    h: np.ndarray  # [D, 4 D]
    i: np.ndarray  # [E, 4 D]
    b: np.ndarray  # [4 D]
    x: np.ndarray  # [B, T, E]


def problem(batch: int, steps: int, inputs: int, dim: int) -> Problem:
    """Random weights and inputs of these sizes."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / shape[0] ** 0.5).astype(np.float32)

    x = rng.standard_normal((batch, steps, inputs)).astype(np.float32)
    return Problem(draw(dim, 4 * dim), draw(inputs, 4 * dim), np.zeros(4 * dim, np.float32), x)


def make(system: str, path: Path, threads: int) -> tuple[Train, dict[str, Any]]:
    """The system of that name, the version and temporary memory of its program."""
    given = problem_file.load(path, Problem)
    if system == "lstm_torch":
        return _torch(given, threads)
    import jax
    import jax.numpy as jnp

    weights, states = {"lstm": _ours, "lstm_autodiff": _plain, "lstm_flax": _flax}[system](given)

    def loss(weights, x):
        return jnp.square(states(weights, x)).mean()

    x = jnp.asarray(given.x)
    compiled = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(weights, x).compile()

    def train() -> list[float]:
        return [float(jax.block_until_ready(compiled(weights, x))[0])]

    analysis: Any = compiled.memory_analysis()
    return train, {"version": jax.__version__, "temp_mb": analysis.temp_size_in_bytes / 2**20}


def _ours(given: Problem) -> tuple[Any, Callable[..., Any]]:
    import jax.numpy as jnp

    from rntn_jax.recurrent import LSTMCell, lstm

    return LSTMCell(*map(jnp.asarray, given[:3])), lambda cell, x: lstm(cell, x)[0]


def _plain(given: Problem) -> tuple[Any, Callable[..., Any]]:
    import jax
    import jax.numpy as jnp

    def states(weights, x):
        h_weights, i_weights, b = weights

        def step(state, z):
            h, c = state
            i, f, o, u = jnp.split(z + h @ h_weights, 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(u)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros((len(x), len(h_weights)), x.dtype)
        return jax.lax.scan(step, (zero, zero), (x @ i_weights + b[None, None]).swapaxes(0, 1))[1]

    return tuple(map(jnp.asarray, given[:3])), states


def _flax(given: Problem) -> tuple[Any, Callable[..., Any]]:
    import jax.numpy as jnp
    from flax import nnx

    (inputs, _), dim = given.i.shape, len(given.h)
    cell = nnx.OptimizedLSTMCell(inputs, dim, rngs=nnx.Rngs(0))
    i, f, o, u = np.split(given.i, 4, axis=1)  # flax's order is i, f, u, o
    cell.dense_i.kernel[...] = np.concatenate([i, f, u, o], axis=1)
    i, f, o, u = np.split(given.h, 4, axis=1)
    cell.dense_h.kernel[...] = np.concatenate([i, f, u, o], axis=1)
    graph, weights, rest = nnx.split(nnx.RNN(cell), nnx.Param, ...)
    zero = jnp.zeros((len(given.x), dim), jnp.float32)

    def states(weights, x):
        return nnx.merge(graph, weights, rest)(x, initial_carry=(zero, zero))

    return weights, states


def _torch(given: Problem, threads: int) -> tuple[Train, dict[str, Any]]:
    import torch

    torch.set_num_threads(threads)
    layer = torch.nn.LSTM(given.i.shape[0], len(given.h), batch_first=True)
    weights = []
    for own in (given.i, given.h):
        i, f, o, u = np.split(own, 4, axis=1)  # PyTorch's order is i, f, u, o
        weights.append(torch.from_numpy(np.concatenate([i, f, u, o], axis=1).T.copy()))
    with torch.no_grad():
        layer.weight_ih_l0.copy_(weights[0])
        layer.weight_hh_l0.copy_(weights[1])
        layer.bias_ih_l0.zero_()
        layer.bias_hh_l0.zero_()
    x = torch.from_numpy(given.x).requires_grad_()

    def train() -> list[float]:
        layer.zero_grad()
        x.grad = None
        loss = layer(x)[0].square().mean()
        loss.backward()
        return [loss.item()]

    return train, {"version": torch.__version__}
