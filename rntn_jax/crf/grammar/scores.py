"""Scores of rules, parses, and both as the recursion takes them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.nats import Nats, log_sum, to_nats
from rntn_jax.ops import accumulator
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like
from rntn_jax.shapes import shapes_repr

__all__ = [
    "LowRank",
    "Parse",
    "Parts",
    "Scores",
    "check_parse",
    "check_scores",
    "complete",
    "full_rules",
    "parse_score",
]


class LowRank(NamedTuple):
    """Rules as a sum of ``R`` products: ``rule[a, b, c] = ln sum_r exp(parent + left + right)``.

    Each of its probabilities is a tensor decomposition of rank R (Yang, Zhao and Tu 2021).
    """

    parent: Any  # [N, R]
    left: Any  # [N + P, R]
    right: Any  # [N + P, R]

    __repr__ = shapes_repr


class Scores(NamedTuple):
    """Scores of a grammar in Chomsky normal form, in nats; `marginals` come in the same container.

    Symbols ``0 .. N - 1`` are nonterminals, which have two children; ``N .. N + P - 1`` are
    preterminals, which have one word. With logarithms of probabilities it is a probabilistic
    grammar, and `log_partition` the logarithm of the sentence's probability. ``-inf`` forbids a
    rule or a tag. What lies behind a sentence's end may hold anything. A sentence of no word has
    one parse, of score 0; one of one word has none. A length that is not in ``0 .. T`` makes
    everything of its row NaN.
    """

    root: Any  # [N], of the whole sentence
    rule: Any  # [N, N + P, N + P], of a parent with its left and right child; or `LowRank`
    terminal: Any  # [B, T, P], of a word as each preterminal
    length: Any = None  # int [B], words; None: all of them

    __repr__ = shapes_repr


class Parse(NamedTuple):
    """Trees with labels."""

    children: Any  # int [B, T - 1, 2]: of the nodes in post-order, as `crf.constituency` has them
    labels: Any  # int [B, T - 1], nonterminals of these nodes; 0 after the last
    tags: Any  # int [B, T], preterminals of the words, from 0; 0 behind the end

    __repr__ = shapes_repr


class Parts(NamedTuple):
    """Scores, checked: what the rule takes; without NaN. Those that rows share stand once."""

    root: Nats  # [N]
    rule: Any  # Nats [N, M, M], or LowRank of Nats
    terminal: Nats  # [B, T, P], -inf where not read, and in rows that read a NaN
    length: jax.Array  # int32 [B], within 0 .. T
    bad: jax.Array  # [B], NaN for rows that read one, with a gradient for what they read; else 0


def check_scores(scores: Scores, name: str = "scores") -> Scores:
    """The scores as arrays, full lengths where there was None.

    Args:
        scores: the container.
        name: of the argument, for messages.

    Returns:
        What the first line says.

    Raises:
        AssertionError: when shapes or dtypes do not match.
    """
    sizes: dict[str, int] = {}
    root = check(f"{name}.root", scores.root, "float", "N", sizes)
    terminal = check(f"{name}.terminal", scores.terminal, "float", "B T P", sizes)
    sizes["M"] = sizes["N"] + sizes["P"]
    if isinstance(scores.rule, LowRank):
        own = (("parent", "N R"), ("left", "M R"), ("right", "M R"))
        rule: Any = LowRank(
            *(
                check(f"{name}.rule.{field}", getattr(scores.rule, field), "float", axes, sizes)
                for field, axes in own
            )
        )
    else:
        rule = check(f"{name}.rule", scores.rule, "float", "N M M", sizes)
    if scores.length is None:
        length = jnp.full(sizes["B"], sizes["T"], jnp.int32)
    else:
        length = check(f"{name}.length", scores.length, "int", "B", sizes)
    return Scores(root, rule, terminal, length)


def complete(scores: Scores, whole_row: bool = True) -> Parts:
    """The parts of scores that `check_scores` returns, in at least float32.

    NaN where it is read, like a length that cannot be, makes the whole row NaN: it is never taken
    for a low score, and no maximum or ``-inf`` hides it. Where ``whole_row`` is false, NaN stays
    where it is, as in the score of a parse that does not have the rule.

    Args:
        scores: the container.
        whole_row: whether NaN anywhere makes the whole row NaN.

    Returns:
        The same scores, as said above.
    """
    root, rule, terminal, length = vary_like(tuple(scores))
    words = terminal.shape[1]
    dtype = accumulator(root, terminal, *jax.tree.leaves(rule))
    root, rule, terminal = jax.tree.map(lambda x: x.astype(dtype), (root, rule, terminal))
    possible = (length >= 0) & (length <= words)
    length = jnp.where(possible, length, words).astype(jnp.int32)
    some = (length > 1) & (0 not in (root.shape[0], terminal.shape[2]))  # others have no tree
    read = ((jnp.arange(words)[None] < length[:, None]) & some[:, None])[..., None]
    lost = (jnp.isnan(terminal) & read).any(axis=(1, 2))
    everything = jnp.where(read, terminal, 0).sum(axis=(1, 2))  # that a row reads
    for words_at_least, part in [(2, root), *_by_length(rule, root.shape[0])]:
        reads = some & (length >= words_at_least)
        lost |= jnp.isnan(part).any() & reads
        everything = everything + jnp.where(reads, part.sum(), 0)
    lost = (lost & whole_row) | ~possible
    # A product, so that the gradients are NaN, too: of what is read, and of nothing else.
    bad = jnp.where(lost, jnp.where(lost, jnp.nan, 0) * everything, 0)
    terminal = jnp.where(read & ~lost[:, None, None], terminal, -jnp.inf)
    if whole_row:  # what is shared harms only the rows that are lost by it
        shared = root, rule
        root, rule = jax.tree.map(lambda x: jnp.where(jnp.isnan(x), -jnp.inf, x), shared)
    return Parts(to_nats(root), jax.tree.map(to_nats, rule), to_nats(terminal), length, bad)


def _by_length(rule: Any, n: int) -> list[tuple[int, jax.Array]]:
    """Parts of the rules, each with the words that a sentence needs to use it."""
    if isinstance(rule, LowRank):
        parts = [(2, rule.parent)]
        for x in rule[1:]:
            parts += [(3, x[:n]), (2, x[n:])]
        return parts
    return [(4, rule[:, :n, :n]), (3, rule[:, :n, n:]), (3, rule[:, n:, :n]), (2, rule[:, n:, n:])]


def full_rules(rule: Any) -> Nats:
    """Rules ``[N, M, M]`` of those that may be a `LowRank` of `Nats`."""
    if not isinstance(rule, LowRank):
        return rule
    parts = (a[:, None, None] + b[None, :, None] + c[None, None] for a, b, c in zip(*rule))
    return log_sum(Nats(*parts), axis=3)


def check_parse(parse: Parse, scores: Scores) -> Parse:
    """Parses as arrays.

    Args:
        parse: one a row.
        scores: of `check_scores`.

    Returns:
        `Parse` of arrays.

    Raises:
        AssertionError: when shapes or dtypes do not match.
    """
    sizes = dict(zip("BT", scores.terminal.shape))
    children = check("parse.children", parse.children, "int", "B T-1 2", sizes)
    labels = check("parse.labels", parse.labels, "int", "B T-1", sizes)
    return Parse(children, labels, check("parse.tags", parse.tags, "int", "B T", sizes))


def parse_score(parts: Parts, parse: Parse) -> Nats:
    """Scores ``[B]``; NaN where the nodes are no tree or a label cannot be.

    Args:
        parts: scores, checked, of full rules.
        parse: one a row.

    Returns:
        `Nats` ``[B]``.
    """
    root, rule, terminal, length, bad = parts
    rows, words, tags = terminal.whole.shape
    n = root.whole.shape[0]
    if words < 2 or 0 in (n, tags):
        whole = jnp.where(length == 0, 0, jnp.nan).astype(terminal.whole.dtype) + bad
        return Nats(whole, jnp.zeros_like(whole))
    row, node = jnp.arange(rows)[:, None], jnp.arange(words - 1)[None]
    real, is_word = node < length[:, None] - 1, jnp.arange(words)[None] < length[:, None]
    legal = _is_tree(parse.children, length)
    for x, where, count in ((parse.labels, real, n), (parse.tags, is_word, tags)):
        legal &= ((x >= 0) & (x < count) | ~where).all(axis=1)
    labels, own_tags = jnp.clip(parse.labels, 0, n - 1), jnp.clip(parse.tags, 0, tags - 1)
    children = jnp.clip(parse.children, 0, jnp.maximum(2 * length - 2, 0)[:, None, None])
    at_word = jnp.minimum(children, words - 1)
    at_node = jnp.clip(children - length[:, None, None], 0, words - 2)
    symbol = jnp.where(
        children < length[:, None, None],
        n + own_tags[row[..., None], at_word],
        labels[row[..., None], at_node],
    )
    top = labels[jnp.arange(rows), jnp.clip(length - 2, 0, words - 2)]
    own = [
        (real, jax.tree.map(lambda x: x[labels, symbol[..., 0], symbol[..., 1]], rule)),
        (is_word, jax.tree.map(lambda x: x[row, jnp.arange(words)[None], own_tags], terminal)),
        ((length > 1)[:, None], jax.tree.map(lambda x: x[top][:, None], root)),
    ]
    whole = sum(jnp.where(where, x.whole, 0).sum(axis=1) for where, x in own)
    fraction = sum(jnp.where(where, x.fraction, 0).sum(axis=1) for where, x in own)
    whole = jnp.where(legal & (length != 1), whole, jnp.nan) + bad
    return Nats(whole, jnp.where(whole > -jnp.inf, fraction, 0))


def _is_tree(children: jax.Array, length: jax.Array) -> jax.Array:
    """Whether the first ``length - 1`` nodes, in post-order, are a tree over the words."""
    rows, nodes, _ = children.shape
    words = nodes + 1
    room = words + nodes
    ids = jnp.arange(room)
    row = jnp.arange(rows)

    def step(carry, inputs):
        begin, end, used, good = carry
        node, pair = inputs
        real = node < length - 1
        own = length + node
        at = jnp.clip(pair, 0, room - 1)
        left, right = at.T
        fits = (pair >= 0).all(axis=1) & (pair < own[:, None]).all(axis=1)
        fits &= end[row, left] == begin[row, right]
        hit = (ids[None] == left[:, None]).astype(jnp.int32) + (ids[None] == right[:, None])
        used = jnp.where(real[:, None], used + hit, used)
        here = (ids[None] == own[:, None]) & real[:, None]
        begin = jnp.where(here, begin[row, left][:, None], begin)
        end = jnp.where(here, end[row, right][:, None], end)
        return (begin, end, used, good & (fits | ~real)), None

    word = (ids[None] < length[:, None]).astype(jnp.int32)
    begin = jnp.where(word > 0, ids[None], -1).astype(jnp.int32)
    initial = begin, begin + word, jnp.zeros_like(begin), length >= 0
    pairs = children.swapaxes(0, 1).astype(jnp.int32)
    (_, _, used, good), _ = lax.scan(step, initial, (jnp.arange(nodes, dtype=jnp.int32), pairs))
    once = used == (ids[None] < 2 * length[:, None] - 2)
    return good & (once.all(axis=1) | (length < 2))
