"""`rntn_jax.crf.chain`: every query against source 004 and brute force."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax import crf
from rntn_jax.crf import chain
from rntn_jax.crf.chain import Scores, associative_scan, per_step_edges
from rntn_jax.crf.chain._steps import has_edge
from rntn_jax.crf.chain.queries import rule_of
from rntn_jax.crf.chain.shared_edges import run as run_shared
from tests.helpers import assert_close, check_orders, check_rule, residual_bytes
from tests.oracles import crf_numpy as eq

# Compiled: eagerly, each operation would be compiled for itself.
STATIC = {"log_partition": "method", "log_prob": "method", "marginals": "method"}
STATIC |= {"top_k": "k", "sample": "num_samples"}
query = SimpleNamespace(
    **{
        name: jax.jit(getattr(chain, name), static_argnames=STATIC.get(name))
        for name in chain.__all__
        if name not in ("Scores", "constrain")
    }
)
MASK = np.array([[1, 1, 1, 1], [1, 0, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0]], bool)


def random_scores(seed: int, rows=4, length=4, classes=3, *, shared=True, forbid=0.0) -> Scores:
    """Scores with all fields, a random mask, and that share of entries forbidden."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        values = rng.normal(size=shape)
        return jnp.asarray(np.where(rng.random(shape) < forbid, -np.inf, values))

    edge = (classes, classes) if shared else (rows, length - 1, classes, classes)
    mask = rng.random((rows, length)) < 0.8
    node, start, end = draw(rows, length, classes), draw(classes), draw(classes)
    return Scores(node, draw(*edge), start, end, jnp.asarray(mask))


def as_model(scores: Scores, row: int) -> tuple[eq.Model, list[int]]:
    """One row as source 004 writes it, and which positions its nodes are."""
    node, edge = np.array(scores.node[row]), np.asarray(scores.edge)
    mask = np.ones(len(node), bool) if scores.mask is None else np.asarray(scores.mask[row])
    real = np.flatnonzero(mask).tolist()
    parts = node[real]
    if real and scores.start is not None:
        parts[0] += scores.start
    if real and scores.end is not None:
        parts[-1] += scores.end
    edges = [(i, i + 1) for i in range(len(real) - 1)]
    into = [edge if edge.ndim == 2 else edge[row, t - 1] for t in real[1:]]
    return eq.Model(parts, np.array(into).reshape(-1, *edge.shape[-2:]), edges), real


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    "classes", [1, 2, 3, 5, *(pytest.param(c, marks=pytest.mark.slow) for c in (4, 6, 7))]
)
def test_model_marginals_theorem(classes, shared):
    """Source 004: the gradient of the loss is marginals minus indicators, in every entry.

    A row for each length with at most 20,000 labellings, its positions anywhere among 14; every
    other row has forbidden labels and transitions.
    """
    lengths = [n for n in range(1, 11 if classes == 1 else 15) if classes**n <= 20_000]
    rows, rng = len(lengths), np.random.default_rng(classes)
    mask = np.zeros((rows, 14), bool)
    for row, n in enumerate(lengths):
        mask[row, rng.choice(14, n, replace=False)] = True
    scores = random_scores(classes, rows, 14, classes, shared=shared, forbid=0.1)
    clean = random_scores(classes + 100, rows, 14, classes, shared=shared)
    odd = np.arange(rows)[:, None, None] % 2 == 1
    scores = Scores(
        node=jnp.where(odd, scores.node, clean.node),
        edge=scores.edge if shared else jnp.where(odd[..., None], scores.edge, clean.edge),
        mask=jnp.asarray(mask),
    )
    labels = np.zeros((rows, 14), int)
    for row in range(rows):
        model, real = as_model(scores, row)
        listed = eq.all_labellings(model)
        labels[row, real] = listed[eq.s(model, listed).argmax()]  # any that is not forbidden
    possible = np.isfinite(query.score(scores, labels))
    assert possible.sum() >= rows / 2

    def loss(node, edge):
        nats = query.log_prob(scores._replace(node=node, edge=edge), labels)
        return -jnp.where(possible, nats, 0).sum(), nats

    run = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    (_, nats), (d_node, d_edge) = run(scores.node, scores.edge)
    edge_sum = np.zeros(d_edge.shape)
    for row in np.flatnonzero(possible):
        model, real = as_model(scores, row)
        gold = labels[row, real]
        want_node, want_edge = eq.gradients(model, gold)
        np.testing.assert_allclose(-nats[row], eq.loss(model, gold), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(d_node[row][np.array(real)], want_node, atol=1e-12)
        if shared:
            edge_sum += want_edge.sum(0)
        else:
            for e, t in enumerate(real[1:]):
                edge_sum[row, t - 1] = want_edge[e]
    np.testing.assert_allclose(d_edge, edge_sum, atol=1e-12)


@pytest.mark.parametrize("forbid", [0.0, 0.25])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_every_query_is_that_of_enumeration(seed, shared, forbid):
    scores = random_scores(seed, 6, 5, 3, shared=shared, forbid=forbid)
    other = random_scores(seed + 50, 6, 5, 3, shared=shared)._replace(mask=scores.mask)
    allowed = jnp.asarray(np.random.default_rng(seed).random(scores.node.shape) < 0.7)
    log_z, of_allowed = query.log_partition(scores), query.log_partition(scores, allowed)
    of_parallel = query.log_partition(scores, method="parallel")
    probabilities = query.marginals(scores)
    best, best_score = query.argmax(scores)
    top, top_scores = query.top_k(scores, k=7)
    entropy, kl = query.entropy(scores), query.kl(scores, other)
    mean = query.expected_score(scores, other)

    edge_sum = np.zeros(np.shape(probabilities.edge))
    for row in range(6):
        model, real = as_model(scores, row)
        of_other, _ = as_model(other, row)
        listed, p, z = eq.all_labellings(model), eq.p_s(model), eq.ln_z(model)
        worth = eq.s(model, listed)
        np.testing.assert_allclose(log_z[row], z, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(of_parallel[row], z, rtol=1e-12, atol=1e-12)
        inside = np.asarray(allowed)[row][real, :][np.arange(len(real)), listed].all(axis=1)
        want = np.logaddexp.reduce(worth[inside], initial=-np.inf)
        np.testing.assert_allclose(of_allowed[row], want, rtol=1e-12, atol=1e-12)
        masked = np.setdiff1d(np.arange(5), real)
        assert np.all(probabilities.node[row][masked] == 0)
        if z == -np.inf:
            assert best_score[row] == -np.inf and np.all(probabilities.node[row] == 0)
            continue

        of_nodes, of_edges = eq.marginals(model)
        np.testing.assert_allclose(np.asarray(probabilities.node)[row, real], of_nodes, atol=1e-12)
        if shared:
            edge_sum += of_edges.sum(0)
        else:
            for e, t in enumerate(real[1:]):
                edge_sum[row, t - 1] = of_edges[e]

        order = np.argsort(-worth)[:7]
        order = order[np.isfinite(worth[order])]
        assert np.array_equal(np.asarray(best)[row, real], listed[order[0]])
        np.testing.assert_allclose(best_score[row], worth[order[0]], rtol=1e-12, atol=1e-12)
        assert np.array_equal(np.asarray(top)[row][: len(order), real], listed[order])
        np.testing.assert_allclose(
            top_scores[row][: len(order)], worth[order], rtol=1e-12, atol=1e-12
        )
        assert np.all(top_scores[row][len(order) :] == -np.inf)

        own = p > 0
        p, values = p[own], eq.s(of_other, listed)[own]
        np.testing.assert_allclose(mean[row], p @ values, atol=1e-11)
        np.testing.assert_allclose(entropy[row], -p @ np.log(p), atol=1e-11)
        divergence = p @ (np.log(p) - values) + eq.ln_z(of_other)
        np.testing.assert_allclose(kl[row], divergence, atol=1e-11)
    np.testing.assert_allclose(probabilities.edge, edge_sum, atol=1e-12)
    assert np.array_equal(probabilities.mask, scores.mask)
    assert_close(query.marginals(scores, method="parallel"), probabilities, 1e-11)


@pytest.mark.parametrize("shared", [True, False])
def test_scores_and_log_probabilities_of_labellings(shared):
    scores = random_scores(3, 4, 4, 3, shared=shared)._replace(mask=jnp.asarray(MASK))
    labels = np.random.default_rng(1).integers(0, 3, (4, 4))
    labels[~MASK] = -1  # anything
    of_labels, nats = query.score(scores, labels), query.log_prob(scores, labels)
    for row in range(4):
        model, real = as_model(scores, row)
        y = labels[row][real]
        np.testing.assert_allclose(of_labels[row], eq.s(model, y[None])[0], atol=1e-12)
        np.testing.assert_allclose(nats[row], -eq.loss(model, y), atol=1e-12)
    assert of_labels[3] == 0 and nats[3] == 0  # no real position


@pytest.mark.parametrize("wrong", [-1, 3])
def test_labels_out_of_range_are_not_silently_others(wrong):
    scores = random_scores(0)
    labels = jnp.zeros((4, 4), int).at[jnp.arange(4), jnp.argmax(scores.mask, 1)].set(wrong)
    assert np.isnan(query.score(scores, labels)).all()
    assert np.isnan(query.log_prob(scores, labels)).all()


def test_brute_force_agrees_with_the_source():
    scores = random_scores(5, 3, 4, 3, forbid=0.2)
    for row in range(3):
        table = crf.enumerate.of_chain(scores, row)
        model, real = as_model(scores, row)
        assert table.shape == (3,) * len(real)
        listed = eq.s(model, eq.all_labellings(model))
        np.testing.assert_allclose(table.reshape(-1), listed, atol=1e-12)
        np.testing.assert_allclose(crf.enumerate.log_partition(table), eq.ln_z(model), rtol=1e-12)
    backwards = crf.enumerate.table(
        jnp.zeros((3, 2)), jnp.array([[[1.0, 2.0], [3.0, 4.0]]]), [(2, 0)]
    )
    assert backwards[1, 0, 0] == 2.0  # y_2 = 0, y_0 = 1
    p = crf.enumerate.marginal(backwards, 2, 0)
    np.testing.assert_allclose(
        p, jax.nn.softmax(jnp.array([[1.0, 2.0], [3.0, 4.0]]).ravel()).reshape(2, 2)
    )
    with pytest.raises(ValueError, match="more than"):
        crf.enumerate.table(jnp.zeros((30, 2)), jnp.zeros((0, 2, 2)), [])
    with pytest.raises(ValueError, match="edge 0 leads from 1 to 1"):
        crf.enumerate.table(jnp.zeros((2, 2)), jnp.zeros((1, 2, 2)), [(1, 1)])


@pytest.mark.parametrize(
    ("shared", "wide"),
    [
        (False, False),
        pytest.param(True, True, marks=pytest.mark.slow),  # in logarithms
        pytest.param(True, False, marks=pytest.mark.slow),
        pytest.param(False, True, marks=pytest.mark.slow),
    ],
)
def test_rule(shared, wide):
    """Value, gradient and second order are those of autodiff of the recursion in logarithms."""
    scores = random_scores(7, 3, 4, 3, shared=shared)
    mask = jnp.asarray(MASK[:3])
    edge = scores.edge * (60.0 if wide else 1.0)  # wide: matrix products will not do
    run = run_shared if shared else per_step_edges.run

    def rule(node, edge):
        return rule_of(edge).log_partition(node, edge, mask)

    def plain(node, edge):
        if edge.ndim == 2:
            edge = jnp.broadcast_to(edge[None, None], (3, 3, 3, 3))
        return per_step_edges.reference(node, edge, mask)

    if wide:
        assert not bool(run(scores.node, edge, mask)[1].products)
        check_orders(rule, plain, (scores.node, edge))
    else:
        assert bool(run(scores.node, edge, mask)[1].products)
        # Transformations of the rule are JAX's own affair: once is enough.
        (check_rule if shared else check_orders)(rule, plain, (scores.node, edge))


@pytest.mark.parametrize("shared", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_parallel_rule(shared):
    scores = random_scores(8, 3, 4, 3, shared=shared)
    mask = jnp.asarray(MASK[:3])
    check_orders(
        lambda node, edge: associative_scan.log_partition(node, edge, mask),
        lambda node, edge: rule_of(edge).log_partition(node, edge, mask),
        (scores.node, scores.edge),
    )
    low = scores._replace(edge=scores.edge.astype(jnp.bfloat16), start=None, end=None, mask=mask)
    kept = jax.eval_shape(lambda s: query.marginals(s, method="parallel"), low)
    assert (kept.node.dtype, kept.edge.dtype) == (scores.node.dtype, jnp.bfloat16)


@pytest.mark.slow
def test_entropy_can_be_trained():
    """Its gradient is that of the entropy of the enumerated distribution."""
    for shared, wide in ((True, False), (True, True), (False, False)):
        scores = random_scores(9, 1, 4, 3, shared=shared)._replace(mask=None, start=None, end=None)
        if wide:  # products, but checked
            scores = scores._replace(edge=scores.edge.at[0, 1].set(-50.0))

        def of_chain(node, edge):
            return query.entropy(Scores(node, edge)).sum()

        def of_table(node, edge):
            table = crf.enumerate.of_chain(Scores(node, edge), 0)
            p = jax.nn.softmax(table.reshape(-1))
            return -(p * jnp.log(p)).sum()

        assert_close(
            jax.jit(jax.value_and_grad(of_chain, (0, 1)))(scores.node, scores.edge),
            jax.value_and_grad(of_table, (0, 1))(scores.node, scores.edge),
        )


@pytest.mark.parametrize("shared", [True, False])
def test_samples_have_the_marginals(shared):
    scores = random_scores(11, 3, 4, 3, shared=shared, forbid=0.1)._replace(
        mask=jnp.asarray(MASK[:3])
    )
    draws = np.asarray(query.sample(jax.random.key(0), scores, num_samples=20_000))
    assert draws.shape == (20_000, 3, 4) and np.all(draws[:, ~MASK[:3]] == 0)
    for row in range(3):
        model, real = as_model(scores, row)
        codes = draws[:, row][:, real] @ 3 ** np.arange(len(real))[::-1]
        p = eq.p_s(model)
        found = np.bincount(codes, minlength=len(p)) / 20_000
        assert np.all(np.abs(found - p) <= 5 * np.sqrt(p * (1 - p) / 20_000))


@pytest.mark.slow
def test_draws_and_padding_do_not_depend_on_each_other():
    """A row alone, a row among others, a row with padding: the same numbers."""
    scores = random_scores(12, 4, 4, 3, forbid=0.1)._replace(mask=jnp.asarray(MASK))
    alone = [query.log_partition(_row(scores, i)) for i in range(4)]
    np.testing.assert_allclose(query.log_partition(scores), np.concatenate(alone), rtol=1e-13)
    longer = Scores(
        jnp.concatenate([scores.node, jnp.full((4, 3, 3), jnp.nan)], axis=1),
        scores.edge,
        scores.start,
        scores.end,
        jnp.concatenate([scores.mask, jnp.zeros((4, 3), bool)], axis=1),
    )
    ours, padded = query.marginals(scores), query.marginals(longer)
    assert np.all(padded.node[:, 4:] == 0)
    assert_close(padded._replace(node=padded.node[:, :4], mask=None), ours._replace(mask=None))
    for decode in (query.argmax, partial(query.top_k, k=2)):
        (labels, worth), (more, same) = decode(scores), decode(longer)
        assert np.array_equal(more[..., :4], labels)
        np.testing.assert_allclose(worth, same)


def _row(scores: Scores, i: int) -> Scores:
    edge = scores.edge if scores.edge.ndim == 2 else scores.edge[i : i + 1]
    mask = None if scores.mask is None else scores.mask[i : i + 1]
    return Scores(scores.node[i : i + 1], edge, scores.start, scores.end, mask)


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


def test_dtypes():
    scores = random_scores(17)._replace(mask=None)
    scores = jax.tree.map(lambda a: a.astype(jnp.bfloat16), scores)
    assert query.log_partition(scores).dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(query.marginals(scores))} == {
        jnp.dtype("bfloat16")
    }
    assert query.argmax(scores)[0].dtype == jnp.int32


def test_residuals_are_two_node_scores():
    """Besides the arguments: states and weights; and exponentials, where every step has its own."""
    node, edge = jnp.zeros((2, 50, 5)), jnp.zeros((2, 49, 5, 5))
    mask = jnp.ones((2, 50), bool)
    for e in (edge, edge[0, 0]):
        kept = residual_bytes(lambda n, e: rule_of(e).log_partition(n, e, mask), node, e)
        assert kept <= 3 * node.nbytes + (e.ndim // 2) * e.nbytes + 200


def test_one_program_for_all_values():
    count = 0

    @jax.jit
    def f(scores):
        nonlocal count
        count += 1
        return query.marginals(scores).node

    for seed in range(3):
        f(random_scores(seed))
    assert count == 1


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
