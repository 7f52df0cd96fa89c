"""Eisner's recursion in probabilities: where it says that it is right, it is."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.crf.dependency import eisner, scaled
from rntn_jax.crf.nats import to_nats
from tests.helpers import enable_x64

WORDS, ROWS = 6, 400


def hard_problems() -> tuple[np.ndarray, np.ndarray]:
    """Scores of all sizes, whole numbers among them, some arcs forbidden; and lengths."""
    rng = np.random.default_rng(0)
    size = WORDS + 1
    scale = 10 ** rng.uniform(-1, 3, (ROWS, 1, 1))
    arc = rng.normal(size=(ROWS, size, size)) * scale
    whole = rng.random((ROWS, 1, 1)) < 0.5
    arc = np.where(whole, np.round(arc), arc)
    some = rng.random((ROWS, 1, 1)) < 0.4
    arc = np.where(some & (rng.random(arc.shape) < 0.3), -np.inf, arc)
    length = rng.integers(0, WORDS + 1, ROWS).astype(np.int32)
    at = np.arange(size)
    read = (at[:, None] != at) & (at > 0)
    read = read[None] & (at[None] <= length[:, None])[:, None] & (at <= length[:, None])[..., None]
    return np.where(read, arc, -np.inf).astype(np.float32), length


@pytest.mark.parametrize("single_root", [True, False])
def test_what_is_said_to_be_right_is_right(single_root):
    arc, length = hard_problems()
    ones = np.ones(ROWS, np.float32)

    @jax.jit
    def ask(arc, length, ones):
        found = scaled.sums(to_nats(arc), length, single_root)
        return found.total.value, scaled.arc_marginals(found, length, single_root, ones), found.sure

    @jax.jit
    def in_logs(arc, length, ones):
        total, _ = eisner.in_logs(to_nats(arc), length, single_root)
        p = eisner._marginals_in_logs(to_nats(arc), length, single_root, ones)
        return total.value, p

    with enable_x64(False):
        total, p, sure = jax.device_get(ask(arc, length, ones))
    with enable_x64(True):
        right, right_p = jax.device_get(in_logs(arc.astype(float), length, ones.astype(float)))
    assert 0.5 < sure.mean() < 1  # some of these are too hard
    np.testing.assert_allclose(total[sure], right[sure], rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(p[sure], right_p[sure], atol=2e-6)
    assert not sure[np.isinf(right)].any()


@pytest.mark.parametrize(
    "case", ["flat", pytest.param("flat and long", marks=pytest.mark.slow), "agreed", "contested"]
)
def test_flat_and_agreed_scores_need_no_logarithms(case):
    words = {"flat": 20, "flat and long": 100, "agreed": 20, "contested": 20}[case]
    rng = np.random.default_rng(1)
    size = words + 1
    arc = rng.normal(size=(1, size, size)).astype(np.float32)
    if case == "agreed":  # a chain of words, far above all else, and one arc against it
        arc[0, np.arange(words), np.arange(1, size)] += 40
        arc[0, 5, 2] += 45
    elif case == "contested":
        arc *= 60
    found = jax.jit(partial(scaled.sums, single_root=True))(
        to_nats(jnp.asarray(arc)), jnp.array([words])
    )
    assert bool(found.sure[0]) == (case != "contested")
