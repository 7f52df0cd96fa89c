"""The inside recursion over all binary trees of a sentence, and its backward pass.

A tree over ``n`` words is the set of its ``2 n - 1`` spans, of which those of one word score 0
unless there are labels; its score is the sum of theirs. For all trees over the words
``i .. j - 1``::

    I(i, j) = s(i, j) + ln sum_k exp(I(i, k) + I(k, j)),   I(t, t + 1) = s(t, t + 1)
    ln Z    = I(0, n)

With labels ``s(i, j) = ln sum_c exp s(i, j, c)``, the labels of a tree's spans being independent.

from short spans to long ones. The backward pass goes from long to short, ``g(0, n) = 1``, and adds
to both parts of each split the probability of the span times that of the split given the span::

    P(k | i, j) = exp(I(i, k) + I(k, j) + s(i, j) - I(i, j))
    g(i, k), g(k, j) += g(i, j) P(k | i, j)

These are the marginals, ``g(i, j) = P(i .. j - 1 is a span)``, and the gradient of ``ln Z`` (source
004, the model marginals theorem).

Nothing is kept of single splits, so memory is O(T^2) a sentence where autodiff of the recursion
takes O(T^3). How float32 stays right over +-1e4: see `rntn_jax.crf.nats`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.constituency.tables import (
    Tables,
    initial_tables,
    of_widths,
    segments,
    sums_of_parts,
    whole_sentences,
    widen,
)
from rntn_jax.crf.nats import Nats, to_nats
from rntn_jax.ops.logspace import finite_max, logsumexp, safe_log

__all__ = ["log_conditionals", "log_partition", "reference", "sum_over_splits", "sweep"]


def reference(s: jax.Array, length: jax.Array) -> jax.Array:
    """``ln Z [B]`` by the equation as it stands: the oracle of the rule.

    Args:
        s: ``[T + 1, B, T + 1]``, of the span of width w from i at ``[w, :, i]``, words among them.
        length: int ``[B]``.

    Returns:
        ``[B]`` nats.
    """
    size = len(s)
    table = {(i, i + 1): s[1, :, i] for i in range(size - 1)}
    for width in range(2, size):
        for i in range(size - width):
            splits = [table[i, k] + table[k, i + width] for k in range(i + 1, i + width)]
            table[i, i + width] = s[width, :, i] + logsumexp(jnp.stack(splits), axis=0)
    nothing = jnp.zeros_like(s[0, :, 0])
    wholes = jnp.stack([table[0, width] if width else nothing for width in range(size)])
    return wholes[length, jnp.arange(len(length))]


def _sum_splits(parts: Nats, own: Nats) -> Nats:
    """``I`` of the spans of one width."""
    top = finite_max(parts.whole, axis=0)
    total = jnp.exp((parts.whole - top) + parts.fraction).sum(axis=0)
    return to_nats(safe_log(total) + own.fraction, top[0] + own.whole)


def sweep(s: Nats) -> Tables:
    """``I`` of all spans, from those of two words up."""
    size, batch, _ = s.whole.shape

    def step(segment, tables: Tables, inputs):
        width, own = inputs
        value = _sum_splits(sums_of_parts(tables, width, segment), own)

        def put(at, table, value):
            return lax.dynamic_update_slice(table, value[None], at)

        by_begin = map(partial(put, (width, 0, 0)), tables.by_begin, value)
        by_end = map(partial(put, (size - 1 - width, 0, width)), tables.by_end, value)
        return Tables(Nats(*by_begin), Nats(*by_end)), None

    tables = initial_tables(s)
    for lo, hi in segments(size, batch):
        inputs = jnp.arange(lo, hi), of_widths(s, (lo, hi))
        tables, _ = lax.scan(partial(step, (lo, hi)), tables, inputs)
    return tables


def log_conditionals(parts: Nats, value: Nats, own: Nats) -> jax.Array:
    """``ln P(k | i, j)`` of the splits of spans, ``-inf`` where there is no split or no tree.

    Args:
        parts: of each split the sum of both parts, ``[splits, ...]``.
        value: ``I`` of the spans, ``[...]``.
        own: their scores, ``[...]``.

    Returns:
        ``[splits, ...]``, of which the exponentials sum to 1 over splits.
    """
    alive = value.whole != -jnp.inf
    whole = jnp.where(alive, value.whole - jnp.where(alive, own.whole, 0), jnp.inf)
    return (parts.whole - whole[None]) + (parts.fraction - (value.fraction - own.fraction)[None])


@jax.custom_vjp
def log_partition(s: Nats, length: jax.Array) -> Nats:
    """``ln Z``; cotangents are those of fractions. Gradient: the marginals.

    Residuals: the arguments and the tables, O(B T^2).

    Args:
        s: ``[T + 1, B, T + 1]``, of the span of width w from i at ``[w, :, i]``.
        length: int ``[B]``.

    Returns:
        `Nats` ``[B]``, ``-inf`` where every tree is forbidden. Cost O(B T^3).
    """
    return whole_sentences(sweep(s), length)


class _LogPartitionResiduals(NamedTuple):
    s: Nats  # [T + 1, B, T + 1]
    length: jax.Array  # [B]
    tables: Tables


def _log_partition_fwd(s: Nats, length: jax.Array) -> tuple[Nats, _LogPartitionResiduals]:
    tables = sweep(s)
    return whole_sentences(tables, length), _LogPartitionResiduals(s, length, tables)


def _log_partition_bwd(res: _LogPartitionResiduals, cotangent: Nats) -> tuple[Nats, None]:
    s, length, tables = res
    size, batch, _ = s.whole.shape
    whole = jnp.maximum(length, 1), jnp.arange(batch), 0
    value = tables.by_begin.whole[whole]
    # 0 where every tree is forbidden, NaN where a score is.
    g = jnp.where(value == -jnp.inf, 0, cotangent.fraction + (value - value))
    at_begin = jnp.zeros_like(tables.by_begin.whole).at[whole].set(g)
    at_end = jnp.zeros_like(tables.by_end.whole)

    def reached(at_begin, at_end, width, columns):
        """``g`` of the spans of this width, to which nothing more will be added."""
        begin = lax.dynamic_slice(at_begin, (width, 0, 0), (1, batch, columns))
        corner = size - 1 - width, 0, width
        return (begin + lax.dynamic_slice(at_end, corner, begin.shape))[0]

    def step(segment, carry, inputs):
        at_begin, at_end, here = carry
        width, own, value = inputs
        parts = sums_of_parts(tables, width, segment)
        share = jnp.exp(log_conditionals(parts, value, own)) * here[None]
        corner = size - 1 - width, 0, width
        before = lax.dynamic_slice(at_end, corner, share.shape)
        at_end = lax.dynamic_update_slice(at_end, before + share, corner)
        before = at_begin[: len(share), :, : here.shape[1]]
        at_begin = lax.dynamic_update_slice(at_begin, before + share, (0, 0, 0))
        # The next row is read here, so that the tables are only written to above: in place.
        below = reached(at_begin, at_end, width - 1, here.shape[1])
        return (at_begin, at_end, below), here

    found = []
    for lo, hi in segments(size, batch)[::-1]:
        inputs = jnp.arange(lo, hi), *of_widths((s, tables.by_begin), (lo, hi))
        carry = at_begin, at_end, reached(at_begin, at_end, hi - 1, size - lo)
        (at_begin, at_end, _), here = lax.scan(partial(step, (lo, hi)), carry, inputs, reverse=True)
        found.append(widen(here, size))
    words = widen(reached(at_begin, at_end, 1, size - 1)[None], size)
    grad = jnp.concatenate([jnp.zeros_like(words), words, *found[::-1]])
    return Nats(jnp.zeros_like(grad), grad), None


log_partition.defvjp(_log_partition_fwd, _log_partition_bwd)


def _near_one(log_p: jax.Array) -> jax.Array:
    """``ln p`` of splits, of one above a half by what the others leave: right to all digits."""
    likely = log_p > -0.69
    others = jnp.where(likely, 0, jnp.exp(log_p)).sum(axis=0)
    return jnp.where(likely, jnp.log1p(-jnp.minimum(others, 0.75))[None], log_p)


def sum_over_splits(f: Callable[..., jax.Array], *distributions: tuple[Nats, Tables]) -> jax.Array:
    """Something of the splits of each span, ``[T + 1, B, T + 1]`` by width and begin.

    Args:
        f: gets ``ln P(k | i, j)`` of one width under each of the distributions, ``[splits, B, I]``,
            and returns ``[B, I]``.
        distributions: ``s`` as in `log_partition`, and its `sweep`.

    Returns:
        0 for widths below two. Cost O(B T^3); its gradient keeps one width's splits at a time.
    """
    size, batch, _ = distributions[0][0].whole.shape

    @partial(jax.checkpoint, static_argnums=0)
    def step(segment, tables, inputs):
        width, spans = inputs
        logs = [
            _near_one(log_conditionals(sums_of_parts(own, width, segment), value, score))
            for own, (value, score) in zip(tables, spans, strict=True)
        ]
        return f(*logs)

    tables = [own for _, own in distributions]
    spans = [(own.by_begin, s) for s, own in distributions]
    found = [jnp.zeros_like(distributions[0][0].fraction[:2])]
    for lo, hi in segments(size, batch):
        inputs = jnp.arange(lo, hi), of_widths(spans, (lo, hi))
        found.append(widen(lax.map(partial(step, (lo, hi), tables), inputs), size))
    return jnp.concatenate(found)
