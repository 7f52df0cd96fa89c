"""The recursion over all segmentations of a sequence, and its backward pass.

With ``u(s, t, c)`` the score of the tokens ``s .. t`` as one segment of label c, ``K`` tokens at
most, ``a_t[c]`` sums all segmentations of the tokens up to ``t`` whose last segment has label c,
and ``e_s[c]`` all ways to come to a segment of label c that begins at ``s``::

    e_0[c] = start[c],   e_s[c] = ln sum_i exp(a_{s-1}[i] + edge[i, c])
    a_t[c] = ln sum_{k < K} exp(e_{t-k}[c] + u(t - k, t, c))
    ln Z   = ln sum_c exp(a_{n-1}[c] + end[c])

The last K of ``e`` are kept in a window, O(K C) state. The backward pass, with ``G_t[c]`` the
probability that a segment of label c ends at ``t`` and ``H_s[c]`` that one begins at ``s``::

    P(t - k .. t is a segment of label c) = G_t[c] exp(e_{t-k}[c] + u(t - k, t, c) - a_t[c])
    P(i before c at s) = H_s[c] exp(a_{s-1}[i] + edge[i, c] - e_s[c])

sums the first over k into ``H`` and the second over c into ``G``; both are the gradients (source
004, the model marginals theorem). Of every step's states the largest, a whole number, is
subtracted and summed apart, and the rest held as `Nats`: so 100,000 steps and scores of 1e4 are
right in float32.

The forward pass keeps the exponentials of the first, the backward pass finds those of the second
anew: cost O(B T (K C + C^2)), residuals O(B T K C), as the scores.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.nats import Nats, log_sum, log_sum_and_shares
from rntn_jax.crf.semi_markov.scores import Parts
from rntn_jax.ops.logspace import finite_max, logsumexp, long_sum

__all__ = ["Run", "log_partition", "reference", "run", "windows"]


class Run(NamedTuple):
    """States, relative to what was subtracted up to their step."""

    entered: Nats  # e [T, B, C]
    states: Nats  # a [T, B, C]
    subtracted: jax.Array  # [T, B], whole numbers
    last: Nats  # a_{n-1} + end [B, C]
    total: Nats  # ln Z [B]
    shares: Any = None  # [T, K, B, C] of the segments that end at t in a_t; None: not kept


def reference(parts: Parts) -> jax.Array:
    """``ln Z [B]`` by the equations as they stand: the oracle of the rule."""
    span, edge, start, end = (x.value for x in parts[:4])
    tokens, widest, _, _ = span.shape
    entered, states = [start], []
    for t in range(tokens):
        ways = [entered[t - k] + span[t, k] for k in range(min(widest, t + 1))]
        states.append(logsumexp(jnp.stack(ways), axis=0))
        entered.append(logsumexp(states[-1][:, :, None] + edge, axis=1))
    nothing = jnp.zeros_like(start[:, 0])
    wholes = jnp.stack([nothing, *(logsumexp(a + end) for a in states)])
    return wholes[parts.length, jnp.arange(len(parts.length))]


def _plus(x: Nats, y: Nats) -> Nats:
    return Nats(x.whole + y.whole, x.fraction + y.fraction)


def _shift(window: Nats, new: Nats) -> Nats:
    """The newest first, the oldest out."""
    return Nats(*(jnp.concatenate([y[None], x[:-1]]) for x, y in zip(window, new)))


def run(parts: Parts, *, keep_shares: bool = False) -> Run:
    """The recursion from the first token to the last; T, K and C at least 1.

    Args:
        parts: scores, checked.
        keep_shares: whether the shares of segments are kept, for the backward pass.

    Returns:
        States and ln Z.
    """
    span, edge, start, end, length = parts
    tokens, widest, rows, classes = span.whole.shape

    def step(carry, inputs):
        window, last = carry
        t, own = inputs
        a, shares = log_sum_and_shares(_plus(window, own))
        top = lax.stop_gradient(finite_max(a.whole))
        a = Nats(a.whole - top, a.fraction)
        window = Nats(window.whole - top[None], window.fraction)
        e = log_sum(Nats(*(x[:, :, None] + y for x, y in zip(a, edge))), axis=1)
        final = (t == length - 1)[:, None]
        last = Nats(*(jnp.where(final, x, y) for x, y in zip(a, last)))
        return (_shift(window, e), last), (a, e, top[:, 0], shares if keep_shares else None)

    none = jnp.full_like(start.whole, -jnp.inf, shape=(widest - 1, rows, classes))
    window = Nats(*(jnp.concatenate([x[None], y]) for x, y in zip(start, (none, none * 0))))
    window = window._replace(fraction=jnp.where(window.whole == -jnp.inf, 0, window.fraction))
    nothing = jnp.zeros_like(start.whole)
    initial = window, Nats(nothing, nothing)
    (_, last), (a, e, top, shares) = lax.scan(step, initial, (jnp.arange(tokens), span))
    last = _plus(last, end)
    within = jnp.arange(tokens)[:, None] < length[None]
    total = log_sum(last, axis=1)
    whole = total.whole + long_sum(jnp.where(within, top, 0))
    some = (length > 0) | jnp.isnan(whole)
    total = Nats(jnp.where(some, whole, 0), jnp.where(some, total.fraction, 0))
    e = Nats(*(jnp.concatenate([x[None], y[:-1]]) for x, y in zip(start, e)))
    return Run(e, a, top, last, total, shares)


def windows(ran: Run, t: jax.Array, widest: int) -> Nats:
    """``e_{t-k}`` of ``k < K``, ``[K, B, C]``, relative to what ``a_t`` is.

    Args:
        ran: of `run`.
        t: the last token.
        widest: ``K``.

    Returns:
        `Nats` ``[K, B, C]``.
    """
    at = jnp.maximum(t - jnp.arange(widest), 0)
    there = (t - jnp.arange(widest) >= 0)[:, None, None]
    since = jnp.cumsum(jnp.where(there[..., 0], ran.subtracted[at], 0), axis=0)
    whole = ran.entered.whole[at] - since[..., None]
    return Nats(jnp.where(there, whole, -jnp.inf), jnp.where(there, ran.entered.fraction[at], 0))


def log_given(parts: Nats, total: Nats) -> jax.Array:
    """``ln`` of the shares of parts in their sum; ``-inf`` where the sum is."""
    dead = total.whole == -jnp.inf
    whole = parts.whole - jnp.where(dead, 0, total.whole)
    return jnp.where(dead, -jnp.inf, whole + (parts.fraction - total.fraction))


@jax.custom_vjp
def log_partition(parts: Parts) -> Nats:
    """``ln Z [B]``. The cotangent is that of the fraction."""
    return run(parts).total


class _Residuals(NamedTuple):
    edge: Nats
    length: jax.Array
    run: Run


def _log_partition_fwd(parts: Parts) -> tuple[Nats, _Residuals]:
    ran = run(parts, keep_shares=True)
    return ran.total, _Residuals(parts.edge, parts.length, ran)


def _log_partition_bwd(res: _Residuals, cotangent: Nats) -> tuple[Parts]:
    edge, length, ran = res
    tokens, widest, rows, classes = ran.shares.shape
    last = jnp.exp(log_given(ran.last, Nats(*(x[:, None] for x in log_sum(ran.last, axis=1)))))
    some = (length > 0)[:, None]
    last = jnp.where(some, last * cotangent.fraction[:, None], 0)
    whole = lax.stop_gradient(last.sum(axis=1))

    def step(carry, t):
        begun, counts = carry  # what is known of H_{t+1}, H_t .. H_{t-K+2}
        a = Nats(*(x[t] for x in ran.states))
        after = jnp.minimum(t + 1, tokens - 1)
        e = Nats(*(x[after] for x in ran.entered))
        pair = Nats(*(x[:, :, None] + y for x, y in zip(a, edge)))
        inner = (t + 1 < length)[:, None, None]
        share = jnp.exp(log_given(pair, Nats(*(x[:, None] for x in e)))) * begun[0][:, None]
        share = jnp.where(inner, share, 0)
        ended = share.sum(axis=2) + jnp.where((t == length - 1)[:, None], last, 0)
        p = jnp.where((t < length)[None, :, None], ran.shares[t] * ended[None], 0)
        begun = jnp.concatenate([begun[1:], jnp.zeros_like(begun[:1])]) + p
        # One segment holds token t: what rounding adds at every step does not add up.
        held = lax.stop_gradient(begun.sum(axis=(0, 2)))
        scale = jnp.where(held == 0, 1, whole / jnp.where(held == 0, 1, held))
        begun = begun * scale[None, :, None]
        return (begun, counts + share), p

    begun = jnp.zeros_like(last, shape=(widest, rows, classes))
    counts = jnp.zeros_like(last, shape=(rows, classes, classes))
    (begun, counts), p = lax.scan(step, (begun, counts), jnp.arange(tokens), reverse=True)
    cotangents = (p, counts, begun[0], last)
    return (Parts(*(Nats(jnp.zeros_like(g), g) for g in cotangents), None),)  # type: ignore[arg-type]


log_partition.defvjp(_log_partition_fwd, _log_partition_bwd)
