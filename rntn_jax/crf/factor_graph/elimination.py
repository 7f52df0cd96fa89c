"""Variable elimination over tables of any shape, and its backward pass.

Variables are summed out one after another. With ``T_v`` the sum of all tables and messages that
have ``v`` when its turn comes, over its labels and those of the other variables in them, its
separator ``s`` (Zhang and Poole 1994; Dechter 1999)::

    m_v[s] = ln sum_c exp T_v[c, s]          ln Z = sum of the messages with an empty separator

The message goes to the first of the separator to be summed out. Backward, from the last variable to
the first, its probability given its separator times that of the separator, which is a sum of the
probabilities of the bag that the message went to (source 004, the model marginals theorem)::

    P(c | s)  = exp(T_v[c, s] - m_v[s])
    P_v[c, s] = P(c | s) sum_{rest} P_parent[s, rest]

Tables' marginals are sums of these. Everything is a sum of what is positive; logarithms are kept as
`Nats`, so that float32 is right over +-1e4. Bags are tables of their own shapes, in a program that
is written out for the graph: for graphs of some hundred variables. Of pairs alone,
`rntn_jax.crf.graph` is one loop, whatever the graph.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rntn_jax.crf.factor_graph.scores import Scopes, Scores, sizes_of
from rntn_jax.crf.graph.order import best_order
from rntn_jax.crf.nats import Nats, log_sum, to_nats
from rntn_jax.ops.logspace import logsumexp

__all__ = [
    "MOST",
    "Bag",
    "add",
    "aligned",
    "bags_of",
    "conditionals",
    "joint",
    "log_partition",
    "probabilities",
    "reference",
    "sweep",
    "total",
]

MOST = 1 << 27  # entries of the largest bag


class Bag(NamedTuple):
    """A variable's turn."""

    scope: tuple[int, ...]  # the variable, then its separator
    tables: tuple[int, ...]  # which of the tables are added here
    children: tuple[int, ...]  # bags whose messages are
    parent: int | None  # bag that the message goes to; None: the separator is empty


def bags_of(scores: Scores) -> tuple[Bag, ...]:
    """The bags of checked scores, in the order of elimination.

    Raises:
        ValueError: when the largest would have more than `MOST` entries.
    """
    return _bags(scores.scopes, sizes_of(scores))


@lru_cache(maxsize=64)
def _bags(scopes: Scopes, sizes: tuple[int, ...]) -> tuple[Bag, ...]:
    count = len(sizes)
    pairs = sorted({(u, v) for scope in scopes for u in scope for v in scope if u < v})
    edges = np.array(pairs, np.int64).reshape(-1, 2)
    order, separators, _ = best_order(edges, count, max(count, 1))
    turn = {v: n for n, v in enumerate(order)}
    separators = [sorted(s, key=turn.__getitem__) for s in separators]
    parents = [turn[s[0]] if s else None for s in separators]
    largest = max((sizes[v] * math.prod(sizes[u] for u in s) for v, s in zip(order, separators)),
                  default=0)  # fmt: skip
    if largest > MOST:
        raise ValueError(
            f"exact inference needs a table of {largest} entries, more than the {MOST} allowed"
        )
    first = [min(turn[v] for v in scope) for scope in scopes]
    return tuple(
        Bag(
            (v, *separators[n]),
            tuple(f for f, turn_of in enumerate(first) if turn_of == n),
            tuple(m for m, parent in enumerate(parents) if parent == n),
            parents[n],
        )
        for n, v in enumerate(order)
    )


def aligned(x: jax.Array, own: tuple[int, ...], scope: tuple[int, ...], lead: int = 0) -> jax.Array:
    """A table over some of the variables of a scope, with an axis of size 1 for each of the others.

    Args:
        x: ``[.., C_u, C_v, ..]``.
        own: its variables.
        scope: the variables that it gets.
        lead: axes that stay in front.

    Returns:
        An array of ``lead + len(scope)`` axes.
    """
    order = [own.index(v) + lead for v in scope if v in own]
    x = x.transpose(*range(lead), *order)
    there = iter(x.shape[lead:])
    return x.reshape(*x.shape[:lead], *(next(there) if v in own else 1 for v in scope))


def add(first: Nats, *others: Nats) -> Nats:
    """The sum, carried over.

    Args:
        first: a number.
        *others: more, of shapes that broadcast.

    Returns:
        `Nats` whose fractions are within +-0.5.
    """
    whole, fraction = first
    for x in others:
        whole, fraction = whole + x.whole, fraction + x.fraction
    return to_nats(fraction, whole)


def _parts(bag: Bag, bags, tables, scopes, messages, sizes) -> Nats:
    """``T_v``."""
    found = [(scopes[f], tables[f]) for f in bag.tables]
    found += [(bags[m].scope[1:], messages[m]) for m in bag.children]
    shape = tuple(sizes[v] for v in bag.scope)
    parts = [Nats(*(aligned(x, own, bag.scope) for x in table)) for own, table in found]
    return Nats(*(jnp.broadcast_to(x, shape) for x in add(*parts)))


class Sweep(NamedTuple):
    """What elimination knows of each bag."""

    bags: list[Nats]  # T_v
    messages: list[Nats]  # m_v


def sweep(tables: tuple[Nats, ...], scopes: Scopes, bags: tuple[Bag, ...]) -> Sweep:
    """All variables, from the first to the last.

    Args:
        tables: `Nats` each.
        scopes: their variables.
        bags: of `bags_of`.

    Returns:
        The bags' tables and messages, in that order.
    """
    sizes = _sizes(tables, scopes)
    found = Sweep([], [])
    for bag in bags:
        value = _parts(bag, bags, tables, scopes, found.messages, sizes)
        found.bags.append(value)
        found.messages.append(log_sum(value, axis=0))
    return found


def _sizes(tables: tuple[Nats, ...], scopes: Scopes) -> tuple[int, ...]:
    return sizes_of(Scores(tuple(x.whole for x in tables), scopes))


def total(known: Sweep, bags: tuple[Bag, ...]) -> Nats:
    """``ln Z``; 0 of a graph without variables.

    Args:
        known: of `sweep`.
        bags: of `bags_of`.

    Returns:
        `Nats` ``[]``.
    """
    roots = [known.messages[n] for n, bag in enumerate(bags) if bag.parent is None]
    if not roots:
        return Nats(jnp.zeros(()), jnp.zeros(()))
    return add(*roots)


def conditionals(value: Nats, message: Nats) -> jax.Array:
    """``ln P(c | s)`` of a bag, ``-inf`` where there is no labelling.

    Args:
        value: ``T_v``.
        message: ``m_v``.

    Returns:
        An array of the shape of the bag's table.
    """
    alive = message.whole != -jnp.inf
    whole = jnp.where(alive, message.whole, 0)
    return (value.whole - whole[None]) + (value.fraction - message.fraction[None])


def joint(bag: Bag, bags: tuple[Bag, ...], found: dict[int, jax.Array]) -> jax.Array:
    """Probabilities of a bag's separator, of those of the bag that the message went to.

    Args:
        bag: whose separator is asked for.
        bags: all of them.
        found: the probabilities of bags that are known.

    Returns:
        An array over the separator, or 1.
    """
    if bag.parent is None:
        return jnp.ones(())
    above, scope = bags[bag.parent].scope, bag.scope[1:]
    p = found[bag.parent].sum(axis=tuple(n for n, v in enumerate(above) if v not in scope))
    left = [v for v in above if v in scope]
    return p.transpose(*(left.index(v) for v in scope))


def probabilities(known: Sweep, bags: tuple[Bag, ...]) -> dict[int, jax.Array]:
    """``P_v[c, s]`` of each bag, 0 where every labelling is forbidden.

    Args:
        known: of `sweep`.
        bags: of `bags_of`.

    Returns:
        Arrays of the shapes of the bags' tables, by the bags' numbers.
    """
    found: dict[int, jax.Array] = {}
    for n in range(len(bags))[::-1]:
        given = jnp.exp(conditionals(known.bags[n], known.messages[n]))
        found[n] = given * joint(bags[n], bags, found)[None].astype(given.dtype)
    return found


def reference(tables: tuple[jax.Array, ...], scopes: Scopes) -> jax.Array:
    """``ln Z`` by the definition, over all labellings: the oracle of the rule.

    Args:
        tables: float arrays.
        scopes: their variables.

    Returns:
        Nats, a scalar.
    """
    sizes = sizes_of(Scores(tables, scopes))
    every = tuple(range(len(sizes)))
    s = sum((aligned(x, own, every) for x, own in zip(tables, scopes, strict=True)), jnp.zeros(()))
    return logsumexp(jnp.broadcast_to(s, sizes).reshape(-1), axis=0)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def log_partition(tables: tuple[Nats, ...], scopes: Scopes, bags: tuple[Bag, ...]) -> Nats:
    """``ln Z``; cotangents are those of fractions. Gradient: the marginals.

    Residuals: the bags' tables and their messages.

    Args:
        tables: `Nats` each.
        scopes: their variables.
        bags: of `bags_of`.

    Returns:
        `Nats` ``[]``, ``-inf`` where every labelling is forbidden. Cost: the sizes of the bags.
    """
    return total(sweep(tables, scopes, bags), bags)


def _log_partition_fwd(tables, scopes, bags) -> tuple[Nats, Sweep]:
    known = sweep(tables, scopes, bags)
    return total(known, bags), known


def _log_partition_bwd(scopes, bags, known: Sweep, cotangent: Nats) -> tuple[tuple[Nats, ...]]:
    value = total(known, bags)
    # 0 where every labelling is forbidden, NaN where a score is.
    g = jnp.where(value.whole == -jnp.inf, 0, cotangent.fraction + (value.whole - value.whole))
    found = probabilities(known, bags)
    grads: dict[int, jax.Array] = {}
    for n, bag in enumerate(bags):
        for f in bag.tables:
            others = tuple(axis for axis, v in enumerate(bag.scope) if v not in scopes[f])
            left = [v for v in bag.scope if v in scopes[f]]
            p = found[n].sum(axis=others).transpose(*(left.index(v) for v in scopes[f]))
            grads[f] = p * g
    return (tuple(Nats(jnp.zeros_like(grads[f]), grads[f]) for f in range(len(scopes))),)


log_partition.defvjp(_log_partition_fwd, _log_partition_bwd)
