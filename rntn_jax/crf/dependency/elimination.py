"""All trees, crossing ones too: the matrix-tree theorem without a subtraction.

The weights of all trees over words with arcs ``w = exp(arc)`` sum to the determinant of the
Laplacian ``L = diag(sum_h w(h, d)) - w(h, d)`` (Tutte 1948; one word at the root: Koo et al. 2007),
and ``P(h -> d) = w(h, d) (L^-1(d, d) - L^-1(d, h))``. Both lose all digits where words are each
other's best heads: the determinant is then a small difference of large numbers. So words are
eliminated one by one as in Gaussian elimination, but the pivot is summed anew from what is left,
and nothing is ever subtracted (Grassmann, Taksar and Heyman 1985)::

    S_k       = sum_i w(i, k)                     over the root and words not yet eliminated
    p_k(i)    = w(i, k) / S_k                     where k's head is, as a random walk sees it
    w(i, j)  += p_k(i) w(k, j)    for i != j      ln Z = sum_k ln S_k

A walk from word to head ends at the root. With ``e(h, d)`` the probability that from h it comes
to the root before it comes to d, ``L^-1(d, d) - L^-1(d, h) = e(h, d) L^-1(d, d)``, so that::

    P(h -> d) = w(h, d) e(h, d) / sum_h' w(h', d) e(h', d),   e(0, d) = 1
    e(k, d)   = p_k(0) + sum_i p_k(i) e(i, d)                 for k that was eliminated before d

again sums of what is positive. To have ``e(., d)`` for all d, half of the words is eliminated and
the other half solved likewise, and then the halves change places: O(T^3) in all.

With one word at the root, its arcs count as infinitely small: a tree has as few of them as it can.

The conditioning: each weight is right to a few rounding errors, whatever the scores, as long as
nothing underflows. In products that is sure where every pivot is at least `MIN_PIVOT` (arcs are
divided by each word's best first); else all is done again in logarithms, in `Nats`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rntn_jax.crf.nats import Nats, log_sum, to_nats
from rntn_jax.ops.logspace import finite_max, normalize, safe_log

__all__ = [
    "complete",
    "eliminate",
    "log_partition",
    "marginals",
    "reference",
    "sentences_last",
]

MIN_PIVOT = 1e-18  # its square is a float32 still
MAX_NATS = 1e30  # of what is possible


class Algebra(NamedTuple):
    """Sums and products of weights, as they are or as logarithms."""

    zero: Any
    one: Any
    where: Callable[[Any, Any], Any]  # else nothing
    plus: Callable[[Any, Any], Any]
    times: Callable[[Any, Any], Any]
    over: Callable[[Any, Any], Any]
    total: Callable[[Any, int], Any]


def _log_plus(x: Nats, y: Nats) -> Nats:
    top = jnp.maximum(x.whole, y.whole)
    top = jnp.where(top == -jnp.inf, 0, top)
    both = jnp.exp((x.whole - top) + x.fraction) + jnp.exp((y.whole - top) + y.fraction)
    return to_nats(safe_log(both), top)


def _log_times(x: Nats, y: Nats) -> Nats:
    return to_nats(x.fraction + y.fraction, x.whole + y.whole)


def _log_over(x: Nats, y: Nats) -> Nats:
    return to_nats(x.fraction - y.fraction, x.whole - jnp.where(y.whole == -jnp.inf, 0, y.whole))


PRODUCTS = Algebra(
    zero=0.0,
    one=1.0,
    where=lambda mask, x: jnp.where(mask, x, 0),
    plus=jnp.add,
    times=jnp.multiply,
    over=lambda x, y: x / jnp.where(y < MIN_PIVOT, 1, y),
    total=lambda x, axis: x.sum(axis=axis),
)
LOGS = Algebra(
    zero=Nats(-math.inf, 0.0),  # type: ignore[arg-type]
    one=Nats(0.0, 0.0),  # type: ignore[arg-type]
    where=lambda mask, x: Nats(jnp.where(mask, x.whole, -jnp.inf), jnp.where(mask, x.fraction, 0)),
    plus=_log_plus,
    times=_log_times,
    over=_log_over,
    total=log_sum,
)


def reference(arc: jax.Array, length: jax.Array, single_root: bool) -> jax.Array:
    """``ln Z [B]`` by the determinant, arcs ``[B, T + 1, T + 1]``: the oracle of the rule.

    Args:
        arc: scores of arcs, as said above.
        length: int ``[B]``, words.
        single_root: whether one word hangs from the root.

    Returns:
        ``[B]`` nats.
    """
    words = arc.shape[1] - 1
    if words == 0:
        return jnp.zeros_like(arc[:, 0, 0])
    real = jnp.arange(words)[None] < length[:, None]
    w = jnp.exp(arc[:, :, 1:])
    root = jnp.where(real, w[:, 0], 0)
    among = real[:, :, None] & real[:, None] & ~jnp.eye(words, dtype=bool)[None]
    w = jnp.where(among, w[:, 1:], 0)
    own = w.sum(axis=1) + (0 if single_root else root) + jnp.where(real, 0, 1)
    matrix = own[:, None] * jnp.eye(words)[None] - w
    if single_root:
        one = jnp.arange(words) == 0
        root = jnp.where((length == 0)[:, None] & one[None], 1, root)
        matrix = jnp.where(one[None, :, None], root[:, None], matrix)
    return jnp.linalg.slogdet(matrix)[1]


def complete(arc: Nats, length: jax.Array) -> Nats:
    """Arcs ``[B, T + 1, T]`` into words only; what is behind an end hangs from the first word.

    Args:
        arc: scores of arcs, as said above.
        length: int ``[B]``, words.

    Returns:
        The same scores, as said above.
    """
    words = jnp.arange(1, arc.whole.shape[2])
    heads = jnp.arange(arc.whole.shape[1])
    padded = words[None] > length[:, None]
    own = heads[:, None] == jnp.where(words == 1, 0, 1)[None]
    arc = Nats(*(x[:, :, 1:] for x in arc))
    whole = jnp.where(padded[:, None], jnp.where(own, 0, -jnp.inf)[None], arc.whole)
    return Nats(whole, jnp.where(padded[:, None], 0, arc.fraction))


def eliminate(
    algebra: Algebra, w: Any, count: int, without_root: bool
) -> tuple[Any, tuple[Any, Any]]:
    """The weights left when the first words are gone; where they went, and their pivots.

    Sentences stand last, so that loops over them are in order however few words are left.

    Args:
        algebra: of the weights.
        w: ``[M + 1, M, B]``, of heads (0 the root) and words.
        count: how many are eliminated.
        without_root: whether pivots leave out the root, whose arcs are infinitely small.

    Returns:
        ``(weights left, (heads of the eliminated [count, M + 1, B], pivots [count, B]))``.
    """
    heads = jnp.arange(jax.tree.leaves(w)[0].shape[0])
    apart = heads[:, None] != heads[None, 1:]

    def step(w, k):
        column = jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, k, 1, False), w)
        row = jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, k + 1, 0, False), w)
        pivot = jax.tree.map(lambda x: x[1:], column) if without_root else column
        pivot = algebra.total(pivot, 0)
        p = algebra.over(column, jax.tree.map(lambda x: x[None], pivot))
        through = algebra.times(
            jax.tree.map(lambda x: x[:, None], p), jax.tree.map(lambda x: x[None], row)
        )
        stays = apart & (heads != k + 1)[:, None]
        return algebra.where(stays[..., None], algebra.plus(w, through)), (p, pivot)

    return lax.scan(step, w, jnp.arange(count))


def _escapes(algebra: Algebra, w: Any, without_root: bool) -> tuple[Any, list[Any]]:
    """``e [M, M, B]``, ``[h, d]``, nothing on the diagonal; and pivots ``[steps, B]``.

    The pivots of a batch of ``B`` are the first ``B`` columns of each list; the others are those of
    the halves in other orders.
    """
    _, words, batch = jax.tree.leaves(w)[0].shape
    if words == 1:
        pivot = jax.tree.map(lambda x: x[0, 0], w)
        nothing = jax.tree.map(lambda x: x[1:], algebra.where(False, w))
        return nothing, [jax.tree.map(lambda x: x[None], pivot)]
    if words % 2:  # one more, which hangs from the first
        w = _with_one_more(algebra, w)
    half = (words + 1) // 2
    turned = jax.tree.map(lambda x: jnp.roll(x, half, 1), w)
    turned = jax.tree.map(lambda x: jnp.concatenate([x[:1], jnp.roll(x[1:], half, 0)]), turned)
    both = jax.tree.map(lambda *x: jnp.concatenate(x, 2), w, turned)
    left, (p, pivots) = eliminate(algebra, both, half, without_root)
    root_and_kept = np.r_[0, half + 1 : 2 * half + 1]
    kept = jax.tree.map(lambda x: x[root_and_kept, half:], left)
    inner, more = _escapes(algebra, kept, without_root)

    def back(e, inputs):
        """``e(k, .)`` of one word more, from those of the words eliminated after it."""
        k, p = inputs
        through = jax.tree.map(lambda x: x[1:, None], p)
        found = algebra.total(algebra.times(through, e), 0)
        found = algebra.plus(jax.tree.map(lambda x: x[:1], p), found)
        put = lambda x, y: lax.dynamic_update_index_in_dim(x, y, k, 0)
        return jax.tree.map(put, e, found), None

    nothing = algebra.where(False, inner)
    e = jax.tree.map(lambda *x: jnp.concatenate(x), nothing, inner)
    e, _ = lax.scan(back, e, (jnp.arange(half), p), reverse=True)

    def assemble(e):
        """The second half's columns are of the first order, the first half's of the other."""
        second, first = e[..., :batch], jnp.roll(e[..., batch:], half, 0)
        return jnp.concatenate([first, second], 1)[:words, :words]

    return jax.tree.map(assemble, e), [pivots, *more]


def _with_one_more(algebra: Algebra, w: Any) -> Any:
    """Another word, whose head is the first."""

    def wider(x: jax.Array, zero: float, one: float) -> jax.Array:
        x = jnp.pad(x, ((0, 1), (0, 1), (0, 0)), constant_values=zero)
        return x.at[1, -1].set(one)

    return jax.tree.map(wider, w, algebra.zero, algebra.one)


def _with_root(algebra: Algebra, e: Any) -> Any:
    """``e`` of the heads, the root among them."""
    above = ((1, 0), (0, 0), (0, 0))
    return jax.tree.map(lambda x, one: jnp.pad(x, above, constant_values=one), e, algebra.one)


def sentences_last(w: Any) -> Any:
    """Weights with the batch last, as `eliminate` takes them.

    Args:
        w: a pytree of ``[B, M + 1, M]``.

    Returns:
        The same of ``[M + 1, M, B]``.
    """
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 2), w)


def rarity(arc: Nats) -> jax.Array:
    """What arcs at the root are made less by, so that fewer of them count for more than all else.

    It is more than any two trees differ by, and a whole number: sums of `Nats` stay exact.
    """
    lowest = jnp.where(arc.whole > -jnp.inf, arc.whole, 0).min(initial=0)
    return arc.whole.shape[2] * (20 - lowest) + 100


class _Answer(NamedTuple):
    total: Nats  # [B]
    p: jax.Array  # [B, T + 1, T]


def _answer(arc: Nats, single_root: bool) -> _Answer:
    """``ln Z`` and marginals of arcs `complete`."""
    among = arc.whole[:, 1:] if single_root else arc.whole
    best = lax.stop_gradient(finite_max(among, axis=1))
    whole = arc.whole - best
    of_root = finite_max(whole[:, :1], (1, 2)) * single_root
    at_root = (jnp.arange(arc.whole.shape[1]) == 0)[None, :, None]
    whole = whole - jnp.where(at_root, of_root, 0)
    subtracted = best.sum(axis=(1, 2)) + of_root[:, 0, 0]
    relative = Nats(whole, arc.fraction)
    batch, words = len(subtracted), whole.shape[2]

    def products(relative: Nats) -> tuple[_Answer, jax.Array]:
        w = sentences_last(jnp.exp(relative.whole + relative.fraction))
        e, pivots = _escapes(PRODUCTS, w, single_root)
        enough = [
            (x >= MIN_PIVOT).reshape(x.size // max(batch, 1), batch).all(axis=0) for x in pivots
        ]
        sure = jnp.stack(enough).all(axis=0)
        total = jnp.concatenate([safe_log(x[:, :batch]) for x in pivots]).sum(axis=0)
        p = normalize((w * _with_root(PRODUCTS, e)).T).swapaxes(1, 2)
        return _Answer(to_nats(total, subtracted), p), sure

    def logs(relative: Nats) -> _Answer:
        small = rarity(relative) if single_root else 0
        own = relative._replace(whole=relative.whole - jnp.where(at_root, small, 0))
        own = sentences_last(own)
        e, pivots = _escapes(LOGS, own, False)
        flow = _log_times(own, _with_root(LOGS, e))
        near = jnp.exp((flow.whole - finite_max(flow.whole, axis=0)) + flow.fraction)
        p = normalize(near.T).swapaxes(1, 2)
        own = Nats(*(jnp.concatenate([x[:, :batch] for x in each]) for each in zip(*pivots)))
        whole_part, fraction = own.whole.sum(axis=0) + small, own.fraction.sum(axis=0)
        impossible = whole_part < (15 * words + 50 - small if single_root else -MAX_NATS)
        total = to_nats(jnp.where(impossible, 0, fraction), whole_part + subtracted)
        total = Nats(jnp.where(impossible, -jnp.inf, total.whole), total.fraction)
        return _Answer(total, jnp.where(impossible[:, None, None], 0, p))

    fast, sure = products(relative)

    def guarded(relative: Nats, fast: _Answer) -> _Answer:
        pick = lambda x, y: jnp.where(sure.reshape(*sure.shape, *(1,) * (x.ndim - 1)), x, y)
        return jax.tree.map(pick, fast, logs(relative))

    return lax.cond(sure.all(), lambda _, fast: fast, guarded, relative, fast)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def log_partition(arc: Nats, single_root: bool) -> Nats:
    """``ln Z [B]`` of arcs as `complete` gives them. The cotangent is that of the fraction.

    Args:
        arc: scores of arcs, as said above.
        single_root: whether one word hangs from the root.

    Returns:
        `Nats` ``[B]``.
    """
    return _answer(arc, single_root).total


def _log_partition_fwd(arc: Nats, single_root: bool) -> tuple[Nats, jax.Array]:
    return tuple(_answer(arc, single_root))  # type: ignore[return-value]


def _log_partition_bwd(single_root: bool, p: jax.Array, cotangent: Nats) -> tuple[Nats]:
    grad = p * cotangent.fraction[:, None, None]
    return (Nats(jnp.zeros_like(p), grad),)


log_partition.defvjp(_log_partition_fwd, _log_partition_bwd)


def marginals(arc: Nats, single_root: bool) -> jax.Array:
    """Probabilities ``[B, T + 1, T]`` of arcs as `complete` gives them.

    Args:
        arc: scores of arcs, as said above.
        single_root: whether one word hangs from the root.

    Returns:
        ``[B, T + 1, T]``.
    """
    return _answer(arc, single_root).p
