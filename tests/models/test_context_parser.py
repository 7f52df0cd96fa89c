"""The transition parser over words in context."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.models import context_parser, encoder, parser, window
from rntn_jax.models.context_parser import POSITIONS, Batch, Config
from rntn_jax.models.parser import Sentences

RELATIONS, WORDS = 3, 5
CONFIG = Config(encoder.Config((7, 5), (3, 2), rnn_dim=4), RELATIONS, relation_dim=3, hidden_dim=6)
LENGTH = np.array([5, 2, 3])
HEADS = np.array([[-1, 2, 0, 5, 5, 2, -1], [-1, 0, 1, -1, -1, -1, -1], [-1, 3, 1, 0, -1, -1, -1]])
LABELS = np.where(HEADS == 0, 2, np.where(HEADS > 0, HEADS % 2, -1))


def sentences() -> Sentences:
    rng = np.random.default_rng(0)
    sizes = CONFIG.encoder.vocab_sizes
    return Sentences(tuple(rng.integers(2, v, (3, WORDS + 2)) for v in sizes), LENGTH)


def batch() -> Batch:
    positions = np.broadcast_to(np.arange(WORDS + 2), (3, WORDS + 2))
    (places, relations), steps = parser.oracle_transitions(
        Sentences((positions,), LENGTH), HEADS, LABELS, RELATIONS
    )
    return Batch(sentences(), places, relations, steps)


@pytest.fixture(scope="module")
def params():
    drawn = context_parser.init(jax.random.key(0), CONFIG, jnp.float64)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape), drawn)


def side_by_side(params, own: Batch) -> np.ndarray:
    """Logits by the window network's plain form: vectors gathered and put side by side."""
    network, words = context_parser.in_context(params, own.sentences)
    seen = np.asarray(own.positions) + np.asarray(words.ids[0])[None, :, :1]
    ids = [
        np.asarray(read)[..., list(places)].reshape(-1, len(places))
        for read, places in zip((seen, own.relations), POSITIONS)
    ]
    x = [np.asarray(t)[i].reshape(len(i), -1) for t, i in zip(network.embedding, ids)]
    (w, b), (u, c) = (map(np.asarray, layer) for layer in (network.hidden, network.head))
    return np.maximum(np.concatenate(x, axis=1) @ w + b, 0) @ u + c


def test_the_loss_is_that_of_the_window_network(params):
    own = batch()
    nats, aux = context_parser.loss(params, own)
    logits = side_by_side(params, own)
    np.testing.assert_allclose(aux.logits, logits, rtol=1e-9)
    steps = np.asarray(own.steps).reshape(-1)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    real = steps >= 0
    assert real.sum() == 2 * LENGTH.sum()
    np.testing.assert_allclose(nats, -logs[real, steps[real]].mean(), rtol=1e-9)


def test_what_is_known_of_root_and_nothing_is_learnt_and_words_know_their_sentence(params):
    own = batch()
    network, words = context_parser.in_context(params, own.sentences)
    table = np.asarray(network.embedding[0]).reshape(3, WORDS + 2, -1)
    np.testing.assert_array_equal(table[:, 0], np.broadcast_to(params.ends[0], (3, 13)))
    np.testing.assert_array_equal(table[:, -1], np.broadcast_to(params.ends[1], (3, 13)))
    known = encoder.apply(params.encoder, np.stack(own.sentences.ids, axis=-1)[:, 1:-1], LENGTH)
    np.testing.assert_array_equal(table[:, 1:-1], known)
    assert words.ids[0].shape == (3, WORDS + 2)
    grads = jax.grad(lambda params: context_parser.loss(params, own)[0])(params)
    assert all((np.asarray(leaf) != 0).any() for leaf in jax.tree.leaves(grads))


def test_the_gradient_is_that_of_the_plain_form(params):
    own = batch()

    def plain(params):
        network, words = context_parser.in_context(params, own.sentences)
        seen = jnp.asarray(own.positions) + words.ids[0][None, :, :1]
        ids = tuple(
            jnp.asarray(read)[..., np.array(places)].reshape(-1, len(places))
            for read, places in zip((seen, own.relations), POSITIONS)
        )
        x = [t[i].reshape(len(i), -1) for t, i in zip(network.embedding, ids)]
        z = jnp.concatenate(x, axis=1) @ network.hidden.w + network.hidden.b[None]
        logits = jax.nn.relu(z) @ network.head.w + network.head.b[None]
        steps = jnp.asarray(own.steps).reshape(-1)
        logs = jax.nn.log_softmax(logits)
        picked = jnp.take_along_axis(logs, jnp.maximum(steps, 0)[:, None], 1)[:, 0]
        return -jnp.where(steps >= 0, picked, 0).sum() / (steps >= 0).sum()

    found = jax.grad(lambda params: context_parser.loss(params, own)[0])(params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12),
        found,
        jax.grad(plain)(params),
    )


def test_decoding_takes_the_best_legal_step_of_these_logits(params):
    """The steps that lead to the answer are, where the answer is read as gold, the best ones."""
    own = sentences()
    heads, relations = context_parser.decode(params, own, root=2)
    heads, relations = np.asarray(heads), np.asarray(relations)
    for row, length in enumerate(LENGTH):
        assert (heads[row, 1 : length + 1] >= 0).all() and (heads[row, length + 1 :] == -1).all()
        assert (heads[row, 1 : length + 1] == 0).sum() == 1
    positions = np.broadcast_to(np.arange(WORDS + 2), (3, WORDS + 2))
    state = parser.initial_state(Sentences((positions,), LENGTH))
    for _ in range(2 * WORDS):
        seen, read = parser.extract_features(state, Sentences((positions,), LENGTH))
        gold = Batch(own, np.asarray(seen)[None], np.asarray(read)[None], np.zeros((1, 3), int))
        allowed = np.asarray(parser.legal_actions(state, LENGTH, RELATIONS, 2))
        logits = np.where(allowed, side_by_side(params, gold), -np.inf)
        step = np.where(allowed.any(1), logits.argmax(1), -1)
        state = parser.apply_action(state, step, RELATIONS)
    np.testing.assert_array_equal(state.heads, heads)
    np.testing.assert_array_equal(state.relations, relations)


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="num_relations"):
        Config(CONFIG.encoder, 0)
    with pytest.raises(ValueError, match="hidden_dim"):
        Config(CONFIG.encoder, 3, hidden_dim=0)
    assert isinstance(context_parser.init(jax.random.key(0), CONFIG).network, window.Params)
