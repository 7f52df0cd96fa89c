"""Distributions over dependency trees: rules, numerics and the algorithms that decode."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.crf import dependency
from rntn_jax.crf.dependency import Scores, eisner, elimination, inverse
from rntn_jax.crf.nats import Nats, to_nats
from tests.crf.battery.dependency import trees
from tests.helpers import check_orders, enable_x64

KINDS = [(True, True), (True, False), (False, True), (False, False)]
LENGTHS = np.array([5, 3, 1, 0])


def random(seed: int, words: int = 5, rows: int = 4, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, words + 1, words + 1)) * scale


def kind_of(projective: bool, single_root: bool) -> dict[str, bool]:
    return {"projective": projective, "single_root": single_root}


@pytest.mark.parametrize("words", range(6))
def test_there_are_as_many_trees_as_are_known(words):
    """Cayley's n^(n-1) with one root and (n+1)^(n-1); OEIS A006013 and A001764 if projective."""
    if words == 0:
        assert all(len(trees(0, *kind)) == 1 for kind in KINDS)
        return
    found = [len(trees(words, *kind)) for kind in KINDS]
    projective = [1, 2, 7, 30, 143][words - 1], [1, 3, 12, 55, 273][words - 1]
    assert found == [*projective, words ** (words - 1), (words + 1) ** (words - 1)]


@pytest.mark.parametrize(
    "kind", [KINDS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])], ids=str
)
def test_the_rule_is_the_gradient_of_the_plain_function_twice(kind):
    projective, single_root = kind
    plain = (eisner if projective else elimination).reference
    words = 4
    h, d = np.indices((words + 1, words + 1))
    length = LENGTHS.clip(max=words)
    at = length[:, None, None]
    read = (h != d) & (d > 0) & (h <= at) & (d <= at)

    def rule(arc):
        return dependency.log_partition(Scores(arc, length), **kind_of(*kind))

    def reference(arc):
        return plain(jnp.where(read, arc, -jnp.inf), jnp.asarray(length), single_root)

    check_orders(rule, reference, (random(0, words),))


@pytest.mark.parametrize("single_root", [True, False])
def test_words_that_are_each_other_s_best_heads(single_root):
    """No inverse in float32 finds these: the determinant is 1e-40 of its terms, or 0."""
    with enable_x64(False):
        for gap in (5.0, 40.0, 1e4):
            arc = np.full((1, 5, 5), -gap, np.float32)
            arc[0, 1, 2] = arc[0, 2, 1] = arc[0, 3, 4] = arc[0, 4, 3] = 0
            arc[0, 0] -= 3
            scores = Scores(arc, np.array([4]))
            kind = kind_of(False, single_root)
            listed = np.array(trees(4, **kind))
            own = arc[0][listed, np.arange(1, 5)].sum(axis=1).astype(float)
            p = np.exp(own - own.max())
            total = dependency.log_partition(scores, **kind)
            np.testing.assert_allclose(total[0], own.max() + np.log(p.sum()), rtol=1e-6)
            found = np.asarray(dependency.marginals(scores, **kind).arc)[0]
            right = np.zeros((5, 5))
            for heads, weight in zip(listed, p / p.sum()):
                right[heads, np.arange(1, 5)] += weight
            np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-9)
            np.testing.assert_allclose(dependency.argmax(scores, **kind)[1][0], own.max())


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS])
def test_single_precision_is_right_whatever_the_scores(kind):
    words, length = 20, np.array([20, 13])
    ask = jax.jit(
        lambda arc: (
            dependency.log_partition(Scores(arc, length), **kind_of(*kind)),
            dependency.marginals(Scores(arc, length), **kind_of(*kind)).arc,
        )
    )
    for scale in (1, 10, 100, 1e3, 1e4):
        arc = random(3, words, 2, scale).astype(np.float32)
        total, p = ask(arc)
        right_total, right = ask(arc.astype(np.float64))
        assert total.dtype == p.dtype == jnp.float32
        np.testing.assert_allclose(total, right_total, rtol=1e-6)
        matters = np.asarray(right) >= 1e-6
        np.testing.assert_allclose(p[matters], right[matters], rtol=1e-4)
        np.testing.assert_allclose(p.sum(axis=(1, 2)), length, rtol=1e-5)


@pytest.mark.parametrize("single_root", [pytest.param(True, marks=pytest.mark.slow), False])
def test_entropy_and_divergence_of_all_trees_do_not_feel_the_size_of_scores(single_root):
    """Trees that tie although their arcs do not: ln Z - E[s] loses three digits more here."""
    rng, kind = np.random.default_rng(8), kind_of(False, single_root)
    listed = np.array(trees(4, **kind))
    ask = jax.jit(lambda p, q: (dependency.entropy(p, **kind), dependency.kl(p, q, **kind)))
    with enable_x64(False):
        arc = rng.normal(size=(2, 12, 5, 5)) + 1e4 * rng.integers(-1, 2, size=(12, 5, 5))
        arc = arc.astype(np.float32)
        entropy, kl = ask(*(Scores(x, np.full(12, 4)) for x in arc))
    own = [x[:, listed, np.arange(1, 5)].astype(float).sum(axis=2) for x in arc]
    log_p, log_q = (x - np.logaddexp.reduce(x, axis=1, keepdims=True) for x in own)
    right = -(np.exp(log_p) * log_p).sum(axis=1)
    assert (right > 0.1).sum() > 3
    # Scores are rounded to 1e-3 before anything is computed; the rest is ours.
    np.testing.assert_allclose(entropy, right, atol=2e-6)
    np.testing.assert_allclose(kl, (np.exp(log_p) * (log_p - log_q)).sum(axis=1), atol=5e-6)


@pytest.mark.slow
def test_gradients_of_entropy_and_divergence_of_all_trees():
    """Against all trees, an arc of them forbidden; a word less in the second row."""
    length, kind = np.array([3, 2]), kind_of(False, True)
    arc, other = random(9, 3, 2), random(10, 3, 2)
    arc[0, 1, 3] = -np.inf
    listed = [np.array(trees(n, **kind)) for n in length]

    def ours(arc):
        p, q = Scores(arc, length), Scores(other, length)
        found = dependency.entropy(p, **kind), dependency.kl(p, q, **kind)
        return jnp.stack(found).sum(axis=0) @ jnp.array([1.0, 3.0]) + found[1].sum()

    def theirs(arc):
        value = 0.0
        for row, (n, weight) in enumerate(zip(length, (1.0, 3.0))):
            heads, words = listed[row], jnp.arange(1, n + 1)[None]
            own = arc[row][heads, words].sum(axis=1)
            q = jax.nn.log_softmax(jnp.asarray(other)[row][heads, words].sum(axis=1))
            alive = np.isfinite(np.asarray(own_scores[row]))
            log_p = jax.nn.log_softmax(own[alive])
            p = jnp.exp(log_p)
            kl = (p * (log_p - q[alive])).sum()
            value += weight * (kl - (p * log_p).sum()) + kl
        return value

    own_scores = [
        arc[r][x, np.arange(1, n + 1)].sum(1) for r, (x, n) in enumerate(zip(listed, length))
    ]
    found, right = (
        jax.jit(jax.value_and_grad(ours))(arc),
        jax.value_and_grad(theirs)(jnp.asarray(arc)),
    )
    np.testing.assert_allclose(found[0], right[0], rtol=1e-10)
    np.testing.assert_allclose(found[1], right[1], atol=1e-10)


@pytest.mark.parametrize("single_root", (True, False))
@pytest.mark.parametrize("first", (True, False))
def test_confident_chains_have_finite_marginals(single_root, first):
    """Each word the next one's head, or the one's before, by far: what comes to the root with one
    root is divided by a small pivot at every word.
    """
    words = 12
    h, d = np.indices((words + 1, words + 1))
    own = h == d - 1 if first else np.where(d == words, h == 0, h == d + 1)
    noise = random(5, words, rows=2)
    arc = np.where(own, 30.0, 0.0)[None] + noise
    arc[1] *= 1.2
    kind = kind_of(False, single_root)
    length = np.array([words, words])
    found = dependency.marginals(Scores(np.float32(arc), length), **kind).arc
    with enable_x64():
        plain = lambda arc: elimination.reference(arc, jnp.asarray(length), single_root).sum()
        expected = jax.grad(plain)(jnp.asarray(arc))
    np.testing.assert_allclose(found[:, :, 1:], expected[:, :, 1:], atol=1e-5)


def test_what_comes_to_the_root_overflows_where_words_lead_back_and_forth():
    """Each word's best head is the one before it, the second best by far the one after it: the
    first words keep almost all of a walk among themselves, and what leaves them leads to the root
    by a factor of exp(30) more at every word.
    """
    words, second = 5, -30.0
    h, d = np.indices((words + 1, words + 1))
    arc = np.where(h == d - 1, 0, np.where((h == d + 1) | (h == 0), second, -200.0))
    arc = arc.astype(np.float32)[None]
    found = dependency.marginals(Scores(arc, [words]), projective=False, single_root=True).arc[0]
    every = np.array(trees(words, False, True))
    of_trees = arc[0][every, np.arange(1, words + 1)].astype(np.float64).sum(axis=1)
    p = np.exp(of_trees - of_trees.max())
    expected = np.zeros((words + 1, words + 1))
    for word in range(words):
        np.add.at(expected[:, word + 1], every[:, word], p / p.sum())
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("single_root", (True, False))
def test_forbidden_arcs_of_all_trees_are_those_of_enumeration(single_root):
    """Words that only the root can be the head of, or nothing, too."""
    words, rows, rng = 4, 120, np.random.default_rng(3)
    arc = random(8, words, rows)
    arc = np.where(rng.random(arc.shape) < rng.uniform(0.1, 0.7, rows)[:, None, None], -np.inf, arc)
    every = np.array(trees(words, False, single_root))
    of_trees = arc[:, every, np.arange(1, words + 1)[None]].sum(axis=2)
    expected = np.logaddexp.reduce(of_trees, axis=1)
    assert 20 < np.isinf(expected).sum() < rows - 20
    kind = kind_of(False, single_root)
    one_by_one = jax.jit(jax.vmap(lambda arc: dependency.log_partition(
        Scores(arc[None], jnp.array([words])), **kind)[0]))  # fmt: skip
    with enable_x64(False):
        single = jax.jit(lambda arc: jax.lax.map(
            lambda own: dependency.log_partition(Scores(own[None], jnp.array([words])), **kind)[0],
            arc))(jnp.asarray(arc, jnp.float32))  # fmt: skip
    np.testing.assert_allclose(one_by_one(arc), expected, rtol=1e-10)
    np.testing.assert_allclose(single, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("single_root", (True, False))
@pytest.mark.parametrize("words", (7, pytest.param(40, marks=pytest.mark.slow)))
def test_the_inverse_is_right_where_it_says_so(single_root, words):
    rows, rng = 24, np.random.default_rng(words)
    scale = np.repeat([1, 3, 8], rows // 3)[:, None, None]
    arc = (rng.normal(size=(rows, words + 1, words + 1)) * scale).astype(np.float32)
    length = rng.integers(1, words + 1, rows)
    length[::3] = words
    arc[-1, [1, 2], [2, 1]] = 60  # each other's best heads
    length[-1] = words
    h, d = np.indices((words + 1, words + 1))
    arc = np.where((h == d) | (h > length[:, None, None]), -np.inf, arc)

    @jax.jit
    def answers(arc):
        own = elimination.complete(to_nats(arc), jnp.asarray(length))
        total, p, sure = inverse.answer(own, single_root)
        slow = elimination._by_elimination(own, jnp.asarray(length), single_root)
        return total.value, p, sure, slow

    with enable_x64(False):
        total, p, sure, _ = answers(jnp.asarray(arc))
    right = answers(jnp.asarray(arc.astype(np.float64)))[3]
    assert p.dtype == jnp.float32 and sure[: rows // 3].mean() > 0.7 and not sure[-1]
    np.testing.assert_allclose(p[sure], right.p[sure], atol=2e-5)
    np.testing.assert_allclose(total[sure], right.total.value[sure], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("single_root", (True, False))
@pytest.mark.parametrize("words", (3, pytest.param(9, marks=pytest.mark.slow)))
def test_ordinary_scores_need_no_logarithms_whatever_the_lengths(single_root, words, monkeypatch):
    """What is behind a sentence's end hangs from its first word, and nothing from it: when all
    words but these are gone, the last of them has no head left but the root.
    """

    seen_in = elimination.LOGS._replace(over=lambda x, y: Nats(x.whole * np.nan, x.fraction))
    arc, length = random(3, words), LENGTHS.clip(max=words)
    kind = kind_of(False, single_root)
    found = dependency.marginals(Scores(arc, length), **kind).arc
    with monkeypatch.context() as patched:
        patched.setattr(elimination, "_answer", elimination._by_elimination)
        patched.setattr(elimination, "LOGS", seen_in)  # logarithms become NaN
        jax.clear_caches()
        own = dependency.log_partition(Scores(arc, length), **kind)
        each_other = np.full_like(arc, -200)
        each_other[:, [1, 2], [2, 1]] = 0
        assert np.isnan(dependency.log_partition(Scores(each_other, length), **kind)).any()
    jax.clear_caches()
    again = [
        dependency.log_partition(Scores(arc[row : row + 1, : n + 1, : n + 1], [n]), **kind)[0]
        for row, n in enumerate(length)
    ]
    np.testing.assert_allclose(own, again, rtol=1e-5)
    np.testing.assert_allclose(found.sum(axis=(1, 2)), length, rtol=1e-5)


def test_labels_may_be_left_open():
    """Heads alone stand for all labellings of them: their probability is the sum."""
    rng = np.random.default_rng(5)
    scores = Scores(rng.normal(size=(2, 4, 4, 2)), np.array([3, 2]))
    heads = np.array([[2, 0, 2], [0, 1, 9]])
    open_labels = dependency.log_prob(scores, heads)
    both = [
        dependency.log_prob(scores, dependency.Arcs(heads, np.array([labels, labels])))
        for labels in np.ndindex(2, 2, 2)
    ]
    summed = np.exp(both).sum(axis=0) / [1, 2]  # the third word is not there
    np.testing.assert_allclose(np.exp(open_labels), summed, rtol=1e-10)


def test_what_is_no_tree_has_probability_zero():
    scores = Scores(np.zeros((5, 5, 5)), np.full(5, 4))
    heads = np.array([[2, 1, 0, 3], [3, 4, 0, 3], [0, 0, 2, 2], [1, 0, 2, 2], [5, 0, 2, 2]])
    kinds = [kind_of(*kind) for kind in KINDS]
    found = np.array([dependency.score(scores, heads, **kind) for kind in kinds])
    cycle, crossing, two_roots, itself, outside = found.T
    assert (cycle == -np.inf).all() and np.isnan([itself, outside]).all()
    assert crossing.tolist() == [-np.inf, -np.inf, 0, 0]
    assert two_roots.tolist() == [-np.inf, 0, -np.inf, 0]


def spanning_trees(nodes: int) -> list[tuple[tuple[int, int], ...]]:
    """All sets of edges that join all nodes without a cycle."""
    edges = list(itertools.combinations(range(nodes), 2))
    found = []
    for chosen in itertools.combinations(edges, nodes - 1):
        part = list(range(nodes))
        for i, j in chosen:
            part = [part[i] if x == part[j] else x for x in part]
        if len(set(part)) == 1:
            found.append(chosen)
    return found


def test_spanning_trees_without_directions():
    """Against all of them, and of float32 the determinant's cancellation is none of ours."""
    rng, nodes = np.random.default_rng(4), np.array([5, 3, 1])
    edge = rng.normal(size=(3, 5, 5)) * 3
    edge[0, 1, 3] = -np.inf
    edge[:, np.tri(5, dtype=bool)] = np.nan
    kind = kind_of(False, False)

    def total(edge):
        return dependency.log_partition(dependency.undirected(edge, nodes), **kind)

    log_z, pull = jax.vjp(total, jnp.asarray(edge))
    (p,) = pull(jnp.ones(3))
    heads, best = dependency.argmax(dependency.undirected(edge, nodes), **kind)
    for row, n in enumerate(nodes):
        trees_of = spanning_trees(n)
        s = np.array([sum(edge[row][e] for e in tree) for tree in trees_of])
        np.testing.assert_allclose(log_z[row], np.logaddexp.reduce(s), rtol=1e-12)
        right = np.zeros((5, 5))
        for tree, weight in zip(trees_of, np.exp(s - np.logaddexp.reduce(s))):
            for e in tree:
                right[e] += weight
        np.testing.assert_allclose(p[row], right, atol=1e-12)
        np.testing.assert_allclose(best[row], s.max(), rtol=1e-12)
        own = {tuple(sorted((d, int(h)))) for d, h in enumerate(heads[row, : n - 1], 1)}
        assert own == set(trees_of[s.argmax()])


def test_wrong_arguments_are_named():
    with pytest.raises(AssertionError, match=r"edge must be float \[B, N, N\]"):
        dependency.undirected(np.zeros((2, 3, 4)), np.array([3, 3]))
    good = Scores(np.zeros((2, 4, 4)), np.array([3, 2]))
    with pytest.raises(AssertionError, match=r"scores\.arc must be float \[B, T\+1, T\+1\]"):
        dependency.log_partition(Scores(np.zeros((4, 4)), np.array([3])))
    with pytest.raises(AssertionError, match=r"scores\.length must be int \[B\] = \[2\]"):
        dependency.log_partition(good._replace(length=np.zeros(3, int)))
    with pytest.raises(AssertionError, match=r"heads must be int \[B, T\] = \[2, 3\]"):
        dependency.log_prob(good, np.zeros((2, 2), int))
    with pytest.raises(AssertionError, match="no labels, got Arcs"):
        dependency.score(good, dependency.Arcs(np.zeros((2, 3), int), np.zeros((2, 3), int)))
    with pytest.raises(AssertionError, match="allowed must be bool"):
        dependency.constrain(good, np.ones((2, 4, 4)))
    with pytest.raises(AssertionError, match=r"q\.arc must be float"):
        dependency.kl(good, Scores(np.zeros((2, 4, 4, 2)), np.array([3, 2])))
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        dependency.top_k(good, 0)
    with pytest.raises(ValueError, match="projective must be True in top_k"):
        dependency.top_k(good, 2, projective=False)
    with pytest.raises(ValueError, match="num_samples must not be negative, got -1"):
        dependency.sample(jax.random.key(0), good, -1)


@pytest.mark.slow
def test_the_best_tree_of_long_sentences_is_right_by_other_means():
    """Against all trees of the marginals of a cold distribution, up to the rounding of 1e4."""
    arc = random(7, 30, 3) * 3
    scores = Scores(arc, np.array([30, 22, 9]))
    cold = scores._replace(arc=arc * 3000)
    for kind in KINDS:
        heads, best = dependency.argmax(scores, **kind_of(*kind))
        p = np.asarray(dependency.marginals(cold, **kind_of(*kind)).arc)
        for row, n in enumerate(scores.length):
            chosen = p[row].argmax(axis=0)[1 : n + 1]
            np.testing.assert_array_equal(heads[row, :n], chosen)
            own = arc[row][np.asarray(heads[row, :n]), np.arange(1, n + 1)].sum()
            np.testing.assert_allclose(best[row], own, rtol=1e-12)
