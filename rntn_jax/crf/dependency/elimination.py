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
the other half solved likewise, and then the halves change places: O(T^3) in all. The columns of the
eliminated go on as if their weights were p: where a walk comes to among the words that are left.
So the second line is a product of matrices for all of the half.

With one word at the root, its arcs count as infinitely small: a tree has as few of them as it can.
That fails when no word is left but those behind a sentence's end, which have no dependents: what
is found for these is not used, and ln Z is that of the order in which the first word is the last.

Where the scores are ordinary, one inverse is right, too, and quicker: `inverse` says where.

The conditioning: each weight is right to a few rounding errors, whatever the scores, as long as
nothing underflows or overflows. In products that is sure where every pivot is at least `MIN_PIVOT`
(arcs are divided by each word's best first) and heads have probabilities; else all is done again
in logarithms, in `Nats`. A batch goes the way that its hardest sentence needs.
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

from rntn_jax.crf.dependency import inverse
from rntn_jax.crf.nats import Nats, log_sum, to_nats
from rntn_jax.ops.logspace import finite_max, normalize, safe_log

__all__ = [
    "complete",
    "eliminate",
    "log_over",
    "log_partition",
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
    over: Callable[[Any, Any], Any]  # [M, B] by [B]
    total: Callable[[Any, int], Any]


def _log_plus(x: Nats, y: Nats) -> Nats:
    top = jnp.maximum(x.whole, y.whole)
    top = jnp.where(top == -jnp.inf, 0, top)
    both = jnp.exp((x.whole - top) + x.fraction) + jnp.exp((y.whole - top) + y.fraction)
    return to_nats(safe_log(both), top)


def _log_times(x: Nats, y: Nats) -> Nats:
    return to_nats(x.fraction + y.fraction, x.whole + y.whole)


def log_over(x: Nats, y: Nats) -> Nats:
    """``x`` less ``y``, nothing where ``x`` is nothing.

    Args:
        x: logarithms.
        y: logarithms; where nothing, as if 0.

    Returns:
        `Nats` of the shape of both.
    """
    return to_nats(x.fraction - y.fraction, x.whole - jnp.where(y.whole == -jnp.inf, 0, y.whole))


PRODUCTS = Algebra(
    zero=0.0,
    one=1.0,
    where=lambda mask, x: jnp.where(mask, x, 0),
    plus=jnp.add,
    times=jnp.multiply,
    # The axis comes last: XLA then does not divide again for each arc that the quotient leads to.
    over=lambda x, y: x / jnp.where(y < MIN_PIVOT, 1, y)[None],
    total=lambda x, axis: x.sum(axis=axis),
)
LOGS = Algebra(
    zero=Nats(-math.inf, 0.0),  # type: ignore[arg-type]
    one=Nats(0.0, 0.0),  # type: ignore[arg-type]
    where=lambda mask, x: Nats(jnp.where(mask, x.whole, -jnp.inf), jnp.where(mask, x.fraction, 0)),
    plus=_log_plus,
    times=_log_times,
    over=lambda x, y: log_over(x, Nats(*(part[None] for part in y))),
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


def eliminate(algebra: Algebra, w: Any, count: int, without_root: bool) -> tuple[Any, Any]:
    """The weights left when the first words are gone, and the pivots of these.

    Sentences stand last, so that loops over them are in order however few words are left.

    Args:
        algebra: of the weights.
        w: ``[M + 1, M, B]``, of heads (0 the root) and words.
        count: how many are eliminated.
        without_root: whether pivots leave out the root, whose arcs are infinitely small.

    Returns:
        ``(weights left, pivots [count, B])``. The first ``count`` columns of what is left are the
        probabilities that a walk from these words comes first to the root, or which word left.
    """
    heads = jnp.arange(jax.tree.leaves(w)[0].shape[0])
    apart = heads[:, None] != heads[None, 1:]

    def step(w, k):
        column = jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, k, 1, False), w)
        row = jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, k + 1, 0, False), w)
        pivot = jax.tree.map(lambda x: x[1:], column) if without_root else column
        pivot = algebra.total(pivot, 0)
        p = algebra.over(column, pivot)
        through = algebra.times(
            jax.tree.map(lambda x: x[:, None], p), jax.tree.map(lambda x: x[None], row)
        )
        stays = (apart | (heads[None, 1:] < k + 1)) & (heads != k + 1)[:, None]
        left = algebra.where(stays[..., None], algebra.plus(w, through))
        put = lambda x, y: lax.dynamic_update_index_in_dim(x, y, k, 1)
        return jax.tree.map(put, left, p), pivot

    return lax.scan(step, w, jnp.arange(count))


def _escapes(
    algebra: Algebra, w: Any, real: jax.Array, without_root: bool
) -> tuple[Any, list[tuple[Any, jax.Array]]]:
    """``e [M, M, B]``, ``[h, d]``, nothing on the diagonal; pivots ``[steps, .. B]``, where used.

    The pivots of a batch of ``B`` that leave the first word are the first ``B`` columns of each
    list; the others are those of other orders. They are used, bool ``[.. B]``, where a word of
    ``real [M, B]`` is left.
    """
    _, words, batch = jax.tree.leaves(w)[0].shape
    if words == 1:
        pivot = jax.tree.map(lambda x: x[0, 0], w)
        nothing = jax.tree.map(lambda x: x[1:], algebra.where(False, w))
        return nothing, [(jax.tree.map(lambda x: x[None], pivot), real[0])]
    # Several orders, in each of which another part of the words stays. Two are the least work; of
    # four there are half as many levels to compile, which sentences of common length are worth.
    parts = min(words, 4) if words <= 64 else 2
    size = -(-words // parts)
    w, real = _widened(algebra, w, real, parts * size)
    order = [np.roll(np.arange(parts * size), -size * (n + 1)) for n in range(parts)]
    turned = lambda x, own: x[np.r_[0, own + 1]][:, own]
    orders = jax.tree.map(lambda x: jnp.concatenate([turned(x, own) for own in order], 2), w)
    gone = parts * size - size
    left, pivots = eliminate(algebra, orders, gone, without_root)
    left = jax.tree.map(lambda x: jnp.concatenate([x[:1], x[gone + 1 :]]), left)
    exits = jax.tree.map(lambda x: x[:, :gone], left)
    kept = jax.tree.map(lambda x: x[:, gone:], left)
    real = jnp.concatenate([real[own[gone:]] for own in order], 1)
    inner, more = _escapes(algebra, kept, real, without_root)

    def by_way_of(e: Any, word: tuple[Any, Any]) -> tuple[Any, None]:
        exits, onward = word
        exits = jax.tree.map(lambda x: x[:, None], exits)
        onward = jax.tree.map(lambda x: x[None], onward)
        return algebra.plus(e, algebra.times(exits, onward)), None

    at_once = jax.tree.map(lambda x: jnp.repeat(x[0, :, None], size, 1), exits)
    e, _ = lax.scan(by_way_of, at_once, (jax.tree.map(lambda x: x[1:], exits), inner))
    e = jax.tree.map(lambda *x: jnp.concatenate(x), e, inner)

    def assemble(e):
        """The columns of each order, those of the words it leaves, with rows in the first order."""
        columns = [e[np.argsort(own), :, n * batch :][..., :batch] for n, own in enumerate(order)]
        return jnp.concatenate(columns, 1)[:words, :words]

    return jax.tree.map(assemble, e), [(pivots, real.any(axis=0)), *more]


def _widened(algebra: Algebra, w: Any, real: jax.Array, words: int) -> tuple[Any, jax.Array]:
    """As many words, of which the last hang from the first."""
    more = words - len(real)

    def wider(x: jax.Array, zero: float, one: float) -> jax.Array:
        x = jnp.pad(x, ((0, more), (0, more), (0, 0)), constant_values=zero)
        return x.at[1, words - more :].set(one)

    return jax.tree.map(wider, w, algebra.zero, algebra.one), jnp.pad(real, ((0, more), (0, 0)))


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


def _answer(arc: Nats, length: jax.Array, single_root: bool) -> _Answer:
    """``ln Z`` and marginals of arcs `complete`."""
    total, p, sure = inverse.answer(arc, single_root)
    slow = lambda _: _by_elimination(arc, length, single_root)
    return lax.cond(sure.all(), lambda fast: fast, slow, _Answer(total, p))


def _by_elimination(arc: Nats, length: jax.Array, single_root: bool) -> _Answer:
    """`_answer`, right to a few rounding errors of each probability."""
    relative, subtracted = inverse.relative_to_best(arc, single_root)
    batch, words = len(subtracted), arc.whole.shape[2]
    at_root = (jnp.arange(words + 1) == 0)[None, :, None]
    real = jnp.arange(words)[:, None] < jnp.maximum(length, 1)[None]

    def products(relative: Nats) -> tuple[_Answer, jax.Array]:
        w = sentences_last(jnp.exp(relative.whole + relative.fraction))
        e, pivots = _escapes(PRODUCTS, w, real, single_root)
        enough = [
            ((x >= MIN_PIVOT) | ~used[None]).reshape(x.size // max(batch, 1), batch).all(axis=0)
            for x, used in pivots
        ]
        sure = jnp.stack(enough).all(axis=0)
        total = jnp.concatenate([safe_log(x[:, :batch]) for x, _ in pivots]).sum(axis=0)
        p = normalize((w * _with_root(PRODUCTS, e)).T).swapaxes(1, 2)
        # Small pivots one after another can make what comes to the root overflow: then it is NaN.
        sure &= ((p.sum(axis=1) > 0.5) | (jnp.arange(words)[None] >= length[:, None])).all(axis=1)
        return _Answer(to_nats(total, subtracted), p), sure

    def logs(relative: Nats) -> _Answer:
        small = rarity(relative) if single_root else 0
        own = relative._replace(whole=relative.whole - jnp.where(at_root, small, 0))
        own = sentences_last(own)
        e, pivots = _escapes(LOGS, own, real, False)
        flow = _log_times(own, _with_root(LOGS, e))
        near = jnp.exp((flow.whole - finite_max(flow.whole, axis=0)) + flow.fraction)
        p = normalize(near.T).swapaxes(1, 2)
        of_first = [jax.tree.map(lambda x: x[:, :batch], x) for x, _ in pivots]
        own = Nats(*map(jnp.concatenate, zip(*of_first)))
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


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def log_partition(arc: Nats, length: jax.Array, single_root: bool) -> Nats:
    """``ln Z [B]`` of arcs as `complete` gives them. The cotangent is that of the fraction.

    Args:
        arc: scores of arcs, as said above.
        length: int ``[B]``, words.
        single_root: whether one word hangs from the root.

    Returns:
        `Nats` ``[B]``.
    """
    return _answer(arc, length, single_root).total


def _log_partition_fwd(arc: Nats, length: jax.Array, single_root: bool) -> tuple[Nats, jax.Array]:
    return tuple(_answer(arc, length, single_root))  # type: ignore[return-value]


def _log_partition_bwd(single_root: bool, p: jax.Array, cotangent: Nats) -> tuple[Nats, None]:
    grad = p * cotangent.fraction[:, None, None]
    return Nats(jnp.zeros_like(p), grad), None


log_partition.defvjp(_log_partition_fwd, _log_partition_bwd)
