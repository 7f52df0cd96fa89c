"""Entropy and divergence of distributions over binary trees."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rntn_jax.crf import expectations
from rntn_jax.crf.constituency import inside
from rntn_jax.crf.constituency.scores import (
    Scores,
    alike,
    by_width,
    check_scores,
    readable,
    without_labels,
)
from rntn_jax.crf.nats import Nats
from rntn_jax.ops.logspace import entropy_terms, finite_max, kl_terms, log_normalize
from rntn_jax.ops.varying import vary_like

__all__ = ["entropy", "kl"]


@jax.jit
def entropy(scores: Scores) -> jax.Array:
    """Entropy ``-sum P ln P`` of the distribution over trees.

    Computes ``sum_ij P(i .. j - 1 is a span) (H(k | i, j) + H(c | i, j))``, the entropies of the
    choices of splits and labels from the root down: sums of what is positive, however large the
    scores.

    Source: 004, the model marginals theorem, and the chain rule of entropy.

    Args:
        scores: of spans.

    Returns:
        ``[B]`` nats, in at least float32; NaN where every tree is forbidden, there being no
        distribution. Cost O(B T^2 (T + C)).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.zeros((1, 5, 5)), jnp.array([4]))
        >>> round(float(jnp.exp(entropy(scores)[0])), 3)
        5.0
    """

    def of_splits(log_p: jax.Array) -> jax.Array:
        p = jnp.exp(log_p)
        return -(p * jnp.where(p == 0, 0, log_p)).sum(axis=0)

    span, length = readable(*check_scores(scores)[:2])
    s = by_width(without_labels(span))
    total, p = _span_probabilities(s, length)
    of_labels = entropy_terms(_log_labels(span)).sum(axis=3)
    values = inside.sum_over_splits(of_splits, (s, inside.sweep(s))) + _by_width(of_labels)
    mean = _mean(p, values)
    return jnp.where(total == -jnp.inf, jnp.nan, mean)


@jax.jit
def kl(p: Scores, q: Scores) -> jax.Array:
    """Kullback-Leibler divergence ``sum P ln(P / Q)`` of ``q`` from ``p``.

    Computes ``sum_ij P(i .. j - 1 is a span) (KL(k | i, j) + KL(c | i, j))``, by the choices of
    splits and labels as `entropy` does.

    Source: 004, the model marginals theorem, and the chain rule of relative entropy.

    Args:
        p: the distribution that the mean is over.
        q: the other one, of the same shape; it is over the sentences of ``p``, and its lengths are
            not read.

    Returns:
        ``[B]`` nats, in at least float32; ``inf`` where ``q`` forbids what ``p`` does not, NaN
        where ``p`` forbids every tree. Cost O(B T^2 (T + C)).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> p = Scores(jnp.zeros((1, 4, 4)), jnp.array([3]))
        >>> q = p._replace(span=jnp.zeros((1, 4, 4)).at[0, 0, 2].set(jnp.log(3.0)))
        >>> round(float(kl(p, q)[0]), 4)
        0.1438
    """

    def of_choices(log_p: jax.Array, log_q: jax.Array, axis: int = 0) -> jax.Array:
        lost = ((log_q == -jnp.inf) & (log_p != -jnp.inf)).any(axis=axis)
        return jnp.where(lost, jnp.inf, kl_terms(log_p, log_q).sum(axis=axis))

    span, length, _ = check_scores(p, "p")
    other, _ = readable(alike("q.span", q.span, span), length)
    span, length = readable(span, length)
    s_p, s_q = (by_width(without_labels(x)) for x in (span, other))
    total, probabilities = _span_probabilities(s_p, length)
    both = (s_p, inside.sweep(s_p)), (s_q, inside.sweep(s_q))
    of_labels = of_choices(_log_labels(span), _log_labels(other), 3)
    values = inside.sum_over_splits(of_choices, *both) + _by_width(of_labels)
    mean = _mean(probabilities, values)
    return jnp.where(total == -jnp.inf, jnp.nan, mean)


def _log_labels(span: Nats) -> jax.Array:
    """``ln P(c | i, j)``, of the shape of the scores."""
    return log_normalize((span.whole - finite_max(span.whole, axis=3)) + span.fraction, axis=3)


def _by_width(values: jax.Array) -> jax.Array:
    """Values ``[B, T + 1, T + 1]`` of spans by width and begin, 0 where there is none."""
    found = by_width(Nats(jnp.zeros_like(values), values))
    return found.fraction


def _span_probabilities(s: Nats, length: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``ln Z [B]`` in whole nats, and marginals by width and begin."""
    total, pull = jax.vjp(lambda s: inside.log_partition(s, length), vary_like(s, length))
    return total.whole, pull(jax.tree.map(jnp.ones_like, total))[0].fraction


def _mean(p: jax.Array, values: jax.Array) -> jax.Array:
    """``sum p v [B]`` of what is not negative; infinite values of probability 0 count 0."""
    return -expectations.weighted_sum(p, -values, (0, 2))
