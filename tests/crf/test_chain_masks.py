"""`rntn_jax.crf.chain`: masks, forbidden labels, short rows, wrong arguments."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.crf import chain
from rntn_jax.crf.chain import Scores
from rntn_jax.crf.chain._steps import has_edge
from tests.crf.chain_samples import MASK, query, random_scores
from tests.helpers import assert_close


def test_masked_entries_may_hold_anything():
    for shared in (True, False):
        scores = random_scores(13, 4, 4, 3, shared=shared)._replace(mask=jnp.asarray(MASK))
        node = jnp.where(MASK[..., None], scores.node, jnp.nan)
        edge = scores.edge
        if not shared:
            inner = has_edge(scores.mask)[:, 1:]
            edge = jnp.where(inner[..., None, None], edge, jnp.nan)
        dirty = scores._replace(node=node, edge=edge)
        assert_close(query.log_partition(dirty), query.log_partition(scores), 1e-14)
        assert_close(query.marginals(dirty), query.marginals(scores), 1e-14)
        assert_close(query.argmax(dirty), query.argmax(scores), 1e-14)
        assert_close(query.entropy(dirty), query.entropy(scores), 1e-14)


def test_impossible_rows_leave_the_others_alone():
    scores = random_scores(14)._replace(mask=None)
    node = scores.node.at[1, 2].set(-jnp.inf)
    bad = scores._replace(node=node)
    labels = jnp.zeros((4, 4), int)

    def total(scores):
        nats = query.log_prob(scores, labels)
        return jnp.where(jnp.isfinite(nats), nats, 0).sum(), nats

    (_, nats), gradient = jax.value_and_grad(total, has_aux=True)(bad)
    assert nats[1] == -jnp.inf and np.isfinite(np.delete(nats, 1)).all()
    assert query.log_partition(bad)[1] == -jnp.inf
    assert np.all(gradient.node[1] == 0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    keep = jnp.array([0, 2, 3])
    few = scores._replace(node=scores.node[keep])
    want = jax.grad(lambda s: query.log_prob(s, labels[:3]).sum())(few)
    np.testing.assert_allclose(gradient.node[keep], want.node, atol=1e-14)
    np.testing.assert_allclose(gradient.edge, want.edge, atol=1e-13)


def test_a_forbidden_gold_path():
    scores = random_scores(15)._replace(mask=None)
    scores = scores._replace(edge=scores.edge.at[0, 1].set(-jnp.inf))
    labels = jnp.array([[0, 1, 0, 0], [0, 0, 0, 0], [2, 1, 0, 2], [0, 0, 1, 1]])
    nats = query.log_prob(scores, labels)
    assert nats[0] == nats[3] == -jnp.inf and np.isfinite(nats[1]) and np.isfinite(nats[2])
    gradient = jax.grad(lambda s: query.log_prob(s, labels)[1:3].sum())(scores)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert gradient.edge[0, 1] == 0


def test_constrain():
    free = random_scores(16)._replace(start=None, end=None, mask=None)
    transitions = ~np.eye(3, dtype=bool)
    start, end = np.array([True, False, True]), np.array([False, True, True])
    bound = chain.constrain(free, transitions, start, end)
    assert np.all(bound.start == np.where(start, 0, -np.inf))
    labels, _ = query.argmax(bound)
    assert np.all(labels[:, 1:] != labels[:, :-1])
    assert not np.any(labels[:, 0] == 1) and not np.any(labels[:, -1] == 0)
    p = query.marginals(bound)
    assert np.all(np.diag(p.edge) == 0) and np.all(p.node[:, 0, 1] == 0)
    assert_close(chain.constrain(free), free)


@pytest.mark.parametrize("length", [0, 1])
@pytest.mark.parametrize("shared", [True, False])
def test_short_sequences(length, shared):
    edge = jnp.zeros((2, 2)) if shared else jnp.zeros((3, max(length - 1, 0), 2, 2))
    scores = Scores(jnp.ones((3, length, 2)), edge)
    want = length * (1 + np.log(2))
    np.testing.assert_allclose(query.log_partition(scores), np.full(3, want), rtol=1e-15)
    np.testing.assert_allclose(query.log_partition(scores, method="parallel"), np.full(3, want))
    assert query.marginals(scores).node.shape == (3, length, 2)
    np.testing.assert_allclose(query.entropy(scores), np.full(3, length * np.log(2)), atol=1e-15)
    labels, worth = query.argmax(scores)
    assert labels.shape == (3, length) and np.all(worth == length)
    assert query.sample(jax.random.key(0), scores, num_samples=2).shape == (2, 3, length)
    labels, worth = query.top_k(scores, k=3)
    assert labels.shape == (3, 3, length)
    assert np.isfinite(worth).sum() == 3 * 2**length
    query.log_prob(scores, labels[:, 0])


BAD: dict[str, tuple[Any, ...]] = {
    "rank": ({"node": jnp.zeros((2, 3))}, AssertionError),
    "integers": ({"node": jnp.zeros((2, 3, 2), int)}, AssertionError),
    "edge": ({"edge": jnp.zeros((3, 3))}, AssertionError),
    "edge steps": ({"edge": jnp.zeros((2, 3, 2, 2))}, AssertionError),
    "mask shape": ({"mask": jnp.ones((3, 2), bool)}, AssertionError),
    "mask dtype": ({"mask": jnp.ones((2, 3), int)}, AssertionError),
    "start": ({"start": jnp.zeros(3)}, AssertionError),
}


@pytest.mark.parametrize("what", BAD)
def test_wrong_shapes_and_dtypes(what):
    fields, error = BAD[what]
    good = Scores(jnp.zeros((2, 3, 2)), jnp.zeros((2, 2)))
    with pytest.raises(error):
        query.log_partition(good._replace(**fields))


def test_wrong_arguments():
    good = Scores(jnp.zeros((2, 3, 2)), jnp.zeros((2, 2)))
    with pytest.raises(ValueError, match="quick"):
        query.log_partition(good, method="quick")
    with pytest.raises(ValueError, match="got 0"):
        query.top_k(good, k=0)
    with pytest.raises(AssertionError):
        query.score(good, jnp.zeros((2, 4), int))
    with pytest.raises(AssertionError):
        query.log_partition(good, allowed=jnp.ones((2, 3, 2)))
