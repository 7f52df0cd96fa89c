"""The tagger of segments: its scores one by one, and its loss over all segmentations."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.crf.semi_markov import Segments
from rntn_jax.models import segment_tagger
from rntn_jax.models.tagger import emissions

CONFIG = segment_tagger.Config((7,), (3,), num_labels=2, max_width=3, windows=(3,), hidden_dim=4)
PLAIN = {
    "activation": "relu",
    "recurrent_activation": "tanh",
    "unknown_rate": 0.0,
    "input_dropout": 0.0,
    "hidden_dropout": 0.0,
}


def segmentations(tokens: int):
    """Begins, labels and ``(first, last, label)`` of all there are: label 0 is of one token."""
    for later in itertools.product([True, False], repeat=tokens - 1):
        begins = np.array([True, *later])
        firsts = np.flatnonzero(begins)
        lasts = [*(firsts[1:] - 1), tokens - 1]
        for own in itertools.product(range(2), repeat=len(firsts)):
            parts = list(zip(firsts, lasts, own))
            if all(t - s < 3 and (c or s == t) for s, t, c in parts):
                yield begins, np.repeat(own, np.diff([*firsts, tokens])), parts


def test_loss_is_that_of_all_segmentations_one_by_one():
    params = segment_tagger.init(jax.random.key(0), CONFIG)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    params = tree.unflatten([jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves)])
    ids, mask = jnp.array([[[2], [3], [4], [5]]]), jnp.ones((1, 4), bool)
    own = np.asarray(emissions(params, ids, mask, None, **PLAIN))[0].reshape(4, 4, 2)
    width, edge, start, end = params[4:]

    def score(parts) -> float:
        total = start[parts[0][2]] + end[parts[-1][2]]
        total += sum(edge[a[2], b[2]] for a, b in itertools.pairwise(parts))
        for s, t, c in parts:
            inner = own[s + 1 : t, 2, c].sum()
            total += own[s, 0, c] if s == t else own[s, 1, c] + inner + own[t, 3, c]
            total += width[t - s, c]
        return float(total)

    found = list(segmentations(4))
    scores = np.array([score(parts) for *_, parts in found])
    right = np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores
    for (begins, labels, _), nats in list(zip(found, right))[::5]:
        segments = Segments(jnp.asarray(begins)[None], jnp.asarray(labels)[None])
        batch = segment_tagger.Batch(ids, mask, segments)
        np.testing.assert_allclose(
            segment_tagger.loss(params, batch, singles=1)[0], nats, rtol=1e-5, atol=1e-5
        )


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="max_width must be an integer of at least 1, got 0"):
        segment_tagger.Config((7,), (3,), num_labels=2, max_width=0)
    with pytest.raises(ValueError, match="windows must be odd"):
        segment_tagger.Config((7,), (3,), num_labels=2, max_width=2, windows=(2,))
    params = segment_tagger.init(jax.random.key(0), CONFIG)
    segments = Segments(jnp.ones((1, 2), bool), jnp.full((1, 2), 2))
    batch = segment_tagger.Batch(jnp.ones((1, 2, 1), int), jnp.ones((1, 2), bool), segments)
    with pytest.raises(ValueError, match=r"batch.segments.labels"):
        segment_tagger.loss(params, batch)
