"""Scores of pairs against the hidden layer of all pairs."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rntn_jax.ops import pair_scores, pairs


def arguments(dtype=np.float64):
    rng = np.random.default_rng(0)
    shapes = (3, 4, 5), (3, 2, 5), (3, 5)
    return tuple(rng.normal(size=shape).astype(dtype) for shape in shapes)


def plain(left, right, head):
    h = jax.nn.relu(left[:, :, None] + right[:, None])
    return jnp.einsum("bijh,bh->bij", h, head)


@pytest.mark.parametrize("longest", [128, 0], ids=["by sentence", "by row"])
@pytest.mark.parametrize("above", [False, True])
def test_value_and_gradient_are_those_of_the_plain_form(above, longest, monkeypatch):
    monkeypatch.setattr(pairs, "_LONGEST", longest)
    monkeypatch.setattr(pairs, "_BLOCK", 3)
    pair_scores.clear_cache()
    args = arguments()
    g = np.random.default_rng(1).normal(size=(3, 4, 2))
    wanted = np.triu(np.ones((4, 2), bool), 1) if above else np.ones((4, 2), bool)
    scores = partial(pair_scores, above=above)
    value, back = jax.vjp(scores, *args)
    expected, plain_back = jax.vjp(lambda *args: jnp.where(wanted[None], plain(*args), 0), *args)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    for found, right in zip(back(g), plain_back(g), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-10, atol=1e-12)
    check_grads(scores, args, order=2, modes=("rev",))
    pair_scores.clear_cache()


def test_a_loop_over_all_pairs_agrees():
    left, right, head = arguments()
    expected = np.zeros((3, 4, 2))
    for b, i, j in np.ndindex(expected.shape):
        for h in range(5):
            expected[b, i, j] += max(left[b, i, h] + right[b, j, h], 0) * head[b, h]
    np.testing.assert_allclose(pair_scores(left, right, head), expected, rtol=1e-12)


def test_at_zero_the_slope_is_zero():
    left, right, head = jnp.ones((1, 1, 2)), -jnp.ones((1, 1, 2)), jnp.ones((1, 2))
    grads = jax.grad(lambda *args: pair_scores(*args).sum(), argnums=(0, 1, 2))(left, right, head)
    assert all((np.asarray(grad) == 0).all() for grad in grads)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=str)
def test_gradients_keep_the_dtype(dtype):
    args = tuple(jnp.asarray(a, dtype) for a in arguments(np.float32))
    assert pair_scores(*args).dtype == dtype
    grads = jax.grad(lambda *args: pair_scores(*args).sum(), argnums=(0, 1, 2))(*args)
    assert [grad.dtype for grad in grads] == [dtype] * 3


def test_memory_does_not_grow_with_the_number_of_pairs():
    def temporary(words: int) -> int:
        left = jnp.zeros((1, words, 64), jnp.float32)
        weights = jnp.zeros((1, words, words), jnp.float32)  # the cotangent, an argument
        loss = lambda x, weights: (weights * pair_scores(x, x, x[:, 0])).sum()
        compiled = jax.jit(jax.grad(loss)).lower(left, weights)
        return compiled.compile().memory_analysis().temp_size_in_bytes

    assert temporary(512) < 5 * temporary(128)  # all pairs would take 16 times as much


def test_wrong_shapes_are_refused():
    left, right, head = arguments()
    for wrong in ((left, right[:, :, :4], head), (left, right, head[:2]), (left[0], right, head)):
        with pytest.raises(AssertionError):
            pair_scores(*wrong)
