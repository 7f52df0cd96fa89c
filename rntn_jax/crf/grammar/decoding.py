"""Parses from the root down: the best, the best few, and draws.

A parse is built by choosing, for each phrase, the whole sentence first, the labels of its parts and
where it is split. The k best are found from short spans to long ones, in two steps as the inside
recursion goes: the best splits for each pair of labels, then the best rules; of two lists of best
parts only ranks with ``(a + 1) (b + 1) <= k`` can be among the best k (Huang and Chiang 2005).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.grammar import inside
from rntn_jax.crf.grammar.inside import add, at
from rntn_jax.crf.grammar.queries import log_partition, no_tree, with_full_rules
from rntn_jax.crf.grammar.scores import Parse, Parts, Scores, check_scores, complete, parse_score
from rntn_jax.crf.nats import Nats, largest, rank_pairs
from rntn_jax.ops.logspace import finite_max

__all__ = ["argmax", "sample", "top_k"]


class Choice(NamedTuple):
    """How phrases go on, ``[B]``: where they are split, symbols of both parts, and their ranks."""

    split: jax.Array
    left: jax.Array
    right: jax.Array
    left_rank: jax.Array
    right_rank: jax.Array


Choose = Callable[..., Choice]  # (node, begin, end, label, rank)


def _top_down(choose: Choose, label: jax.Array, rank: jax.Array, parts: Parts) -> Parse:
    """The parse that the choices lead to, from a root's label and rank ``[B]``.

    Inner nodes are numbered in post-order, so the right part of a node has the number before its
    own, and the left part, that number minus the words of the right one.
    """
    rows_count, words, _ = parts.terminal.whole.shape
    nodes, n = words - 1, parts.root.whole.shape[0]
    rows, length = jnp.arange(rows_count), parts.length
    empty = jnp.zeros_like(length, shape=(rows_count, nodes + 1))  # the last: what is not there
    tags = jnp.zeros_like(length, shape=(rows_count, words + 1))
    root = rows, jnp.maximum(length - 2, 0)
    known = [empty.at[root].set(x) for x in (jnp.zeros_like(length), length, label, rank)]

    def step(carry, node):
        known, tags = carry
        i, j, label, rank = (x[:, node] for x in known)
        real = node < length - 1
        choice = choose(node, i, j, label, rank)
        k = jnp.clip(choice.split, i + 1, jnp.maximum(j - 1, i + 1))  # whatever was chosen
        pair = []
        for where, begin, end, symbol, rank in (
            (node - (j - k), i, k, choice.left, choice.left_rank),
            (node - 1, k, j, choice.right, choice.right_rank),
        ):
            inner = end - begin > 1
            pair.append(jnp.where(real, jnp.where(inner, length + where, begin), 0))
            where = jnp.where(real & inner, where, nodes)
            own = begin, end, jnp.clip(symbol, 0, n - 1), rank
            known = [x.at[rows, where].set(new) for x, new in zip(known, own)]
            word = jnp.where(real & ~inner, begin, words)
            tags = tags.at[rows, word].set(jnp.maximum(symbol - n, 0))
        return (known, tags), (jnp.stack(pair, axis=1), jnp.where(real, label, 0))

    order = jnp.arange(nodes, dtype=jnp.int32)
    (_, tags), (pairs, labels) = lax.scan(step, (known, tags), order, reverse=True)
    return Parse(pairs.swapaxes(0, 1), labels.T, tags[:, :words])


def _none(parts: Parts, *lead: int) -> Parse:
    rows, words, _ = parts.terminal.whole.shape
    zeros = lambda *shape: jnp.zeros((*lead, rows, *shape), jnp.int32)
    return Parse(zeros(max(words - 1, 0), 2), zeros(max(words - 1, 0)), zeros(words))


@jax.jit
def argmax(scores: Scores) -> tuple[Parse, jax.Array]:
    """The best parse of each row, and its score: CKY.

    Args:
        scores: of the grammar, and of the words.

    Returns:
        ``(parse, score [B])``. The score's gradient is the number of uses of each rule. Where every
        parse is forbidden the score is ``-inf``, where a score is NaN it is NaN, and the parse
        means nothing. Cost as of `log_partition`, of full rules.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> grammar = Scores(jnp.zeros(1), jnp.zeros((1, 2, 2)), jnp.zeros((1, 3, 1)))
        >>> parse, best = argmax(grammar._replace(rule=grammar.rule.at[0, 0, 1].set(1.0)))
        >>> parse.children.tolist(), best.tolist()
        ([[[0, 1], [3, 2]]], [1.0])
    """
    parse, best = top_k(scores, 1)
    return Parse(*(x[:, 0] for x in parse)), best[:, 0]


@partial(jax.jit, static_argnames="k")
def top_k(scores: Scores, k: int) -> tuple[Parse, jax.Array]:
    """The ``k`` best parses of each row, best first.

    Args:
        scores: of the grammar, and of the words.
        k: how many; static.

    Returns:
        ``(parse, score [B, k])``, the parse's arrays with an axis ``k`` behind the first. Where
        there are fewer than ``k``, scores at the end are ``-inf`` and their parses mean nothing.
        Cost O(B T^2 (T + N) M^2 k log k).

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``k`` is not positive.

    Example:
        >>> grammar = Scores(jnp.zeros(1), jnp.zeros((1, 2, 2)), jnp.zeros((1, 3, 1)))
        >>> parse, best = top_k(grammar, 3)
        >>> best.tolist()
        [[0.0, 0.0, -inf]]
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    scores = check_scores(scores)
    parts = with_full_rules(complete(scores))
    if no_tree(parts):
        best = log_partition(scores)[:, None]
        best = jnp.where((jnp.arange(k) > 0)[None] & ~jnp.isnan(best), -jnp.inf, best)
        none = _none(parts, k)
        return Parse(*(x.swapaxes(0, 1) for x in none)), best
    parse, possible = _k_best(lax.stop_gradient(parts), k)
    own = jax.vmap(lambda parse: parse_score(parts, parse).value)(parse)
    own = jnp.where(possible, own, -jnp.inf) + parts.bad[None]
    return Parse(*(x.swapaxes(0, 1) for x in parse)), own.T


def _k_best(parts: Parts, k: int) -> tuple[Parse, jax.Array]:
    """Parses, an axis ``k`` in front, and whether they are possible ``[k, B]``."""
    length = parts.length
    pairs = rank_pairs(k)
    firsts, seconds = pairs.T
    ways = jnp.asarray(pairs, jnp.int32)
    first = inside.initial(parts)
    size, rows, _, m = first.left.whole.shape

    def ranked(x: Nats) -> Nats:
        """Of a word there is one parse; an axis of ranks in front."""
        none = jnp.full_like(x.whole, -jnp.inf, shape=(k - 1, *x.whole.shape))
        zeros = jnp.concatenate([x.fraction[None], jnp.zeros_like(none)])
        return Nats(jnp.concatenate([x.whole[None], none]), zeros)

    def sweep(ran, width):
        each = jax.vmap(lambda ran: inside.parts_of(ran, width))(ran)
        left, right = at(each[0], firsts), at(each[1], seconds)
        both = inside.combine(parts.rule, left, right)  # [pairs, splits, B, I, M M]
        both = Nats(*(lax.collapse(x, 0, 2) for x in both))
        e, from_split = largest(both, k)
        own = add(at(inside.factors(parts.rule), None, None, None), at(e, ..., None, slice(None)))
        own = Nats(*(lax.collapse(jnp.moveaxis(x, -1, 1), 0, 2) for x in own))
        value, from_rule = largest(own, k)  # [k, B, I, N], of ranks and pairs of symbols
        ran = jax.vmap(lambda ran, value: inside.put(parts, ran, width, value))(ran, value)
        return ran, (from_split, from_rule)

    ran = inside.Run(*(ranked(x) for x in first))
    ran, (from_split, from_rule) = lax.scan(sweep, ran, jnp.arange(2, size))
    row = jnp.arange(rows)
    whole = add(at(ran.phrases, slice(None), length, row, 0), at(parts.root, None, None))
    n = whole.whole.shape[2]
    top, chosen = largest(Nats(*(jnp.moveaxis(x, 2, 1).reshape(k * n, rows) for x in whole)), k)

    def choose(node, i, j, label, rank):
        here = jnp.maximum(j - i - 2, 0)
        rule = from_rule[here, rank, row, i, label]
        rank, pair = rule // (m * m), rule % (m * m)
        split = from_split[here, rank, row, i, pair]
        first, second = ways[split // size].T
        return Choice(i + split % size, pair // m, pair % m, first, second)

    one = lambda own: _top_down(choose, own % n, own // n, parts)
    # Of a sentence of no word, the first is its one parse.
    at_first = (jnp.arange(k) == 0)[:, None]
    possible = jnp.where((length > 0)[None], top.whole != -jnp.inf, at_first)
    return jax.vmap(one)(chosen), possible


@partial(jax.jit, static_argnames="num_samples")
def sample(key: jax.Array, scores: Scores, num_samples: int) -> Parse:
    """Draws parses from the distribution, from the root down.

    Args:
        key: a PRNG key.
        scores: of the grammar, and of the words.
        num_samples: parses to draw of each row, independently; static.

    Returns:
        `Parse` with an axis ``num_samples`` in front; where every parse is forbidden, or a score is
        NaN, they mean nothing. Cost as of `log_partition` of full rules, and O(B T (M^2 + T)) for
        each sample.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``num_samples`` is negative.

    Example:
        >>> grammar = Scores(jnp.zeros(1), jnp.zeros((1, 2, 2)), jnp.zeros((1, 2, 1)))
        >>> sample(jax.random.key(0), grammar, 2).children.tolist()
        [[[[0, 1]]], [[[0, 1]]]]
    """
    if num_samples < 0:
        raise ValueError(f"num_samples must not be negative, got {num_samples}")
    scores = check_scores(lax.stop_gradient(scores))
    parts = with_full_rules(complete(scores))
    if no_tree(parts) or num_samples == 0:
        return _none(parts, num_samples)
    ran = inside.run(parts)
    whole, _ = inside.total(parts, ran)
    size, rows, _, m = ran.left.whole.shape
    row, splits = jnp.arange(rows), jnp.arange(size)[None]

    def draw(key, x: Nats) -> jax.Array:
        logits = (x.whole - finite_max(x.whole)) + x.fraction
        return jax.random.categorical(key, logits).astype(jnp.int32)

    def one(key):
        def choose(node, i, j, label, rank) -> Choice:
            lefts = at(ran.left, splits, row[:, None], i[:, None])  # [B, splits, M]
            where = size - 1 - (j - i)[:, None] + splits, row[:, None], j[:, None]
            both = inside.combine(parts.rule, lefts, at(ran.right, *where))
            keys = jax.random.split(jax.random.fold_in(key, node))
            e = inside.log_sum(both, 1)
            pair = draw(keys[0], add(e, at(inside.factors(parts.rule), label)))
            split = draw(keys[1], at(both, row, slice(None), pair))
            return Choice(i + split, pair // m, pair % m, rank, rank)

        label = draw(jax.random.fold_in(key, size), whole)
        return _top_down(choose, label, jnp.zeros_like(label), parts)

    return jax.vmap(one)(jax.random.split(key, num_samples))
