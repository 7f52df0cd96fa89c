"""`models.rntn`: configuration, initialisation, loss, dropout, penalty."""

from __future__ import annotations

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax import trees
from rntn_jax.data import Vocabulary
from rntn_jax.models import rntn
from tests.helpers import assert_close, random_params, random_tree
from tests.oracles import rntn_numpy as eq

D, C = 4, 5
VOCABULARY = Vocabulary.build([f"w{i}" for i in range(6)])  # w6 is unknown
RNG = np.random.default_rng(4)  # one root of four has no label
TREES = [random_tree(RNG, n, unlabelled=0.3) for n in (5, 1, 9, 2)]
FOREST = trees.pack(TREES, VOCABULARY, lanes=4)
PARAMS = random_params(RNG, len(VOCABULARY), D, C)

loss_and_grads = jax.jit(
    jax.value_and_grad(rntn.loss, has_aux=True), static_argnames=("leaf_activation", "activation")
)

init = jax.jit(rntn.init, static_argnums=(1, 2))
predict, logits_of, states_of = map(jax.jit, (rntn.predict, rntn.apply, rntn.states))


def oracle(params, packed, leaf="tanh"):
    """Source 000 tree by tree, divided by the number of trees."""
    columns = eq.from_rows(params.embedding, *params.cell, *params.head)
    parts = [
        eq.gradients(columns, VOCABULARY.encode(t.tokens), t.children, t.labels, leaf)
        for t in packed
    ]
    totals = eq.to_rows(eq.eq16_totals([gradients for _, gradients in parts]))
    return sum(loss for loss, _ in parts) / len(packed), [g / len(packed) for g in totals]


def flat(params):
    return [params.embedding, *params.cell, *params.head]


# Config.
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vocab_size", 1),
        ("vocab_size", 2.5),
        ("dim", 0),
        ("dim", "25"),
        ("num_classes", -1),
        ("tensor_scale", -1.0),
        ("tensor_scale", float("nan")),
        ("word_scale", -0.5),
        ("word_range", -1e-4),
    ],
)
def test_config_names_field_and_value(field, value):
    with pytest.raises(ValueError) as error:
        rntn.Config(**{"vocab_size": 10, field: value})
    assert field in str(error.value) and repr(value) in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"), [("word_scale", None), ("tensor_scale", "1"), ("dim", True)]
)
def test_config_refuses_other_types_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        rntn.Config(**{"vocab_size": 10, field: value})


def test_config_is_frozen():
    with pytest.raises(AttributeError):
        rntn.Config(vocab_size=10).dim = 3  # pyright: ignore[reportAttributeAccessIssue]


# init.
def uniform(x, low, high):
    """A sample of a uniform distribution: inside its range, and filling it."""
    x = np.asarray(x, np.float64).ravel()
    assert low <= x.min() and x.max() <= high
    width = high - low
    margin = 6 * width / np.sqrt(12 * len(x))
    assert abs(x.mean() - (low + high) / 2) < margin
    assert x.min() < low + 0.1 * width and x.max() > high - 0.1 * width


def test_default_initialisation_is_corenlps():
    d = 16
    params = init(jax.random.key(0), rntn.Config(vocab_size=300, dim=d, num_classes=50))
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
    assert params.embedding.shape == (300, d)
    assert np.std(params.embedding) == pytest.approx(0.1, rel=0.05)
    assert abs(np.mean(params.embedding)) < 0.01
    assert params.cell.v.shape == (d, 2 * d, 2 * d)
    uniform(params.cell.v, -1 / (4 * d), 1 / (4 * d))
    r = 1 / (2 * d**0.5)
    for half in np.asarray(params.cell.w).reshape(2, d, d):
        uniform(half - np.eye(d, dtype=np.float32), -r - 1e-6, r + 1e-6)
    assert params.cell.b.shape == (d,) and not params.cell.b.any()
    uniform(params.head.w, -(d**-0.5), d**-0.5)
    uniform(params.head.b, 0, 1)
    # Parts are independent of each other.
    v, w = np.asarray(params.cell.v).ravel(), np.asarray(params.head.w).ravel()
    assert abs(np.corrcoef(v[: len(w)], w)[0, 1]) < 0.2


def test_initialisation_options():
    config = rntn.Config(
        vocab_size=200, dim=8, tensor_scale=0.1, identity=False, word_range=1e-4, num_classes=3
    )
    params = init(jax.random.key(0), config, jnp.float64)
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype(jnp.float64)}
    uniform(params.embedding, -1e-4, 1e-4)
    uniform(params.cell.v, -0.1 / 32, 0.1 / 32)
    uniform(params.cell.w, -1 / (2 * 8**0.5), 1 / (2 * 8**0.5))
    assert params.head.w.shape == (8, 3)


def test_initialisation_without_tensor_and_by_key():
    config = rntn.Config(vocab_size=4, dim=2, tensor=False)
    first, again = (init(jax.random.key(0), config) for _ in range(2))
    assert first.cell.v is None
    assert all(map(np.array_equal, jax.tree.leaves(first), jax.tree.leaves(again)))
    other = init(jax.random.key(1), config)
    assert not np.array_equal(first.embedding, other.embedding)


# loss, apply, predict.
def test_loss_and_gradients_are_the_oracles():
    (value, _), grads = loss_and_grads(PARAMS, FOREST)
    expected, gradients = oracle(PARAMS, TREES)
    assert_close(value, expected)
    assert_close(flat(grads), gradients)


def test_raw_leaves_have_no_slope():
    (value, _), grads = loss_and_grads(PARAMS, FOREST, leaf_activation="identity")
    expected, gradients = oracle(PARAMS, TREES, "identity")
    assert_close(value, expected)
    assert_close(flat(grads), gradients)
    with_slope = oracle(PARAMS, TREES, "tanh")[1][0]
    assert not np.allclose(grads.embedding, with_slope, rtol=0.01)


def test_loss_without_tensor_is_that_of_a_tensor_of_zeros():
    zeros = PARAMS._replace(cell=PARAMS.cell._replace(v=np.zeros_like(PARAMS.cell.v)))
    none = PARAMS._replace(cell=PARAMS.cell._replace(v=None))
    (value, aux), grads = loss_and_grads(none, FOREST)
    (expected, expected_aux), expected_grads = loss_and_grads(zeros, FOREST)
    assert_close((value, aux), (expected, expected_aux), 1e-12)
    assert grads.cell.v is None
    no_v = expected_grads._replace(cell=expected_grads.cell._replace(v=None))
    assert_close(grads, no_v, 1e-12)


def test_unlabelled_nodes_are_skipped():
    """Labels of nodes that are not counted mean nothing, and neither does their classification."""
    assert 0 < FOREST.labelled.sum() < sum(map(len, TREES))
    noise = np.random.default_rng(1).integers(0, 10**6, FOREST.labels.shape, np.int32)
    scrambled = FOREST._replace(labels=np.where(FOREST.labelled, FOREST.labels, noise))
    actual, expected = loss_and_grads(PARAMS, scrambled), loss_and_grads(PARAMS, FOREST)
    assert all(map(np.array_equal, jax.tree.leaves(actual), jax.tree.leaves(expected)))
    nothing = FOREST._replace(labelled=np.zeros_like(FOREST.labelled))
    (value, aux), grads = loss_and_grads(PARAMS, nothing)
    assert float(value) == 0 and not any(aux)
    assert not any(np.asarray(g).any() for g in jax.tree.leaves(grads))


def test_predict_is_equation_9_at_every_node():
    probabilities = predict(PARAMS, FOREST)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-12)
    h = states_of(PARAMS, FOREST)
    logits = logits_of(PARAMS, FOREST)
    Ws, bs = PARAMS.head.w.T, PARAMS.head.b
    assert_close(probabilities, np.array([eq.eq9_posterior(Ws, bs, p) for p in np.asarray(h)]))
    assert_close(logits, np.asarray(h) @ PARAMS.head.w + PARAMS.head.b)
    padding = np.ones(len(FOREST.slots), bool)
    padding[FOREST.slots[: FOREST.sizes.sum()]] = False
    np.testing.assert_array_equal(
        np.asarray(logits)[padding], np.tile(PARAMS.head.b, (padding.sum(), 1))
    )


def test_aux_counts():
    (_, aux), _ = loss_and_grads(PARAMS, FOREST)
    best = [p.argmax(-1) for p in trees.unpack(FOREST, predict(PARAMS, FOREST))]
    known = [tree.labels >= 0 for tree in TREES]
    right = [(b == tree.labels) & k for b, k, tree in zip(best, known, TREES, strict=True)]
    assert int(aux.nodes) == sum(k.sum() for k in known)
    assert int(aux.correct) == sum(r.sum() for r in right)
    assert int(aux.roots) == sum(k[-1] for k in known)
    assert int(aux.roots_correct) == sum(r[-1] for r in right)
    assert 0 < aux.correct < aux.nodes and 0 < aux.roots < len(TREES)


def test_local_words_are_the_same_model():
    local, words = trees.local_tokens(FOREST)
    (value, _), grads = loss_and_grads(PARAMS._replace(embedding=PARAMS.embedding[words]), local)
    (expected, _), full = loss_and_grads(PARAMS, FOREST)
    assert_close(value, expected, 1e-12)
    scattered = np.zeros_like(PARAMS.embedding)
    np.add.at(scattered, words, np.asarray(grads.embedding))
    assert_close(scattered, full.embedding, 1e-12)
    assert not np.asarray(full.embedding)[0].any()  # the padding word


# Dropout.
@pytest.mark.parametrize("function", [rntn.apply, rntn.predict, rntn.loss])
@pytest.mark.parametrize("name", ["leaf_dropout", "hidden_dropout"])
def test_dropout_needs_a_key_and_a_rate_below_one(function, name):
    def trace(**options):
        return jax.eval_shape(partial(function, **options), PARAMS, FOREST)

    with pytest.raises(ValueError, match=f"{name} needs a key"):
        trace(**{name: 0.5})
    for rate in (1.0, -0.1):
        with pytest.raises(ValueError, match=rf"{name}.*{rate}"):
            trace(key=jax.random.key(0), **{name: rate})


@jax.jit
def dropped(params, key):
    """Logits with both kinds of dropout."""
    return rntn.apply(params, FOREST, leaf_dropout=0.4, hidden_dropout=0.2, key=key)


def test_dropout_is_a_function_of_the_key():
    first, again, other = (dropped(PARAMS, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_dropout_of_rate_zero_is_none():
    def program(**options):
        jaxpr = jax.make_jaxpr(lambda params: rntn.loss(params, FOREST, **options))(PARAMS)
        return re.sub("0x[0-9a-f]+", "", str(jaxpr))

    key = jax.random.key(0)
    assert program(leaf_dropout=0.0, hidden_dropout=0.0) == program()
    assert program(leaf_dropout=0.1, key=key) != program()


def test_dropout_keeps_the_expectation():
    """Leaves' own logits are linear in what is dropped."""
    keys = jax.random.split(jax.random.key(0), 1000)

    @jax.jit
    def mean_and_error(keys):
        logits = jax.vmap(lambda key: dropped(PARAMS, key)[1 : 1 + FOREST.shape.leaves])(keys)
        return logits.mean(0), logits.std(0) / len(keys) ** 0.5

    mean, error = mean_and_error(keys)
    plain = np.asarray(logits_of(PARAMS, FOREST))[1 : 1 + FOREST.shape.leaves]
    real = FOREST.tokens > 0
    assert (np.asarray(error)[real] > 0).all()
    assert (np.abs(mean - plain)[real] < 5 * np.asarray(error)[real]).all()
    # Of a leaf's state 0.4 is dropped, of all states 0.2: entries are zero or scaled up.
    states = jax.jit(lambda key: rntn.states(PARAMS, FOREST, leaf_dropout=0.4, key=key))(keys[0])
    leaves = np.asarray(states)[1 : 1 + FOREST.shape.leaves][real]
    full = np.tanh(PARAMS.embedding[FOREST.tokens[real]])
    kept = leaves != 0
    assert 0.35 < kept.mean() < 0.85
    np.testing.assert_allclose(leaves[kept], (full / 0.6)[kept], rtol=1e-12)


# Penalty.
@pytest.mark.parametrize("tensor", [True, False])
def test_l2_penalty(tensor):
    params = PARAMS if tensor else PARAMS._replace(cell=PARAMS.cell._replace(v=None))
    rates = {"tensor": 0.3, "weights": 0.5, "head": 0.7, "words": 1.1}
    value, grads = jax.jit(jax.value_and_grad(lambda p: rntn.l2_penalty(p, FOREST, **rates)))(
        params
    )
    present = np.unique(FOREST.tokens[FOREST.tokens > 0])
    assert 0 < len(present) < len(VOCABULARY)
    words = np.zeros_like(params.embedding)
    words[present] = params.embedding[present]
    expected = [
        1.1 * words,
        0.5 * params.cell.w,
        0.5 * params.cell.b,
        0.7 * params.head.w,
        0 * params.head.b,
    ]
    assert_close(
        [grads.embedding, grads.cell.w, grads.cell.b, grads.head.w, grads.head.b], expected, 1e-12
    )
    squares = 1.1 * (words**2).sum() + 0.7 * (params.head.w**2).sum()
    squares += 0.5 * ((params.cell.w**2).sum() + (params.cell.b**2).sum())
    if params.cell.v is not None:
        squares += 0.3 * (params.cell.v**2).sum()
        assert_close(grads.cell.v, 0.3 * params.cell.v, 1e-12)
    assert_close(value, squares / 2, 1e-12)


def test_l2_penalty_defaults_are_corenlps():
    ones = jax.tree.map(np.ones_like, PARAMS)
    present = len(np.unique(FOREST.tokens[FOREST.tokens > 0]))
    expected = 1e-3 * (D * 4 * D * D + 2 * D * D + D) + 1e-4 * (D * C + present * D)
    assert_close(rntn.l2_penalty(ones, FOREST), np.float64(expected / 2), 1e-10)


# Dtypes.
def cast(dtype):
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), PARAMS)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_gradients_have_the_parameters_dtype(dtype):
    (value, _), grads = jax.eval_shape(
        jax.value_and_grad(rntn.loss, has_aux=True), cast(dtype), FOREST
    )
    assert {x.dtype for x in jax.tree.leaves(grads)} == {jnp.dtype(dtype)}
    assert value.dtype == jnp.promote_types(dtype, jnp.float32)
    assert jax.eval_shape(rntn.apply, cast(dtype), FOREST).dtype == dtype


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 0.1)])
def test_low_precision_is_close(dtype, tolerance):
    (value, _), grads = loss_and_grads(cast(dtype), FOREST)
    (expected, _), expected_grads = loss_and_grads(PARAMS, FOREST)
    assert_close(value, expected, tolerance)
    assert_close(grads, expected_grads, tolerance)


@pytest.mark.usefixtures("float32")
def test_training_in_float32_learns():
    """A few steps of plain gradient descent, as a user without 64-bit types makes them."""
    params = init(jax.random.key(0), rntn.Config(len(VOCABULARY), D, C))
    losses = []
    for _ in range(30):
        (value, _), grads = loss_and_grads(params, FOREST)
        assert value.dtype == jnp.float32
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        losses.append(float(value))
    assert losses[-1] < 0.6 * losses[0]


def test_wrong_arguments():
    with pytest.raises(ValueError, match="'gelu'"):
        rntn.loss(PARAMS, FOREST, activation="gelu")
    with pytest.raises(ValueError, match="'gelu'"):
        rntn.apply(PARAMS, FOREST, leaf_activation="gelu")
    with pytest.raises(TypeError, match="dropot"):
        rntn.loss(PARAMS, FOREST, dropot=0.5)
    narrow = PARAMS._replace(head=PARAMS.head._replace(w=PARAMS.head.w[:-1]))
    for function in (rntn.apply, rntn.loss):
        with pytest.raises(AssertionError):
            function(narrow, FOREST)
