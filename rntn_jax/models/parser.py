"""The transition parser of Chen and Manning (2014) on the window network (source 002).

Arc-standard: a stack, beginning with the root, and a buffer of words. A step shifts a word onto the
stack, or makes one of the two words on top of it the head of the other, which leaves the stack::

    L(r)   s2 <- s1, relation r; s2 leaves
    R(r)   s2 -> s1, relation r; s1 leaves
    S      the next word of the buffer is shifted

A network reads 18 positions around the top of the stack and chooses among the legal steps; after
``2 n`` steps of a sentence of ``n`` words every word has one head, exactly one of them the root.

Everything is a function of padded integer arrays, a batch of sentences at a time. Positions: 0 is
the root, ``1 .. n`` the words, and the last one, ``T + 1``, stands for "nothing there".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rntn_jax.models import window
from rntn_jax.models.window import Batch, Params, apply, loss
from rntn_jax.ops import activate

__all__ = [
    "LABELLED",
    "POSITIONS",
    "Batch",
    "Config",
    "Params",
    "Sentences",
    "State",
    "advance",
    "apply",
    "decode",
    "examples",
    "init",
    "legal",
    "loss",
    "oracle",
    "precompute",
    "read",
    "start",
]

POSITIONS = 18  # s1 s2 s3 b1 b2 b3, and of s1 and s2: lc1 rc1 lc2 rc2 lc1(lc1) rc1(rc1)
LABELLED = 12  # the last of them have a relation to their head


@dataclass(frozen=True)
class Config:
    """Sizes. The vocabularies are those of words and other columns, then that of relations.

    Raises:
        ValueError: naming the field and its value.
    """

    vocab_sizes: tuple[int, ...]  # of the columns: words, tags, ...
    num_relations: int
    embed_dims: int | tuple[int, ...] = 50  # of the columns and of the relations
    hidden_dim: int = 200
    word_range: float = 0.1

    def __post_init__(self) -> None:
        if self.num_relations < 1:
            raise ValueError(f"num_relations must be at least 1, got {self.num_relations}")
        self.network()

    def network(self) -> window.Config:
        """The window network's sizes."""
        return window.Config(
            vocab_size=(*self.vocab_sizes, self.num_relations + 1),
            window=(*(POSITIONS for _ in self.vocab_sizes), LABELLED),
            embed_dim=self.embed_dims,
            hidden_dim=self.hidden_dim,
            num_classes=2 * self.num_relations + 1,
            word_range=self.word_range,
        )


class Sentences(NamedTuple):
    """Padded sentences."""

    ids: tuple[Any, ...]  # of each column int [B, T + 2]: root, words, and what "nothing" has
    length: Any  # int [B], words


class State(NamedTuple):
    """Where the parser stands, of each sentence."""

    stack: jax.Array  # int [B, T + 2], positions
    size: jax.Array  # int [B], of the stack
    front: jax.Array  # int [B], the next position of the buffer
    heads: jax.Array  # int [B, T + 2], -1: none yet
    relations: jax.Array  # int [B, T + 2], -1: none yet
    left: jax.Array  # int [2, B, T + 2], the leftmost child, and the one right of it
    right: jax.Array  # int [2, B, T + 2], the rightmost child, and the one left of it


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters, of the window network.

    Example:
        >>> params = init(jax.random.key(0), Config(vocab_sizes=(9, 4), num_relations=3))
        >>> params.hidden.w.shape, params.head.w.shape
        ((2400, 200), (200, 7))
    """
    return window.init(key, config.network(), dtype)


def start(sentences: Sentences) -> State:
    """The stack holds the root, the buffer all words."""
    shape = jnp.shape(sentences.ids[0])
    nothing = jnp.full(shape, shape[1] - 1, jnp.int32)
    none = jnp.full(shape, -1, jnp.int32)
    one = jnp.ones(shape[0], jnp.int32)
    twice = jnp.stack([nothing, nothing])
    return State(nothing.at[:, 0].set(0), one, one, none, none, twice, twice)


def _pick(values: jax.Array, places: jax.Array) -> jax.Array:
    """``values[b, places[b, ..]]``."""
    return jnp.take_along_axis(values, places, axis=1)


def _top(state: State, count: int) -> jax.Array:
    """Positions ``[B, count]`` on top of the stack, s1 first."""
    nothing = state.stack.shape[1] - 1
    places = state.size[:, None] - 1 - jnp.arange(count)[None]
    return jnp.where(places < 0, nothing, _pick(state.stack, jnp.maximum(places, 0)))


def legal(state: State, length: jax.Array, num_relations: int, root: int) -> jax.Array:
    """Which steps may be taken, bool ``[B, 2 R + 1]``: all L(r), all R(r), S.

    The root has one child, with the relation ``root``, which is attached last; no other arc has
    that relation. A finished sentence has no legal step.

    Args:
        state: of each sentence.
        length: int ``[B]``, words.
        num_relations: ``R``, static.
        root: the relation of the root's child.
    """
    empty = state.front > length
    to_root = jnp.arange(num_relations) == root
    left = (state.size >= 3)[:, None] & ~to_root[None]
    at_root = state.size == 2
    right = jnp.where(at_root[:, None], empty[:, None] & to_root[None], ~to_root[None])
    right &= (state.size >= 2)[:, None]
    return jnp.concatenate([left, right, ~empty[:, None]], axis=1)


def advance(state: State, step: jax.Array, num_relations: int) -> State:
    """The state after a step ``[B]`` of each sentence; -1 leaves it as it is."""
    r, step = num_relations, jnp.asarray(step).astype(state.stack.dtype)
    is_left, is_right = (step >= 0) & (step < r), (step >= r) & (step < 2 * r)
    is_arc, is_shift = is_left | is_right, step == 2 * r
    s1, s2 = _top(state, 2).T
    head, child = jnp.where(is_left, s1, s2), jnp.where(is_left, s2, s1)
    rows = jnp.arange(len(step))
    outside = state.stack.shape[1]  # writes there are dropped

    def put(values, places, here, new):
        return values.at[rows, jnp.where(here, places, outside)].set(new, mode="drop")

    # Children: the new one is further out than those before.
    def push(children, here):
        first, second = children
        before = _pick(first, head[:, None])[:, 0]
        return jnp.stack([put(first, head, here, child), put(second, head, here, before)])

    below = state.size - 2
    stack = put(state.stack, below, is_left, s1)  # s1 takes the place of s2
    stack = put(stack, state.size, is_shift, state.front)
    return State(
        stack,
        state.size - is_arc + is_shift,
        state.front + is_shift,
        put(state.heads, child, is_arc, head),
        put(state.relations, child, is_arc, step % r),
        push(state.left, is_left),
        push(state.right, is_right),
    )


def read(state: State, sentences: Sentences) -> tuple[jax.Array, ...]:
    """What the network sees: ids ``[B, 18]`` of each column, and ``[B, 12]`` of relations.

    Ids of relations count from 1; 0 stands for none.
    """
    nothing = state.stack.shape[1] - 1
    stack = _top(state, 3)
    buffer = state.front[:, None] + jnp.arange(3)[None]
    length = jnp.asarray(sentences.length)
    buffer = jnp.where(buffer > length[:, None], nothing, buffer)
    children = []
    for k in range(2):
        own = stack[:, k : k + 1]
        l1, l2 = (_pick(side, own) for side in state.left)
        r1, r2 = (_pick(side, own) for side in state.right)
        children += [l1, r1, l2, r2, _pick(state.left[0], l1), _pick(state.right[0], r1)]
    places = jnp.concatenate([stack, buffer, *children], axis=1)
    relations = _pick(state.relations, places[:, POSITIONS - LABELLED :]) + 1
    return *(_pick(jnp.asarray(column), places) for column in sentences.ids), relations


def oracle(
    state: State, heads: jax.Array, relations: jax.Array, last_child: jax.Array, num_relations: int
) -> jax.Array:
    """The step ``[B]`` towards a projective tree; -1 when the sentence is finished.

    L when s1 is the head of s2; else R when s2 is the head of s1 and s1 has no child in the
    buffer; else S.

    Args:
        state: of each sentence.
        heads: int ``[B, T + 2]``, -1 where there is no word.
        relations: int ``[B, T + 2]``.
        last_child: int ``[B, T + 2]``, the rightmost child of each position, 0: none.
        num_relations: ``R``, static.
    """
    top = _top(state, 2)
    s1, s2 = top.T
    head1, head2 = _pick(heads, top).T
    relation1, relation2 = _pick(relations, top).T
    is_left = (state.size >= 3) & (head2 == s1)
    complete = _pick(last_child, top[:, :1])[:, 0] < state.front
    is_right = (state.size >= 2) & (head1 == s2) & complete
    words = (heads >= 0).sum(axis=1)
    step = jnp.where(
        is_left, relation2, jnp.where(is_right, num_relations + relation1, 2 * num_relations)
    )
    finished = (state.size == 1) & (state.front > words)
    return jnp.where(finished, -1, step)


def examples(
    sentences: Sentences, heads: jax.Array, relations: jax.Array, num_relations: int
) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """All steps to given projective trees, and what the network sees before each.

    Args:
        sentences: padded to ``T`` words.
        heads: int ``[B, T + 2]``, of words ``0 .. n``, -1 elsewhere.
        relations: int ``[B, T + 2]``, -1 where there is no word.
        num_relations: ``R``, static.

    Returns:
        ``(ids, steps)``: of each column and of relations ``[2 T, B, ..]``, and int ``[2 T, B]``, -1
        after the sentence's end.
    """
    heads, relations = jnp.asarray(heads), jnp.asarray(relations)
    rows, size = heads.shape
    places = jnp.broadcast_to(jnp.arange(size), heads.shape)
    of_row = jnp.broadcast_to(jnp.arange(rows)[:, None], heads.shape)
    target = jnp.where(heads >= 0, heads, size)
    last_child = jnp.zeros(heads.shape, places.dtype).at[of_row, target].max(places, mode="drop")

    def step(state, _):
        action = oracle(state, heads, relations, last_child, num_relations)
        return advance(state, action, num_relations), (read(state, sentences), action)

    _, (ids, steps) = lax.scan(step, start(sentences), length=2 * (size - 2))
    return ids, steps


def precompute(
    params: Params, places: Sequence[Sequence[int]] | None = None
) -> tuple[jax.Array, ...]:
    """Of each vocabulary, the products ``[W V, H]`` of every vector with every place's weights.

    With these a hidden layer is a sum of gathered rows (Chen and Manning's precomputation, of all
    inputs). Memory: 4 bytes times places times words times hidden units. ``places`` as in `decode`.
    """
    tables = params.embedding
    assert isinstance(tables, tuple)
    counts = [POSITIONS] * (len(tables) - 1) + [LABELLED]
    if places is not None:
        counts = list(map(len, places))
    products, first = [], 0
    for table, count in zip(tables, counts):
        (words, width), hidden = table.shape, params.hidden.w.shape[1]
        block = params.hidden.w[first : first + count * width].reshape(count, width, hidden)
        products.append(jnp.einsum("ve,peh->pvh", table, block).reshape(count * words, hidden))
        first += count * width
    return tuple(products)


def _hidden(params: Params, products: tuple[jax.Array, ...], ids: tuple[jax.Array, ...]):
    """``z [B, H]`` from the products."""
    z = params.hidden.b[None]
    for table, own in zip(products, ids):
        words = table.shape[0] // own.shape[1]
        for place in range(own.shape[1]):  # one gather each: XLA adds them up unstored
            z = z + table[place * words + own[:, place]]
    return z


def decode(
    params: Params,
    sentences: Sentences,
    root: int,
    *,
    products: tuple[jax.Array, ...] | None = None,
    places: Sequence[Sequence[int]] | None = None,
    activation: str = "relu",
) -> tuple[jax.Array, jax.Array]:
    """Parses greedily: at each step the best of the legal ones.

    Args:
        params: as `init` makes them.
        sentences: padded to ``T`` words.
        root: the relation of the root's child.
        products: of `precompute`; None: multiplied as in training.
        places: of each vocabulary, those of the places of `read` that the network has; None: all.
        activation: as in training.

    Returns:
        ``(heads, relations)``, int ``[B, T + 2]``: of the words ``1 .. n``; -1 elsewhere. Always
        trees with one child of the root. Cost O(2 T) steps of the network.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> params = init(jax.random.key(0), Config(vocab_sizes=(9,), num_relations=3))
        >>> sentences = Sentences((jnp.array([[1, 5, 6, 7, 0]]),), jnp.array([3]))
        >>> heads, relations = decode(params, sentences, root=2)
        >>> int((heads[0, 1:4] == 0).sum()), int((relations[0, 1:4] == 2).sum())
        (1, 1)
    """
    sentences = jax.tree.map(jnp.asarray, sentences)
    chex.assert_equal_shape(list(sentences.ids))
    chex.assert_rank([sentences.ids[0], sentences.length], [2, 1])
    chex.assert_type(list(sentences.ids), int)
    num_relations = (params.head.b.shape[0] - 1) // 2

    def running(state):
        return ((state.size > 1) | (state.front <= sentences.length)).any()

    def step(state):
        ids = read(state, sentences)
        if places is not None:
            ids = tuple(own[:, np.array(seen)] for own, seen in zip(ids, places))
        if products is None:
            logits = apply(params, ids, activation=activation)
        else:
            z = _hidden(params, products, ids)
            h = z**3 if activation == "cube" else activate(activation, z)
            logits = h @ params.head.w + params.head.b[None]
        allowed = legal(state, sentences.length, num_relations, root)
        best = jnp.argmax(jnp.where(allowed, logits, -jnp.inf), axis=1)
        return advance(state, jnp.where(allowed.any(axis=1), best, -1), num_relations)

    state = lax.while_loop(running, step, start(sentences))
    return state.heads, state.relations
