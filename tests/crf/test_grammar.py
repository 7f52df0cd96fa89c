"""Grammars: the rule, low rank, trees as spans, a known language, EM, wrong arguments."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.crf import constituency, grammar
from rntn_jax.crf.grammar import LowRank, Parse, Scores, inside
from rntn_jax.crf.grammar.scores import check_scores, complete, full_rules
from tests.helpers import check_orders, enable_x64

N, P, T, R = 2, 3, 5, 4
LENGTH = np.array([5, 3, 0])


def random(seed: int, low: bool = False) -> Scores:
    draw = np.random.default_rng(seed).normal
    factors = LowRank(*(draw(size=(size, R)) for size in (N, N + P, N + P)))
    rule = factors if low else draw(size=(N, N + P, N + P))
    return Scores(draw(size=N), rule, draw(size=(3, T, P)), LENGTH)


@pytest.mark.parametrize("low", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_rule_is_the_gradient_of_the_plain_recursion_twice(low):
    own = random(0, low)

    def of(function):
        return lambda *parts: function(complete(check_scores(Scores(*parts, LENGTH))))

    rule = of(lambda parts: inside.log_partition(parts).value)
    check_orders(rule, of(inside.reference), tuple(own)[:3])


def test_rules_of_low_rank_are_the_rules_that_they_multiply_out_to():
    own = random(1, low=True)
    full = own._replace(rule=full_rules(complete(check_scores(own)).rule).value)
    right = np.einsum("ar,br,cr->abc", *map(np.exp, own.rule))
    np.testing.assert_allclose(np.exp(full.rule), right, rtol=1e-12)
    np.testing.assert_allclose(grammar.log_partition(own), grammar.log_partition(full), rtol=1e-12)
    np.testing.assert_allclose(
        grammar.marginals(own).terminal, grammar.marginals(full).terminal, atol=1e-12
    )


def test_one_label_is_a_tree_of_spans():
    tree = constituency.Scores(np.zeros((3, T + 1, T + 1)), np.array([5, 4, 2]))
    one = Scores(np.zeros(1), np.zeros((1, 2, 2)), np.zeros((3, T, 1)), tree.length)
    np.testing.assert_allclose(
        grammar.log_partition(one), constituency.log_partition(tree), rtol=1e-12
    )


def brackets(probability: float, words: np.ndarray) -> Scores:
    """S -> S S | ( S ) | ( ), of which the last two have the same probability."""
    go_on = (1 - probability) / 2
    s, b, left, right = range(4)  # S, "S )", "(", ")"
    rule = np.full((2, 4, 4), -np.inf)
    rule[s, s, s] = np.log(probability)
    rule[s, left, b] = rule[s, left, right] = np.log(go_on)
    rule[b, s, right] = 0
    terminal = np.where(np.arange(2) == words[..., None], 0, -np.inf)
    return Scores(np.array([0, -np.inf]), rule, terminal)


def test_a_language_of_brackets():
    words = np.array([[0, 1, 0, 1], [0, 0, 1, 1], [0, 1, 1, 0]])
    p = grammar.log_partition(brackets(0.2, words))
    np.testing.assert_allclose(np.exp(p), [0.2 * 0.4**2, 0.4**2, 0], rtol=1e-12)
    parse, best = grammar.argmax(brackets(0.2, words))
    np.testing.assert_allclose(best, p, rtol=1e-12)
    assert parse.children[0].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert parse.labels[:2].tolist() == [[0, 0, 0], [0, 1, 0]]
    assert parse.tags.tolist()[:2] == words[:2].tolist()


def test_em_never_loses_and_its_counts_are_the_marginals():
    rng = np.random.default_rng(2)
    lexicon = np.log(rng.dirichlet(np.ones(4), P))  # [P, words]
    own, words = random(2), rng.integers(0, 4, (3, T))
    own = own._replace(
        root=jax.nn.log_softmax(own.root), rule=own.rule - np.logaddexp.reduce(
            own.rule, axis=(1, 2), keepdims=True
        ), terminal=np.moveaxis(lexicon[:, words], 0, -1),
    )  # fmt: skip
    totals = []
    for _ in range(4):
        totals.append(float(grammar.log_partition(own).sum()))
        counts = grammar.marginals(own)
        used = np.stack([(counts.terminal * (words == w)[..., None]).sum((0, 1)) for w in range(4)])
        lexicon = np.log(used / used.sum(axis=0))
        rule = np.asarray(counts.rule)
        own = own._replace(
            root=np.log(counts.root / counts.root.sum()),
            rule=np.log(rule / rule.sum(axis=(1, 2), keepdims=True)),
            terminal=np.moveaxis(lexicon.T[:, words], 0, -1),
        )
    assert np.all(np.diff(totals) > 0)


def test_a_parse_may_be_none():
    scores = random(3)._replace(length=np.array([3, 3, 3]))
    children = np.zeros((3, 4, 2), int)
    children[0, :2] = [[0, 1], [3, 2]]
    children[1, :2] = [[0, 2], [3, 1]]  # not neighbours
    children[2, :2] = [[0, 1], [0, 3]]  # a word twice
    parse = Parse(children, np.zeros((3, 4), int), np.zeros((3, T), int))
    assert np.isnan(grammar.score(scores, parse)).tolist() == [False, True, True]
    bad = parse._replace(labels=np.full((3, 4), N))
    assert np.isnan(grammar.score(scores, bad)).all()


@pytest.mark.slow
def test_single_precision_is_right_whatever_the_scores():
    for scale in (1, 1e4):
        own = random(4)._replace(length=None)
        rounded = [np.asarray(scale * x, np.float32) for x in own[:3]]
        right = Scores(*(x.astype(np.float64) for x in rounded))
        right_total, right_p = grammar.log_partition(right), grammar.marginals(right)
        with enable_x64(False):
            total, p = (f(Scores(*rounded)) for f in (grammar.log_partition, grammar.marginals))
        assert total.dtype == p.rule.dtype == jnp.float32
        np.testing.assert_allclose(total, right_total, rtol=1e-5)
        for ours, theirs in zip(p[:3], right_p[:3]):
            matters = np.asarray(theirs) >= 1e-6
            np.testing.assert_allclose(ours[matters], theirs[matters], rtol=1e-4)


def test_wrong_arguments_are_named():
    good = random(5)
    with pytest.raises(AssertionError, match=r"scores\.rule must be float \[N, M, M\] = \[2, 5, 5"):
        grammar.log_partition(good._replace(rule=np.zeros((2, 4, 4))))
    with pytest.raises(AssertionError, match=r"scores\.rule\.left must be float \[M, R\]"):
        bad = LowRank(np.zeros((2, 3)), np.zeros((4, 3)), np.zeros((5, 3)))
        grammar.log_partition(good._replace(rule=bad))
    with pytest.raises(AssertionError, match=r"parse\.children must be int \[B, T-1, 2\]"):
        grammar.score(good, Parse(np.zeros((3, 5, 2), int), np.zeros((3, 4), int), LENGTH))
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        grammar.top_k(good, 0)
    with pytest.raises(ValueError, match="num_samples must not be negative"):
        grammar.sample(None, good, -1)
