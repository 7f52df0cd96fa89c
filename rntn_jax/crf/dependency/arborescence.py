"""All trees, crossing ones too: the best one, and random ones.

The best: every word takes its best head; words that make a cycle become one, whose arcs are worth
what they gain over the arc of the cycle that they replace; and again until there is no cycle; then
the cycles are opened where they are entered (Chu and Liu 1965, Edmonds 1967). All cycles of a round
at once, for all sentences of a batch side by side.

Random ones: word by word, each head drawn given those before it. A word with its head drawn is
merged into it, and the probabilities of the next word's heads are those of `elimination` in what is
left.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.dependency.elimination import LOGS, eliminate, rarity, sentences_last
from rntn_jax.crf.nats import Nats
from rntn_jax.ops.logspace import finite_max
from rntn_jax.ops.varying import vary_like

__all__ = ["best_heads", "less_at_root", "random_heads"]


def less_at_root(arc: Nats, single_root: bool) -> Nats:
    """Arcs at the root made so low that a tree has as few of them as it can.

    Args:
        arc: ``[B, T + 1, T]`` as `elimination.complete` gives them.
        single_root: whether to do so; else the arcs stay.

    Returns:
        The same distribution over the trees with the least arcs at the root.
    """
    if not single_root:
        return arc
    less = rarity(Nats(arc.whole - finite_max(arc.whole, axis=1), arc.fraction))
    return arc._replace(whole=arc.whole.at[:, 0].add(-less))


def _argmax(x: Nats, axis: int) -> jax.Array:
    """Where the largest are."""
    best = jnp.argmax((x.whole - finite_max(x.whole, axis)) + x.fraction, axis=axis)
    return best.astype(jnp.int32)


class _Round(NamedTuple):
    """Components by one of their words ``[B, T + 1]``, and the arcs that they chose."""

    component: Any  # of each word
    word: Any  # that the arc into the component ends at
    head: Any  # that it starts from


def best_heads(arc: Nats, single_root: bool) -> jax.Array:
    """Heads int32 ``[B, T]`` of the best trees; some where every tree is forbidden.

    Args:
        arc: ``[B, T + 1, T]`` as `elimination.complete` gives them.
        single_root: whether one word hangs from the root.

    Returns:
        int32 ``[B, T]``.
    """
    arc = less_at_root(arc, single_root)
    batch, size, _ = arc.whole.shape
    rows, every = jnp.arange(batch)[:, None], jnp.arange(size, dtype=jnp.int32)[None]
    strides = range(size.bit_length())

    def choose(component, arc: Nats) -> tuple[_Round, Nats]:
        """The best arc into each component, and its score."""
        outside = component[:, :, None] != component[:, None, 1:]
        open_arcs = Nats(jnp.where(outside, arc.whole, -jnp.inf), arc.fraction)
        head = _argmax(open_arcs, 1)
        own = Nats(*(jnp.take_along_axis(x, head[:, None], axis=1) for x in open_arcs))
        member = component[:, None, 1:] == every[:, :, None]
        of_component = Nats(
            jnp.where(member, own.whole, -jnp.inf), jnp.where(member, own.fraction, 0)
        )
        word = _argmax(of_component, 2)
        score = Nats(
            *(jnp.take_along_axis(x, word[..., None], axis=2)[..., 0] for x in of_component)
        )
        none = score.whole == -jnp.inf  # what cannot be entered hangs from the root
        word, head = jnp.where(none, every, word + 1), jnp.where(none, 0, head[rows, word])
        return _Round(component, word, head), score

    def cycles(chosen: _Round) -> tuple[jax.Array, jax.Array]:
        """The components when all cycles have become one each, and those in cycles."""
        exists = (chosen.component[:, None] == every[:, :, None]).any(axis=2) & (every > 0)
        above = jnp.where(exists, chosen.component[rows, chosen.head], 0)
        lowest = jnp.broadcast_to(every, above.shape)
        for _ in strides:  # until every walk has ended at the root or turns in a cycle
            lowest = jnp.minimum(lowest, lowest[rows, above])
            above = above[rows, above]
        turning = jnp.zeros((batch, size), bool).at[rows, above].set(True) & (every > 0)
        return jnp.where(turning, lowest, every), turning

    def step(carry):
        number, component, arc, history, _ = carry
        chosen, score = choose(component, arc)
        name, turning = cycles(chosen)
        paid = turning & (score.whole > -jnp.inf)
        paid = Nats(*(jnp.where(paid, x, 0)[rows, component[:, 1:]][:, None] for x in score))
        arc = Nats(arc.whole - paid.whole, arc.fraction - paid.fraction)
        history = jax.tree.map(lambda x, y: x.at[number].set(y), history, chosen)
        return number + 1, name[rows, component], arc, history, turning.any()

    component = jnp.broadcast_to(every, (batch, size))
    history = _Round(*(jnp.zeros((size, batch, size), jnp.int32),) * 3)
    initial = jnp.int32(0), component, arc, history, jnp.asarray(True)
    initial = vary_like(initial)
    number, _, _, history, _ = lax.while_loop(
        lambda carry: carry[-1] & (carry[0] < size), step, initial
    )

    def enter(i, carry):
        """Arcs into the components of a round, from those into the round after it."""
        word, head = carry
        at = number - 2 - i
        own = jax.tree.map(lambda x: x[at], history)
        after = history.component[at + 1]
        word, head = (x[rows, after] for x in (word, head))
        entered = own.component[rows, word] == every
        return jnp.where(entered, word, own.word), jnp.where(entered, head, own.head)

    last = jax.tree.map(lambda x: x[number - 1], history)
    _, head = lax.fori_loop(0, number - 1, enter, (last.word, last.head))
    return head[:, 1:]


def random_heads(key: jax.Array, arc: Nats, single_root: bool, count: int) -> jax.Array:
    """Heads int32 ``[count, B, T]``; some where every tree is forbidden.

    Args:
        key: a PRNG key.
        arc: ``[B, T + 1, T]`` as `elimination.complete` gives them.
        single_root: whether one word hangs from the root.
        count: how many of each sentence.

    Returns:
        int32 ``[count, B, T]``.
    """
    arc = less_at_root(arc, single_root)
    batch, size, words = arc.whole.shape
    rows, every = jnp.arange(batch)[:, None], jnp.arange(size, dtype=jnp.int32)

    def escapes(left: Nats, word) -> Nats:
        """Of each head but the word, the probability to come to the root before the word."""
        turned = Nats(*(jnp.roll(x, -word, axis=2) for x in left))
        turned = Nats(
            *(jnp.concatenate([x[:, :1], jnp.roll(x[:, 1:], -word, 1)], 1) for x in turned)
        )
        left, _ = eliminate(LOGS, sentences_last(turned), words - 1, False)
        e = Nats(*(x[0, :-1].T for x in left))  # exits, by the root or by the word
        e = Nats(*(jnp.pad(x, ((0, 0), (1, 1))) for x in e))
        e = e._replace(whole=e.whole.at[:, -1].set(-jnp.inf))
        return Nats(*(jnp.concatenate([x[:, :1], jnp.roll(x[:, 1:], word, 1)], 1) for x in e))

    def one(key):
        def step(carry, inputs):
            left, component = carry
            key, k = inputs
            word = (k + 1) % words  # turned so that this one is the last
            e = escapes(left, word)
            e = Nats(*(x[rows, component] for x in e))
            flow = LOGS.times(Nats(*(x[:, :, k] for x in arc)), e)
            flow = jnp.where(component == k + 1, -jnp.inf, flow.whole), flow.fraction
            logits = (flow[0] - finite_max(flow[0])) + flow[1]
            head = jax.random.categorical(key, logits).astype(jnp.int32)
            into = component[rows[:, 0], head]
            merged = LOGS.plus(
                Nats(*(x[rows[:, 0], into] for x in left)), Nats(*(x[:, k + 1] for x in left))
            )
            left = Nats(*(x.at[rows[:, 0], into].set(y) for x, y in zip(left, merged)))
            gone = every == k + 1
            mine = jnp.arange(words) == k  # hangs from the root, and nothing from it
            never = gone[:, None] | (every[:, None] == every[None, 1:])
            whole = jnp.where(never[None], -jnp.inf, left.whole)
            alone = jnp.where(every == 0, 0, -jnp.inf)[None, :, None]
            whole = jnp.where(mine[None, None], alone, whole)
            fraction = jnp.where((never | mine[None])[None], 0, left.fraction)
            component = jnp.where(component == k + 1, into[:, None], component)
            return (Nats(whole, fraction), component), head

        component = vary_like(jnp.broadcast_to(every[None], (batch, size)), arc)
        keys = jax.random.split(key, words)
        return lax.scan(step, (arc, component), (keys, every[:-1]))[1].T

    return jax.vmap(one)(jax.random.split(key, count))
