"""pytorch-crf's tests (tests/test_crf.py) in substance, of the layer that takes its place.

Its inputs: three steps, two sequences, five tags, scores drawn evenly from [-5, 5] (start, end and
transitions) and a normal distribution (emissions); everything compared with all labellings.
"""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rntn_jax import crf, nn

T, B, C = 3, 2, 5
MASKS = {"full": [[1, 1, 1], [1, 1, 1]], "short": [[1, 1, 1], [1, 1, 0]]}


@pytest.fixture
def layer() -> nn.ChainCRF:
    rng = np.random.default_rng(1478754)
    made = nn.ChainCRF(C, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    for param in (made.edge, made.start, made.end):
        param[...] = jnp.asarray(rng.uniform(-5, 5, param.shape))
    return made


@pytest.fixture
def emissions() -> jnp.ndarray:
    return jnp.asarray(np.random.default_rng(0).normal(size=(B, T, C)))


TAGS = np.random.default_rng(1).integers(0, C, (B, T))


def score_of(layer: nn.ChainCRF, emission: np.ndarray, tags: tuple[int, ...]) -> float:
    edge, start, end = (np.asarray(x[...]) for x in (layer.edge, layer.start, layer.end))
    moves = sum(edge[a, b] for a, b in itertools.pairwise(tags))
    emitted = sum(row[tag] for row, tag in zip(np.asarray(emission), tags))
    return start[tags[0]] + end[tags[-1]] + moves + emitted


def by_hand(layer, emissions, mask) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Log-likelihoods of `TAGS`, and the best tags, of each row."""
    found, best = [], []
    for emission, tags, length in zip(emissions, TAGS, np.sum(mask, axis=1)):
        every = {
            y: score_of(layer, emission, y) for y in itertools.product(range(C), repeat=length)
        }
        found.append(every[tuple(tags[:length])] - np.logaddexp.reduce(list(every.values())))
        best.append(max(every, key=every.__getitem__))
    return np.array(found), best


def test_parameters(layer):
    assert layer.num_labels == C
    assert [p.shape for p in (layer.start, layer.end, layer.edge)] == [(C,), (C,), (C, C)]
    with pytest.raises(ValueError, match="got 0"):
        nn.ChainCRF(0, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("name", MASKS)
def test_likelihood_and_its_reductions(layer, emissions, name):
    mask = jnp.array(MASKS[name], bool)
    expected, _ = by_hand(layer, emissions, mask)
    found = crf.chain.log_prob(layer(emissions, mask), jnp.asarray(TAGS))
    np.testing.assert_allclose(found, expected, rtol=1e-10)  # none; sum, token_mean are of these
    np.testing.assert_allclose(
        layer.loss(emissions, jnp.asarray(TAGS), mask), -expected.mean(), rtol=1e-10
    )
    if name == "full":
        np.testing.assert_allclose(
            crf.chain.log_prob(layer(emissions), jnp.asarray(TAGS)), expected, rtol=1e-10
        )


@pytest.mark.parametrize("name", MASKS)
def test_decode(layer, emissions, name):
    mask = jnp.array(MASKS[name], bool)
    _, best = by_hand(layer, emissions, mask)
    found = np.asarray(layer.decode(emissions, mask))
    assert [tuple(row[: len(y)]) for row, y in zip(found, best)] == best
    assert not found[~np.asarray(mask)].any()  # pytorch-crf cuts the lists, here zeros fill up


def test_a_batch_is_its_rows(layer, emissions):
    mask = jnp.array(MASKS["short"], bool)
    together = layer.decode(emissions, mask)
    for row in range(B):
        alone = layer.decode(emissions[row : row + 1], mask[row : row + 1])
        np.testing.assert_array_equal(alone[0], together[row])


@pytest.mark.parametrize(
    ("emitted", "tags", "mask", "message"),
    [
        ((1, 2), (2, 2), None, "node"),  # emissions of a wrong rank
        ((1, 2, C), (2, 2, 2), None, "labels"),  # tags of a wrong rank
        ((1, 2, C), (2, 2), None, "labels"),  # sizes of emissions and tags
        ((1, 2, 3), (1, 2), None, "edge"),  # number of tags
        ((1, 2, C), (1, 2), (2, 1), "mask"),  # sizes of tags and mask
    ],
)
def test_wrong_shapes_are_named(layer, emitted, tags, mask, message):
    real = None if mask is None else jnp.ones(mask, bool)
    with pytest.raises((AssertionError, ValueError), match=message):
        layer.loss(jnp.zeros(emitted), jnp.zeros(tags, int), real)


def test_a_mask_need_not_begin_at_the_first_step(layer, emissions):
    """What pytorch-crf refuses is here what is left without the masked steps."""
    mask = jnp.array([[0, 1, 1], [1, 1, 1]], bool)
    found = crf.chain.log_prob(layer(emissions, mask), jnp.asarray(TAGS))
    alone = crf.chain.log_prob(layer(emissions[:, 1:]), jnp.asarray(TAGS[:, 1:]))
    np.testing.assert_allclose(found[0], alone[0], rtol=1e-10)
