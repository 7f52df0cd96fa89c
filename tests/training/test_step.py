"""The train step: rows of the embedding, several updates a call, keys, faults."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rntn_jax import trees
from rntn_jax.data import Vocabulary
from rntn_jax.models import rntn
from rntn_jax.training import RowBatch, TrainState, init_state, make_train_step
from tests.helpers import assert_close, random_params, random_tree

WORDS, DIM, TOKENS = 12, 3, 6


class Params(NamedTuple):
    """A bag of words with one output."""

    embedding: Any
    w: Any


class Bag(NamedTuple):
    """Words and what they should add up to; word 0 is padding."""

    ids: Any
    target: Any


def new_params(dtype: Any = np.float64) -> Params:
    rng = np.random.default_rng(0)
    return Params(
        jnp.asarray(rng.normal(size=(WORDS, DIM)), dtype), jnp.asarray(rng.normal(size=DIM), dtype)
    )


def loss(params: Params, bag: Bag):
    x = jnp.tanh(params.embedding[bag.ids]) * (bag.ids > 0)[:, None]
    error = x.sum(0) @ params.w - bag.target
    return error**2, error


def bags(count: int) -> list[Bag]:
    """Bags over few words, each bag with a word that stands there twice, and with padding."""
    rng = np.random.default_rng(1)
    answer = []
    for i in range(count):
        a, b, c = rng.choice(np.arange(1, WORDS - 2), 3, replace=False)
        answer.append(Bag(np.array([a, b, a, c, 0, 0], np.int32), np.float64(i)))
    return answer


def rows_of(bag: Bag) -> RowBatch:
    """The same bag with words counted from 0, as `trees.local_tokens` does for forests."""
    words, inverse = np.unique(np.append(0, bag.ids), return_inverse=True)
    padded = np.zeros(TOKENS + 1, np.int32)
    padded[: len(words)] = words
    return RowBatch(bag._replace(ids=inverse[1:].astype(np.int32)), padded)


def run(step, state: TrainState, batches) -> tuple[TrainState, list[Any]]:
    out = []
    for batch in batches:
        state, metrics = step(state, batch)
        out.append(metrics)
    return state, out


def stack(batches):
    return jax.tree.map(lambda *arrays: np.stack(arrays), *batches)


def without_key(state: TrainState) -> TrainState:
    return state._replace(key=jax.random.key_data(state.key))


OPTIMIZERS = {
    "sgd": lambda: optax.sgd(0.1),
    "sgd, falling rate": lambda: optax.sgd(optax.linear_schedule(0.1, 0.0, 4)),
    "adagrad": lambda: optax.adagrad(0.1),
    "adagrad, clipped": lambda: optax.chain(
        optax.clip_by_global_norm(0.5), optax.scale_by_rss(0.0), optax.scale(-0.1)
    ),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_rows_are_as_good_as_the_whole_table(optimizer):
    step = make_train_step(loss, optimizer())
    whole, whole_metrics = run(
        step, init_state(new_params(), optimizer(), jax.random.key(0)), bags(5)
    )
    rows, row_metrics = run(
        step, init_state(new_params(), optimizer(), jax.random.key(0)), map(rows_of, bags(5))
    )
    assert_close(without_key(rows), without_key(whole), rtol=1e-13)
    assert_close(row_metrics, whole_metrics, rtol=1e-13)
    touched = np.unique([bag.ids for bag in bags(5)])
    untouched = np.setdiff1d(np.arange(WORDS), touched[touched > 0])
    assert len(untouched) >= 2
    np.testing.assert_array_equal(rows.params.embedding[untouched], new_params()[0][untouched])


def test_rows_of_a_forest_are_as_good_as_the_whole_table():
    vocabulary = Vocabulary.build([f"w{i}" for i in range(30)])
    forests = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        bank = [random_tree(rng, n, num_words=9) for n in (1, 4, 6)]
        forests.append(trees.pack(bank, vocabulary, lanes=2, shape=trees.Shape(12, 12, 2, 3)))
        words = [word for tree in bank for word in tree.tokens]
        assert len(set(words)) < len(words)
    optimizer = optax.adagrad(0.1)

    def penalized(params, forest):
        nats, aux = rntn.loss(params, forest)
        return nats + rntn.l2_penalty(params, forest), aux

    step = make_train_step(penalized, optimizer)

    def begin():
        params = random_params(np.random.default_rng(9), len(vocabulary), 4)
        return init_state(jax.tree.map(jnp.asarray, params), optimizer, jax.random.key(0))

    whole, whole_metrics = run(step, begin(), forests)
    rows, row_metrics = run(step, begin(), (RowBatch(*trees.local_tokens(f)) for f in forests))
    assert_close(without_key(rows), without_key(whole), rtol=1e-11)
    assert_close(row_metrics, whole_metrics, rtol=1e-11)


@pytest.mark.parametrize("name", ["adam", "momentum"])
def test_optimisers_with_memory_become_lazy(name: str):
    optimizer = {"adam": optax.adam(0.1), "momentum": optax.sgd(0.1, momentum=0.9)}[name]
    step = make_train_step(loss, optimizer)
    first, second = bags(2)
    second = second._replace(ids=np.where(second.ids == first.ids[0], 0, second.ids))
    after_one, _ = step(init_state(new_params(), optimizer, jax.random.key(0)), rows_of(first))
    one = jax.device_get(without_key(after_one))
    # The first update starts from zero moments: there is nothing to be lazy about.
    whole, _ = step(init_state(new_params(), optimizer, jax.random.key(0)), first)
    assert_close(one, without_key(whole), rtol=1e-13)

    two = jax.device_get(without_key(step(after_one, rows_of(second))[0]))
    missing = np.setdiff1d(np.arange(WORDS), second.ids)
    assert first.ids[0] in missing and len(missing) < WORDS
    tables = [
        (before, after)
        for before, after in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
        if before.shape == (WORDS, DIM)
    ]
    assert len(tables) == {"adam": 3, "momentum": 2}[name]
    for before, after in tables:
        np.testing.assert_array_equal(after[missing], before[missing])
        changed = (after != before).any(1)
        assert set(np.flatnonzero(changed)) == set(second.ids[second.ids > 0])


@pytest.mark.parametrize("rows", [False, True])
def test_several_updates_are_single_ones_in_order(rows: bool):
    def noisy(params, bag, key):
        value, error = loss(params, bag)
        noise = jax.random.normal(key)
        return value * (1 + 0.1 * noise), {"error": error, "noise": noise}

    optimizer = optax.adagrad(0.1)
    batches = [rows_of(bag) for bag in bags(4)] if rows else bags(4)
    options = {"stochastic": True}
    one, metrics = run(
        make_train_step(noisy, optimizer, **options),
        init_state(new_params(), optimizer, jax.random.key(3)),
        batches,
    )
    step = make_train_step(noisy, optimizer, several=True, **options)
    state = init_state(new_params(), optimizer, jax.random.key(3))
    state, first = step(state, stack(batches[:3]))
    state, second = step(state, stack(batches[3:]))
    assert int(state.step) == 4
    assert_close(without_key(state), without_key(one), rtol=1e-13)
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), first, second)
    assert_close(joined, stack(metrics), rtol=1e-13)


def test_keys_depend_on_the_step_alone():
    def draw(params, batch, key):
        return jnp.sum(params.w * batch), jax.random.uniform(key, (3,))

    optimizer = optax.sgd(0.1)
    step = make_train_step(draw, optimizer, stochastic=True)
    _, first = run(step, init_state(new_params(), optimizer, jax.random.key(5)), [1.0, 2.0, 3.0])
    other = new_params()._replace(w=jnp.zeros(DIM))
    _, second = run(step, init_state(other, optimizer, jax.random.key(5)), [-7.0, 0.0, 0.5])
    expected = [
        jax.random.uniform(jax.random.fold_in(jax.random.key(5), i), (3,)) for i in range(3)
    ]
    np.testing.assert_array_equal([out["aux"] for out in first], expected)
    np.testing.assert_array_equal([out["aux"] for out in second], expected)
    assert len(np.unique(expected)) == 9
    # A run that goes on from step 2 draws what the whole run drew there.
    state = init_state(new_params(), optimizer, jax.random.key(5))._replace(step=jnp.int32(2))
    np.testing.assert_array_equal(step(state, 1.0)[1]["aux"], expected[2])


def root_of_zero(w):
    """Zero, with a gradient that is no number."""
    return jnp.sqrt(jnp.sum(jnp.square(w - jax.lax.stop_gradient(w))))


FAULTS = {
    "nan": lambda w: jnp.nan,
    "inf": lambda w: jnp.inf,
    "gradient": root_of_zero,
    "norm": lambda w: 1e200 * jnp.sum(w),  # every entry is finite, the sum of squares is not
}


@pytest.mark.parametrize("rows", [False, True], ids=["whole", "rows"])
@pytest.mark.parametrize("fault", FAULTS)
def test_an_update_that_is_not_finite_is_not_applied(fault: str, rows: bool):
    def faulty(params, bag):
        value, error = loss(params, bag)
        return value + FAULTS[fault](params.w), error

    optimizer = optax.adagrad(0.1)
    batch, other = map(rows_of, bags(2)) if rows else bags(2)
    step, bad_step = make_train_step(loss, optimizer), make_train_step(faulty, optimizer)
    state, metrics = step(init_state(new_params(), optimizer, jax.random.key(0)), batch)
    assert metrics["finite"]
    before = jax.device_get((state.params, state.opt_state))
    state, metrics = bad_step(state, other)
    assert not metrics["finite"]
    assert np.isfinite(metrics["loss"]) == (fault in ("gradient", "norm"))
    after = jax.device_get((state.params, state.opt_state))
    jax.tree.map(np.testing.assert_array_equal, after, before)
    state, metrics = step(state, other)
    assert metrics["finite"] and np.isfinite(state.params.embedding).all()


def test_several_updates_go_on_after_one_that_is_not_finite():
    def nan_at(params, bag):
        value, error = loss(params, bag)
        return jnp.where(bag.target == 100, jnp.nan, value), error

    optimizer = optax.adagrad(0.1)
    good = bags(3)
    bad = good[1]._replace(target=np.float64(100))
    step = make_train_step(nan_at, optimizer, several=True)
    state = init_state(new_params(), optimizer, jax.random.key(0))
    state, metrics = step(state, stack([rows_of(good[0]), rows_of(bad), rows_of(good[2])]))
    np.testing.assert_array_equal(metrics["finite"], [True, False, True])
    expected, _ = run(
        make_train_step(loss, optimizer),
        init_state(new_params(), optimizer, jax.random.key(0)),
        map(rows_of, (good[0], good[2])),
    )
    assert_close(state.params, expected.params, rtol=1e-13)
    assert_close(state.opt_state, expected.opt_state, rtol=1e-13)


def test_metrics_hold_loss_norm_flag_and_aux():
    optimizer = optax.sgd(0.1)
    state = init_state(new_params(), optimizer, jax.random.key(0))
    bag = bags(3)[2]
    (value, error), grads = jax.value_and_grad(loss, has_aux=True)(state.params, bag)
    norm = np.sqrt(sum(np.square(g).sum() for g in grads))
    state, metrics = make_train_step(loss, optimizer)(state, rows_of(bag))
    assert set(metrics) == {"loss", "grad_norm", "finite", "aux"}
    assert metrics["finite"].dtype == bool and metrics["finite"].shape == ()
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-13)
    np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-13)
    np.testing.assert_allclose(metrics["aux"], error, rtol=1e-13)
    assert int(state.step) == 1 and state.step.dtype == jnp.int32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_state_keeps_its_types_and_is_compiled_for_once(dtype):
    traces = []

    def counted(params, bag):
        traces.append(bag)
        return loss(params, bag)

    optimizer = optax.adagrad(optax.linear_schedule(0.1, 0.0, 9))
    state = init_state(new_params(dtype), optimizer, jax.random.key(0))
    batches = [rows_of(bag._replace(target=np.asarray(bag.target, dtype))) for bag in bags(3)]
    step = make_train_step(counted, optimizer)
    kinds = jax.tree.map(jax.typeof, state)
    for batch in batches:
        state, metrics = step(state, batch)
        assert jax.tree.map(jax.typeof, state) == kinds
    assert len(traces) == 1
    assert metrics["loss"].dtype == dtype


def test_the_state_is_donated():
    optimizer = optax.adagrad(0.1)
    step = make_train_step(loss, optimizer)
    state = init_state(new_params(), optimizer, jax.random.key(0))
    donated = jax.tree.leaves((state.params, state.opt_state))
    step(state, rows_of(bags(1)[0]))
    assert all(array.is_deleted() for array in donated)

    # The caller who goes on with the new state never meets a deleted array.
    state, metrics = run(
        step, init_state(new_params(), optimizer, jax.random.key(0)), map(rows_of, bags(4))
    )
    for leaf in jax.tree.leaves((without_key(state), metrics)):
        assert np.isfinite(leaf).all()


def test_without_jit_the_step_is_for_the_caller_to_transform():
    optimizer = optax.adagrad(0.1)
    plain = make_train_step(loss, optimizer, several=True, jit=False)
    batches = stack([rows_of(bag) for bag in bags(3)])

    def begin():
        return init_state(new_params(), optimizer, jax.random.key(0))

    state = begin()
    inside, _ = jax.jit(lambda state: plain(state, batches))(state)
    outside, _ = make_train_step(loss, optimizer, several=True)(begin(), batches)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert_close(without_key(inside), without_key(outside), rtol=1e-13)
