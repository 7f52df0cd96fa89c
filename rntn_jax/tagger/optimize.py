"""Training on the device: L-BFGS on all sentences at once, AdaGrad on minibatches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rntn_jax.models import sparse_crf
from rntn_jax.signals import uninterrupted
from rntn_jax.tagger.checkpoints import Saves
from rntn_jax.tagger.encoding import TrainingData
from rntn_jax.training import (
    NotFiniteError,
    Stopping,
    init_state,
    lbfgs,
    make_train_step,
    minimize_l1,
)

__all__ = ["fit_adagrad", "fit_lbfgs"]

Report = Callable[..., None]

# One program for all models of the same data, whatever the penalties.
_evaluate = jax.jit(jax.value_and_grad(sparse_crf.loss))


def fit_lbfgs(
    data: TrainingData,
    features: sparse_crf.Features,
    arguments: dict[str, Any],
    report: Report,
    saves: Saves,
) -> sparse_crf.Params:
    """Minimises ``-ln P(y) + c1 |w|_1 + c2 |w|^2`` over all sentences.

    Where ``saves`` holds an earlier state it goes on there: bit for bit as if it had not been
    stopped; with ``c1`` from the weights alone, to the same minimum, since SciPy's memory of the
    steps before is not to be had.

    Args:
        data: sentences and labels.
        features: of `sparse_crf.features`.
        arguments: of `arguments.resolve`.
        report: called after each iteration with its number, the loss, the weights, their norm and
            that of the gradient.
        saves: where it saves.

    Returns:
        The weights.

    Raises:
        CheckpointError: as `Saves.restore`.
        NotFiniteError: when the loss is no number.
    """
    sentences = sparse_crf.pack_sentences(*data[:6], weights=data.weights)
    sentences, features = jax.tree.map(jnp.asarray, (sentences, features))
    stopping = Stopping(
        arguments["max_iterations"], arguments["delta"], arguments["period"], arguments["epsilon"]
    )
    params = sparse_crf.init(features)
    inputs = sentences, features, jnp.float32(arguments["c2"])

    def noted(number: int, loss: float, error_norm: float, params: sparse_crf.Params) -> None:
        weights = jax.tree.leaves(jax.device_get(params))
        report(
            number,
            loss,
            params,
            feature_norm=float(sum(np.square(w).sum() for w in weights)) ** 0.5,
            error_norm=error_norm,
            active_features=int(sum(np.count_nonzero(w) for w in weights)),
        )

    memory, max_trials = arguments["num_memories"], arguments["max_linesearch"]
    if arguments["c1"]:
        params, losses = saves.restore(params) or (params, [])
        losses = [*losses]

        def saved(number: int, loss: float, error_norm: float, params: sparse_crf.Params) -> None:
            losses.append(loss)
            noted(number, loss, error_norm, params)
            saves.note(number, params, losses)

        with saves.kept():
            return minimize_l1(
                _evaluate,
                params,
                inputs,
                arguments["c1"],
                stopping,
                memory=memory,
                max_trials=max_trials,
                report=saved,
                before=[*losses],
            )[0]
    strong = arguments["linesearch"] in ("MoreThuente", "StrongBacktracking")
    method = lbfgs(_evaluate, memory, max_trials=max_trials, strong=strong)
    state = method.init(params, *inputs)
    losses = [float(state.value)]
    if (found := saves.restore(state)) is not None:
        state, losses = jax.device_put(found[0]), found[1]
    with saves.kept():
        while True:
            norm = float(optax.tree.norm(state.params))
            error_norm = float(optax.tree.norm(state.grad))
            if not np.isfinite(losses[-1]):
                raise NotFiniteError(f"the loss is {losses[-1]} after {len(losses) - 1} iterations")
            if stopping.done(losses, error_norm, norm):
                return state.params
            with uninterrupted():
                state = method.step(state, *inputs)
                losses.append(float(state.value))
                error_norm = float(optax.tree.norm(state.grad))
                noted(len(losses) - 1, losses[-1], error_norm, state.params)
                saves.note(len(losses) - 1, state, losses)


def fit_adagrad(
    data: TrainingData, features: sparse_crf.Features, arguments: dict[str, Any], report: Report
) -> sparse_crf.Params:
    """Steps of AdaGrad (Duchi et al. 2011) on minibatches.

    Each minibatch carries its share of the penalty ``c2 |w|^2``.

    Args:
        data: sentences and labels.
        features: of `sparse_crf.features`.
        arguments: of `arguments.resolve`.
        report: called after each pass with its number, the loss, the weights and the gradient's
            norm.

    Returns:
        The weights after the last pass.

    Raises:
        NotFiniteError: when the loss is no number.
    """
    tokens, num_attributes = len(data.labels), data.num_attributes
    sentences = sparse_crf.pack_sentences(*data[:6], weights=data.weights, minibatches=True)
    rows, steps = sentences.labels.shape
    size = max(1, min(rows, int(arguments["batch_size"]) // steps))
    share = size / rows
    features = jax.tree.map(jnp.asarray, features)

    def objective(params, batch):
        value = sparse_crf.loss(params, batch, features, arguments["c2"] * share, num_attributes)
        return value / (tokens * share), None

    optimizer = optax.adagrad(arguments["learning_rate"], initial_accumulator_value=0.0)
    step = make_train_step(objective, optimizer)
    state = init_state(sparse_crf.init(features), optimizer, jax.random.key(0))
    for number in range(1, arguments["max_iterations"] + 1):
        order = np.random.default_rng((arguments["seed"], number)).permutation(rows)
        losses, norms = [], []
        for at in range(0, rows - size + 1, size):
            members = order[at : at + size]
            state, metrics = step(state, jax.tree.map(lambda a: a[members], sentences))  # noqa: B023
            losses.append(metrics["loss"])
            norms.append(metrics["grad_norm"])
        value = float(np.mean(jax.device_get(losses))) * tokens
        if not np.isfinite(value):
            raise NotFiniteError(f"the loss is {value} in pass {number}: a smaller learning_rate?")
        report(number, value, state.params, error_norm=float(np.mean(jax.device_get(norms))))
    return state.params
