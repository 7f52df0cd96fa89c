"""Projective trees: Eisner's recursion over spans, and its backward pass.

A span of words ``s .. t`` is closed, everything in it hanging from one of its ends (``R``: from s,
``L``: from t), or open: the arc between its ends was just drawn. For all trees, ``0`` the root and
``n`` the number of words::

    O(s, t)   = ln sum_r exp(R(s, r) + L(r + 1, t))                    s <= r < t
    OR(s, t)  = O(s, t) + arc(s, t),   OL(s, t) = O(s, t) + arc(t, s)
    R(s, t)   = ln sum_r exp(OR(s, r) + R(r, t))                       s <  r <= t
    L(s, t)   = ln sum_r exp(L(s, r) + OL(r, t))                       s <= r < t
    R(s, s)   = L(s, s) = 0,   ln Z = R(0, n)

from narrow spans to wide ones. Each sum is over pairs of spans that meet, so one shape of table
serves all three. With one word at the root, ``O(0, t)`` has the split ``r = 0`` only.

The backward pass goes from wide to narrow, ``g(R(0, n)) = 1``, and adds to both parts of each
split the probability of the span times that of the split given the span, as in
`rntn_jax.crf.constituency.inside`. ``g(OR(s, t))`` and ``g(OL(s, t))`` are the marginals of the
arcs and the gradient of ``ln Z`` (source 004, the model marginals theorem). Nothing is kept of
single splits: memory is O(T^2) a sentence where autodiff of the recursion takes O(T^3).

The k best trees are those of the same recursion, a list of k for each span: of the a-th best on the
left and the b-th best on the right only those with ``a b <= k`` can be among them (Huang and Chiang
2005).

Source: Eisner 1996 for the spans.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rntn_jax.crf.constituency.tables import segments, widen
from rntn_jax.crf.dependency import scaled
from rntn_jax.crf.nats import Nats, log_sum, log_sum_and_shares, rank_pairs, to_nats
from rntn_jax.ops.logspace import logsumexp

__all__ = [
    "LEFT",
    "OPEN",
    "RIGHT",
    "Chart",
    "Found",
    "in_logs",
    "log_partition",
    "reference",
    "sweep",
]

LEFT, RIGHT, OPEN = 0, 1, 2  # what a pair of spans that meet makes: L, R, O


class Chart(NamedTuple):
    """Both parts of every pair, `Nats`: found by width and begin, and by width and end.

    One table for each kind of pair: XLA copies at every width what is read and written in one step.
    """

    first: Any  # [k, T + 1, B, T + 1] each, of L, OR, R: width w from s at [.., w, :, s]
    second: Any  # [k, 2 T + 1, B, 2 T + 1] each, of OL, R, L: width w to t at [.., T - w, :, t]


class Found(NamedTuple):
    """Where the best of each span come from, by width minus 1, kind, rank, row and begin."""

    splits: Any  # [T, 3, k, B, T + 1], of L, R, O: words of the first part minus 1
    pairs: Any  # likewise: which of the `rank_pairs`
    arcs: Any  # [T, 2, k, B, T + 1], of OL, OR: likewise, of the ranks of O and the arc's label


def reference(arc: jax.Array, length: jax.Array, single_root: bool) -> jax.Array:
    """``ln Z [B]`` by the equations as they stand, arcs ``[B, T + 1, T + 1]``: the oracle.

    Args:
        arc: scores of arcs, as said above.
        length: int ``[B]``, words.
        single_root: whether one word hangs from the root.

    Returns:
        ``[B]`` nats.
    """
    size = arc.shape[1]
    right = {(s, s): jnp.zeros_like(arc[:, 0, 0]) for s in range(size)}
    left, open_right, open_left = dict(right), {}, {}
    sum_of = lambda parts: logsumexp(jnp.stack(parts), axis=0)
    for width in range(1, size):
        for s in range(size - width):
            t = s + width
            last = s + 1 if single_root and s == 0 else t
            both = sum_of([right[s, r] + left[r + 1, t] for r in range(s, last)])
            open_right[s, t], open_left[s, t] = both + arc[:, s, t], both + arc[:, t, s]
            right[s, t] = sum_of([open_right[s, r] + right[r, t] for r in range(s + 1, t + 1)])
            left[s, t] = sum_of([left[s, r] + open_left[r, t] for r in range(s, t)])
    wholes = jnp.stack([right[0, n] for n in range(size)])
    return wholes[length, jnp.arange(len(length))]


def by_width(x: jax.Array, fill: float) -> jax.Array:
    """``[T + 1, ..., T + 1]`` of ``[..., T + 1, T + 1]``: ``x[.., i, i + w]`` at ``[w, .., i]``."""
    begin = jnp.arange(x.shape[-1])
    end = begin[:, None] + begin[None]  # [w, i]
    inside = end < len(begin)
    found = jnp.moveaxis(x[..., begin[None], jnp.where(inside, end, 0)], -2, 0)
    shape = (len(begin), *(1,) * (x.ndim - 2), len(begin))
    return jnp.where(inside.reshape(shape), found, fill)


def _arcs_by_width(arc: Nats) -> tuple[Nats, Nats]:
    """Scores ``[T + 1, k, B, T + 1]`` of arcs to the right and to the left, by width and begin."""
    turned = Nats(*(x.swapaxes(-1, -2) for x in arc))
    rightward, leftward = (
        Nats(by_width(x.whole, -jnp.inf), by_width(x.fraction, 0.0)) for x in (arc, turned)
    )
    return rightward, leftward


def _parts(chart: Chart, kind: int, width: jax.Array, segment: tuple[int, int]) -> Any:
    """First and second parts of the splits, ``[k, splits, B, begin]`` each."""
    k, size, batch, _ = chart.first[kind].whole.shape
    (lo, hi), total = segment, width - (kind == OPEN)

    def both(first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
        corner = 0, size - 1 - total, 0, width
        rest = lax.dynamic_slice(second, corner, (k, hi, batch, size - lo))
        return first[:, :hi, :, : size - lo], rest

    return map(both, chart.first[kind], chart.second[kind])


def _sums(
    chart: Chart, kind: int, width: jax.Array, segment: tuple[int, int], single_root: bool
) -> Nats:
    """Sums of both parts of each split, ``[pairs * splits, B, begin]``; ``-inf`` for none."""
    pairs = rank_pairs(len(chart.first[kind].whole))

    def add(first: jax.Array, second: jax.Array) -> jax.Array:
        both = first[pairs[:, 0]] + second[pairs[:, 1]] if len(pairs) > 1 else first + second
        return lax.collapse(both, 0, 2)

    found = Nats(*(add(*parts) for parts in _parts(chart, kind, width, segment)))
    if not (single_root and kind == OPEN):
        return found
    split = np.tile(np.arange(segment[1]), len(pairs))
    never = (split > 0)[:, None] & (np.arange(found.whole.shape[-1]) == 0)[None]
    return Nats(jnp.where(never[:, None], -jnp.inf, found.whole), found.fraction)


def _initial(like: jax.Array, k: int, size: int, batch: int) -> Chart:
    """Of one word there are L and R."""
    forbidden = jnp.full_like(like, -jnp.inf, shape=())
    rank = jnp.arange(k)[:, None, None]
    word = jnp.where(rank == 0, 0, forbidden)
    no_first = jnp.full((k, size, batch, size), forbidden)
    no_second = jnp.full((k, 2 * size - 1, batch, 2 * size - 1), forbidden)
    first = no_first.at[:, 0].set(word)
    second = no_second.at[:, size - 1, :, :size].set(word)
    parts = Chart((first, no_first, first), (no_second, second, second))
    return jax.tree.map(lambda x: Nats(x, jnp.zeros_like(x)), parts)


def _put(chart: Chart, width: jax.Array, first: dict[int, Nats], second: dict[int, Nats]) -> Chart:
    """New spans of one width, ``[k, B, begin]``."""
    size = chart.first[LEFT].whole.shape[1]

    def write(tables: Any, news: dict[int, Nats], *corner: Any) -> Any:
        at = 0, *corner
        put = lambda x, new: lax.dynamic_update_slice(x, new[:, None], at)
        return tuple(
            Nats(*map(put, table, news[kind])) if kind in news else table
            for kind, table in enumerate(tables)
        )

    return Chart(
        write(chart.first, first, width, 0, 0),
        write(chart.second, second, size - 1 - width, 0, width),
    )


Combine = Callable[[Nats], tuple[Nats, Any]]


def _sum(parts: Nats) -> tuple[Nats, None]:
    """All splits together."""
    return Nats(*(x[None] for x in log_sum(parts))), None


def sweep(
    arc: Nats, single_root: bool, k: int = 1, combine: Combine = _sum
) -> tuple[Chart, Found | None]:
    """All spans, from those of two words up.

    Args:
        arc: ``[k, B, T + 1, T + 1]``, of each arc the k best labels'.
        single_root: whether one word hangs from the root.
        k: how many are kept of each span.
        combine: what is kept of the splits.

    Returns:
        The chart, and where the k best come from.
    """
    _, batch, size, _ = arc.whole.shape
    pairs = rank_pairs(k)

    def attach(both: Nats, own: Nats) -> tuple[Nats, Any]:
        if k == 1:
            value = to_nats(both.fraction + own.fraction, both.whole + own.whole)
            return value, jnp.zeros(value.whole.shape, jnp.int32)
        return combine(Nats(*(x[pairs[:, 0]] + y[pairs[:, 1]] for x, y in zip(both, own))))

    def step(segment, chart: Chart, inputs):
        width, rightward, leftward = inputs
        both, split = combine(_sums(chart, OPEN, width, segment, single_root))
        (to_right, from_right), (to_left, from_left) = (
            attach(both, own) for own in (rightward, leftward)
        )
        chart = _put(chart, width, {RIGHT: to_right}, {LEFT: to_left})
        (left, of_left), (right, of_right) = (
            combine(_sums(chart, kind, width, segment, single_root)) for kind in (LEFT, RIGHT)
        )
        chart = _put(chart, width, {LEFT: left, OPEN: right}, {RIGHT: right, OPEN: left})
        if split is None:
            return chart, None
        places, found = jnp.stack([of_left, of_right, split]), jnp.stack([from_left, from_right])
        return chart, Found(places % segment[1], places // segment[1], found)

    chart, founds = _initial(arc.whole, k, size, batch), []
    arcs = _arcs_by_width(arc)
    for lo, hi in segments(size, batch, first=1):
        narrow = (Nats(*(x[lo:hi, ..., : size - lo] for x in own)) for own in arcs)
        chart, found = lax.scan(partial(step, (lo, hi)), chart, (jnp.arange(lo, hi), *narrow))
        founds.append(jax.tree.map(partial(_as_wide, size), found))
    if combine is _sum:
        return chart, None
    return chart, jax.tree.map(lambda *x: jnp.concatenate(x), *founds)


def _as_wide(size: int, x: jax.Array) -> jax.Array:
    """Zeros for the places where no span of these widths begins."""
    return jnp.pad(x.astype(jnp.int32), ((0, 0),) * 4 + ((0, size - x.shape[-1]),))


def whole_sentences(chart: Chart, length: jax.Array) -> Nats:
    """``R(0, n)``, ``[k, B]``."""
    rows = jnp.arange(len(length))
    return Nats(*(x[:, length, rows, 0] for x in chart.first[OPEN]))


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def log_partition(arc: Nats, length: jax.Array, single_root: bool) -> Nats:
    """``ln Z [B]`` of arcs ``[B, T + 1, T + 1]``. The cotangent is that of the fraction.

    Args:
        arc: scores of arcs, as said above.
        length: int ``[B]``, words.
        single_root: whether one word hangs from the root.

    Returns:
        `Nats` ``[B]``.
    """
    return _log_partition_fwd(arc, length, single_root)[0]


class _LogPartitionResiduals(NamedTuple):
    arc: Nats  # [B, T + 1, T + 1]
    length: jax.Array  # [B]
    found: scaled.Sums


def in_logs(arc: Nats, length: jax.Array, single_root: bool) -> tuple[Nats, Chart]:
    """``ln Z [B]`` by sums of logarithms, right whatever the scores; and the chart.

    Args:
        arc: scores of arcs, as said above.
        length: int ``[B]``, words.
        single_root: whether one word hangs from the root.

    Returns:
        `Nats` ``[B]``, and what `sweep` finds.
    """
    chart, _ = sweep(Nats(*(x[None] for x in arc)), single_root)
    return Nats(*(x[0] for x in whole_sentences(chart, length))), chart


def _log_partition_fwd(arc, length, single_root) -> tuple[Nats, _LogPartitionResiduals]:
    found = scaled.sums(arc, length, single_root)
    # Outside of the branches, where XLA runs it as fast as it can.
    total = lax.cond(
        found.sure.all(), lambda: found.total, lambda: in_logs(arc, length, single_root)[0]
    )
    return total, _LogPartitionResiduals(arc, length, found)


def _log_partition_bwd(single_root, res, cotangent: Nats) -> tuple[Nats, None]:
    arc, length, found = res
    grad = scaled.arc_marginals(found, length, single_root, cotangent.fraction)
    slow = lambda: _marginals_in_logs(arc, length, single_root, cotangent.fraction)
    grad = lax.cond(found.sure.all(), lambda: grad, slow)
    return Nats(jnp.zeros_like(grad), grad), None


def _marginals_in_logs(
    arc: Nats, length: jax.Array, single_root: bool, cotangent: jax.Array
) -> jax.Array:
    """Probabilities of arcs ``[B, T + 1, T + 1]`` times the cotangents."""
    _, chart = in_logs(arc, length, single_root)
    _, size, batch, _ = chart.first[OPEN].whole.shape
    g = jax.tree.map(lambda x: jnp.zeros_like(x[0]), Chart(*([x.whole for x in y] for y in chart)))
    g.first[OPEN] = g.first[OPEN].at[length, jnp.arange(batch), 0].set(cotangent)

    def reached(g, kind, table, width, columns):
        """``g`` of the spans of this width, as first or as second part."""
        corner = (width, 0, 0) if table == "first" else (size - 1 - width, 0, width)
        x = getattr(g, table)[kind]
        return lax.dynamic_slice(x, corner, (1, batch, columns))[0]

    def spread(g, kind, width, segment, here):
        """Adds what the spans of one kind and width give to their parts."""
        lo, hi = segment
        _, share = log_sum_and_shares(_sums(chart, kind, width, segment, single_root))
        share, columns = share * here[None], size - lo
        corner = size - 1 - (width - (kind == OPEN)), 0, width
        first, second = list(g.first), list(g.second)
        before = lax.dynamic_slice(second[kind], corner, share.shape)
        second[kind] = lax.dynamic_update_slice(second[kind], before + share, corner)
        before = first[kind][:hi, :, :columns]
        first[kind] = lax.dynamic_update_slice(first[kind], before + share, (0, 0, 0))
        return Chart(first, second)

    def closed(g, width, columns):
        """``g`` of the spans L and R of a width, to which nothing more will be added."""
        at = partial(reached, width=width, columns=columns)
        return at(g, LEFT, "first") + at(g, OPEN, "second"), (
            at(g, OPEN, "first") + at(g, RIGHT, "second")
        )

    def step(segment, carry, width):
        g, (left, right) = carry
        at = partial(reached, width=width, columns=size - segment[0])
        g = spread(spread(g, LEFT, width, segment, left), RIGHT, width, segment, right)
        arcs = at(g, RIGHT, "first"), at(g, LEFT, "second")
        g = spread(g, OPEN, width, segment, sum(arcs))
        # The next row is read here, so that above the tables are only written to: in place.
        return (g, closed(g, width - 1, size - segment[0])), arcs

    found = []
    for lo, hi in segments(size, batch, first=1)[::-1]:
        carry = g, closed(g, hi - 1, size - lo)
        (g, _), arcs = lax.scan(partial(step, (lo, hi)), carry, jnp.arange(lo, hi), reverse=True)
        found.append(jax.tree.map(lambda x: widen(x, size), arcs))
    nothing = jnp.zeros_like(g.first[OPEN], shape=(1, batch, size))
    to_right, to_left = (jnp.concatenate([nothing, *x[::-1]]) for x in zip(*found))
    i, j = np.indices((size, size))
    rows = jnp.arange(batch)[:, None, None]
    both = to_right[abs(j - i), rows, np.minimum(i, j)], to_left[abs(j - i), rows, np.minimum(i, j)]
    return jnp.where((i < j)[None], both[0], both[1])


log_partition.defvjp(_log_partition_fwd, _log_partition_bwd)
