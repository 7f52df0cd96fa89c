"""Entropy and divergence of distributions over the labellings of a graph."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rntn_jax.crf.factor_graph import elimination
from rntn_jax.crf.factor_graph.scores import Scores, alike, check_scores, readable
from rntn_jax.ops.logspace import entropy_terms, kl_terms
from rntn_jax.ops.varying import vary_like

__all__ = ["entropy", "kl"]


def entropy(scores: Scores) -> jax.Array:
    """Entropy ``-sum P ln P`` of the distribution over labellings.

    Computes ``sum_v sum_s P(s) H(y_v | s)``, each variable given its separator: sums of what is
    positive, however large the scores.

    Source: 004, the model marginals theorem, and the chain rule of entropy.

    Args:
        scores: of a graph.

    Returns:
        Nats in at least float32, a scalar; NaN where every labelling is forbidden, there being no
        distribution. Cost as of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: as `log_partition`.

    Example:
        >>> from rntn_jax.crf.factor_graph import Scopes
        >>> scores = Scores((jnp.zeros((2, 3)),), Scopes([(0, 1)]))
        >>> round(float(jnp.exp(entropy(scores))), 3)
        6.0
    """
    return _divergence(check_scores(scores), None)


def kl(p: Scores, q: Scores) -> jax.Array:
    """Kullback-Leibler divergence ``sum P ln(P / Q)`` of ``q`` from ``p``.

    Computes ``sum_v sum_s P(s) KL(y_v | s)``, as `entropy` does.

    Source: 004, the model marginals theorem, and the chain rule of relative entropy.

    Args:
        p: the distribution that the mean is over.
        q: the other one, over the same variables.

    Returns:
        Nats in at least float32, a scalar; ``inf`` where ``q`` forbids what ``p`` does not, NaN
        where ``p`` forbids every labelling. Cost as of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: as `log_partition`, and when scopes differ.

    Example:
        >>> from rntn_jax.crf.factor_graph import Scopes
        >>> p = Scores((jnp.log(jnp.array([0.5, 0.5])),), Scopes([(0,)]))
        >>> q = p._replace(tables=(jnp.log(jnp.array([0.25, 0.75])),))
        >>> round(float(kl(p, q)), 4)
        0.1438
    """
    p = check_scores(p, "p")
    return _divergence(p, alike(q, "q", p))


@jax.jit
def _divergence(p: Scores, q: Scores | None) -> jax.Array:
    bags = elimination.bags_of(p)
    tables = vary_like(readable(p), q)
    ours = elimination.sweep(tables, p.scopes, bags)
    theirs = None
    if q is not None:
        theirs = elimination.sweep(vary_like(readable(q), tables), p.scopes, bags)
    log_z = elimination.total(ours, bags)
    mean = jnp.zeros_like(log_z.fraction)
    found: dict[int, jax.Array] = {}
    for n in range(len(bags))[::-1]:
        above = elimination.joint(bags[n], bags, found)
        log_p = elimination.conditionals(ours.bags[n], ours.messages[n])
        found[n] = jnp.exp(log_p) * above[None].astype(log_p.dtype)
        if theirs is None:
            terms = entropy_terms(log_p).sum(axis=0)
        else:
            log_q = elimination.conditionals(theirs.bags[n], theirs.messages[n])
            lost = ((log_q == -jnp.inf) & (log_p != -jnp.inf)).any(axis=0)
            terms = jnp.where(lost, jnp.inf, kl_terms(log_p, log_q).sum(axis=0))
        mean = mean + jnp.where(above == 0, 0, above * jnp.where(above == 0, 0, terms)).sum()
    return jnp.where(log_z.whole == -jnp.inf, jnp.nan, mean)
