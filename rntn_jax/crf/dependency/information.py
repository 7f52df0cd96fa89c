"""Entropy and divergence of distributions over dependency trees."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf import expectations
from rntn_jax.crf.dependency import chain_rule, elimination
from rntn_jax.crf.dependency.queries import alike, of_a_kind, rule
from rntn_jax.crf.dependency.scores import Scores, check_scores, readable, without_labels
from rntn_jax.crf.nats import Nats
from rntn_jax.ops.logspace import entropy_terms, finite_max, kl_terms, log_normalize
from rntn_jax.ops.varying import vary_like

__all__ = ["entropy", "kl"]


@of_a_kind
def entropy(scores: Scores, *, projective: bool = True, single_root: bool = True) -> jax.Array:
    """Entropy ``-sum P ln P`` of the distribution over trees.

    Of all trees, by elimination along which the entropies of choices are added up, without scores
    (`rntn_jax.crf.dependency.chain_rule`): its error does not grow with them. Of projective ones,
    ``ln Z - E[s(tree)]`` of scores from which each word's likeliest arc is subtracted: so what is
    added is small where the distribution has a clear opinion, and where it has none, scores are;
    the error is that of the marginals times the differences of scores of likely arcs.

    Source: 004, the model marginals theorem.

    Args:
        scores: of arcs.
        projective: whether arcs may not cross.
        single_root: whether one word hangs from the root.

    Returns:
        ``[B]`` nats, in at least float32; NaN where every tree is forbidden, there being no
        distribution. Cost O(B T^3).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.zeros((1, 4, 4)), jnp.array([3]))
        >>> round(float(jnp.exp(entropy(scores)[0])), 3)
        7.0
    """
    arc, length = readable(*check_scores(scores)[:2])
    total, p, best = _likely(arc, length, projective, single_root)
    if projective or arc.whole.shape[1] == 1:
        mean = expectations.weighted_sum(p, _relative(arc, best).value, (1, 2, 3))
        found = _without(total, arc, best, length).value - mean
    else:
        own = elimination.complete(without_labels(arc), length)
        found = -chain_rule.divergence(own, None, single_root)
        found = found + _mean_over_labels(p, entropy_terms(_log_labels(arc)))
        found = found + (total.whole - total.whole)  # NaN where a score is
    return jnp.where(total.whole == -jnp.inf, jnp.nan, found)


@of_a_kind
def kl(p: Scores, q: Scores, *, projective: bool = True, single_root: bool = True) -> jax.Array:
    """Kullback-Leibler divergence ``sum P ln(P / Q)`` of ``q`` from ``p``.

    Of all trees as `entropy` does it; of projective ones ``ln Z_q - ln Z_p + E_p[s_p(tree) -
    s_q(tree)]``, of scores as `entropy` takes them.

    Source: 004, the model marginals theorem.

    Args:
        p: the distribution that the mean is over.
        q: the other one, of the same shape; it is over the sentences of ``p``, and its lengths are
            not read.
        projective: whether arcs may not cross.
        single_root: whether one word hangs from the root.

    Returns:
        ``[B]`` nats, in at least float32; ``inf`` where ``q`` forbids what ``p`` does not, NaN
        where ``p`` forbids every tree. Cost O(B T^3).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> p = Scores(jnp.zeros((1, 3, 3)), jnp.array([2]))
        >>> q = p._replace(arc=jnp.zeros((1, 3, 3)).at[0, 0, 1].set(jnp.log(3.0)))
        >>> round(float(kl(p, q)[0]), 4)
        0.1438
    """
    arc, length, _ = check_scores(p, "p")
    arc, other, length = vary_like((arc, alike(q, "q", arc), length))
    other, _ = readable(other, length)
    arc, length = readable(arc, length)
    total, likely, best = _likely(arc, length, projective, single_root)
    its_total = rule(without_labels(other), length, projective, single_root)
    ours, theirs = _relative(arc, best), _relative(other, best)
    lost = (theirs.whole == -jnp.inf) & (likely > 0)
    lost = lost.any(axis=(1, 2, 3)) | (its_total.whole == -jnp.inf)
    if projective or arc.whole.shape[1] == 1:
        usable = (ours.whole > -jnp.inf) & (theirs.whole > -jnp.inf)
        whole = jnp.where(usable, ours.whole, 0) - jnp.where(usable, theirs.whole, 0)
        difference = whole + jnp.where(usable, ours.fraction - theirs.fraction, 0)
        mean = expectations.weighted_sum(likely, difference, (1, 2, 3))
        ours = _without(total, arc, best, length)
        theirs = _without(its_total, other, best, length)
        whole = jnp.where(lost, 0, theirs.whole)
        whole = whole - jnp.where(total.whole == -jnp.inf, 0, ours.whole)
        found = whole + (theirs.fraction - ours.fraction) + mean
    else:
        own, its = (elimination.complete(without_labels(x), length) for x in (arc, other))
        found = chain_rule.divergence(own, its, single_root)
        labels = _log_labels(arc), _log_labels(other)
        never = (labels[1] == -jnp.inf) & (labels[0] != -jnp.inf)
        found = found + _mean_over_labels(likely, jnp.where(never, 0, kl_terms(*labels)))
        zero = jnp.where(lost, 0, its_total.whole) + total.whole
        found = found + (zero - zero)  # NaN where a score is
    lost &= ~jnp.isnan(found) & ~jnp.isnan(likely).any(axis=(1, 2, 3))
    found = jnp.where(lost, jnp.inf, found)
    return jnp.where(total.whole == -jnp.inf, jnp.nan, found)


def _likely(arc: Nats, length: jax.Array, projective: bool, single_root: bool) -> Any:
    """``ln Z [B]``, marginals ``[B, T + 1, T + 1, R]``, and each word's likeliest arc, of these."""
    of_arcs = lambda arc: rule(without_labels(arc), length, projective, single_root)
    total, pull = jax.vjp(of_arcs, vary_like(arc, length))
    p = pull(Nats(jnp.zeros_like(total.whole), jnp.ones_like(total.whole)))[0].fraction
    p = jnp.where(arc.whole == -jnp.inf, 0, p)
    by_word = lax.collapse(p.swapaxes(1, 2), 2, 4)
    best = jnp.argmax(lax.stop_gradient(by_word), axis=2)
    return total, p, best


def _log_labels(arc: Nats) -> jax.Array:
    """``ln P(label | arc)``, of the shape of the scores; ``-inf`` where the arc is forbidden."""
    return log_normalize((arc.whole - finite_max(arc.whole, axis=3)) + arc.fraction, axis=3)


def _mean_over_labels(p: jax.Array, terms: jax.Array) -> jax.Array:
    """Sums ``[B]`` over arcs, each with its probability, of what their labels add."""
    return (p.sum(axis=3) * terms.sum(axis=3)).sum(axis=(1, 2))


def _of_best(arc: Nats, best: jax.Array) -> Nats:
    """Scores ``[B, T + 1]`` of an arc of each word, 0 where forbidden."""
    found = []
    for x in arc:
        by_word = lax.collapse(x.swapaxes(1, 2), 2, 4)
        found.append(jnp.take_along_axis(by_word, best[..., None], axis=2)[..., 0])
    forbidden = found[0] == -jnp.inf
    return Nats(*(jnp.where(forbidden, 0, x) for x in found))


def _relative(arc: Nats, best: jax.Array) -> Nats:
    """Scores minus those of an arc of each word."""
    own = _of_best(arc, best)
    parts = (x - y[:, None, :, None] for x, y in zip(arc, own))
    return Nats(*parts)


def _without(total: Nats, arc: Nats, best: jax.Array, length: jax.Array) -> Nats:
    """``ln Z`` minus the scores of an arc of each word."""
    own = _of_best(arc, best)
    real = jnp.arange(own.whole.shape[1])[None] <= length[:, None]
    return Nats(*(x - jnp.where(real, y, 0).sum(axis=1) for x, y in zip(total, own)))
