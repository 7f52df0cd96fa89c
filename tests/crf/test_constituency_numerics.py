"""Binary trees in float32 over the whole range of scores, in low precision, and with NaN."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.crf import constituency
from rntn_jax.crf.constituency import Scores


def in_logs(span: np.ndarray) -> tuple[float, np.ndarray, float]:
    """``ln Z``, marginals and entropy of one sentence in long doubles, split by split."""
    n, s = len(span) - 1, span.astype(np.longdouble)
    total, disorder, p, reached = (np.zeros(s.shape, np.longdouble) for _ in range(4))
    shares = {}
    for i, j in sorted(np.ndindex(s.shape), key=lambda own: own[1] - own[0]):
        if j - i < 2:
            continue
        parts = total[i, i + 1 : j] + total[i + 1 : j, j]
        log_sum = np.logaddexp.reduce(parts)
        total[i, j] = s[i, j] + log_sum
        share = shares[i, j] = np.exp(parts - log_sum)
        below = disorder[i, i + 1 : j] + disorder[i + 1 : j, j]
        disorder[i, j] = (share * (below - (parts - log_sum))).sum()
    reached[0, n] = 1
    for (i, j), share in reversed(shares.items()):
        p[i, j] = reached[i, j]
        reached[i, i + 1 : j] += p[i, j] * share
        reached[i + 1 : j, j] += p[i, j] * share
    return total[0, n].astype(float), p.astype(float), disorder[0, n].astype(float)


@jax.jit
def asked(scores):
    return (
        constituency.log_partition(scores),
        constituency.marginals(scores).span,
        constituency.entropy(scores),
    )


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("words", [30, pytest.param(100, marks=pytest.mark.slow)])
def test_single_precision_is_right_whatever_the_scores(words):
    """Values to 1e-6, marginals to 1e-5 of themselves: ten times what is promised."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(words + 1, words + 1))
    spans = [scale * noise for scale in (1, 10, 100, 1e3, 1e4)]
    spans += [offset + noise for offset in (-1e4, -1e3, 1e3, 1e4)]
    spans += [1e4 * rng.integers(-1, 2, size=noise.shape) + noise, np.full_like(noise, 1e4)]
    for span in spans:
        span = span.astype(np.float32)
        total, p, disorder = in_logs(span)
        found = asked(Scores(span[None], np.array([words])))
        assert all(x.dtype == jnp.float32 for x in found)
        np.testing.assert_allclose(found[0][0], total, rtol=1e-6)
        np.testing.assert_allclose(found[1][0], p, rtol=1e-5, atol=1e-11)
        np.testing.assert_allclose(found[2][0], disorder, rtol=1e-5, atol=1e-15)


@pytest.mark.usefixtures("float32")
def test_scores_that_differ_little_from_what_is_large():
    span = np.full((1, 4, 4), 1000, np.float32)
    span[0, 0, 2] = 1000.3
    p = 1 / (1 + np.exp(-float(span[0, 0, 2] - 1000)))
    scores = Scores(span, np.array([3]))
    right = -p * np.log(p) - (1 - p) * np.log(1 - p)
    np.testing.assert_allclose(constituency.entropy(scores), [right], rtol=1e-5)  # 0.6820
    np.testing.assert_allclose(
        constituency.log_prob(scores, np.array([[[0, 2], [0, 3]]])), [np.log(p)], rtol=1e-5
    )
    other = Scores(np.full((1, 4, 4), -3000, np.float32), np.array([3]))
    np.testing.assert_allclose(constituency.kl(scores, other), [np.log(2) - right], rtol=1e-3)


@pytest.mark.usefixtures("float32")
def test_low_precision_is_summed_in_single_precision():
    narrow = jnp.asarray(np.random.default_rng(0).normal(size=(1, 31, 31)), jnp.bfloat16)
    wide, length = narrow.astype(jnp.float32), np.array([30])
    total = constituency.log_partition(Scores(narrow, length))
    assert total.dtype == jnp.float32
    np.testing.assert_array_equal(total, constituency.log_partition(Scores(wide, length)))
    found = constituency.marginals(Scores(narrow, length)).span
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(
        found, constituency.marginals(Scores(wide, length)).span.astype(jnp.bfloat16)
    )


@jax.jit
def all_verbs(scores, trees):
    return {
        "log_partition": constituency.log_partition(scores),
        "log_prob": constituency.log_prob(scores, trees),
        "marginals": constituency.marginals(scores).span,
    }


def test_nan_is_never_taken_for_forbidden_and_stays_in_its_row():
    """The faults as they were found, and lengths that cannot be."""
    span = np.zeros((3, 6, 6))
    span[0, 0, 2] = np.nan  # three words: only one of the two trees has it
    span[1, 1, 3] = np.nan
    span[1, 0, 4] = -np.inf
    scores = Scores(span, np.array([3, 5, 4]))
    trees = np.array([[[1, 3], [0, 3], [0, 0], [0, 0]]] + [[[0, 2], [0, 3], [0, 4], [0, 5]]] * 2)
    trees[2, 3] = 0
    found = all_verbs(scores, trees)
    p = np.asarray(found.pop("marginals"))
    for verb, value in found.items():
        assert np.isnan(value).tolist() == [True, True, False], verb
    begin, end = np.indices(span.shape[1:])
    read = (end > begin + 1) & (end <= scores.length[:2, None, None])
    assert np.isnan(p[:2][read]).all() and (p[:2][~read] == 0).all()
    np.testing.assert_allclose(p[2].sum(), 3)
    wrong = all_verbs(Scores(np.zeros((3, 6, 6)), np.array([6, -1, 4])), trees)
    for verb in found:
        assert np.isnan(wrong[verb]).tolist() == [True, True, False], verb
