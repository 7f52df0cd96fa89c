"""The recursion over all alignments of two sequences, and its backward pass.

With ``m``, ``l`` and ``r`` the scores of the moves into a cell, ``a(i, j)`` sums all ways from the
first cell to ``(i, j)``, and the cells of a diagonal ``d = i + j`` know only the two before it::

    a(0, 0) = m(0, 0)
    a(i, j) = ln( exp(a(i-1, j-1) + m(i, j)) + exp(a(i-1, j) + l(i, j)) + exp(a(i, j-1) + r(i, j)) )
    ln Z    = a(n - 1, m - 1)

The backward pass goes from the last diagonal to the first. With ``g(i, j)`` the probability that an
alignment passes the cell, that of each move into it is::

    P(match into (i, j)) = g(i, j) exp(a(i-1, j-1) + m(i, j) - a(i, j)),   and so on,

which is the gradient (source 004, the model marginals theorem), and what the cells that the moves
come from add up to their own ``g``. All conditional probabilities are formed at once, beforehand;
the loop only multiplies and adds. Of every diagonal the largest state, a whole number, is
subtracted and summed apart, and the rest held as `Nats`: so long sequences and scores of 1e4 are
right in float32.

Cost O(B (N + M) N), so that the shorter sequence best stands on the left; residuals O(B (N + M) N).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.alignment.scores import Parts
from rntn_jax.crf.nats import Nats, log_sum
from rntn_jax.ops.logspace import finite_max, logsumexp, long_sum

__all__ = ["Run", "from_cells", "log_conditionals", "log_partition", "reference", "run"]


class Run(NamedTuple):
    """States, relative to what was subtracted up to their diagonal."""

    states: Nats  # a [D, B, N]
    subtracted: jax.Array  # [D, B], whole numbers
    total: Nats  # ln Z [B]


def reference(parts: Parts) -> jax.Array:
    """``ln Z [B]`` by the equations as they stand: the oracle of the rule."""
    moves, lengths = parts.moves.value, parts.lengths
    diagonals, _, rows, n = moves.shape
    table = {}
    for i in range(n):
        for j in range(diagonals - i):
            own = moves[i + j, :, :, i]
            none = jnp.full(rows, -jnp.inf)
            before = [table.get(at, none) for at in ((i - 1, j - 1), (i - 1, j), (i, j - 1))]
            ways = jnp.stack([x + y for x, y in zip(before, own)])
            table[i, j] = own[0] if i == j == 0 else logsumexp(ways, axis=0)
    wide = jnp.stack([table[i, j] for i in range(n) for j in range(diagonals - n + 1)])
    at = (lengths[:, 0] - 1) * (diagonals - n + 1) + lengths[:, 1] - 1
    found = wide[jnp.maximum(at, 0), jnp.arange(rows)]
    empty = (lengths == 0).all(axis=1)
    return jnp.where(empty, 0, jnp.where((lengths == 0).any(axis=1), -jnp.inf, found))


def _down(x: Nats, first: jax.Array | float) -> Nats:
    """States of the cells above: ``[.., i - 1]`` at ``[.., i]``."""
    fill = jnp.broadcast_to(jnp.asarray(first, x.whole.dtype), x.whole[..., :1].shape)
    whole = jnp.concatenate([fill, x.whole[..., :-1]], axis=-1)
    return Nats(whole, jnp.concatenate([jnp.zeros_like(fill), x.fraction[..., :-1]], axis=-1))


def from_cells(one: Nats, two: Nats, moves: Nats, first: jax.Array) -> Nats:
    """The three ways into the cells of diagonals, ``[.., 3, B, N]``.

    Args:
        one: states of the diagonals before these, ``[.., B, N]``.
        two: those before these.
        moves: scores ``[.., 3, B, N]``.
        first: bool ``[..]``, whether it is the diagonal of the first cell.

    Returns:
        `Nats`.
    """
    start = jnp.where(first, jnp.zeros((), one.whole.dtype), -jnp.inf)[..., None, None]
    before = _down(two, start), _down(one, -jnp.inf), one
    stacked = (jnp.stack(x, axis=-3) for x in zip(*before))
    return Nats(*(x + y for x, y in zip(stacked, moves)))


def final_cells(lengths: jax.Array, diagonals: int, n: int) -> jax.Array:
    """Bool ``[D, B, N]``, where the last cell of each row is."""
    d, i = jnp.arange(diagonals)[:, None, None], jnp.arange(n)[None, None]
    left, right = lengths[:, 0][None, :, None], lengths[:, 1][None, :, None]
    return (i == left - 1) & (d == left + right - 2) & (left > 0) & (right > 0)


def run(parts: Parts) -> Run:
    """The recursion from the first diagonal to the last; N and M at least 1."""
    moves, lengths = parts
    diagonals, _, rows, n = moves.whole.shape

    def step(carry, inputs):
        one, two = carry
        own, first = inputs
        a = log_sum(from_cells(one, two, own, first))
        top = lax.stop_gradient(finite_max(a.whole))
        a = Nats(a.whole - top, a.fraction)
        return (a, Nats(one.whole - top, one.fraction)), (a, top[:, 0])

    none = jnp.full_like(moves.whole, -jnp.inf, shape=(rows, n))
    nothing = Nats(none, jnp.zeros_like(none))
    _, (a, top) = lax.scan(step, (nothing, nothing), (moves, jnp.arange(diagonals) == 0))
    last = final_cells(lengths, diagonals, n)
    within = jnp.arange(diagonals)[:, None] <= lengths.sum(axis=1)[None] - 2
    whole = jnp.where(last, a.whole, 0).sum(axis=(0, 2)) + long_sum(jnp.where(within, top, 0))
    bad = moves.whole[0, 0, :, 0]
    none = (lengths == 0).any(axis=1)
    empty = jnp.where((lengths == 0).all(axis=1), 0, -jnp.inf)
    whole = jnp.where(none, jnp.where(jnp.isnan(bad), bad, empty), whole)
    fraction = jnp.where(last, a.fraction, 0).sum(axis=(0, 2))
    return Run(a, top, Nats(whole, jnp.where(none, 0, fraction)))


def log_conditionals(parts: Parts, ran: Run) -> jax.Array:
    """``ln`` of the probability of each move into a cell given the cell.

    Args:
        parts: scores, checked.
        ran: of `run`.

    Returns:
        ``[D, 3, B, N]``, ``-inf`` where the cell cannot be reached.
    """
    a, top = ran.states, ran.subtracted
    none = Nats(jnp.full_like(a.whole[:1], -jnp.inf), jnp.zeros_like(a.fraction[:1]))
    one = Nats(*(jnp.concatenate([x, y[:-1]]) for x, y in zip(none, a)))
    two = Nats(*(jnp.concatenate([x, y[:-1]]) for x, y in zip(none, one)))
    before = jnp.concatenate([jnp.zeros_like(top[:1]), top[:-1]])
    two = two._replace(whole=two.whole - before[..., None])
    ways = from_cells(one, two, parts.moves, jnp.arange(len(top)) == 0)
    dead = (a.whole == -jnp.inf)[:, None]
    whole = ways.whole - jnp.where(dead, 0, a.whole[:, None] + top[:, None, :, None])
    return jnp.where(dead, -jnp.inf, whole + (ways.fraction - a.fraction[:, None]))


@jax.custom_vjp
def log_partition(parts: Parts) -> Nats:
    """``ln Z [B]``. The cotangent is that of the fraction."""
    return run(parts).total


class _Residuals(NamedTuple):
    parts: Parts
    run: Run


def _log_partition_fwd(parts: Parts) -> tuple[Nats, _Residuals]:
    ran = run(parts)
    return ran.total, _Residuals(parts, ran)


def _log_partition_bwd(res: _Residuals, cotangent: Nats) -> tuple[Parts]:
    parts, ran = res
    diagonals, _, rows, n = parts.moves.whole.shape
    share = jnp.exp(log_conditionals(parts, ran))
    last = final_cells(parts.lengths, diagonals, n)
    at_end = jnp.where(last, cotangent.fraction[None, :, None], 0)

    def up(x):
        """Of the cells above: ``[.., i]`` to ``[.., i - 1]``."""
        return jnp.concatenate([x[:, 1:], jnp.zeros_like(x[:, :1])], axis=1)

    def step(carry, inputs):
        here, next_ = carry  # what is known of g of this diagonal, and of the one before it
        share, at_end = inputs
        match, left, right = flow = share * (here + at_end)[None]
        return (next_ + up(left) + right, up(match)), flow

    nothing = jnp.zeros_like(share, shape=(rows, n))
    _, p = lax.scan(step, (nothing, nothing), (share, at_end), reverse=True)
    return (Parts(Nats(jnp.zeros_like(p), p), None),)  # type: ignore[arg-type]


log_partition.defvjp(_log_partition_fwd, _log_partition_bwd)
