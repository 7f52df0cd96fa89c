"""Entropy and divergence of dependency trees to second order, against all trees by autodiff."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.crf import dependency
from rntn_jax.crf.dependency import Scores
from tests.crf.battery.dependency import trees

KINDS = [(False, True), (False, False), (True, True), (True, False)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_hessians(kind):
    projective, single_root = kind
    listed = np.array(trees(3, projective, single_root))
    p, q = np.random.default_rng(0).normal(size=(2, 4, 4))

    def mine(p, q):
        one, other = (Scores(x[None], jnp.array([3])) for x in (p, q))
        kind = {"projective": projective, "single_root": single_root}
        return jnp.stack([dependency.entropy(one, **kind)[0], dependency.kl(one, other, **kind)[0]])

    def theirs(p, q):
        log_p, log_q = (
            jax.nn.log_softmax(x[listed, np.arange(1, 4)[None]].sum(axis=1)) for x in (p, q)
        )
        return jnp.stack([-jnp.exp(log_p) @ log_p, jnp.exp(log_p) @ (log_p - log_q)])

    for order in (jax.jacrev, lambda f, at: jax.jacfwd(jax.jacrev(f, at), at)):
        found, right = (jax.jit(order(f, (0, 1)))(p, q) for f in (mine, theirs))
        for ours, other in zip(jax.tree.leaves(found), jax.tree.leaves(right), strict=True):
            np.testing.assert_allclose(ours, other, atol=1e-12)
