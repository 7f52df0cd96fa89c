"""optax's tests of its CTC loss (losses/_classification_test.py, CTCTest), of ours in its place.

Their cases have one alignment each, so that the value is a sum of log-probabilities and the
gradient softmax minus indicators; their forward probabilities are log-partitions here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rntn_jax.crf import ctc


def paddings(lengths: np.ndarray, size: int) -> np.ndarray:
    return (np.arange(size)[None] >= lengths[:, None]).astype(float)


@pytest.mark.slow
def test_as_many_labels_as_frames():
    """8 rows of 50 frames and 40 classes: no blank fits in, and no label follows itself."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(8, 50, 40)), rng.integers(1, 40, (8, 50))
    for t in range(1, 50):
        same = labels[:, t] == labels[:, t - 1]
        labels[same, t] = labels[same, t] % 39 + 1
    none = np.zeros((8, 50))
    log_p = np.asarray(jax.nn.log_softmax(logits))
    expected = -np.take_along_axis(log_p, labels[..., None], 2).sum((1, 2))
    np.testing.assert_allclose(ctc.loss(logits, none, labels, none), expected, rtol=1e-10)
    # What theirs calls the forward probability of blanks alone: no target at all.
    empty = ctc.Scores(jnp.asarray(log_p), np.zeros((8, 0), int))
    np.testing.assert_allclose(ctc.log_prob(empty), log_p[..., 0].sum(1), rtol=1e-10)


def test_as_many_labels_as_frames_and_paddings():
    """5 rows of 7 frames and 13 classes, 3 to 5 of them real: values and gradients."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(5, 7, 13))
    labels = np.stack([rng.permutation(np.arange(1, 13))[:7] for _ in range(5)])
    lengths = rng.integers(3, 6, 5)
    padded = paddings(lengths, 7)
    value, grad = jax.value_and_grad(lambda x: ctc.loss(x, padded, labels, padded).mean())(logits)
    right = np.asarray(jax.nn.softmax(logits)) - np.eye(13)[labels]
    right[padded > 0] = 0
    np.testing.assert_allclose(grad, right / 5, atol=1e-12)
    log_p = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), labels[..., None], 2)[..., 0]
    np.testing.assert_allclose(value, -(log_p * (1 - padded)).sum(1).mean(), rtol=1e-12)
    theirs = optax.losses.ctc_loss(logits, padded, labels, padded)
    ours = ctc.loss(logits, padded, labels, padded)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_repeated_labels():
    """A blank stands between equal labels, and in as few frames there is one alignment."""
    labels = np.array([[1, 2, 2, 3], [2, 3, 4, 4], [1, 1, 1, 1], [1, 1, 2, 3], [1, 1, 1, 2]])
    alignments = [
        [1, 2, 0, 2, 3],
        [2, 3, 4, 0, 4],
        [1, 0, 1, 0, 1, 0, 1],
        [1, 0, 1, 2, 3],
        [1, 0, 1, 0, 1, 2],
    ]
    logits = np.random.default_rng(2).normal(size=(5, 7, 5))
    frames = paddings(np.array(list(map(len, alignments))), 7)
    targets = np.pad(labels, ((0, 0), (0, 2)))
    found = ctc.loss(logits, frames, targets, paddings(np.full(5, 4), 6))
    log_p = np.asarray(jax.nn.log_softmax(logits))
    expected = [-log_p[n, range(len(own)), own].sum() for n, own in enumerate(alignments)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
