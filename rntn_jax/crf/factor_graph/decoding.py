"""Labellings of graphs: the best, the best few, and draws.

The k best: each entry of a message is a sorted list of the k best sums; of the a-th best of one
list and the b-th best of another only those with ``a b <= k`` can be among the k best of both.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.factor_graph import elimination
from rntn_jax.crf.factor_graph.elimination import Bag, add, aligned
from rntn_jax.crf.factor_graph.scores import (
    Scopes,
    Scores,
    check_scores,
    labels_score,
    readable,
    sizes_of,
)
from rntn_jax.crf.nats import Nats, largest, rank_pairs
from rntn_jax.ops.logspace import finite_max

__all__ = ["argmax", "sample", "top_k"]


def argmax(scores: Scores) -> tuple[jax.Array, jax.Array]:
    """The best labelling.

    Args:
        scores: of a graph.

    Returns:
        ``(labels, score)``: int32 ``[I]``, and nats, a scalar whose gradient is the indicator of
        the labelling; where every labelling is forbidden, some labels and ``-inf``. Cost as of
        `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: as `log_partition`.

    Example:
        >>> from rntn_jax.crf.factor_graph import Scopes
        >>> labels, best = argmax(Scores((jnp.arange(6.0).reshape(2, 3),), Scopes([(0, 1)])))
        >>> labels.tolist(), float(best)
        ([1, 2], 5.0)
    """
    labels, best = _top_k(check_scores(scores), 1)
    return labels[0], best[0]


def top_k(scores: Scores, k: int) -> tuple[jax.Array, jax.Array]:
    """The ``k`` best labellings, best first.

    Args:
        scores: of a graph.
        k: how many; static.

    Returns:
        ``(labels, score)``: int32 ``[k, I]`` and ``[k]`` nats, whose gradient is the indicators of
        the labellings. Where there are fewer than ``k``, scores at the end are ``-inf`` and their
        labels mean nothing. Cost O(k log k) times that of `argmax`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``k`` is not positive, and as `log_partition`.

    Example:
        >>> from rntn_jax.crf.factor_graph import Scopes
        >>> labels, best = top_k(Scores((jnp.arange(6.0).reshape(2, 3),), Scopes([(0, 1)])), 2)
        >>> labels.tolist(), best.tolist()
        ([[1, 2], [1, 1]], [5.0, 4.0])
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return _top_k(check_scores(scores), k)


def sample(key: jax.Array, scores: Scores, num_samples: int) -> jax.Array:
    """Draws labellings from the distribution, independently.

    Args:
        key: a PRNG key.
        scores: of a graph.
        num_samples: how many; static.

    Returns:
        int32 ``[num_samples, I]``; where every labelling is forbidden or a score is NaN, some
        labels. Cost as of `log_partition`, and O(I) a sample.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``num_samples`` is negative, and as `log_partition`.

    Example:
        >>> from rntn_jax.crf.factor_graph import Scopes
        >>> scores = Scores((jnp.array([[0.0, -jnp.inf], [-jnp.inf, 0.0]]),), Scopes([(0, 1)]))
        >>> drawn = sample(jax.random.key(0), scores, 5)
        >>> bool((drawn[:, 0] == drawn[:, 1]).all())
        True
    """
    if num_samples < 0:
        raise ValueError(f"num_samples must not be negative, got {num_samples}")
    return _sample(key, check_scores(scores), num_samples)


@partial(jax.jit, static_argnums=2)
def _sample(key: jax.Array, scores: Scores, count: int) -> jax.Array:
    bags = elimination.bags_of(scores)
    known = elimination.sweep(lax.stop_gradient(readable(scores)), scores.scopes, bags)

    def one(key):
        labels: dict[int, jax.Array] = {}
        for n in range(len(bags))[::-1]:
            v, *others = bags[n].scope
            own = Nats(*(x[(slice(None), *(labels[u] for u in others))] for x in known.bags[n]))
            logits = (own.whole - finite_max(own.whole)) + own.fraction
            drawn = jax.random.categorical(jax.random.fold_in(key, v), logits)
            labels[v] = drawn.astype(jnp.int32)
        return _in_order(labels)

    return jax.vmap(one)(jax.random.split(key, count))


def _in_order(labels: dict[int, jax.Array]) -> jax.Array:
    if not labels:
        return jnp.zeros(0, jnp.int32)
    return jnp.stack([labels[v] for v in range(len(labels))])


class _Chosen(NamedTuple):
    """How the entries of a list came about."""

    label: jax.Array  # [k, ..], of the bag's variable
    rank: jax.Array  # [k, ..], in the list of what was added up
    merges: list[tuple[jax.Array, jax.Array]]  # of each child, [k, ..]: ranks so far, and its own


def _merge(x: Nats, y: Nats, k: int) -> tuple[Nats, tuple[jax.Array, jax.Array]]:
    """The ``k`` best sums of two lists, and the ranks in both."""
    pairs = rank_pairs(k)
    both = add(*(Nats(*(part[own] for part in z)) for z, own in zip((x, y), pairs.T)))
    found, at = largest(both, k)
    first, second = jnp.asarray(pairs, jnp.int32).T
    return found, (first[at], second[at])


def _alone(x: Nats, k: int) -> Nats:
    """A list of one."""
    more = ((0, k - 1), *((0, 0),) * x.whole.ndim)
    return Nats(*(jnp.pad(y[None], more, constant_values=z) for y, z in zip(x, (-jnp.inf, 0.0))))


def _lists(tables, scopes: Scopes, bags: tuple[Bag, ...], k: int) -> Any:
    """Of all bags what was chosen, and the list of all labellings with the merges of the roots."""
    messages: list[Nats] = []
    chosen: list[_Chosen] = []
    sizes = sizes_of(Scores(tuple(x.whole for x in tables), scopes))
    for bag in bags:
        shape = tuple(sizes[v] for v in bag.scope)
        own = [Nats(*(aligned(x, scopes[f], bag.scope) for x in tables[f])) for f in bag.tables]
        zero = Nats(*(jnp.zeros((1,) * len(shape), tables[0].whole.dtype) for _ in range(2)))
        value = _alone(Nats(*(jnp.broadcast_to(x, shape) for x in add(zero, *own))), k)
        merges = []
        for m in bag.children:
            scope = bags[m].scope[1:]
            other = Nats(
                *(
                    jnp.broadcast_to(aligned(x, scope, bag.scope, 1), (k, *shape))
                    for x in messages[m]
                )
            )
            value, ranks = _merge(value, other, k)
            merges.append(ranks)
        flat = Nats(*(x.reshape(k * shape[0], *shape[1:]) for x in value))
        message, at = largest(flat, k)
        messages.append(message)
        chosen.append(_Chosen(at % shape[0], at // shape[0], merges))
    whole = Nats(jnp.zeros((), tables[0].whole.dtype), jnp.zeros((), tables[0].whole.dtype))
    whole, merges = _alone(whole, k), []
    for n, bag in enumerate(bags):
        if bag.parent is None:
            whole, ranks = _merge(whole, messages[n], k)
            merges.append((n, ranks))
    return chosen, whole, merges


@partial(jax.jit, static_argnums=1)
def _top_k(scores: Scores, k: int) -> tuple[jax.Array, jax.Array]:
    tables, bags = readable(scores), elimination.bags_of(scores)
    if not bags:
        worth = jnp.where(jnp.arange(k) == 0, 0.0, -jnp.inf)
        return jnp.zeros((k, 0), jnp.int32), worth
    chosen, whole, roots = _lists(lax.stop_gradient(tables), scores.scopes, bags, k)

    def one(rank):
        ranks: dict[int, jax.Array] = {}
        for n, (before, own) in roots[::-1]:
            ranks[n] = own[rank]
            rank = before[rank]
        labels: dict[int, jax.Array] = {}
        for n in range(len(bags))[::-1]:
            v, *others = bags[n].scope
            given = tuple(labels[u] for u in others)
            here = ranks[n], *given
            labels[v] = chosen[n].label[here].astype(jnp.int32)
            rank, at = chosen[n].rank[here], (labels[v], *given)
            for m, (before, own) in zip(bags[n].children[::-1], chosen[n].merges[::-1]):
                ranks[m] = own[(rank, *at)]
                rank = before[(rank, *at)]
        return _in_order(labels)

    labels = jax.vmap(one)(jnp.arange(k))
    worth = jax.vmap(lambda own: labels_score(tables, scores.scopes, own).value)(labels)
    worth = jnp.where(whole.whole == -jnp.inf, -jnp.inf, worth)
    lost = jnp.isnan(tables[0].whole).any()
    return labels, jnp.where(lost, jnp.nan, worth)
