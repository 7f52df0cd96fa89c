"""Entropy and divergence of distributions over parses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.grammar import inside
from rntn_jax.crf.grammar.inside import add, at
from rntn_jax.crf.grammar.queries import alike, no_tree, of_none, with_full_rules
from rntn_jax.crf.grammar.scores import Parts, Scores, check_scores, complete
from rntn_jax.crf.nats import Nats
from rntn_jax.ops.logspace import entropy_terms, kl_terms

__all__ = ["entropy", "kl"]


@jax.jit
def entropy(scores: Scores) -> jax.Array:
    """Entropy ``-sum P ln P`` of the distribution over parses of the sentence.

    Computes, by the chain rule, from short spans to long ones, the entropies of the choices of
    rules and splits and of what follows them: sums of what is positive, however large the scores.

    Source: 004, and the chain rule of entropy.

    Args:
        scores: of the grammar, and of the words.

    Returns:
        ``[B]`` nats, in at least float32; NaN where every parse is forbidden, there being no
        distribution. Cost as of `log_partition`, of full rules.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> grammar = Scores(jnp.zeros(1), jnp.zeros((1, 2, 2)), jnp.zeros((1, 4, 1)))
        >>> round(float(jnp.exp(entropy(grammar)[0])), 3)
        5.0
    """
    return _sum_over_choices(entropy_terms, with_full_rules(complete(check_scores(scores))))


@jax.jit
def kl(p: Scores, q: Scores) -> jax.Array:
    """Kullback-Leibler divergence ``sum P ln(P / Q)`` of ``q`` from ``p``, as `entropy` goes.

    Source: 004, and the chain rule of relative entropy.

    Args:
        p: the distribution that the mean is over.
        q: the other one, of the same shapes; its lengths are not read.

    Returns:
        ``[B]`` nats, in at least float32; ``inf`` where ``q`` forbids what ``p`` does not, NaN
        where ``p`` forbids everything. Cost as of `log_partition`, of full rules.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> p = Scores(jnp.zeros(1), jnp.zeros((1, 2, 2)), jnp.zeros((1, 3, 1)))
        >>> q = p._replace(rule=p.rule.at[0, 0, 1].set(jnp.log(3.0)))
        >>> round(float(kl(p, q)[0]), 4)
        0.1438
    """
    p = check_scores(p, "p")
    q = alike(q, "q", p)

    def terms(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
        lost = (log_q == -jnp.inf) & (log_p > -jnp.inf)
        return jnp.where(lost, jnp.inf, kl_terms(log_p, log_q))

    return _sum_over_choices(terms, *(with_full_rules(complete(own)) for own in (p, q)))


def _weighted(p: jax.Array, values: jax.Array) -> jax.Array:
    """``p v``, 0 where ``p`` is."""
    return jnp.where(p == 0, 0, p * jnp.where(p == 0, 0, values))


def _sum_over_choices(f, parts: Parts, *others: Parts) -> jax.Array:
    """``f`` of the conditional distributions from the root down, each in proportion.

    ``h(i, j, a)``, the sum below a phrase, goes from short spans to long ones beside ``I``.
    """
    if no_tree(parts):
        return jnp.where(of_none(parts).whole == 0, 0, jnp.nan)
    every = (parts, *others)
    first = [inside.initial(own) for own in every]
    size, rows = first[0].left.whole.shape[:2]
    n, m = parts.root.whole.shape[0], parts.rule.whole.shape[1]
    h_left = jnp.zeros_like(first[0].left.whole)
    h_right = jnp.zeros_like(first[0].right.whole)
    h_phrases = jnp.zeros_like(first[0].phrases.whole)

    def sweep(carry, width):
        runs, h_left, h_right, h_phrases = carry
        of_splits, of_rules, new = [], [], []
        for own, ran in zip(every, runs):
            splits, e, value = inside.step(own, ran, width)
            ways = add(at(inside.factors(own.rule), None, None), at(e, ..., None, slice(None)))
            of_splits.append(inside.log_given(splits, at(e, None)))
            of_rules.append(inside.log_given(ways, at(value, ..., None)))
            new.append(inside.put(own, ran, width, value))
        corner = size - 1 - width, 0, width, 0
        below = lax.dynamic_slice(h_right, corner, (size, rows, size, m))
        below = lax.collapse(h_left[..., :, None] + below[..., None, :], 3, 5)
        h = f(*of_splits).sum(axis=0) + _weighted(jnp.exp(of_splits[0]), below).sum(axis=0)
        h = f(*of_rules).sum(-1) + _weighted(jnp.exp(of_rules[0]), h[..., None, :]).sum(-1)
        h_phrases = lax.dynamic_update_slice(h_phrases, h[None], (width, 0, 0, 0))
        h = jnp.pad(h, ((0, 0), (0, 0), (0, m - n)))
        h_left = lax.dynamic_update_slice(h_left, h[None], (width, 0, 0, 0))
        h_right = lax.dynamic_update_slice(h_right, h[None], corner)
        return (new, h_left, h_right, h_phrases), None

    carry = first, h_left, h_right, h_phrases
    (runs, _, _, h_phrases), _ = lax.scan(sweep, carry, jnp.arange(2, size))
    logs: list[jax.Array] = []
    totals: list[Nats] = []
    for own, ran in zip(every, runs):
        whole, total = inside.total(own, ran)
        logs.append(inside.log_given(whole, at(total, slice(None), None)))
        totals.append(total)
    h = h_phrases[parts.length, jnp.arange(rows), 0]
    found = f(*logs).sum(axis=1) + _weighted(jnp.exp(logs[0]), h).sum(axis=1)
    found = jnp.where(parts.length == 0, 0, found)
    found = jnp.where(totals[0].whole == -jnp.inf, jnp.nan, found)
    return found + sum(own.bad for own in every)
