"""`models.window`: source 002."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.models import window
from rntn_jax.ops import window as window_op
from tests.helpers import assert_close, check_orders, check_rule
from tests.oracles import window_numpy

RNG = np.random.default_rng(0)
B, W, V, E, H, C = 6, 4, 5, 3, 7, 4
IDS = RNG.integers(0, V, (B, W))
IDS[0] = [2, 4, 2, 2]  # repeated words
LABELS = RNG.integers(0, C, B)


def make(vocab_size=V, places=W, width=E):
    config = window.Config(vocab_size, places, width, H, C)
    params = window.init(jax.random.key(0), config, jnp.float64)
    return jax.tree.map(lambda a: a + 0.3 * RNG.normal(size=a.shape), params)


def precompute_up_to(monkeypatch, limit):
    monkeypatch.setattr(window_op, "PRECOMPUTED", limit)
    for program in (window._apply, window._loss):  # of the same shapes, made with another limit
        program.clear_cache()


# --- the identities ---


@pytest.mark.parametrize("name", window_numpy.IDENTITIES)
def test_identities_of_vectors(name):
    w, x = RNG.normal(size=(4, 3)), RNG.normal(size=3)
    identity = window_numpy.IDENTITIES[name]
    f = {
        "1": lambda x: jnp.asarray(w) @ x,
        "2": lambda x: x @ jnp.asarray(w).T,
        "3": lambda x: x,
        "4": jnp.tanh,
    }[name]
    value, jacobian = identity(w, x)
    assert_close(f(jnp.asarray(x)), value)
    assert_close(jax.jacobian(f)(jnp.asarray(x)), jacobian)


def test_identities_5_and_6_of_matrices():
    """delta^T x^T for a column x (the source prints delta^T x), x^T delta for a row."""
    w, delta = RNG.normal(size=(4, 3)), RNG.normal(size=4)
    x = RNG.normal(size=3)
    of_column = jax.grad(lambda w: jnp.asarray(delta) @ (w @ jnp.asarray(x)))(jnp.asarray(w))
    assert_close(of_column, np.outer(delta, x))
    of_row = jax.grad(lambda w: (jnp.asarray(x) @ w) @ jnp.asarray(delta))(jnp.asarray(w.T))
    assert_close(of_row, np.outer(x, delta))


def test_identity_7_of_the_loss():
    params = make()
    logits = window.apply(params, IDS)
    gradient = jax.grad(
        lambda b: window.loss(
            params._replace(head=params.head._replace(b=b)), window.Batch(IDS, LABELS)
        )[0]
    )(params.head.b)
    assert_close(gradient, (jax.nn.softmax(logits) - np.eye(C)[LABELS]).mean(0))


# --- the example ---


def by_the_source(params, ids, labels):
    arrays = jax.tree.map(np.asarray, params)
    losses, sums = [], None
    for row, label in zip(ids, labels):
        loss, grads = window_numpy.example(
            arrays.embedding, *arrays.hidden, *arrays.head, row, label
        )
        losses.append(loss)
        sums = grads if sums is None else {name: sums[name] + grads[name] for name in grads}
    return np.mean(losses), {name: value / len(ids) for name, value in sums.items()}


@pytest.mark.parametrize("precomputed", [True, False])
@pytest.mark.parametrize("places", [W, 1, 0])
def test_loss_and_gradients_of_the_source(precomputed, places, monkeypatch):
    precompute_up_to(monkeypatch, 10**6 if precomputed else 0)
    params, ids = make(places=places), IDS[:, :places]
    batch = window.Batch(ids, LABELS)
    (value, aux), grads = jax.value_and_grad(window.loss, has_aux=True)(params, batch)
    expected, sums = by_the_source(params, ids, LABELS)
    assert_close(value, expected)
    assert_close(aux.nats.mean(), expected)
    assert_close(grads.embedding, sums["embedding"])
    assert_close(tuple(grads.hidden), (sums["w"], sums["b1"]))
    assert_close(tuple(grads.head), (sums["u"], sums["b2"]))


def test_relu_at_zero():
    """The slope at 0 is 0, sgn(h), as the source has it."""
    params = make()
    still = params._replace(hidden=jax.tree.map(jnp.zeros_like, params.hidden))
    grads = jax.grad(lambda p: window.loss(p, window.Batch(IDS, LABELS))[0])(still)
    assert not np.asarray(grads.hidden.w).any() and not np.asarray(grads.embedding).any()


# --- the rule ---


@pytest.mark.parametrize("precomputed", [True, False])
def test_rule(precomputed, monkeypatch):
    precompute_up_to(monkeypatch, 10**6 if precomputed else 0)
    params = make()

    def rule(table, w, b):
        return window.window_layer([table], [IDS], w, b)

    def plain(table, w, b):
        return window_op._window_layer_reference(0, (table,), (jnp.asarray(IDS),), w, b)

    check_rule(rule, plain, (params.embedding, *params.hidden), dtypes=(jnp.float32, jnp.float64))


def test_several_vocabularies_some_precomputed(monkeypatch):
    """The first is gathered, the others are precomputed; one has no place."""
    precompute_up_to(monkeypatch, 20)
    sizes, places = (30, 4, 3), (2, 3, 0)
    params = make(sizes, places, (3, 2, 2))
    ids = tuple(RNG.integers(0, v, (B, p)) for v, p in zip(sizes, places))
    arrays = tuple(map(jnp.asarray, ids))

    def rule(tables, w, b):
        return window.window_layer(tables, ids, w, b)

    def plain(tables, w, b):
        return window_op._window_layer_reference(0, tables, arrays, w, b)

    check_orders(rule, plain, (params.embedding, *params.hidden))
    assert window.apply(params, ids).shape == (B, C)


def test_masked_windows_and_illegal_classes():
    params = make()
    mask = np.array([1, 0, 1, 1, 0, 1], bool)
    legal = RNG.random((B, C)) < 0.5
    legal[np.arange(B), LABELS] = True
    batch = window.Batch(IDS, np.where(mask, LABELS, -5), mask, legal)
    evaluate = jax.jit(jax.value_and_grad(window.loss, has_aux=True))
    (value, aux), grads = evaluate(params, batch)
    logits = np.where(legal, window.apply(params, IDS), -np.inf)
    nats = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(B), LABELS]
    assert_close(value, nats[mask].mean())
    assert (np.asarray(aux.nats)[~mask] == 0).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    some = jax.tree.map(lambda a: a[mask], window.Batch(IDS, LABELS, mask, legal))
    assert_close(evaluate(params, some)[1], grads)
    (nothing, _), none = evaluate(params, batch._replace(mask=np.zeros(B, bool)))
    assert nothing == 0 and not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(none))


def test_activations_and_dropout():
    params = make()
    z = window.window_layer([params.embedding], [IDS], *params.hidden)
    cubed = window.apply(params, IDS, activation="cube")
    assert_close(cubed, z**3 @ params.head.w + params.head.b[None])
    options = {"input_dropout": 0.4, "hidden_dropout": 0.4}
    first, again, other = (
        window.apply(params, IDS, key=jax.random.key(k), **options) for k in (0, 0, 1)
    )
    assert_close(first, again)
    assert not np.allclose(first, other)
    with pytest.raises(ValueError, match="hidden_dropout needs a key"):
        window.apply(params, IDS, hidden_dropout=0.1)
    with pytest.raises(ValueError, match="activation 'swish'"):
        window.apply(params, IDS, activation="swish")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 0}, "vocab_size"),
        ({"window": -1}, "window"),
        ({"embed_dim": (2, 0)}, "embed_dim"),
        ({"vocab_size": (3, 4), "window": (1, 2, 3)}, "equally many"),
        ({"hidden_dim": 0}, "hidden_dim"),
        ({"num_classes": 0}, "num_classes"),
        ({"word_range": -1.0}, "word_range"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        window.Config(**{"vocab_size": V, "window": W, "embed_dim": E} | options)


def test_windows_that_do_not_fit():
    params = make()
    with pytest.raises(
        ValueError, match=r"windows of \[3\] .* need weights \(9, 7\), got \(12, 7\)"
    ):
        window.apply(params, IDS[:, :3])
    with pytest.raises(ValueError, match="1 vocabularies, but ids of 2"):
        window.window_layer([params.embedding], [IDS, IDS], *params.hidden)
    with pytest.raises(AssertionError):
        window.apply(params, IDS.astype(float))
