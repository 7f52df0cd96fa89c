"""`models.rnn_lm`: what the equations do not say by themselves."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.models import rnn_lm
from rntn_jax.sequences import SequenceBatch
from tests.helpers import assert_close, check_orders

V, B, T = 11, 3, 6
RNG = np.random.default_rng(0)
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]], bool)
BATCH = SequenceBatch(
    np.where(MASK, RNG.integers(2, V, (B, T)), 0),
    np.where(MASK, RNG.integers(2, V, (B, T)), 0),
    MASK,
)
CONFIGS = {
    "plain": rnn_lm.Config(V, 3, 4),
    "tied": rnn_lm.Config(V, 4, 4, tied=True),
    "deep": rnn_lm.Config(V, 3, 4, layers=2),
}
every_config = pytest.mark.parametrize("name", CONFIGS)


def make(name: str) -> rnn_lm.Params:
    params = rnn_lm.init(jax.random.key(1), CONFIGS[name], jnp.float64)
    return jax.tree.map(lambda a: a + 0.05 * RNG.normal(size=a.shape), params)


def plain_loss(params, carry, activation):
    """Word by word, unfused, for autodiff."""
    cells = (params.cell,) if isinstance(params.cell, rnn_lm.Cell) else params.cell
    w = params.embedding.T if params.head.w is None else params.head.w
    f = {"tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}[activation]
    total, states = 0.0, list(carry)
    for t in range(T):
        x = params.embedding[BATCH.tokens[:, t]]
        here = MASK[:, t, None]
        for layer, cell in enumerate(cells):
            h = f(states[layer] @ cell.h + x @ cell.i + cell.b[None])
            states[layer] = jnp.where(here, h, states[layer])
            x = jnp.where(here, states[layer], 0)
        log_y = jax.nn.log_softmax(x @ w + params.head.b[None])
        nats = -jnp.take_along_axis(log_y, BATCH.targets[:, t, None], 1)[:, 0]
        total += jnp.where(MASK[:, t], nats, 0).sum()
    return total / MASK.sum(), tuple(states)


@every_config
@pytest.mark.parametrize("activation", ["tanh", pytest.param("sigmoid", marks=pytest.mark.slow)])
def test_loss_and_gradients_to_second_order(name, activation):
    params = make(name)
    carry = tuple(0.3 * RNG.normal(size=c.shape) for c in rnn_lm.initial_carry(params, B))

    def mine(params, carry):
        value, aux = rnn_lm.loss(params, BATCH, carry, activation=activation, chunk=4)
        return value, aux.carry

    check_orders(mine, partial(plain_loss, activation=activation), (params, carry))


@every_config
def test_score_apply_and_loss_agree(name):
    params = make(name)
    logits, carry = rnn_lm.apply(params, BATCH)
    nats, same = rnn_lm.score(params, BATCH, chunk=5)
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), BATCH.targets[..., None], -1)[..., 0]
    assert_close(nats, np.where(MASK, -picked, 0))
    assert_close(carry, same, 1e-12)
    value, aux = rnn_lm.loss(params, BATCH)
    assert_close(value, nats.sum() / MASK.sum())
    assert_close(aux.carry, carry, 1e-12)
    assert_close(rnn_lm.perplexity(nats, MASK), np.exp(value))


def test_nothing_to_predict_costs_nothing():
    nothing = BATCH._replace(mask=np.zeros((B, T), bool))
    (value, aux), grads = jax.value_and_grad(rnn_lm.loss, has_aux=True)(make("plain"), nothing)
    assert float(value) == 0 == int(aux.tokens)
    assert not any(np.asarray(g).any() for g in jax.tree.leaves(grads))


def test_dropout():
    params = make("deep")
    rates = dict.fromkeys(
        ("input_dropout", "hidden_dropout", "recurrent_dropout", "output_dropout"), 0.5
    )
    run = jax.jit(lambda key: rnn_lm.loss(params, BATCH, key=key, **rates)[0])
    assert run(jax.random.key(0)) == run(jax.random.key(0)) != run(jax.random.key(1))
    clean = rnn_lm.loss(params, BATCH)[0]
    for name in rates:
        one = lambda key: rnn_lm.loss(params, BATCH, key=key, **{name: 0.5})[0]  # noqa: B023
        assert one(jax.random.key(0)) != clean
    # The factors have mean 1: a linear function of them is right on average.
    small = make("plain")
    h = lambda key: rnn_lm.states(small, BATCH, output_dropout=0.5, key=key)[0]
    mean = jax.vmap(h)(jax.random.split(jax.random.key(3), 4000)).mean(0)
    np.testing.assert_allclose(mean, rnn_lm.states(small, BATCH)[0], atol=0.1)
    with pytest.raises(ValueError, match="needs a key"):
        rnn_lm.loss(params, BATCH, output_dropout=0.5)
    with pytest.raises(ValueError, match=r"1\.5"):
        rnn_lm.loss(params, BATCH, output_dropout=1.5, key=jax.random.key(0))


def test_generate():
    params = make("deep")
    prompt = jnp.array([[2, 3], [4, 5]])
    run = jax.jit(partial(rnn_lm.generate, length=40), static_argnames=("temperature", "top_k"))
    drawn = run(params, jax.random.key(0), prompt)
    assert drawn.shape == (2, 40) and drawn.dtype == jnp.int32
    assert int(drawn.min()) >= 2 and int(drawn.max()) < V and len(np.unique(drawn)) > 3
    # Without chance it is what apply says, token by token.
    greedy = run(params, jax.random.key(0), prompt, temperature=0.0)
    np.testing.assert_array_equal(greedy, run(params, jax.random.key(7), prompt, top_k=1))
    text = np.concatenate([prompt, greedy[:, :-1]], axis=1)
    logits, _ = rnn_lm.apply(params, SequenceBatch(text, text, np.ones(text.shape, bool)))
    np.testing.assert_array_equal(greedy, 2 + np.argmax(logits[:, 1:, 2:], axis=-1))
    for options in ({"temperature": -1.0}, {"top_k": 0}, {"top_k": V + 1}):
        with pytest.raises(ValueError):
            rnn_lm.generate(params, jax.random.key(0), prompt, 3, **options)


def test_generate_draws_as_the_softmax_says():
    params = make("plain")
    drawn = rnn_lm.generate(params, jax.random.key(0), jnp.full((20_000, 1), 3), 1)
    one = np.array([[3]])
    logits, _ = rnn_lm.apply(params, SequenceBatch(one, one, one > 0))
    expected = np.asarray(jax.nn.softmax(logits[0, 0].at[:2].set(-jnp.inf)))
    np.testing.assert_allclose(np.bincount(drawn[:, 0], minlength=V) / 20_000, expected, atol=0.015)


@pytest.mark.parametrize(
    ("field", "value"),
    [("vocab_size", 1), ("embed_dim", 0), ("hidden_dim", 2.0), ("layers", 0), ("tied", True),
     ("word_range", -1.0), ("recurrent_scale", -0.1)],
)  # fmt: skip
def test_wrong_config(field, value):
    arguments: dict[str, Any] = {"vocab_size": 5, "embed_dim": 3, "hidden_dim": 4, field: value}
    with pytest.raises(ValueError, match=field):
        rnn_lm.Config(**arguments)


def test_a_carry_of_another_batch_size():
    params = make("plain")
    with pytest.raises(AssertionError):
        rnn_lm.loss(params, BATCH, rnn_lm.initial_carry(params, B + 1))


@pytest.mark.slow
def test_half_precision_is_close():
    params = make("plain")
    low = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params)
    exact, grads = jax.value_and_grad(lambda p: rnn_lm.loss(p, BATCH)[0])(params)
    value, low_grads = jax.value_and_grad(lambda p: rnn_lm.loss(p, BATCH)[0])(low)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, exact, rtol=0.02)
    for a, b in zip(jax.tree.leaves(low_grads), jax.tree.leaves(grads), strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(float), b, atol=0.05 * np.abs(b).max())
