"""The inside recursion over all parses of a sentence, and its backward pass.

With ``u`` the scores of rules, for all parses of the words ``i .. j - 1`` whose root is ``a``, a
word being one of the preterminals ``p`` with its score::

    E(i, j, b, c) = ln sum_k exp(I(i, k, b) + I(k, j, c))
    I(i, j, a)    = ln sum_bc exp(u(a, b, c) + E(i, j, b, c)),   I(t, t + 1, p) = terminal(t, p)
    ln Z          = ln sum_a exp(root(a) + I(0, n, a))

from short spans to long ones (Baker 1979; Lari and Young 1990). The backward pass goes from long
to short, with ``g(i, j, a) = P(i .. j - 1 is a phrase of label a)``::

    P(a -> b c over i .. j - 1) = g(i, j, a) exp(u(a, b, c) + E(i, j, b, c) - I(i, j, a))
    P(b c, split at k) = sum_a P(a -> b c over i .. j - 1)
                         exp(I(i, k, b) + I(k, j, c) - E(i, j, b, c))

whose sums are the ``g`` of the parts, and, over all spans, the expected numbers of uses of each
rule, the gradient (source 004, the model marginals theorem; the E-step of inside-outside).

Rules of low rank, ``exp u(a, b, c) = sum_r exp(f(a, r) + l(b, r) + h(c, r))``, need no sum over
pairs: with ``L(i, k, r) = ln sum_b exp(l(b, r) + I(i, k, b))``, likewise of ``h`` on the right::

    E(i, j, r) = ln sum_k exp(L(i, k, r) + H(k, j, r))
    I(i, j, a) = ln sum_r exp(f(a, r) + E(i, j, r))

so that a span costs O(T R + (2 N + P) R) in place of O(T M^2 + N M^2) with ``M = N + P``. All sums
are of logarithms held as `Nats`, so that float32 is right over +-1e4 whatever rules are forbidden.
Nothing is kept of single splits or rules of a span: residuals are O(B T^2 M).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.grammar.scores import LowRank, Parts, full_rules
from rntn_jax.crf.nats import Nats, log_sum
from rntn_jax.ops.logspace import logsumexp

__all__ = [
    "Run",
    "add",
    "combine",
    "factors",
    "initial",
    "log_given",
    "log_partition",
    "parts_of",
    "project",
    "put",
    "reference",
    "run",
    "step",
    "total",
]


class Run(NamedTuple):
    """What is known of spans: as left parts by begin, as right parts by end."""

    left: Nats  # [T + 1, B, T + 1, X]: of width w from i, at [w, :, i]; X: symbols, or ranks
    right: Nats  # [2 T + 1, B, 2 T + 1, X]: of width w to j, at [T - w, :, j]
    phrases: Nats  # I [T + 1, B, T + 1, N], by width and begin


def add(*every: Nats) -> Nats:
    """The sum, without carrying over."""
    whole, fraction = every[0]
    for x in every[1:]:
        whole, fraction = whole + x.whole, fraction + x.fraction
    return Nats(whole, fraction)


def at(x: Nats, *index: Any) -> Nats:
    """Both parts at an index."""
    return Nats(*(y[index] for y in x))


def reference(parts: Parts) -> jax.Array:
    """``ln Z [B]`` by the equations as they stand: the oracle of the rule."""
    root, terminal, rule = parts.root.value, parts.terminal.value, full_rules(parts.rule).value
    rows, words, tags = terminal.shape
    n = len(root)
    dead = jnp.full((rows, n), -jnp.inf)
    none = jnp.full((rows, tags), -jnp.inf)
    table = {(t, t + 1): jnp.concatenate([dead, terminal[:, t]], 1) for t in range(words)}
    for width in range(2, words + 1):
        for i in range(words - width + 1):
            pairs = [
                table[i, k][:, :, None] + table[k, i + width][:, None]
                for k in range(i + 1, i + width)
            ]
            e = logsumexp(jnp.stack(pairs), axis=0)
            own = logsumexp(rule[None] + e[:, None], axis=(2, 3))
            table[i, i + width] = jnp.concatenate([own, none], axis=1)
    wholes = [jnp.zeros(rows), jnp.full(rows, -jnp.inf)][: words + 1]
    wholes += [logsumexp(root[None] + table[0, w][:, :n], axis=1) for w in range(2, words + 1)]
    return jnp.stack(wholes)[parts.length, jnp.arange(rows)]


def factors(rule: Any) -> Nats:
    """What a parent's score adds to each way to go on, ``[N, Q]``: Q pairs of symbols, or ranks."""
    if isinstance(rule, LowRank):
        return rule.parent
    return Nats(*(x.reshape(len(x), -1) for x in rule))


def project(rule: Any, side: str, symbols: Nats, first: int) -> Nats:
    """What a part on that side is to the rules, ``[.., X]``, of scores of symbols ``[.., S]``.

    Args:
        rule: full, or of low rank.
        side: ``left`` or ``right``.
        symbols: those from ``first`` on; of all others there are none.
        first: the first of them.

    Returns:
        `Nats`.
    """
    count = symbols.whole.shape[-1]
    if isinstance(rule, LowRank):
        own = at(getattr(rule, side), slice(first, first + count))
        axes = (None,) * (symbols.whole.ndim - 1)
        both = add(at(symbols, ..., None), at(own, *axes))
        return log_sum(both, axis=both.whole.ndim - 2)
    width = ((0, 0),) * (symbols.whole.ndim - 1)
    wide = (*width, (first, rule.whole.shape[1] - first - count))
    fills = -jnp.inf, 0.0
    return Nats(*(jnp.pad(x, wide, constant_values=f) for x, f in zip(symbols, fills)))


def combine(rule: Any, left: Nats, right: Nats) -> Nats:
    """Both parts of splits together.

    Args:
        rule: full, or of low rank.
        left: ``[.., X]``, of the left part.
        right: ``[.., X]``, of the right part.

    Returns:
        `Nats` ``[.., Q]``.
    """
    if isinstance(rule, LowRank):
        return add(left, right)
    both = add(at(left, ..., None), at(right, ..., None, slice(None)))
    return Nats(*(lax.collapse(x, x.ndim - 2) for x in both))


def initial(parts: Parts) -> Run:
    """What is known of words."""
    terminal, rule = parts.terminal, parts.rule
    rows, words, _ = terminal.whole.shape
    n, size = parts.root.whole.shape[0], words + 1
    one = [project(rule, side, terminal, n) for side in ("left", "right")]
    x = one[0].whole.shape[-1]

    def table(shape: tuple[int, ...], known: Nats, where: tuple[Any, ...]) -> Nats:
        none = jnp.full_like(terminal.whole, -jnp.inf, shape=shape)
        return Nats(none.at[where].set(known.whole), (none * 0).at[where].set(known.fraction))

    def zeros(x: Nats) -> Nats:
        return Nats(x.whole, jnp.where(x.whole == -jnp.inf, 0, x.fraction))

    every = slice(None)
    left = table((size, rows, size, x), one[0], (1, every, slice(0, words)))
    wide = 2 * size - 1, rows, 2 * size - 1, x
    right = table(wide, one[1], (size - 2, every, slice(1, words + 1)))
    none = jnp.full_like(terminal.whole, -jnp.inf, shape=(size, rows, size, n))
    return Run(zeros(left), zeros(right), zeros(Nats(none, none)))


def parts_of(ran: Run, width: jax.Array) -> tuple[Nats, Nats]:
    """Both parts of the spans of a width, the left one of width ``a`` at ``[a, :, i]``.

    Args:
        ran: what is known of shorter spans.
        width: int ``[]``.

    Returns:
        Left and right parts, `Nats` ``[T + 1, B, T + 1, X]``.
    """
    size, rows, _, x = ran.left.whole.shape
    corner, shape = (size - 1 - width, 0, width, 0), (size, rows, size, x)
    return ran.left, Nats(*(lax.dynamic_slice(y, corner, shape) for y in ran.right))


def step(parts: Parts, ran: Run, width: jax.Array) -> tuple[Nats, Nats, Nats]:
    """One step of the recursion, of the spans of a width.

    Args:
        parts: scores, checked.
        ran: what is known of shorter spans.
        width: int ``[]``.

    Returns:
        Splits ``[T + 1, B, T + 1, Q]``, ``E [B, T + 1, Q]`` and ``I [B, T + 1, N]``.
    """
    splits = combine(parts.rule, *parts_of(ran, width))
    e = log_sum(splits)
    return (
        splits,
        e,
        log_sum(add(at(factors(parts.rule), None, None), at(e, ..., None, slice(None))), 3),
    )


def put(parts: Parts, ran: Run, width: jax.Array, own: Nats) -> Run:
    """What is known, with the spans of one width more.

    Args:
        parts: scores, checked.
        ran: what is known of shorter spans.
        width: int ``[]``.
        own: ``I [B, T + 1, N]`` of the spans of this width.

    Returns:
        `Run`.
    """
    size = len(ran.left.whole)
    left, right = (project(parts.rule, side, own, 0) for side in ("left", "right"))

    def at_corner(corner, table: Nats, new: Nats) -> Nats:
        return Nats(*(lax.dynamic_update_slice(x, y[None], corner) for x, y in zip(table, new)))

    return Run(
        at_corner((width, 0, 0, 0), ran.left, left),
        at_corner((size - 1 - width, 0, width, 0), ran.right, right),
        at_corner((width, 0, 0, 0), ran.phrases, own),
    )


def run(parts: Parts) -> Run:
    """``I`` of all spans, from those of two words up; at least two words, N and P at least 1."""

    def sweep(ran: Run, width: jax.Array):
        return put(parts, ran, width, step(parts, ran, width)[2]), None

    first = initial(parts)
    return lax.scan(sweep, first, jnp.arange(2, len(first.left.whole)))[0]


def total(parts: Parts, ran: Run) -> tuple[Nats, Nats]:
    """Sums of whole sentences.

    Args:
        parts: scores, checked.
        ran: what is known of all spans.

    Returns:
        ``root + I [B, N]``, and ``ln Z [B]``; `Nats`.
    """
    length, rows = parts.length, jnp.arange(len(parts.length))
    whole = add(at(ran.phrases, length, rows, 0), at(parts.root, None))
    found, empty = log_sum(whole, 1), length == 0
    return whole, Nats(*(jnp.where(empty, 0, x) for x in found))


def log_given(parts: Nats, whole: Nats) -> jax.Array:
    """``ln`` of the shares of parts in their sum.

    Args:
        parts: summands.
        whole: their sum, of a shape that broadcasts.

    Returns:
        ``-inf`` where the sum is.
    """
    dead = whole.whole == -jnp.inf
    found = parts.whole - jnp.where(dead, 0, whole.whole)
    return jnp.where(dead, -jnp.inf, found + (parts.fraction - whole.fraction))


@jax.custom_vjp
def log_partition(parts: Parts) -> Nats:
    """``ln Z [B]``. The cotangent is that of the fraction."""
    return total(parts, run(parts))[1]


class _Residuals(NamedTuple):
    parts: Parts
    run: Run


def _log_partition_fwd(parts: Parts) -> tuple[Nats, _Residuals]:
    ran = run(parts)
    return total(parts, ran)[1], _Residuals(parts, ran)


def _back_to_symbols(
    rule: Any, side: str, g: jax.Array, own: Nats, known: Nats, first: int
) -> tuple[jax.Array, Any]:
    """`project`'s gradient: of symbols ``[B, I, S]``, and of the rules ``[M, R]`` of low rank."""
    count = own.whole.shape[-1]
    if not isinstance(rule, LowRank):
        return g[..., first : first + count], 0
    factor = at(getattr(rule, side), slice(first, first + count))
    both = add(at(own, ..., None), at(factor, None, None))
    p = jnp.exp(log_given(both, at(known, ..., None, slice(None)))) * g[..., None, :]
    counts = jnp.zeros_like(getattr(rule, side).whole)
    return p.sum(axis=-1), counts.at[first : first + count].set(p.sum(axis=(0, 1)))


def _log_partition_bwd(res: _Residuals, cotangent: Nats) -> tuple[Parts]:
    parts, ran = res
    rule, (rows, words, _) = parts.rule, parts.terminal.whole.shape
    size, n = words + 1, parts.root.whole.shape[0]
    whole, log_z = total(parts, ran)
    top = jnp.exp(log_given(whole, at(log_z, slice(None), None))) * cotangent.fraction[:, None]
    top = jnp.where((parts.length > 1)[:, None], top, 0)
    u, low = factors(rule), isinstance(rule, LowRank)
    at_left, at_right = (jnp.zeros_like(x.whole) for x in (ran.left, ran.right))
    sides = [jnp.zeros_like(x.whole) for x in rule[1:]] if low else []
    x = at_left.shape[-1]

    def reached(at_left, at_right, width, own: Nats, first: int):
        """``g`` of the spans of a width, and what low-rank rules were used for it."""
        corner, shape = (size - 1 - width, 0, width, 0), (1, rows, size, x)
        g_left = lax.dynamic_index_in_dim(at_left, width, 0, False)
        g_right = lax.dynamic_slice(at_right, corner, shape)[0]
        known = (
            Nats(*(lax.dynamic_index_in_dim(y, width, 0, False) for y in ran.left)),
            Nats(*(lax.dynamic_slice(y, corner, shape)[0] for y in ran.right)),
        )
        found = [
            _back_to_symbols(rule, side, g, own, k, first)
            for side, g, k in zip(("left", "right"), (g_left, g_right), known)
        ]
        return found[0][0] + found[1][0], [counts for _, counts in found]

    def sweep(carry, width):
        at_left, at_right, counts, sides = carry
        own = Nats(*(lax.dynamic_index_in_dim(y, width, 0, False) for y in ran.phrases))
        g, more = reached(at_left, at_right, width, own, 0)
        sides = [x + y for x, y in zip(sides, more)] if low else sides
        g = g.at[:, 0].add(jnp.where((width == parts.length)[:, None], top, 0))
        splits, e, _ = step(parts, ran, width)
        ways = add(at(u, None, None), at(e, ..., None, slice(None)))
        p = jnp.exp(log_given(ways, at(own, ..., None))) * g[..., None]  # [B, I, N, Q]
        counts = counts + p.sum(axis=(0, 1))
        share = jnp.exp(log_given(splits, at(e, None))) * p.sum(axis=2)[None]
        if low:
            to_left = to_right = share
        else:
            share = share.reshape(*share.shape[:-1], x, x)
            to_left, to_right = share.sum(axis=-1), share.sum(axis=-2)
        at_left = at_left + to_left
        corner = size - 1 - width, 0, width, 0
        before = lax.dynamic_slice(at_right, corner, to_right.shape)
        at_right = lax.dynamic_update_slice(at_right, before + to_right, corner)
        return (at_left, at_right, counts, sides), None

    carry = at_left, at_right, jnp.zeros_like(u.whole), sides
    widths = jnp.arange(2, size)
    (at_left, at_right, counts, sides), _ = lax.scan(sweep, carry, widths, reverse=True)
    ends = ((0, 0), (0, 1), (0, 0))
    fills = -jnp.inf, 0.0
    words_ = Nats(*(jnp.pad(y, ends, constant_values=f) for y, f in zip(parts.terminal, fills)))
    g, more = reached(at_left, at_right, 1, words_, n)
    if low:
        used = [counts, *(x + y for x, y in zip(sides, more))]
        rules: Any = LowRank(*(Nats(jnp.zeros_like(y), y) for y in used))
    else:
        counts = counts.reshape(rule.whole.shape)
        rules = Nats(jnp.zeros_like(counts), counts)
    g, root = g[:, :words], top.sum(axis=0)
    pair = lambda y: Nats(jnp.zeros_like(y), y)
    return (Parts(pair(root), rules, pair(g), None, jnp.zeros_like(parts.bad)),)  # type: ignore[arg-type]


log_partition.defvjp(_log_partition_fwd, _log_partition_bwd)
