"""The train step: gradient, optimiser, and nothing that a minibatch does not touch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from rntn_jax.shapes import shapes_repr

__all__ = [
    "NotFiniteError",
    "RowBatch",
    "TrainState",
    "init_state",
    "make_train_step",
    "running_mean",
]


class NotFiniteError(ArithmeticError):
    """Loss or gradient became infinite or NaN; the message names the minibatch."""


class TrainState(NamedTuple):
    """Everything that an update reads and writes."""

    params: Any
    opt_state: Any
    step: jax.Array  # int32 [], updates made
    key: chex.PRNGKey  # update ``i`` uses ``fold_in(key, i)``

    __repr__ = shapes_repr


class RowBatch(NamedTuple):
    """A minibatch that touches only some rows of ``params.embedding``.

    Made from `rntn_jax.trees.local_tokens`: ``batch`` counts its words ``0 .. U-1``, row ``u`` of
    the minibatch's table being row ``words[u]`` of the whole.
    """

    batch: Any
    words: chex.Array  # int32 [U]; a word may stand there several times only if it has no gradient

    __repr__ = shapes_repr


def init_state(
    params: Any, optimizer: optax.GradientTransformation, key: chex.PRNGKey
) -> TrainState:
    """The state before the first update.

    Args:
        params: of the model.
        optimizer: its state is made for these parameters.
        key: a PRNG key, split at each update.

    Returns:
        `TrainState` at step 0.
    """
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32), key)


def make_train_step(
    loss: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    *,
    stochastic: bool = False,
    several: bool = False,
    jit: bool = True,
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, Any]]]:
    """Builds ``step(state, batch) -> (state, metrics)``, jitted, with the state donated.

    With a `RowBatch` the step gathers the rows it needs of ``params.embedding`` and of every
    parameter-shaped part of the optimiser's state, updates these, and puts them back: cost and
    memory do not grow with the vocabulary. For optimisers that leave a parameter alone whose
    gradient is zero (SGD, AdaGrad) the result is that of the whole table; Adam becomes its lazy
    variant.

    Args:
        loss: ``loss(params, batch) -> (scalar, aux)``, with ``key=`` too when ``stochastic``.
        optimizer: any optax gradient transformation.
        stochastic: whether the loss draws random numbers (dropout).
        several: ``batch`` carries a leading axis of minibatches, which are taken one after the
            other in one dispatch; the metrics get that axis.
        jit: False leaves the function to be transformed by the caller.

    Returns:
        The step. ``metrics`` holds ``loss``, ``grad_norm``, ``finite`` (whether both are) and
        ``aux``. An update whose loss or gradient is not finite is not applied.

    Example:
        >>> optimizer = optax.sgd(0.5)
        >>> step = make_train_step(lambda w, x: ((w - x) ** 2, None), optimizer)
        >>> state = init_state(jnp.float32(3.0), optimizer, jax.random.key(0))
        >>> state, metrics = step(state, jnp.float32(1.0))
        >>> float(state.params), float(metrics["loss"])
        (1.0, 4.0)
    """

    def update(params, opt_state, batch, key):
        options = {"key": key} if stochastic else {}
        (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(params, batch, **options)
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        updates, new_opt_state = optimizer.update(grads, opt_state, params)
        new = optax.apply_updates(params, updates), new_opt_state
        new = jax.tree.map(partial(jnp.where, finite), new, (params, opt_state))
        return *new, {"loss": value, "grad_norm": norm, "finite": finite, "aux": aux}

    def step(state: TrainState, batch):
        key = jax.random.fold_in(state.key, state.step)
        if not isinstance(batch, RowBatch):
            params, opt_state, metrics = update(state.params, state.opt_state, batch, key)
        else:
            whole = state.params, state.opt_state
            of_words = _embedding_mask(optimizer, *whole)
            rows = jax.tree.map(lambda w, m: w[batch.words] if m else w, whole, of_words)
            params, opt_state, metrics = update(rows[0], rows[1], batch.batch, key)
            params, opt_state = jax.tree.map(
                lambda w, r, m: w.at[batch.words].set(r) if m else r,
                whole,
                (params, opt_state),
                of_words,
            )
        return TrainState(params, opt_state, state.step + 1, state.key), metrics

    def steps(state: TrainState, batches):
        return jax.lax.scan(step, state, batches)

    chosen = steps if several else step
    return jax.jit(chosen, donate_argnums=0) if jit else chosen


def _embedding_mask(optimizer, params, opt_state) -> tuple[Any, Any]:
    """True at ``params.embedding`` and at its likes in the optimiser's state, else False."""
    marks = jax.tree.map(lambda _: False, params)._replace(embedding=True)
    in_state = optax.tree.map_params(
        optimizer, lambda _, mark: mark, opt_state, marks, transform_non_params=lambda _: False
    )
    return marks, in_state


@jax.jit
def running_mean(mean: Any, params: Any, decay: jax.Array) -> Any:
    """``decay mean + (1 - decay) params``, for the averaging of weights.

    With ``decay = min(d, n / (n + 1))`` after ``n`` updates the early mean is that of all weights
    so far, without a memory of the initial ones.

    Args:
        mean: a pytree, the mean so far.
        params: of the same shapes.
        decay: scalar in ``[0, 1]``.

    Returns:
        A pytree of the same shapes.
    """
    return optax.incremental_update(params, mean, 1 - decay)
