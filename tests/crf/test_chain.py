"""`rntn_jax.crf.chain`: every query against source 004 and brute force."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax import crf
from rntn_jax.crf.chain import Scores
from tests.crf.chain_samples import MASK, as_model, query, random_scores, row_of
from tests.helpers import assert_close
from tests.oracles import crf_numpy as eq


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


@pytest.mark.slow  # the battery has every verb in the default suite
@pytest.mark.parametrize("forbid", [0.0, 0.25])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
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
    alone = [query.log_partition(row_of(scores, i)) for i in range(4)]
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
