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
marginals theorem). The shares are found anew, so only states are kept, O(B T L). Numbers are
`Nats`: right whatever the scores and the length.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.ctc.scores import Parts
from rntn_jax.crf.nats import Nats, log_sum, to_nats
from rntn_jax.ops.logspace import finite_max, logsumexp

__all__ = ["States", "final", "log_partition", "predecessors", "reference", "run"]


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


def predecessors(states: States, repeated: jax.Array) -> States:
    """What each state is entered from, ``[3, B, L]`` and ``[2, B, L + 1]``.

    Args:
        states: sums over alignments.
        repeated: bool ``[B, L]``, targets equal to those before.

    Returns:
        `States` of stacks.
    """
    label, blank = states
    after = _after_one(label)
    skipped = Nats(jnp.where(repeated, -jnp.inf, after.whole[:, :-1]), after.fraction[:, :-1])
    inner = Nats(*(x[:, :-1] for x in blank))
    stack = lambda *states: Nats(*(jnp.stack(parts) for parts in zip(*states)))
    return States(stack(label, inner, skipped), stack(blank, after))


def run(parts: Parts, combine=log_sum) -> tuple[States, States]:
    """The states after the last frame, and those before each frame ``[T, B, ..]``.

    Args:
        parts: scores, checked.
        combine: what is made of the states that lead to one.

    Returns:
        The last states, and those before each frame.
    """
    _, rows, width = parts.label.whole.shape
    like = parts.label.whole

    def step(states: States, inputs):
        u_blank, u_label, on = inputs
        into = States(*map(combine, predecessors(states, parts.repeated)))
        add = lambda x, y: to_nats(x.fraction + y.fraction, x.whole + y.whole)
        u_blank = Nats(*(x[:, None] for x in u_blank))
        new = States(add(into.label, u_label), add(into.blank, u_blank))
        stay = lambda x, y: jnp.where(on[:, None], x, y)
        return jax.tree.map(stay, new, states), states

    none = jnp.full_like(like, -jnp.inf, shape=(rows, width + 1))
    zeros = jnp.zeros_like(none)
    initial = States(Nats(none[:, :width], zeros[:, :width]), Nats(none.at[:, 0].set(0), zeros))
    return lax.scan(step, initial, (parts.blank, parts.label, parts.mask))


def final(states: States, count: jax.Array) -> Nats:
    """The two states that an alignment may end in, ``[2, B]``: a blank, the last target.

    Args:
        states: sums over alignments.
        count: how many: targets of each row, or trees to draw.

    Returns:
        `Nats` ``[2, B]``.
    """
    row = jnp.arange(len(count))
    ends = states.blank, _after_one(states.label)
    return Nats(*(jnp.stack([x[row, count] for x in both]) for both in zip(*ends)))


@jax.custom_vjp
def log_partition(parts: Parts) -> Nats:
    """``ln Z [B]``. The cotangent is that of the fraction."""
    return log_sum(final(run(parts)[0], parts.num_targets))


class _Residuals(NamedTuple):
    last: States
    before: States  # [T, B, ..]
    mask: jax.Array
    num_targets: jax.Array
    repeated: jax.Array


def _log_partition_fwd(parts: Parts) -> tuple[Nats, _Residuals]:
    last, before = run(parts)
    total = log_sum(final(last, parts.num_targets))
    return total, _Residuals(last, before, parts.mask, parts.num_targets, parts.repeated)


def _shares(x: Nats) -> jax.Array:
    """Of each in the sum over the first axis; 0 where there is none."""
    near = jnp.exp((x.whole - finite_max(x.whole, axis=0)) + x.fraction)
    total = near.sum(axis=0, keepdims=True)
    return near / jnp.where(total == 0, 1, total)


def _log_partition_bwd(res: _Residuals, cotangent: Nats) -> tuple[Parts]:
    last, before, mask, count, repeated = res
    width = last.label.whole.shape[1]
    ends = _shares(final(last, count)) * cotangent.fraction[None]
    at = jnp.arange(width + 1)[None] == count[:, None]
    g_blank, g_label = (jnp.where(at, x[:, None], 0) for x in ends)
    ahead = ((0, 0), (0, 1))

    def step(carry, inputs):
        g_label, g_blank = carry
        states, on = inputs
        of_label, of_blank = map(_shares, predecessors(states, repeated))
        stay, from_blank, skip = of_label * g_label[None]
        rest, ended = of_blank * g_blank[None]
        to_label = stay + jnp.pad(skip[:, 1:], ((0, 0), (0, min(width, 1)))) + ended[:, 1:]
        to_blank = rest + jnp.pad(from_blank, ahead)
        on = on[:, None]
        out = jnp.where(on, g_label, 0), jnp.where(on, g_blank, 0).sum(axis=1)
        return (jnp.where(on, to_label, g_label), jnp.where(on, to_blank, g_blank)), out

    _, (label, blank) = lax.scan(step, (g_label[:, 1:], g_blank), (before, mask), reverse=True)
    grads = (Nats(jnp.zeros_like(g), g) for g in (blank, label))
    return (Parts(*grads, None, None, None),)  # type: ignore[arg-type]


log_partition.defvjp(_log_partition_fwd, _log_partition_bwd)
