"""A language model whose vocabulary is shared out to devices is the one that lies on one device."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from experiments.benchmark.compiled.hlo import collectives
from rntn_jax.models import rnn_lm
from rntn_jax.ops import linear_cross_entropy
from rntn_jax.ops.vocabulary_shards import Shards, sharded_cross_entropy
from rntn_jax.sequences import SequenceBatch
from rntn_jax.training import devices, init_state, make_train_step
from tests.helpers import assert_close

WORDS = 7  # shared out to two and to four devices: not equally
SHARDS = Shards(devices.VOCABULARY, WORDS)


def made(tied: bool = False) -> rnn_lm.Params:
    config = rnn_lm.Config(WORDS, embed_dim=3, hidden_dim=3, tied=tied)
    params = rnn_lm.init(jax.random.key(0), config)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: rng.normal(size=x.shape), params)


def text(rng) -> SequenceBatch:
    mask = np.arange(5)[None] < rng.integers(0, 6, (4, 1))
    return SequenceBatch(*rng.integers(1, WORDS, (2, 4, 5)), mask)


@pytest.mark.parametrize(("rows", "shards"), [(2, 2), pytest.param(1, 4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("tied", [False, True])
def test_it_trains_as_on_one_device_and_devices_talk_outside_of_loops(rows, shards, tied):
    params, optimizer, rng = made(tied), optax.adam(0.1), np.random.default_rng(0)
    batches = [text(rng) for _ in range(3)]
    loss = partial(rnn_lm.loss, chunk=3)
    alone = make_train_step(loss, optimizer)
    expected, losses = init_state(params, optimizer, jax.random.key(0)), []
    for batch in batches:
        expected, out = alone(expected, batch)
        losses.append(float(out["loss"]))

    mesh = devices.data_mesh(rows, shards)
    specs = rnn_lm.vocabulary_specs(params, devices.VOCABULARY)
    place = devices.Placement(mesh, specs)
    shared = place.loss(partial(loss, shards=SHARDS), lambda _, aux: aux.tokens)
    state = place.state(init_state(params, optimizer, jax.random.key(0)), optimizer)
    step = make_train_step(shared, optimizer)
    program = step.lower(state, place.rows(batches[0])).compile()
    found = []
    for batch in batches:
        state, out = program(state, place.rows(batch))
        found.append(float(out["loss"]))
    assert_close(found, losses, 1e-9)
    whole = devices.cut_like(devices.on_host(state.params), params)
    assert_close(whole, expected.params, 1e-9)
    share = -(-WORDS // shards)
    assert {s.data.shape for s in state.params.embedding.addressable_shards} == {(share, 3)}
    first_moments = state.opt_state[0].mu
    assert {s.data.shape for s in first_moments.head.b.addressable_shards} == {(share,)}
    everywhere, in_loops = collectives(program)
    assert everywhere and not in_loops


def test_gradients_where_words_are_forbidden_and_rows_hold_anything():
    """Values and gradients, also of the gradients, are those of `linear_cross_entropy`."""
    rng = np.random.default_rng(0)
    x, kernel, bias = rng.normal(size=(5, 3)), rng.normal(size=(3, WORDS)), rng.normal(size=WORDS)
    bias[[1, 6]] = -np.inf  # the last device then has no word at all
    labels, where = np.array([0, 2, 3, 5, 0]), np.array([True, True, True, True, False])
    x[4] = np.nan
    mesh = devices.data_mesh(1, 4)

    def sharded(x, kernel, bias):
        more = -WORDS % 4
        kernel, bias = jnp.pad(kernel, ((0, 0), (0, more))), jnp.pad(bias, (0, more))
        return jax.shard_map(
            lambda x, w, b: sharded_cross_entropy(x, w, b, labels, where, SHARDS, chunk=2),
            mesh=mesh,
            in_specs=(P(), P(None, devices.VOCABULARY), P(devices.VOCABULARY)),
            out_specs=P(),
        )(x, kernel, bias)

    def plain(x, kernel, bias):
        return linear_cross_entropy(x, kernel, bias, labels, where)

    scale = jnp.arange(1.0, 6.0)

    def slope(nats, *args):
        grads = jax.grad(lambda *a: (scale * nats(*a)).sum(), (0, 1, 2))(*args)
        return sum(jnp.where(jnp.isfinite(g), g**2, 0).sum() for g in grads)

    assert_close(jax.jit(sharded)(x, kernel, bias), plain(x, kernel, bias), 1e-10)
    for of in (lambda f, *a: (scale * f(*a)).sum(), slope):
        own, other = (jax.jit(jax.grad(partial(of, f), (0, 1, 2))) for f in (sharded, plain))
        assert_close(own(x, kernel, bias), other(x, kernel, bias), 1e-9)
