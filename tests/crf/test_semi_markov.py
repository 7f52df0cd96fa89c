"""Distributions over segmentations: the rule, long sequences, tags, and chains among them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.crf import chain, semi_markov
from rntn_jax.crf.semi_markov import Scores, Segments, forward
from rntn_jax.crf.semi_markov.scores import check_scores, complete
from rntn_jax.data import DataError
from tests.helpers import check_orders, enable_x64


def random(seed: int, rows: int = 3, tokens: int = 5, widest: int = 3, classes: int = 2, **rest):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape)
    shared = draw(classes, classes), draw(classes), draw(classes)
    return Scores(draw(rows, tokens, widest, classes), *shared, **rest)


def test_the_rule_is_the_gradient_of_the_plain_recursion_twice():
    length = np.array([5, 3, 0])

    def of(function):
        return lambda *parts: function(complete(check_scores(Scores(*parts, length))))

    rule = of(lambda parts: forward.log_partition(parts).value)
    check_orders(rule, of(forward.reference), tuple(random(0))[:4])


def test_segments_of_one_token_are_a_chain():
    length = np.array([6, 4])
    own = random(1, rows=2, tokens=6, widest=1, classes=3, length=length)
    mask = np.arange(6)[None] < length[:, None]
    same = chain.Scores(own.span[:, :, 0], *own[1:4], mask)
    found, right = semi_markov.marginals(own), chain.marginals(same)
    np.testing.assert_allclose(
        semi_markov.log_partition(own), chain.log_partition(same), rtol=1e-12
    )
    np.testing.assert_allclose(found.span[:, :, 0], right.node, atol=1e-12)
    for ours, theirs in zip(found[1:4], right[1:4]):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_a_segmentation_may_be_none():
    scores = random(2, rows=5, widest=2, length=np.array([4, 4, 4, 0, 9]))
    begins = np.ones((5, 5), bool)
    begins[1, 1:3] = begins[2, 0] = False
    labels = np.zeros((5, 5), int)
    labels[:, 4] = 7  # behind the end
    found = semi_markov.score(scores, Segments(begins, labels))
    assert found[1] == -np.inf and found[3] == 0  # wider than K; no token
    assert np.isnan(found).tolist() == [False, False, True, False, True]
    labels[0, 2] = -1
    assert np.isnan(semi_markov.score(scores, Segments(begins, labels))[0])


def test_without_edges_and_ends_they_are_zero():
    scores = random(3)
    bare, zeros = Scores(scores.span), Scores(scores.span, np.zeros((2, 2)), *np.zeros((2, 2)))
    np.testing.assert_allclose(
        semi_markov.log_partition(bare), semi_markov.log_partition(zeros), rtol=1e-14
    )
    found = semi_markov.marginals(bare)
    assert found[1:] == (None,) * 4
    np.testing.assert_allclose(found.span, semi_markov.marginals(zeros).span, rtol=1e-14)


@pytest.mark.parametrize("tokens", [100, pytest.param(100_000, marks=pytest.mark.slow)])
def test_single_precision_is_right_whatever_the_scores(tokens):
    for scale in (1, 1e4) if tokens == 100 else (1, 100, 1e4):
        scores = random(4, rows=1, tokens=tokens)
        own = [np.asarray(scale * x, np.float32) for x in scores[:4]]
        right = Scores(*(x.astype(np.float64) for x in own))
        right_total, right_p = semi_markov.log_partition(right), semi_markov.marginals(right).span
        with enable_x64(False):
            total, p = (f(Scores(*own)) for f in (semi_markov.log_partition, semi_markov.marginals))
        assert total.dtype == p.span.dtype == jnp.float32
        np.testing.assert_allclose(total, right_total, rtol=1e-5)
        matters = np.asarray(right_p) >= 1e-6
        np.testing.assert_allclose(p.span[matters], right_p[matters], rtol=1e-4)


def test_tags_there_and_back():
    tags = [["B-NP", "I-NP", "O", "B-VP", "B-VP"], ["O"], []]
    segments = semi_markov.from_bio(tags, ["NP", "O", "VP"])
    assert segments.begins.sum(axis=1).tolist() == [4, 1, 0]
    assert semi_markov.to_bio(segments, [5, 1, 0], ["NP", "O", "VP"]) == tags
    with pytest.raises(ValueError, match="labels must hold 'NP'"):
        semi_markov.from_bio(tags, ["O", "VP"])
    with pytest.raises(DataError):
        semi_markov.from_bio([["NP"]], ["O", "NP"])


def test_wrong_arguments_are_named():
    good = random(5)
    with pytest.raises(AssertionError, match=r"scores\.span must be float \[B, T, K, C\]"):
        semi_markov.log_partition(Scores(np.zeros((2, 3, 4))))
    with pytest.raises(AssertionError, match=r"scores\.edge must be float \[C, C\] = \[2, 2\]"):
        semi_markov.log_partition(good._replace(edge=np.zeros((3, 3))))
    with pytest.raises(AssertionError, match=r"segments\.begins must be bool \[B, T\]"):
        semi_markov.score(good, Segments(np.zeros((3, 5), int), np.zeros((3, 5), int)))
    with pytest.raises(AssertionError, match=r"q\.span must be float"):
        semi_markov.kl(good, random(5, tokens=4))
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        semi_markov.top_k(good, 0)
