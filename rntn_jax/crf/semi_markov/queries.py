"""Semi-Markov CRFs: an exponential softmax over all segmentations of a sequence.

A segmentation cuts the tokens into segments of up to K, each with a label; it scores the sum of its
segments' scores, and of the transitions from each label to the next, and has probability
``exp(score - ln Z)`` (source 004; Sarawagi and Cohen 2004). Every question about that distribution
is a function of `Scores`; rows are sequences. With K = 1 it is `rntn_jax.crf.chain`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf import expectations
from rntn_jax.crf.nats import Nats, log_sum
from rntn_jax.crf.semi_markov import forward
from rntn_jax.crf.semi_markov.scores import (
    Parts,
    Scores,
    Segments,
    by_end,
    check_scores,
    check_segments,
    complete,
    segments_score,
)
from rntn_jax.ops.checks import check
from rntn_jax.ops.logspace import entropy_terms, kl_terms
from rntn_jax.ops.varying import vary_like

__all__ = [
    "entropy",
    "expected_score",
    "kl",
    "log_partition",
    "log_prob",
    "marginals",
    "no_choice",
    "score",
]


@jax.jit
def log_partition(scores: Scores) -> jax.Array:
    """``ln`` of the sum over all segmentations of ``exp`` of their scores.

    Gradient: the marginals (model marginals theorem, 004).

    Args:
        scores: the CRF.

    Returns:
        ``[B]`` nats, in at least float32; 0 for rows of no token, ``-inf`` where every segmentation
        is forbidden. Cost O(B T (K C + C^2)); residuals O(B T C) beside the scores.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.zeros((1, 3, 3, 1)))  # 1+1+1, 1+2, 2+1, 3 tokens
        >>> round(float(jnp.exp(log_partition(scores)[0])), 4)
        4.0
    """
    return _rule(complete(check_scores(scores))).value


def no_choice(parts: Parts) -> bool:
    """Whether there is no token, no width or no label: 0 segmentations a row or 1."""
    return 0 in (*parts.span.whole.shape[:2], parts.span.whole.shape[3])


def _rule(parts: Parts) -> Nats:
    """``ln Z [B]``."""
    if no_choice(parts):
        lost = jnp.isnan(parts.start.whole).any(axis=1) | jnp.isnan(parts.end.whole).any(axis=1)
        whole = jnp.where(parts.length > 0, -jnp.inf, 0).astype(parts.span.whole.dtype)
        whole = jnp.where(lost, jnp.nan, whole)
        return Nats(whole, jnp.zeros_like(whole))
    return forward.log_partition(parts)


@jax.jit
def score(scores: Scores, segments: Segments) -> jax.Array:
    """Scores of segmentations: ``s(y)`` of source 004.

    Args:
        scores: the CRF.
        segments: one segmentation a row; a segment's label is that of its first token. Tokens
            behind the end may hold anything.

    Returns:
        ``[B]`` nats, in at least float32; NaN where the first token begins no segment or a label is
        outside ``0 .. C - 1``, ``-inf`` where a segment is longer than K. Cost O(B T).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.ones((1, 3, 2, 2)), edge=jnp.array([[0.0, 5.0], [0.0, 0.0]]))
        >>> begins, labels = jnp.array([[True, False, True]]), jnp.array([[0, 0, 1]])
        >>> score(scores, Segments(begins, labels)).tolist()
        [7.0]
    """
    scores = check_scores(scores)
    segments = check_segments(segments, scores.span)
    parts = complete(scores, False)
    if no_choice(parts):
        return jnp.where(parts.length > 0, jnp.nan, _rule(parts).whole)
    return segments_score(parts, segments).value


@jax.jit
def log_prob(scores: Scores, segments: Segments) -> jax.Array:
    """Log-probability of one segmentation a row; its negative is the training loss.

    Gradient: indicators of the segmentation minus marginals.

    Source: 004, L and the model marginals theorem (of ``-log_prob``).

    Args:
        scores: the CRF.
        segments: as `score` takes them.

    Returns:
        ``[B]`` nats, ``-inf`` where the segmentation is forbidden. Cost as of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> begins, labels = jnp.array([[True, False, True]]), jnp.zeros((1, 3), int)
        >>> nats = log_prob(Scores(jnp.zeros((1, 3, 3, 1))), Segments(begins, labels))
        >>> round(float(jnp.exp(nats)[0]), 4)
        0.25
    """
    scores = check_scores(scores)
    segments = check_segments(segments, scores.span)
    parts = complete(scores)
    total = _rule(parts)
    if no_choice(parts):
        return jnp.where(parts.length > 0, jnp.nan, total.whole)
    own = segments_score(parts, segments)
    whole = own.whole - jnp.where(total.whole == -jnp.inf, 0, total.whole)
    return expectations.log_prob(whole + own.fraction, total.fraction)


@jax.jit
def marginals(scores: Scores) -> Scores:
    """Probabilities of segments and transitions, in the container of the scores.

    The gradient of ``log_partition(scores).sum()``.

    Source: 004, the model marginals theorem.

    Args:
        scores: the CRF.

    Returns:
        ``span[b, t, k, c] = P(t .. t + k is a segment of label c)``; ``edge``, ``start`` and
        ``end`` are expected counts, summed over rows, None where they are. 0 where not read, and in
        rows where every segmentation is forbidden. Cost as of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> marginals(Scores(jnp.zeros((1, 2, 2, 1)))).span[0, :, :, 0].tolist()
        [[0.5, 0.5], [0.5, 0.0]]
    """
    length, parts = scores.length, vary_like(scores._replace(length=None), scores.length)
    total = lambda parts: log_partition(parts._replace(length=length)).sum()
    return jax.grad(total)(jax.tree.map(jnp.asarray, parts))._replace(length=length)


def _likely(parts: Parts) -> tuple[Nats, Parts]:
    """``ln Z``, and marginals of each row: spans by their last token."""

    def of_floats(span, edge, start, end):
        return _rule(Parts(span, edge, start, end, parts.length))

    total, pull = jax.vjp(of_floats, *vary_like(parts[:4], parts.length))
    ones = Nats(jnp.zeros_like(total.whole), jnp.ones_like(total.fraction))
    span, edge, start, end = pull(ones)
    return total, Parts(span, edge, start, end, parts.length)


@jax.jit
def expected_score(scores: Scores, values: Scores) -> jax.Array:
    """Mean of another score under the distribution: expected costs, features, risks.

    Computes ``sum_y P(y) v(y)``, ``v(y)`` being ``score(values, y)``. What has probability 0 counts
    0, whatever its value; ``-inf`` of positive probability makes the mean ``-inf``.

    Source: 004, the model marginals theorem.

    Args:
        scores: the distribution.
        values: the other score, of the same shapes; its lengths are not read.

    Returns:
        ``[B]``, in at least float32; NaN where every segmentation is forbidden, there being no
        distribution. Cost as of `marginals`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.zeros((1, 2, 2, 1)))
        >>> expected_score(scores, Scores(jnp.ones((1, 2, 2, 1)))).tolist()
        [1.5]
    """
    scores = check_scores(scores)
    values = _alike(values, "values", scores)
    parts = complete(scores)
    if no_choice(parts):
        return jnp.where(_rule(parts).whole == 0, 0, jnp.nan)
    total, p = _likely(parts)
    over, shared = expectations.weighted_sum, values[1:4]
    read = p.span.fraction != 0
    mean = over(p.span.fraction, jnp.where(read, by_end(values.span), 0), (0, 1, 3))
    for own, value in zip(p[1:4], shared):
        mean = mean + over(own.fraction, value[None], tuple(range(1, own.fraction.ndim)))
    return jnp.where(total.whole == -jnp.inf, jnp.nan, mean)


def _alike(scores: Scores, name: str, like: Scores) -> Scores:
    """Another CRF of the same shapes, with these lengths."""
    scores = check_scores(scores._replace(length=like.length), name)
    check(f"{name}.span", scores.span, "float", "B T K C", dict(zip("BTKC", like.span.shape)))
    return scores


@jax.jit
def entropy(scores: Scores) -> jax.Array:
    """Entropy ``-sum P ln P`` of the distribution over segmentations.

    Computes, by the chain rule, the entropies of the choices from the last segment back, each
    weighted by its probability: sums of what is positive, however large the scores.

    Source: 004, the model marginals theorem, and the chain rule of entropy.

    Args:
        scores: the CRF.

    Returns:
        ``[B]`` nats, in at least float32; NaN where every segmentation is forbidden, there being no
        distribution. Cost as of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> round(float(jnp.exp(entropy(Scores(jnp.zeros((1, 3, 3, 1))))[0])), 4)
        4.0
    """
    parts = complete(check_scores(scores))
    return _sum_over_choices(lambda log_p: entropy_terms(log_p), parts)


@jax.jit
def kl(p: Scores, q: Scores) -> jax.Array:
    """Kullback-Leibler divergence ``sum P ln(P / Q)`` of ``q`` from ``p``, as `entropy` goes.

    Source: 004, the model marginals theorem, and the chain rule of relative entropy.

    Args:
        p: the distribution that the mean is over.
        q: the other one, of the same shapes; its lengths are not read.

    Returns:
        ``[B]`` nats, in at least float32; ``inf`` where ``q`` forbids what ``p`` does not, NaN
        where ``p`` forbids everything. Cost as of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> p = Scores(jnp.zeros((1, 2, 2, 1)))
        >>> q = Scores(jnp.zeros((1, 2, 2, 1)).at[0, 0, 1].set(jnp.log(3.0)))
        >>> round(float(kl(p, q)[0]), 4)
        0.1438
    """
    p = check_scores(p, "p")
    q = _alike(q, "q", p)

    def terms(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
        lost = (log_q == -jnp.inf) & (log_p > -jnp.inf)
        return jnp.where(lost, jnp.inf, kl_terms(log_p, log_q))

    return _sum_over_choices(terms, complete(p), complete(q))


def _sum_over_choices(f, parts: Parts, *others: Parts) -> jax.Array:
    """``f`` of the conditional distributions from the last segment back, each in proportion."""
    if no_choice(parts):
        total = _rule(parts).whole
        return jnp.where(total == -jnp.inf, jnp.nan, total)
    (total, p), every = _likely(parts), (parts, *others)
    runs = [forward.run(own) for own in every]
    widest, length = parts.span.whole.shape[1], parts.length
    ends, begins = p.span.fraction.sum(axis=1), _begins(p.span.fraction)

    def weighted(p: jax.Array, logs: list[jax.Array], axis: int) -> jax.Array:
        found = f(*logs).sum(axis=axis)
        return jnp.where(p == 0, 0, p * jnp.where(p == 0, 0, found)).sum(axis=-1)

    @jax.checkpoint
    def step(t):
        widths, labels = [], []
        for own, ran in zip(every, runs):
            a = Nats(*(x[t] for x in ran.states))
            now = Nats(*(x + y[t] for x, y in zip(forward.windows(ran, t, widest), own.span)))
            widths.append(forward.log_given(now, Nats(*(x[None] for x in a))))
            e = Nats(*(x[jnp.minimum(t + 1, len(ends) - 1)][:, None] for x in ran.entered))
            pair = Nats(*(x[:, :, None] + y for x, y in zip(a, own.edge)))
            labels.append(forward.log_given(pair, e))
        return weighted(ends[t], widths, 0) + weighted(begins[t + 1], labels, 1)

    found = lax.map(step, jnp.arange(len(ends))).sum(axis=0)
    last = [forward.log_given(x.last, _over_labels(x.last)) for x in runs]
    some = (length > 0).astype(found.dtype)[:, None]
    found = found + weighted(some, [x[:, :, None] for x in last], 1)
    found = jnp.where(jnp.isnan(total.whole), jnp.nan, found)
    return jnp.where(total.whole == -jnp.inf, jnp.nan, found)


def _over_labels(x: Nats) -> Nats:
    return Nats(*(y[:, None] for y in log_sum(x, axis=1)))


def _begins(p: jax.Array) -> jax.Array:
    """``H [T + 1, B, C]``: that a segment of a label begins there; 0 at the end."""
    tokens, widest = p.shape[:2]
    last = jnp.arange(tokens)[:, None] + jnp.arange(widest)[None]
    found = p[jnp.minimum(last, tokens - 1), jnp.arange(widest)[None]]
    found = jnp.where((last < tokens)[..., None, None], found, 0).sum(axis=1)
    return jnp.concatenate([found, jnp.zeros_like(found[:1])])
