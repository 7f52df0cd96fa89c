"""Every optimiser and schedule takes the steps it should."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from experiments.sentiment import networks
from experiments.sentiment.config import Config
from rntn_jax.models import rntn

OPTIMIZERS = ("adagrad", "sgd", "momentum", "adam")
SCHEDULES = ("constant", "cosine", "linear")


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser_and_schedule_takes_the_steps_it_should(optimizer: str, schedule: str):
    config = Config(optimizer=optimizer, schedule=schedule, learning_rate=0.1)
    rule = networks.make_optimizer(config, 4)
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    params = rntn.Params(
        draw(3, 2), rntn.Cell(draw(2, 4, 4), draw(4, 2), draw(2)), rntn.Head(draw(2, 5), draw(5))
    )
    rates = {
        "constant": [0.1] * 5,
        "linear": [0.1, 0.075, 0.05, 0.025, 0.0],
        "cosine": [0.05 * (1 + np.cos(np.pi * i / 4)) for i in range(5)],
    }[schedule]
    state = rule.init(params)
    square = first = second = jax.tree.map(np.zeros_like, params)
    for i, rate in enumerate(rates):
        grads = jax.tree.map(lambda x: draw(*x.shape), params)
        updates, state = rule.update(grads, state, params)
        if optimizer == "adagrad":
            square = jax.tree.map(lambda s, g: s + g**2, square, grads)
            direction = jax.tree.map(lambda s, g: g / np.sqrt(s), square, grads)
        elif optimizer == "momentum":
            direction = first = jax.tree.map(lambda m, g: 0.9 * m + g, first, grads)
        elif optimizer == "adam":
            first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
            second = jax.tree.map(lambda m, g: 0.999 * m + 0.001 * g**2, second, grads)
            direction = jax.tree.map(
                lambda m, s, i=i: m / (1 - 0.9 ** (i + 1)) / np.sqrt(s / (1 - 0.999 ** (i + 1))),
                first,
                second,
            )
        else:
            direction = grads
        expected = jax.tree.map(lambda d, rate=rate: -rate * d, direction)
        expected = expected._replace(cell=expected.cell._replace(v=0.02 * expected.cell.v))
        for a, b in zip(jax.tree.leaves(updates), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-7)


def test_the_plain_net_and_clipping_have_optimisers_too():
    config = Config(optimizer="sgd", learning_rate=1.0, clip_norm=0.5, model="rnn")
    rule = networks.make_optimizer(config, 1)
    grads = rntn.Params(
        np.full((2, 1), 3.0, np.float32),
        rntn.Cell(None, np.zeros((2, 1), np.float32), np.zeros(1, np.float32)),
        rntn.Head(np.zeros((1, 5), np.float32), np.zeros(5, np.float32)),
    )
    updates, _ = rule.update(grads, rule.init(grads), grads)
    np.testing.assert_allclose(updates.embedding, np.full((2, 1), -0.5 / np.sqrt(2)), rtol=1e-6)
    assert updates.cell.v is None
