"""`models.tagger`: window and recurrent layers under a chain CRF."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.crf import chain
from rntn_jax.models import tagger
from tests.helpers import assert_close

B, T = 3, 5
SIZES, DIMS, C = (7, 4), (3, 2), 3
CONFIGS = {
    "window": tagger.Config(SIZES, DIMS, C, windows=(3,), hidden_dim=4),
    "windows": tagger.Config(SIZES, DIMS, C, windows=(5, 3), hidden_dim=4),
    "rnn": tagger.Config(SIZES, DIMS, C, windows=(), rnn_layers=1, hidden_dim=4),
    "both": tagger.Config(SIZES, DIMS, C, windows=(3,), rnn_layers=2, hidden_dim=4),
    "linear": tagger.Config(SIZES, DIMS, C, windows=()),
}
RNG = np.random.default_rng(0)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
BATCH = tagger.Batch(
    np.stack([RNG.integers(1, size, (B, T)) for size in SIZES], axis=-1),
    RNG.integers(0, C, (B, T)),
    MASK,
)


def make(name):
    params = tagger.init(jax.random.key(0), CONFIGS[name], jnp.float64)
    return jax.tree.map(lambda a: a + 0.3 * RNG.normal(size=a.shape), params)


def node_by_hand(params, ids):
    """Scores of one sentence ``[n, columns]``, token by token."""
    vectors = [np.concatenate([t[i] for t, i in zip(params.embeddings, row)]) for row in ids]
    outside = np.concatenate([t[0] for t in params.embeddings])
    for layer in params.windows:
        reach = layer.w.shape[0] // len(outside) // 2
        padded = [outside] * reach + vectors + [outside] * reach
        vectors = [
            np.maximum(np.concatenate(padded[t : t + 2 * reach + 1]) @ layer.w + layer.b, 0)
            for t in range(len(ids))
        ]
        outside = np.zeros(layer.w.shape[1])
    for cells in params.cells:
        sides = []
        for cell, order in zip(cells, (range(len(ids)), reversed(range(len(ids))))):
            h, states = np.zeros(cell.b.shape), {}
            for t in order:
                h = states[t] = np.tanh(h @ cell.h + vectors[t] @ cell.i + cell.b)
            sides.append(states)
        vectors = [np.concatenate([sides[0][t], sides[1][t]]) for t in range(len(ids))]
    return np.array([v @ params.head.w + params.head.b for v in vectors])


@pytest.mark.parametrize("name", CONFIGS)
def test_scores_token_by_token(name):
    params = make(name)
    scores = jax.jit(tagger.apply)(params, BATCH)
    arrays = jax.tree.map(np.asarray, params)
    for row, length in enumerate(MASK.sum(1)):
        if length:
            expected = node_by_hand(arrays, BATCH.ids[row, :length])
            assert_close(scores.node[row, :length], expected)
    assert_close(scores.edge, params.edge)


@pytest.mark.parametrize("name", ["window", "both"])
def test_what_is_masked_does_not_matter(name):
    params = make(name)
    rubbish = BATCH._replace(
        ids=np.where(MASK[..., None], BATCH.ids, 10**6), labels=np.where(MASK, BATCH.labels, -7)
    )
    evaluate = jax.jit(jax.value_and_grad(tagger.loss, has_aux=True))
    (clean, _), expected = evaluate(params, BATCH)
    (value, aux), gradient = evaluate(params, rubbish)
    assert_close(value, clean)
    assert_close(gradient, expected)
    assert aux.nats[2] == 0  # a sentence without tokens
    narrow = jax.tree.map(lambda a: a[1:2, :2], BATCH)
    assert_close(jax.jit(tagger.loss)(params, narrow)[1].nats[0], aux.nats[1])
    assert_close(value, aux.nats[:2].mean())


def test_loss_is_that_of_its_chain():
    params = make("both")
    loss, aux = jax.jit(tagger.loss)(params, BATCH)
    nats = -jax.jit(chain.log_prob)(aux.scores, BATCH.labels)
    assert_close(aux.scores, jax.jit(tagger.apply)(params, BATCH))
    assert_close(loss, nats.sum() / 2)


def test_dropout_draws_and_words_become_unknown():
    params = make("window")
    options = {"input_dropout": 0.3, "hidden_dropout": 0.3, "unknown_rate": 0.9}
    first, again, other = (
        tagger.apply(params, BATCH, key=jax.random.key(k), **options).node for k in (0, 0, 1)
    )
    assert_close(first, again)
    assert not np.allclose(first, other)
    gradient = jax.jit(
        jax.grad(lambda p: tagger.loss(p, BATCH, unknown_rate=0.99, key=jax.random.key(3))[0])
    )
    touched = np.flatnonzero(np.abs(gradient(params).embeddings[0]).sum(1))
    assert 1 in touched and len(touched) < len(set(BATCH.ids[MASK][:, 0]))
    with pytest.raises(ValueError, match="hidden_dropout needs a key"):
        tagger.apply(params, BATCH, hidden_dropout=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"windows": (4,)}, "windows"),
        ({"vocab_sizes": (7,)}, "equally many"),
        ({"embed_dims": (3, 0)}, "embed_dims"),
        ({"num_classes": 0}, "num_classes"),
        ({"rnn_layers": -1}, "rnn_layers"),
        ({"word_range": -0.1}, "word_range"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        tagger.Config(**{"vocab_sizes": SIZES, "embed_dims": DIMS, "num_classes": C} | options)


def test_bad_shapes():
    params = make("window")
    with pytest.raises(AssertionError):
        tagger.apply(params, BATCH._replace(ids=BATCH.ids[..., :1]))
    with pytest.raises(AssertionError):
        tagger.apply(params, BATCH._replace(mask=MASK.astype(int)))


def test_any_number_of_columns_and_layers():
    """A key for each; the keys of the first do not depend on how many there are."""
    config = tagger.Config((9,) * 70, (3,) * 70, 2, windows=(3,) * 5, rnn_layers=16, hidden_dim=2)
    params = jax.eval_shape(lambda: tagger.init(jax.random.key(0), config))
    assert (len(params.embeddings), len(params.windows), len(params.cells)) == (70, 5, 16)
    deep = tagger.Config((9,), (3,), 2, windows=(), rnn_layers=16, hidden_dim=2)
    assert len(jax.eval_shape(lambda: tagger.init(jax.random.key(0), deep)).cells) == 16
