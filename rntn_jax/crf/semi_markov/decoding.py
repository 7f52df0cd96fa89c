"""Segmentations: the best, the best few, and draws; all end in a walk back from the last token."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.nats import Nats, largest
from rntn_jax.crf.semi_markov import forward
from rntn_jax.crf.semi_markov.queries import log_partition, no_choice
from rntn_jax.crf.semi_markov.scores import (
    Parts,
    Scores,
    Segments,
    check_scores,
    complete,
    segments_score,
)
from rntn_jax.ops.logspace import finite_max

__all__ = ["argmax", "sample", "top_k"]


@jax.jit
def argmax(scores: Scores) -> tuple[Segments, jax.Array]:
    """The best segmentation of each row, and its score.

    Args:
        scores: the CRF.

    Returns:
        ``(segments, score [B])``, begins false and labels 0 behind the end. The score's gradient is
        the indicator of the segmentation. Where every segmentation is forbidden the score is
        ``-inf``, where a score is NaN it is NaN, and the segments mean nothing. Cost as of
        `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.zeros((1, 3, 2, 1)).at[0, 1, 1, 0].set(2.0))
        >>> segments, best = argmax(scores)
        >>> segments.begins.tolist(), best.tolist()
        ([[True, True, False]], [2.0])
    """
    segments, best = top_k(scores, 1)
    return Segments(*(x[:, 0] for x in segments)), best[:, 0]


@partial(jax.jit, static_argnames="k")
def top_k(scores: Scores, k: int) -> tuple[Segments, jax.Array]:
    """The ``k`` best segmentations of each row, best first.

    Args:
        scores: the CRF.
        k: how many; static.

    Returns:
        ``(segments [B, k, T], score [B, k])``. Where there are fewer than ``k``, scores at the end
        are ``-inf`` and their segments mean nothing. Cost O(B T (K C + C^2) k log k).

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``k`` is not positive.

    Example:
        >>> scores = Scores(jnp.zeros((1, 2, 2, 1)).at[0, 0, 1, 0].set(2.0))
        >>> segments, best = top_k(scores, 2)
        >>> segments.begins[0].tolist(), best.tolist()
        ([[True, False], [True, True]], [[2.0, 0.0]])
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    scores = check_scores(scores)
    parts = complete(scores)
    rows, tokens = scores.span.shape[:2]
    if no_choice(parts):
        none = jnp.zeros((rows, k, tokens), bool)
        best = log_partition(scores)[:, None]
        best = jnp.where((jnp.arange(k) > 0)[None] & ~jnp.isnan(best), -jnp.inf, best)
        return Segments(none, none.astype(jnp.int32)), best
    segments, possible = _k_best(lax.stop_gradient(parts), k)
    own = jax.vmap(lambda segments: segments_score(parts, segments).value)(segments)
    own = jnp.where(possible, own, -jnp.inf)
    lost = jnp.isnan(parts.span.whole).any(axis=(0, 1, 3)) | jnp.isnan(parts.start.whole).any(1)
    own = jnp.where(lost[None], jnp.nan, own)
    return Segments(*(x.swapaxes(0, 1) for x in segments)), own.T


def _k_best(parts: Parts, k: int) -> tuple[Segments, jax.Array]:
    """Segmentations ``[k, B, T]``, and whether they are possible ``[k, B]``."""
    span, edge, start, end, length = parts
    tokens, widest, rows, classes = span.whole.shape
    rank = jnp.arange(k)

    def step(carry, inputs):
        window, last = carry  # [B, C, K, k], [B, C, k]
        t, own = inputs
        ways = Nats(*(x + jnp.moveaxis(y, 0, 2)[..., None] for x, y in zip(window, own)))
        a, from_width = largest(Nats(*(lax.collapse(x, 2, 4) for x in ways)), k, -1)
        top = finite_max(a.whole, (1, 2))
        a = Nats(a.whole - top, a.fraction)
        window = Nats(window.whole - top[..., None], window.fraction)
        pairs = (x[:, None] + y.swapaxes(1, 2)[..., None] for x, y in zip(a, edge))
        e, from_label = largest(Nats(*(lax.collapse(x, 2, 4) for x in pairs)), k, -1)
        final = (t == length - 1)[:, None, None]
        last = Nats(*(jnp.where(final, x, y) for x, y in zip(a, last)))
        window = Nats(
            *(jnp.concatenate([y[:, :, None], x[:, :, :-1]], axis=2) for x, y in zip(window, e))
        )
        return (window, last), (from_width, from_label)

    shape = rows, classes, widest, k
    first = (jnp.arange(widest)[:, None] == 0) & (rank == 0)[None]
    whole = jnp.where(first[None, None], start.whole[..., None, None], -jnp.inf)
    fraction = jnp.where(first[None, None], start.fraction[..., None, None], 0)
    window = Nats(jnp.broadcast_to(whole, shape), jnp.broadcast_to(fraction, shape))
    last = Nats(*(jnp.zeros_like(x[:, :, 0]) for x in window))
    (_, last), (from_width, from_label) = lax.scan(step, (window, last), (jnp.arange(tokens), span))
    ended = Nats(*(lax.collapse(x + y[..., None], 1, 3) for x, y in zip(last, end)))
    final, at = largest(ended, k, -1)
    row = jnp.arange(rows)

    def width(t, label, rank):
        chosen = from_width[t, row, label, rank]
        return chosen // k, chosen % k

    def label(t, label, rank):
        chosen = from_label[jnp.maximum(t - 1, 0), row, label, rank]
        return chosen // k, chosen % k

    walk = lambda at: _walk_back(width, label, at // k, at % k, length, tokens)
    segments = jax.vmap(walk, in_axes=1)(at)
    # Of a row without tokens, all labels and ranks stand for the one segmentation.
    possible = jnp.where(length[None] > 0, final.whole.T != -jnp.inf, rank[:, None] == 0)
    return segments, possible


Choose = Callable[..., tuple[jax.Array, jax.Array]]


def _walk_back(
    width: Choose, label: Choose, last: jax.Array, rank: jax.Array, length: jax.Array, tokens: int
) -> Segments:
    """A segmentation ``[B, T]``, chosen from the last segment to the first.

    Args:
        width: (t, label, rank) -> the tokens minus 1 of the segment that ends at t, and a rank.
        label: (t, label, rank) -> the label before the segment that begins at t, and a rank.
        last: int ``[B]``, label of the last segment.
        rank: int ``[B]``.
        length: int ``[B]``.
        tokens: ``T``.
    """

    def step(carry, t):
        own, rank, left = carry  # left: tokens of the segment before this one, -1 at its end
        real = t < length
        new_left, new_rank = width(t, own, rank)
        ends = real & (left < 0)
        left, rank = jnp.where(ends, new_left, left), jnp.where(ends, new_rank, rank)
        begins = real & (left == 0)
        before, before_rank = label(t, own, rank)
        after = jnp.where(begins, before, own), jnp.where(begins, before_rank, rank)
        out = Segments(begins, jnp.where(real, own, 0))
        return (*after, jnp.where(real, left - 1, left)), out

    last, rank = last.astype(jnp.int32), rank.astype(jnp.int32)
    initial = last, rank, jnp.full_like(last, -1)
    _, found = lax.scan(step, initial, jnp.arange(tokens, dtype=jnp.int32), reverse=True)
    return Segments(*(x.T for x in found))


@partial(jax.jit, static_argnames="num_samples")
def sample(key: jax.Array, scores: Scores, num_samples: int) -> Segments:
    """Draws segmentations from the distribution: forward filtering, backward sampling.

    Args:
        key: a PRNG key.
        scores: the CRF.
        num_samples: segmentations to draw of each row, independently; static.

    Returns:
        Segments ``[num_samples, B, T]``; where every segmentation is forbidden, or a score is NaN,
        they mean nothing. Cost as of `log_partition`, and O(B T (K + C)) for each sample.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``num_samples`` is negative.

    Example:
        >>> scores = Scores(jnp.zeros((1, 2, 2, 1)).at[0, 0, 1, 0].set(-jnp.inf))
        >>> sample(jax.random.key(0), scores, 2).begins.tolist()
        [[[True, True]], [[True, True]]]
    """
    if num_samples < 0:
        raise ValueError(f"num_samples must not be negative, got {num_samples}")
    scores = check_scores(lax.stop_gradient(scores))
    parts = complete(scores)
    rows, tokens = scores.span.shape[:2]
    if no_choice(parts) or num_samples == 0:
        none = jnp.zeros((num_samples, rows, tokens), bool)
        return Segments(none, none.astype(jnp.int32))
    ran, row = forward.run(parts), jnp.arange(rows)

    def draw(key, step, x: Nats):
        logits = (x.whole - finite_max(x.whole)) + x.fraction
        found = jax.random.categorical(jax.random.fold_in(key, step), logits)
        return found.astype(jnp.int32), jnp.zeros_like(found, jnp.int32)

    def one(key):
        def width(t, label, _):
            window = forward.windows(ran, t, parts.span.whole.shape[1])
            ways = Nats(*((x + y[t])[:, row, label].T for x, y in zip(window, parts.span)))
            return draw(key, 2 * t, ways)

        def label(t, label, _):
            a = Nats(*(x[jnp.maximum(t - 1, 0)] for x in ran.states))
            return draw(
                key, 2 * t + 1, Nats(*(x + y[row, :, label] for x, y in zip(a, parts.edge)))
            )

        last, rank = draw(key, 2 * tokens, ran.last)
        return _walk_back(width, label, last, rank, parts.length, tokens)

    return jax.vmap(one)(jax.random.split(key, num_samples))
