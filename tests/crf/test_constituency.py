"""Distributions over binary trees, against all of them written down."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from jax.test_util import check_grads

from rntn_jax import data
from rntn_jax.crf import constituency
from rntn_jax.crf.constituency import Scores, inside, tables
from rntn_jax.crf.constituency.scores import by_width, readable, without_labels
from rntn_jax.crf.nats import Nats
from tests.helpers import check_orders

WORDS = 6
LENGTHS = np.array([6, 3, 1, 0, 5, 2])
BATCH = len(LENGTHS)


@cache
def trees(begin: int, end: int) -> list[tuple[tuple[int, int], ...]]:
    """All binary trees over the words, each as its spans."""
    if end - begin == 1:
        return [()]
    return [
        (*left, *right, (begin, end))
        for middle in range(begin + 1, end)
        for left in trees(begin, middle)
        for right in trees(middle, end)
    ]


def enumerated(span: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and probabilities of all trees of one sentence."""
    if length < 2:
        return np.zeros(1), np.ones(1)
    s = np.array([sum(span[i, j] for i, j in tree) for tree in trees(0, length)])
    p = np.exp(s - s.max()) if s.max() > -np.inf else np.zeros(len(s))
    return s, p / max(p.sum(), 1e-300)


def random(seed: int, scale: float = 1.0, forbidden: float = 0.0) -> Scores:
    rng = np.random.default_rng(seed)
    span = rng.normal(size=(BATCH, WORDS + 1, WORDS + 1)) * scale
    span[rng.uniform(size=span.shape) < forbidden] = -np.inf
    return Scores(span, LENGTHS)


def marginals_of(span: np.ndarray, length: int) -> np.ndarray:
    found = np.zeros_like(span)
    if length > 1:
        for tree, p in zip(trees(0, length), enumerated(span, length)[1]):
            for i, j in tree:
                found[i, j] += p
    return found


log_partition, marginals = constituency.log_partition, constituency.marginals
argmax, entropy = constituency.argmax, constituency.entropy
CASES = [(0, 1.0, 0.0), (1, 30.0, 0.0), (2, 1e4, 0.0), (3, 1.0, 0.15), (4, 1.0, 0.5)]
cases = pytest.mark.parametrize("case", CASES, ids=str)


def test_there_are_as_many_trees_as_catalan_says():
    assert [len(trees(0, n)) for n in range(1, 8)] == [1, 1, 2, 5, 14, 42, 132]


@cases
def test_partition_marginals_entropy_and_best_tree_are_those_of_all_trees(case):
    scores = random(*case)
    total, found, best = log_partition(scores), marginals(scores).span, argmax(scores)
    disorder = entropy(scores)
    assert found.shape == scores.span.shape and not np.isnan(found).any()
    for row, length in enumerate(LENGTHS):
        s, p = enumerated(scores.span[row], length)
        top = s.max()
        expected = top + np.log(np.exp(s - top).sum()) if top > -np.inf else -np.inf
        np.testing.assert_allclose(total[row], expected, rtol=1e-10)
        np.testing.assert_allclose(
            found[row], marginals_of(scores.span[row], length), rtol=1e-8, atol=1e-12
        )
        if top > -np.inf:
            np.testing.assert_allclose(best[1][row], top, rtol=1e-10)
            logs = np.log(np.where(p > 0, p, 1))
            np.testing.assert_allclose(disorder[row], -(p * logs).sum(), atol=1e-7)
        if length > 1:
            own = data.Tree(
                tuple("abcdef"[:length]), best[0][row, : length - 1], [0] * (2 * length - 1)
            )
            spans = own.spans()[length:].tolist()
            np.testing.assert_allclose(
                sum(scores.span[row][i, j] for i, j in spans), best[1][row], rtol=1e-10
            )
        assert not best[0][row, max(length - 1, 0) :].any()


def test_what_is_forbidden_leaves_the_trees_without_it():
    scores = random(6)
    allowed = np.random.default_rng(6).uniform(size=scores.span.shape) < 0.7
    total = log_partition(constituency.constrain(scores, jnp.asarray(allowed)))
    for row, length in enumerate(LENGTHS):
        kept = [
            sum(scores.span[row][span] for span in tree)
            for tree in (trees(0, length) if length > 1 else [()])
            if all(allowed[row][span] for span in tree)
        ]
        np.testing.assert_allclose(total[row], np.logaddexp.reduce(kept, initial=-np.inf))
    assert (np.asarray(total) == -np.inf).any() and np.isfinite(total[0])
    with pytest.raises(AssertionError):
        constituency.constrain(scores, jnp.ones((2, 2), bool))


def test_the_rule_is_the_gradient_of_the_plain_recursion_twice():
    scores = random(5)
    weights = jnp.asarray(np.random.default_rng(0).normal(size=BATCH))

    def plain(span):
        s = by_width(without_labels(readable(span, jnp.asarray(LENGTHS))[0]))
        return (weights * inside.reference(s.value, jnp.asarray(LENGTHS))).sum()

    def ruled(span):
        return (weights * constituency.log_partition(Scores(span, LENGTHS))).sum()

    gradient, right = jax.jit(lambda span: (jax.grad(ruled)(span), jax.grad(plain)(span)))(
        scores.span
    )
    np.testing.assert_allclose(gradient, right, rtol=1e-10, atol=1e-13)
    check_grads(jax.jit(ruled), (scores.span,), order=2, modes=("rev",), rtol=1e-5)


@pytest.mark.slow
def test_the_rule_of_labelled_spans_is_the_gradient_of_the_plain_recursion_twice():
    span = np.random.default_rng(6).normal(size=(4, 5, 5, 2))
    length = np.array([4, 3, 1, 0])
    read = np.triu(np.ones((5, 5), bool), 1) & (np.arange(5) <= length[:, None, None])

    def plain(span):
        s = jax.nn.logsumexp(span, axis=3)
        words = np.eye(5, k=1, dtype=bool)
        s = jnp.where(read, s, jnp.where(words[None], 0, -jnp.inf))
        wide = Nats(s, jnp.zeros_like(s))
        return inside.reference(by_width(wide).whole, jnp.asarray(length))

    check_orders(lambda span: log_partition(Scores(span, length)), plain, (span,))


def test_labels_may_be_left_open():
    """A tree alone stands for all its labellings: its probability is the sum."""
    rng = np.random.default_rng(7)
    scores = Scores(rng.normal(size=(1, 3, 3, 2)), np.array([2]))
    tree = np.array([[[0, 1]]])
    every = [
        constituency.log_prob(scores, constituency.Parse(tree, np.array([labels])))[0]
        for labels in np.ndindex(2, 2, 2)
    ]
    np.testing.assert_allclose(np.exp(every).sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(constituency.log_prob(scores, tree), [0], atol=1e-12)
    with pytest.raises(AssertionError, match="they have no labels, got Parse"):
        constituency.score(random(0), constituency.Parse(tree, np.zeros((1, 3), int)))
    bad = constituency.Parse(tree, np.array([[0, 1, 2]]))
    assert np.isnan(constituency.score(scores, bad)).all()


def test_the_loss_s_gradient_is_marginals_minus_indicators():
    scores = random(6)
    rng = np.random.default_rng(1)
    spans = np.zeros((BATCH, WORDS - 1, 2), int)
    indicators = np.zeros_like(scores.span)
    for row, length in enumerate(LENGTHS):
        if length > 1:
            tree = trees(0, length)[rng.integers(len(trees(0, length)))]
            spans[row, : length - 1] = tree
            indicators[row][tuple(np.transpose(tree))] = 1
    value, grad = jax.value_and_grad(
        lambda span: -constituency.log_prob(Scores(span, LENGTHS), spans).sum()
    )(scores.span)
    np.testing.assert_allclose(grad, marginals(scores).span - indicators, atol=1e-12)
    own = [scores.span[row][indicators[row] > 0].sum() for row in range(BATCH)]
    np.testing.assert_allclose(value, (log_partition(scores) - np.array(own)).sum(), rtol=1e-12)


def test_what_is_not_read_may_hold_anything():
    scores = random(7)
    dirty = scores.span.copy()
    for row, length in enumerate(LENGTHS):
        for i in range(WORDS + 1):
            for j in range(WORDS + 1):
                if not (j > i + 1 and j <= length):
                    dirty[row, i, j] = np.nan
    dirty = Scores(dirty, LENGTHS)
    np.testing.assert_array_equal(log_partition(dirty), log_partition(scores))
    np.testing.assert_array_equal(marginals(dirty).span, marginals(scores).span)
    np.testing.assert_array_equal(argmax(dirty)[0], argmax(scores)[0])


def test_sentences_swept_in_segments_have_the_same_answers(monkeypatch):
    rng = np.random.default_rng(4)
    span, length = rng.normal(size=(3, 21, 21)), np.array([20, 13, 7])

    def ask(span, length):
        value = lambda span: constituency.log_partition(Scores(span, length)).sum()
        return *jax.value_and_grad(value)(span), *constituency.argmax(Scores(span, length))

    whole = jax.jit(ask)(span[:2], length[:2])
    monkeypatch.setattr(tables, "SMALL", 1)
    assert len(tables.segments(21, 2)) == 2
    monkeypatch.setattr(tables, "LARGE", 1)
    assert len(tables.segments(21, 2)) == 4
    found = jax.jit(ask)(span, length)  # another shape: compiled anew
    extra = log_partition(Scores(span[2:], length[2:]))[0]
    np.testing.assert_allclose(found[0], whole[0] + extra, rtol=1e-12)
    for one, other in zip(found[1:], whole[1:], strict=True):
        np.testing.assert_allclose(one[:2], other, rtol=1e-12)


def test_a_forbidden_tree_has_probability_zero_and_leaves_no_nan():
    scores = random(8)
    span = scores.span.copy()
    span[0, 0, 6] = -np.inf  # every tree of row 0
    spans = np.zeros((BATCH, WORDS - 1, 2), int)
    spans[0] = trees(0, 6)[0]
    value, grad = jax.value_and_grad(
        lambda span: constituency.log_prob(Scores(span, LENGTHS), spans)[0]
    )(span)
    assert value == -np.inf and not np.isnan(np.asarray(grad)[1:]).any()
    assert (np.asarray(marginals(Scores(span, LENGTHS)).span)[0] == 0).all()


def test_padding_does_not_matter_and_rows_are_apart():
    scores = random(9)
    wide = np.full((BATCH, WORDS + 5, WORDS + 5), np.nan)
    wide[:, : WORDS + 1, : WORDS + 1] = scores.span
    np.testing.assert_allclose(
        log_partition(Scores(wide, LENGTHS)), log_partition(scores), rtol=1e-12
    )
    alone = constituency.marginals(Scores(scores.span[:1], LENGTHS[:1])).span
    np.testing.assert_allclose(alone[0], marginals(scores).span[0], rtol=1e-12)


def test_single_precision_is_right_for_long_sentences():
    rng = np.random.default_rng(3)
    span = (rng.normal(size=(1, 121, 121)) * 5).astype(np.float32)
    length = np.array([120])
    exact = log_partition(Scores(span.astype(np.float64), length))
    found = log_partition(Scores(span, length))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    right = marginals(Scores(span.astype(np.float64), length)).span
    p = marginals(Scores(span, length)).span
    assert p.dtype == jnp.float32
    np.testing.assert_allclose(p, right, atol=1e-4)
    np.testing.assert_allclose(p.sum(), 119, rtol=1e-4)  # every tree has that many spans


@pytest.mark.parametrize(
    "span, length, error",
    [
        (np.zeros((1, 3, 4)), [2], AssertionError),
        (np.zeros((2, 3, 3)), [2], AssertionError),
        (np.zeros((1, 3, 3), int), [2], AssertionError),
        (np.zeros((1, 0, 0)), [0], AssertionError),
    ],
    ids=str,
)
def test_wrong_shapes_are_refused(span, length, error):
    with pytest.raises(error):
        constituency.log_partition(Scores(span, np.array(length)))


def test_trees_that_are_found_can_be_scored():
    """Children and spans are two ways to write the same tree."""
    scores = random(10)
    best, most = argmax(scores)
    np.testing.assert_allclose(constituency.score(scores, best), most)
    drawn = constituency.sample(jax.random.key(0), scores, 3)
    spans = jax.vmap(lambda own: constituency.to_spans(own, LENGTHS))(drawn)
    each = jax.jit(jax.vmap(lambda own: constituency.log_prob(scores, own)))
    nats = each(spans)
    np.testing.assert_array_equal(each(drawn), nats)
    for row, length in enumerate(LENGTHS):
        for own, pairs, found in zip(drawn[:, row], spans[:, row], nats[:, row]):
            assert not pairs[max(length - 1, 0) :].any()
            if length > 1:
                tree = data.Tree(("w",) * length, own[: length - 1], [0] * (2 * length - 1))
                np.testing.assert_array_equal(tree.spans()[length:], pairs[: length - 1])
            s = sum(scores.span[row][i, j] for i, j in pairs.tolist() if j)
            np.testing.assert_allclose(found, s - log_partition(scores)[row], atol=1e-12)
    wrong = np.zeros((BATCH, WORDS - 1, 2), int)
    wrong[:, 0] = (0, 6), (0, 4), (0, 0), (0, 0), (3, 2), (-1, 2)
    lost = np.isnan(constituency.score(scores, wrong))
    assert lost.tolist() == [False, True, False, False, True, True]


def test_divergence_from_what_forbids_more_is_infinite():
    p, q = random(11), random(12)
    span = q.span.copy()
    span[0, 0, 2] = -np.inf  # some trees of row 0
    span[1, 0, 3] = -np.inf  # all of row 1
    found = constituency.kl(p, Scores(span, LENGTHS))
    assert (found[:2] == np.inf).all() and np.isfinite(found[2:]).all()
    never = p.span.copy()
    never[0, 0, 2] = -np.inf
    assert np.isfinite(constituency.kl(Scores(never, LENGTHS), Scores(span, LENGTHS))[0])
    np.testing.assert_allclose(constituency.kl(p, p), 0, atol=1e-12)


@pytest.mark.slow
def test_within_shard_map_with_its_checks():
    mesh = Mesh(np.array(jax.devices()[:2]), ("rows",))
    scores, rows = random(13), PartitionSpec("rows")

    def ask(scores):
        return constituency.marginals(scores).span, *constituency.top_k(scores, 2)

    # Scores that all devices have.
    shared = lambda span: jax.grad(
        lambda span: constituency.log_partition(Scores(span[None], np.array([6]))).sum()
    )(span)
    sharded = jax.jit(jax.shard_map(ask, mesh=mesh, in_specs=rows, out_specs=rows))(scores)
    for one, other in zip(sharded, ask(scores), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
    alone = jax.jit(
        jax.shard_map(shared, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec())
    )(scores.span[0])
    np.testing.assert_allclose(alone, sharded[0][0], rtol=1e-12)


def test_wrong_arguments_are_named():
    good = Scores(np.zeros((2, 4, 4)), np.array([3, 2]))
    with pytest.raises(AssertionError, match=r"scores\.span must be float \[B, T\+1, T\+1\]"):
        constituency.entropy(Scores(np.zeros((4, 4)), np.array([3])))
    with pytest.raises(AssertionError, match=r"scores\.length must be int \[B\] = \[2\]"):
        constituency.log_partition(good._replace(length=np.zeros(3, int)))
    with pytest.raises(AssertionError, match=r"q\.span must be float .* got float64 \[2, 5, 5\]"):
        constituency.kl(good, Scores(np.zeros((2, 5, 5)), np.array([3, 2])))
    with pytest.raises(AssertionError, match=r"values\.span must be float"):
        constituency.expected_score(good, good._replace(span=np.zeros((2, 4, 4), int)))
    with pytest.raises(AssertionError, match=r"spans must be int \[B, T-1, 2\] = \[2, 2, 2\]"):
        constituency.log_prob(good, np.zeros((2, 3, 2), int))
    with pytest.raises(AssertionError, match="allowed must be bool"):
        constituency.constrain(good, np.ones((2, 4, 4)))
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        constituency.top_k(good, 0)
    with pytest.raises(ValueError, match="num_samples must not be negative, got -1"):
        constituency.sample(jax.random.key(0), good, -1)
