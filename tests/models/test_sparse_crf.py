"""`models.sparse_crf`: the model and the objective of CRFsuite."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.models import sparse_crf
from tests.helpers import assert_close, compilations

A, C = 6, 3
RNG = np.random.default_rng(0)
LENGTHS = np.array([3, 1, 0, 4, 2])
N = int(LENGTHS.sum())
LABELS = RNG.integers(0, C, N)
BAGS = np.repeat(np.arange(N), RNG.integers(0, 4, N))
IDS = RNG.integers(0, A, len(BAGS))
WEIGHTS = RNG.normal(size=len(BAGS)).astype(np.float32)
ARRAYS = BAGS, IDS, LABELS, LENGTHS, A, C


def make(**options):
    features = sparse_crf.features(*ARRAYS, weights=WEIGHTS, **options)
    params = jax.tree.map(
        lambda a: jnp.asarray(RNG.normal(size=a.shape)), sparse_crf.init(features, jnp.float64)
    )
    return features, params._replace(edge=jnp.where(features.transition, params.edge, 0))


def by_hand(params, features, c2):
    """Sentence by sentence, by enumeration."""
    table = np.zeros((A, C))
    table[features.attribute, features.label] = params.state
    node = np.zeros((N, C))
    for bag, attribute, weight in zip(BAGS, IDS, WEIGHTS):
        node[bag] += weight * table[attribute]
    edge, total, end = np.asarray(params.edge), 0.0, 0
    for length in LENGTHS:
        own, labels = node[end : end + length], LABELS[end : end + length]
        end += length
        if not length:
            continue
        score = own[np.arange(length), labels].sum() + edge[labels[:-1], labels[1:]].sum()
        every = [
            own[np.arange(length), y].sum() + edge[y[:-1], y[1:]].sum()
            for y in map(np.array, itertools.product(range(C), repeat=int(length)))
        ]
        total += np.logaddexp.reduce(every) - score
    return total + c2 * (np.sum(np.square(params.state)) + np.sum(np.square(params.edge)))


@pytest.mark.parametrize(("num_rows", "minibatches"), [(1, False), (2, True)])
def test_loss_is_the_sum_over_sentences(num_rows, minibatches):
    features, params = make()
    corpus = sparse_crf.pack_sentences(
        *ARRAYS, weights=WEIGHTS, num_rows=num_rows, minibatches=minibatches
    )
    actual = jax.jit(sparse_crf.loss, static_argnums=4)(params, corpus, features, 0.3, A)
    assert_close(actual, by_hand(params, features, 0.3))


def test_gradient_is_expected_minus_observed_counts():
    """The model marginals theorem, with the observed counts counted by hand."""
    features, params = make()
    corpus = sparse_crf.pack_sentences(*ARRAYS, weights=WEIGHTS)
    differentiate = jax.jit(jax.grad(sparse_crf.loss))
    gradient = differentiate(params, corpus, features, 0.3)
    eps, found = 1e-6, []
    for place in range(len(params.state)):
        moved = [
            by_hand(params._replace(state=params.state.at[place].add(d)), features, 0.3)
            for d in (eps, -eps)
        ]
        found.append((moved[0] - moved[1]) / (2 * eps))
    assert_close(gradient.state, np.array(found), 1e-7)
    # At large weights of what was seen, expectation is observation.
    assert not np.asarray(gradient.edge)[~features.transition].any()
    zero = jax.tree.map(jnp.zeros_like, params)
    at_zero = differentiate(zero, corpus, features, 0.0)
    observed = np.zeros((A, C))
    np.add.at(observed, (IDS, LABELS[BAGS]), WEIGHTS)
    mass = np.bincount(IDS, WEIGHTS, A)  # every label is equally probable at 0
    expected = mass[features.attribute] / C - observed[features.attribute, features.label]
    assert_close(at_zero.state, expected, 1e-6)


def test_features_are_those_seen():
    features, _ = make()
    pairs = set(zip(IDS.tolist(), LABELS[BAGS].tolist()))
    summed = np.zeros((A, C))
    np.add.at(summed, (IDS, LABELS[BAGS]), WEIGHTS)
    kept = {pair for pair in pairs if summed[pair] >= 0}
    assert set(zip(features.attribute.tolist(), features.label.tolist())) == kept
    seen, end = np.zeros((C, C), bool), 0
    for length in LENGTHS:
        own = LABELS[end : end + length]
        seen[own[:-1], own[1:]] = True
        end += length
    assert features.transition.tolist() == seen.tolist()


def test_all_features_and_frequent_ones():
    whole = sparse_crf.features(*ARRAYS, all_states=True, all_transitions=True)
    assert len(whole.label) == A * C and whole.transition.all()
    counts = np.zeros((A, C))
    np.add.at(counts, (IDS, LABELS[BAGS]), 1)
    frequent = sparse_crf.features(*ARRAYS, min_freq=2)
    assert len(frequent.label) == (counts >= 2).sum()


@pytest.mark.parametrize("minibatches", [False, True])
@pytest.mark.slow
def test_a_second_call_compiles_nothing(minibatches, float32):
    """Of the loss and of its gradient, with NumPy arrays, outside jit."""
    features = sparse_crf.features(*ARRAYS, weights=WEIGHTS)
    options = {"weights": WEIGHTS, "num_rows": 2, "minibatches": minibatches}
    packed = sparse_crf.pack_sentences(*ARRAYS, **options)

    def call(scale):
        params = jax.tree.map(lambda a: np.full(a.shape, scale), sparse_crf.init(features))
        number = A if minibatches else None
        sparse_crf.loss(params, packed, features, 0.1 * scale, number)
        jax.value_and_grad(sparse_crf.loss)(params, packed, features, 0.1 * scale, number)

    call(np.float32(1))
    with compilations() as compiled:
        call(np.float32(2))
    assert not compiled


def test_padded_attributes_need_their_number():
    packed = sparse_crf.pack_sentences(*ARRAYS, minibatches=True)
    features = sparse_crf.features(*ARRAYS)
    with pytest.raises(ValueError, match="num_attributes must be given"):
        sparse_crf.loss(sparse_crf.init(features), packed, features)
