"""Alignments of targets with frames, against all labellings of the frames written down."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rntn_jax.crf import ctc
from rntn_jax.crf.ctc import Scores, forward
from rntn_jax.crf.ctc.scores import check_scores, complete
from tests.helpers import check_orders, enable_x64

FRAMES, SYMBOLS = 4, 3
TARGETS = np.array([[1, 2], [1, 1], [2, 0], [0, 0], [2, 2]])
REAL = np.array([[1, 1], [1, 1], [1, 0], [0, 0], [1, 1]], bool)
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 1], [0, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]], bool)


def collapsed(labels) -> tuple[int, ...]:
    """Repetitions, then blanks taken out."""
    return tuple(label for label, _ in itertools.groupby(labels) if label)


def random(seed: int, scale: float = 1.0, dtype=np.float64) -> Scores:
    node = np.random.default_rng(seed).normal(size=(len(MASK), FRAMES, SYMBOLS)) * scale
    node[~MASK] = np.nan
    return Scores(node.astype(dtype), TARGETS, MASK, REAL)


def enumerated(node: np.ndarray, mask: np.ndarray) -> dict[tuple[int, ...], list]:
    """Score and labels of every labelling of the real frames, by what it says."""
    found: dict[tuple[int, ...], list] = {}
    frames = np.flatnonzero(mask)
    for labels in itertools.product(range(node.shape[1]), repeat=len(frames)):
        full = np.zeros(len(mask), int)
        full[frames] = labels
        own = node[frames, labels].sum() if len(frames) else 0.0
        found.setdefault(collapsed(labels), []).append((own, full))
    return found


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_all_alignments_are_summed_and_the_best_is_found(scale):
    scores = random(0, scale)
    total, p, best = ctc.log_prob(scores), ctc.marginals(scores).node, ctc.argmax(scores)
    for row, (targets, real) in enumerate(zip(TARGETS, REAL)):
        ways = enumerated(scores.node[row], MASK[row]).get(tuple(targets[real]), [])
        if not ways:
            assert total[row] == best[1][row] == -np.inf and (p[row] == 0).all()
            continue
        own = np.array([s for s, _ in ways])
        right = own.max() + np.log(np.exp(own - own.max()).sum())
        np.testing.assert_allclose(total[row], right, rtol=1e-12)
        np.testing.assert_allclose(best[1][row], own.max(), rtol=1e-12)
        np.testing.assert_array_equal(best[0][row], ways[own.argmax()][1])
        wanted = np.zeros_like(p[row])
        for (_, labels), weight in zip(ways, np.exp(own - right)):
            wanted[MASK[row], labels[MASK[row]]] += weight
        np.testing.assert_allclose(p[row], wanted, atol=1e-12)


def test_the_rule_is_the_gradient_of_the_plain_recursion_twice():
    own = random(1)
    keep = np.array([0, 1, 2, 3])  # the last has no alignment: its plain gradient is NaN
    targets, mask, real = (x[keep] for x in own[1:])

    def of(function):
        return lambda node: function(complete(check_scores(Scores(node, targets, mask, real))))

    rule = of(lambda parts: forward.log_partition(parts).value)
    check_orders(rule, of(forward.reference), (np.nan_to_num(own.node[keep]),))


def test_the_loss_is_optax_s_where_that_is_right():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(4, 7, 5)) * 3
    paddings = np.arange(7)[None] >= np.array([[7], [7], [5], [2]])
    labels = np.array([[1, 2, 3], [4, 4, 0], [1, 0, 0], [3, 3, 3]])
    padded = np.arange(3)[None] >= np.array([[3], [2], [0], [3]])
    arguments = paddings.astype(float), labels, padded.astype(float)
    ours = jax.jit(jax.value_and_grad(lambda x: ctc.loss(x, *arguments)[:3].sum()))(logits)
    theirs = jax.jit(jax.value_and_grad(lambda x: optax.losses.ctc_loss(x, *arguments)[:3].sum()))
    for one, other in zip(ours, theirs(logits)):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    value, grad = jax.value_and_grad(lambda x: ctc.loss(x, *arguments)[3])(logits)
    assert value == np.inf and (grad == 0).all()  # three equal labels in two frames
    moved = np.roll(logits, -1, axis=2)  # the blank last
    found = ctc.loss(moved, paddings, np.where(padded, 0, labels - 1), padded, blank_id=4)
    np.testing.assert_allclose(found, ctc.loss(logits, *arguments), rtol=1e-12)


@pytest.mark.slow
def test_single_precision_is_right_over_many_frames():
    rng = np.random.default_rng(3)
    for scale in (1.0, 1e4):
        node = (rng.normal(size=(1, 300, 6)) * scale).astype(np.float32)
        targets = rng.integers(1, 6, (1, 80))
        right = ctc.marginals(Scores(node.astype(np.float64), targets)).node
        with enable_x64(False):
            found = ctc.marginals(Scores(node, targets)).node
        matters = np.asarray(right) >= 1e-6
        np.testing.assert_allclose(found[matters], right[matters], rtol=1e-4)


def test_decoding():
    scores = random(4)
    node = np.where(np.isnan(scores.node), 0, scores.node)
    node = np.array(jax.nn.log_softmax(node, axis=-1))
    node[~MASK] = np.nan
    wide, best = ctc.beam_search(node, 40, MASK), ctc.greedy(node, MASK)
    for row in range(len(node)):
        ways = enumerated(node[row], MASK[row])
        sums = {said: np.logaddexp.reduce([s for s, _ in own]) for said, own in ways.items()}
        ranked = sorted(sums, key=sums.__getitem__, reverse=True)[:40]
        for rank, said in enumerate(ranked):
            n = wide.length[row, rank]
            assert tuple(np.asarray(wide.labels[row, rank, :n]).tolist()) == said
            np.testing.assert_allclose(wide.score[row, rank], sums[said], rtol=1e-10)
        assert (wide.score[row, len(ranked) :] == -np.inf).all()
        own, labels = max(itertools.chain(*ways.values()), key=lambda way: way[0])
        said = collapsed(labels[MASK[row]])
        assert tuple(np.asarray(best.labels[row, : best.length[row]]).tolist()) == said
        np.testing.assert_allclose(best.score[row], own)


def test_what_cannot_be_is_nan_or_named():
    scores = random(5)
    wrong = scores._replace(targets=np.where(REAL, 7, 0))
    assert np.isnan(ctc.log_prob(wrong)).tolist() == [True, True, True, False, True]
    node = scores.node.copy()
    node[0, 1, 0] = np.nan
    lost = ctc.log_prob(scores._replace(node=node))
    assert np.isnan(lost).tolist() == [True, False, False, False, False]
    assert np.isnan(ctc.argmax(scores._replace(node=node))[1][0])
    with pytest.raises(AssertionError, match=r"scores\.node must be float \[B, T, V\]"):
        ctc.log_prob(Scores(np.zeros((2, 3)), TARGETS))
    with pytest.raises(AssertionError, match=r"scores\.target_mask must be bool \[B, L\]"):
        ctc.log_prob(scores._replace(target_mask=np.ones((5, 3), bool)))
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        ctc.beam_search(jnp.zeros((1, 2, 3)), 0)


def test_no_frames_and_no_targets():
    empty = Scores(np.zeros((2, 0, 3)), np.array([[1], [1]]), None, np.array([[True], [False]]))
    assert ctc.log_prob(empty).tolist() == [-np.inf, 0]
    blanks = Scores(np.ones((1, 3, 2)), np.zeros((1, 0), int))
    assert ctc.log_prob(blanks).tolist() == ctc.argmax(blanks)[1].tolist() == [3.0]
