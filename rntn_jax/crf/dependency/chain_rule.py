"""Entropy and divergence of distributions over all trees, without scores: by elimination.

``H = ln Z - E[s]`` is a difference of numbers as large as scores are. But elimination
(`rntn_jax.crf.dependency.elimination`) may be differentiated along the scores themselves. Let
``u(i, j)`` be the derivative of ``ln w(i, j)``, at first the score of the arc; then ``E[s] = sum_k
sum_i p_k(i) u(i, k)``, and with ``h = u - ln w``, at first 0, and ``q(i, j)`` the share of the arc
from i to j in the new weight, ``1 - q`` that of the way through k, all scores are gone::

    K_k     = sum_i p_k(i) (ln p_k(i) + h(i, k))                          H = - sum_k K_k
    h(i, j) = q h(i, j) + (1 - q) (h(i, k) + h(k, j) - K_k) + q ln q + (1 - q) ln(1 - q)

The divergence from another distribution, eliminated in the same order, likewise, ``p ln p`` being
replaced by ``p ln(p / p')`` (and q's by those of its shares): with ``h`` minus the other one's the
same two lines hold, and ``KL = sum_k K_k``.

What is added and subtracted is of the size of the entropies of choices, whatever the scores.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.dependency.arborescence import less_at_root
from rntn_jax.crf.dependency.elimination import LOGS, log_over
from rntn_jax.crf.nats import Nats
from rntn_jax.ops.logspace import entropy_terms, kl_terms
from rntn_jax.ops.varying import vary_like

__all__ = ["divergence"]


def divergence(arc: Nats, other: Nats | None, single_root: bool) -> jax.Array:
    """``sum P ln(P / Q)`` of distributions over all trees; without Q minus the entropy.

    Args:
        arc: ``[B, T + 1, T]`` of `elimination.complete`; ``T`` at least 1.
        other: the same of Q, or None.
        single_root: whether one word hangs from the root.

    Returns:
        ``[B]`` nats; means nothing where P forbids every tree, or Q what P does not. Cost O(B T^3),
        and that memory for gradients.
    """
    models = [less_at_root(x, single_root) for x in (arc, other) if x is not None]
    heads = jnp.arange(arc.whole.shape[1])
    apart = heads[:, None] != heads[None, 1:]

    def share(logs: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Probabilities under P, and what they add to the divergence, of one choice of several."""
        if len(logs) == 1:
            return jnp.exp(logs[0]), -entropy_terms(logs[0])
        lost = (logs[1] == -jnp.inf) & (logs[0] != -jnp.inf)
        return jnp.exp(logs[0]), jnp.where(lost, 0, kl_terms(logs[0], logs[1]))

    @jax.checkpoint
    def step(carry: Any, k: jax.Array) -> Any:
        models, h = carry
        stays = (apart & (heads != k + 1)[:, None])[None]
        of_heads, direct, through, left = [], [], [], []
        for w in models:
            column = Nats(*(lax.dynamic_index_in_dim(x, k, 2, False) for x in w))
            row = Nats(*(lax.dynamic_index_in_dim(x, k + 1, 1, False) for x in w))
            pivot = LOGS.total(column, 1)
            p = log_over(column, Nats(*(x[:, None] for x in pivot)))
            way = LOGS.times(Nats(*(x[:, :, None] for x in p)), Nats(*(x[:, None] for x in row)))
            both = LOGS.plus(w, way)
            of_heads.append(p.value)
            direct.append(log_over(w, both).value)
            through.append(log_over(way, both).value)
            left.append(LOGS.where(stays, both))
        p, terms = share(of_heads)
        to_k = lax.dynamic_index_in_dim(h, k, 2, False)
        from_k = lax.dynamic_index_in_dim(h, k + 1, 1, False)
        found = (terms + p * to_k).sum(axis=1)
        q, of_direct = share(direct)
        r, of_through = share(through)
        via = to_k[:, :, None] + from_k[:, None] - found[:, None, None]
        h = q * h + r * via + of_direct + of_through
        h = jnp.where(stays & (left[0].whole != -jnp.inf), h, 0)
        return (left, h), found

    h = jnp.zeros_like(models[0].fraction)
    models, h = vary_like((models, h))
    return lax.scan(step, (models, h), jnp.arange(arc.whole.shape[2]))[1].sum(axis=0)
