"""The recursion over all alignments of frames with targets, and its backward pass.

An alignment gives each frame a target, in their order, or the blank; frames in a row may share a
target, and between two equal targets there is a blank. With ``l_t[i]`` the sum over all alignments
of the frames up to ``t`` that end in target ``i``, ``b_t[i]`` those that end in a blank after ``i``
targets, ``u`` the frames' scores::

    l_t[i] = u_t(target i) + ln(exp l_{t-1}[i] + exp b_{t-1}[i] + exp l_{t-1}[i-1])
    b_t[i] = u_t(blank)    + ln(exp b_{t-1}[i] + exp l_{t-1}[i-1])
    b_{-1}[0] = 0,   ln Z = ln(exp b_T[n] + exp l_T[n-1])

the last term of the first line only where target i differs from the one before it (Graves et al.
2006). The backward pass hands the probability of each state on to those before it, in the shares
that they have in its sum; it is the gradient of ``ln Z`` for the scores (source 004, the model
marginals theorem). The exponentials of each sum are its shares, so these are kept, O(B T L), and
the backward pass only multiplies. Numbers are `Nats`: right whatever the scores and the length.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.ctc.scores import Parts
from rntn_jax.crf.nats import Nats, to_nats
from rntn_jax.ops.logspace import logsumexp, safe_log

__all__ = ["States", "final", "log_partition", "reference", "run"]


class States(NamedTuple):
    """Sums over alignments up to a frame."""

    label: Nats  # [.., B, L]
    blank: Nats  # [.., B, L + 1]


def reference(parts: Parts) -> jax.Array:
    """``ln Z [B]`` by the equations as they stand: the oracle of the rule."""
    u_blank, u_label = parts.blank.value, parts.label.value
    rows, width = u_label.shape[1:]
    label = jnp.full((rows, width), -jnp.inf)
    blank = jnp.full((rows, width + 1), -jnp.inf).at[:, 0].set(0)
    shifted = lambda x: jnp.pad(x, ((0, 0), (1, 0)), constant_values=-jnp.inf)
    for t in range(len(u_blank)):
        skipped = jnp.where(parts.repeated, -jnp.inf, shifted(label)[:, :width])
        new = u_label[t] + logsumexp(jnp.stack([label, blank[:, :width], skipped]), axis=0)
        new_blank = u_blank[t][:, None] + logsumexp(jnp.stack([blank, shifted(label)]), axis=0)
        on = parts.mask[t][:, None]
        label, blank = jnp.where(on, new, label), jnp.where(on, new_blank, blank)
    row = jnp.arange(rows)
    both = jnp.stack([blank[row, parts.num_targets], shifted(label)[row, parts.num_targets]])
    return logsumexp(both, axis=0)


def _after_one(x: Nats, fill: float = -jnp.inf) -> Nats:
    """``[.., i - 1]`` at ``[.., i]``, one longer."""
    ahead = ((0, 0), (1, 0))
    return Nats(jnp.pad(x.whole, ahead, constant_values=fill), jnp.pad(x.fraction, ahead))


def _predecessors(
    states: States, repeated: jax.Array
) -> tuple[tuple[Nats, Nats, Nats], tuple[Nats, Nats]]:
    """What targets ``[B, L]`` and blanks ``[B, L + 1]`` are entered from.

    Arrays of their own: XLA fuses a sum of three into one loop, but not one along an axis.
    """
    label, blank = states
    after = _after_one(label)
    skipped = Nats(jnp.where(repeated, -jnp.inf, after.whole[:, :-1]), after.fraction[:, :-1])
    inner = Nats(*(x[:, :-1] for x in blank))
    return (label, inner, skipped), (blank, after)


def run(
    parts: Parts, combine: Callable[[tuple[Nats, ...]], tuple[Nats, Any]]
) -> tuple[States, tuple[Any, Any]]:
    """The states after the last frame, and what was kept at each frame.

    Args:
        parts: scores, checked.
        combine: of the states that lead to one: to a target itself, a blank and the target
            before, to a blank itself and the target. Gives the state, and what is kept.

    Returns:
        The last states, and what was kept of targets and blanks, each with a leading axis ``T``.
    """
    _, rows, width = parts.label.whole.shape
    like = parts.label.whole

    def step(states: States, inputs):
        u_blank, u_label, on = inputs
        into_label, into_blank = _predecessors(states, parts.repeated)
        (label, of_label), (blank, of_blank) = combine(into_label), combine(into_blank)
        add = lambda x, y: to_nats(x.fraction + y.fraction, x.whole + y.whole)
        u_blank = Nats(*(x[:, None] for x in u_blank))
        new = States(add(label, u_label), add(blank, u_blank))
        stay = lambda x, y: jnp.where(on[:, None], x, y)
        return jax.tree.map(stay, new, states), (of_label, of_blank)

    none = jnp.full_like(like, -jnp.inf, shape=(rows, width + 1))
    zeros = jnp.zeros_like(none)
    initial = States(Nats(none[:, :width], zeros[:, :width]), Nats(none.at[:, 0].set(0), zeros))
    return lax.scan(step, initial, (parts.blank, parts.label, parts.mask))


def final(states: States, count: jax.Array) -> tuple[Nats, Nats]:
    """The two states that an alignment may end in, ``[B]`` each: a blank, the last target.

    Args:
        states: sums over alignments.
        count: targets of each row.

    Returns:
        Both.
    """
    row = jnp.arange(len(count))
    at_end = lambda x: Nats(*(part[row, count] for part in x))
    return at_end(states.blank), at_end(_after_one(states.label))


@jax.custom_vjp
def log_partition(parts: Parts) -> Nats:
    """``ln Z [B]``. The cotangent is that of the fraction."""
    last, _ = run(parts, lambda terms: (_sum_and_shares(terms)[0], None))
    return _sum_and_shares(final(last, parts.num_targets))[0]


class _Residuals(NamedTuple):
    ends: tuple[jax.Array, ...]  # [B], of a blank and a target
    shares: tuple[Any, Any]  # of targets three [T, B, L], of blanks two [T, B, L + 1]
    mask: jax.Array
    num_targets: jax.Array


def _sum_and_shares(terms: tuple[Nats, ...]) -> tuple[Nats, tuple[jax.Array, ...]]:
    """The sum of some numbers, and the share of each in it; 0 where there is none."""
    top = functools.reduce(jnp.maximum, (x.whole for x in terms))
    top = jnp.where(top == -jnp.inf, 0, top)
    near = [jnp.exp((x.whole - top) + x.fraction) for x in terms]
    total = functools.reduce(jnp.add, near)
    some = jnp.where(total == 0, 1, total)
    return to_nats(safe_log(total), top), tuple(x / some for x in near)


def _log_partition_fwd(parts: Parts) -> tuple[Nats, _Residuals]:
    last, shares = run(parts, _sum_and_shares)
    total, ends = _sum_and_shares(final(last, parts.num_targets))
    return total, _Residuals(ends, shares, parts.mask, parts.num_targets)


def _log_partition_bwd(res: _Residuals, cotangent: Nats) -> tuple[Parts]:
    ends, shares, mask, count = res
    width = shares[0][0].shape[-1]
    at = jnp.arange(width + 1)[None] == count[:, None]
    g_blank, g_label = (jnp.where(at, (x * cotangent.fraction)[:, None], 0) for x in ends)
    ahead = ((0, 0), (0, 1))

    def step(carry, inputs):
        g_label, g_blank = carry
        (of_label, of_blank), on = inputs
        stay, from_blank, skip = (x * g_label for x in of_label)
        rest, ended = (x * g_blank for x in of_blank)
        to_label = stay + jnp.pad(skip[:, 1:], ((0, 0), (0, min(width, 1)))) + ended[:, 1:]
        to_blank = rest + jnp.pad(from_blank, ahead)
        on = on[:, None]
        out = jnp.where(on, g_label, 0), jnp.where(on, g_blank, 0).sum(axis=1)
        return (jnp.where(on, to_label, g_label), jnp.where(on, to_blank, g_blank)), out

    _, (label, blank) = lax.scan(step, (g_label[:, 1:], g_blank), (shares, mask), reverse=True)
    grads = (Nats(jnp.zeros_like(g), g) for g in (blank, label))
    return (Parts(*grads, None, None, None),)  # type: ignore[arg-type]


log_partition.defvjp(_log_partition_fwd, _log_partition_bwd)
