"""The span parser: its scores by the equations, its loss, what it learns."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rntn_jax import data
from rntn_jax.models import encoder, span_parser
from rntn_jax.models.span_parser import Batch, Config
from tests.helpers import compilations

CONFIG = Config(encoder.Config((7, 5), (3, 2), rnn_layers=2, rnn_dim=4), hidden_dim=6)
LENGTHS = np.array([5, 2, 1])


def batch() -> Batch:
    rng = np.random.default_rng(0)
    ids = np.stack([rng.integers(2, size, (3, 5)) for size in CONFIG.encoder.vocab_sizes], axis=2)
    spans = np.zeros((3, 4, 2), int)
    spans[0] = [(0, 2), (3, 5), (2, 5), (0, 5)]
    spans[1, 0] = (0, 2)
    return Batch(ids, LENGTHS, spans)


def parameters():
    params = span_parser.init(jax.random.key(0), CONFIG, jnp.float64)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape), params)


def transcribed(params: Any, ids: np.ndarray) -> np.ndarray:
    """Scores of the spans of one sentence, word by word."""
    p = jax.tree.map(np.asarray, params)
    x = [np.concatenate([p.encoder.embeddings[k][w[k]] for k in range(2)]) for w in ids]
    known = [[v] for v in x]
    for forward, backward in p.encoder.cells:
        states: list[Any] = [[None, None] for _ in x]
        for side, (cell, order) in enumerate(
            ((forward, range(len(x))), (backward, range(len(x) - 1, -1, -1)))
        ):
            h = np.zeros(4)
            for t in order:
                h = np.tanh(h @ cell.h + x[t] @ cell.i + cell.b)
                states[t][side] = h
        x = [np.concatenate(both) for both in states]
        for own, state in zip(known, x):
            own.append(state)
    words = [np.concatenate(own) for own in known]
    zero = np.zeros_like(words[0])
    fenceposts = [np.concatenate(pair) for pair in zip([zero, *words], [*words, zero])]
    scores = np.zeros((len(fenceposts), len(fenceposts)))
    for i, j in np.ndindex(scores.shape):
        z = fenceposts[i] @ p.begin.w + fenceposts[j] @ p.end + p.begin.b
        scores[i, j] = np.maximum(z, 0) @ p.head
    return scores


def test_scores_are_those_of_the_equations():
    params, own = parameters(), batch()
    found = np.asarray(span_parser.apply(params, own).span)
    for row, length in enumerate(LENGTHS):
        expected = np.triu(transcribed(params, own.ids[row, :length]), k=1)
        np.testing.assert_allclose(found[row, : length + 1, : length + 1], expected, rtol=1e-10)


def test_loss_is_the_cross_entropy_of_all_trees():
    params, own = parameters(), batch()
    nats, aux = span_parser.loss(params, own)
    s = np.asarray(aux.scores.span[0])

    def trees(i, j):
        if j - i == 1:
            return [()]
        return [(*a, *b, (i, j)) for k in range(i + 1, j) for a in trees(i, k) for b in trees(k, j)]

    totals = np.array([sum(s[i, j] for i, j in tree) for tree in trees(0, 5)])
    gold = sum(s[i, j] for i, j in own.spans[0])
    expected = np.log(np.exp(totals).sum()) - gold
    np.testing.assert_allclose(aux.nats, [expected, 0, 0], atol=1e-10)
    np.testing.assert_allclose(nats, expected / 2)  # two sentences have more than one word


def test_a_tree_known_in_part_is_any_of_those_it_may_be():
    """Three words, of which the last two are a phrase: one of two trees."""
    params, own = parameters(), batch()
    allowed = np.ones((3, 6, 6), bool)
    allowed[0, 0, 2] = False
    own = own._replace(length=np.array([3, 1, 2]), allowed=allowed)
    part, aux = span_parser.loss(params, own._replace(spans=None))
    s = np.asarray(aux.scores.span[0])
    np.testing.assert_allclose(aux.nats, [np.logaddexp(0, s[0, 2] - s[1, 3]), 0, 0], atol=1e-10)
    np.testing.assert_allclose(part, aux.nats[0] / 2)


def test_what_lies_behind_a_sentence_does_not_matter():
    params, own = parameters(), batch()
    grad = jax.grad(lambda params, own: span_parser.loss(params, own)[0])
    ids = own.ids.copy()
    ids[1, 2:], ids[2, 1:] = 6, -1000
    ids[..., 1] = np.minimum(ids[..., 1], 4)
    one, other = grad(params, own), grad(params, own._replace(ids=ids))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_wrong_arguments_are_named():
    params, own = parameters(), batch()
    with pytest.raises(AssertionError, match=r"batch\.spans must be int \[B, T-1, 2\]"):
        span_parser.loss(params, own._replace(spans=own.spans[:, :2]))
    with pytest.raises(AssertionError, match=r"batch\.allowed must be bool \[B, T\+1, T\+1\]"):
        span_parser.decode(params, own._replace(allowed=np.ones((3, 5, 5), bool)))
    with pytest.raises(AssertionError, match=r"batch\.length must be int \[B\]"):
        span_parser.apply(params, own._replace(length=np.ones(3)))
    with pytest.raises(ValueError, match=r"batch\.length must lie in 0 \.\. 5.* got 6 at 1"):
        span_parser.apply(params, own._replace(length=np.array([5, 6, 1])))
    with pytest.raises(ValueError, match=r"batch\.ids.* must lie in 0 \.\. "):
        span_parser.apply(params, own._replace(ids=own.ids + 100))
    with pytest.raises(ValueError, match="batch must have spans, or allowed"):
        span_parser.loss(params, own._replace(spans=None))
    with pytest.raises(ValueError, match="params must be"):
        span_parser.decode([], own)


def test_a_second_call_compiles_nothing():
    params, own = parameters(), batch()

    def calls(own):
        span_parser.apply(params, own)
        span_parser.loss(params, own, hidden_dropout=0.5, key=jax.random.key(0))
        jax.grad(lambda params: span_parser.loss(params, own)[0])(params)
        span_parser.decode([params, params], own)

    calls(own)
    with compilations() as compiled:
        calls(own._replace(ids=(own.ids + 1) % 2, length=np.array([4, 3, 5])))
    assert not compiled


def test_dropout_needs_a_key_and_unknown_words_lose_their_gradient():
    params, own = parameters(), batch()
    with pytest.raises(ValueError, match="key"):
        span_parser.apply(params, own, hidden_dropout=0.5)
    grads = jax.grad(
        lambda params: span_parser.loss(params, own, unknown_rate=0.999999, key=jax.random.key(0))[
            0
        ]
    )(params)
    assert (np.asarray(grads.encoder.embeddings[0])[2:] == 0).all()
    assert (np.asarray(grads.encoder.embeddings[0])[1] != 0).any()


@pytest.mark.slow
def test_it_learns_the_brackets_of_the_demo_corpus():
    forest = [
        tree for tree in data.demo_sentiment.sentiment_trees(60, seed=0) if tree.num_leaves <= 16
    ]
    vocabulary = data.Vocabulary.build(word for tree in forest for word in tree.tokens)
    ids = np.zeros((len(forest), 16, 1), np.int32)
    spans = np.zeros((len(forest), 15, 2), np.int32)
    for row, tree in enumerate(forest):
        ids[row, : tree.num_leaves, 0] = vocabulary.encode(tree.tokens)
        spans[row, : tree.num_leaves - 1] = tree.spans()[tree.num_leaves :]
    own = Batch(ids, np.array([tree.num_leaves for tree in forest]), spans)
    params = span_parser.init(
        jax.random.key(0),
        Config(encoder.Config((len(vocabulary),), (16,), rnn_dim=16), hidden_dim=32),
    )
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(params, state):
        nats, grads = jax.value_and_grad(lambda p: span_parser.loss(p, own)[0])(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, nats

    state, nats = optimizer.init(params), []
    for _ in range(60):
        params, state, now = step(params, state)
        nats.append(float(now))
    assert nats[-1] < 0.1 * nats[0]
    children = np.asarray(jax.jit(span_parser.decode)(params, own))
    built = [
        data.Tree(tree.tokens, row[: tree.num_leaves - 1], tree.labels)
        for tree, row in zip(forest, children)
    ]
    assert data.bracket_scores(forest, built).f1 > 0.95


@pytest.mark.parametrize(
    "wrong, match",
    [
        ({"vocab_sizes": ()}, "vocab_sizes"),
        ({"embed_dims": (3,)}, "equally many"),
        ({"rnn_layers": -1}, "rnn_layers"),
        ({"rnn_dim": 0}, "rnn_dim"),
        ({"recurrent_scale": -1.0}, "recurrent_scale"),
        ({"word_range": float("nan")}, "word_range"),
    ],
    ids=str,
)
def test_wrong_sizes_are_refused(wrong, match):
    with pytest.raises(ValueError, match=match):
        encoder.Config(**{"vocab_sizes": (7, 5), "embed_dims": (3, 2)} | wrong)
    with pytest.raises(ValueError, match="hidden_dim"):
        Config(CONFIG.encoder, hidden_dim=0)
