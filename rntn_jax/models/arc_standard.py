"""The arc-standard transition system over a batch of sentences, and what a network sees of it.

A stack, beginning with the root, and a buffer of words. An action shifts a word onto the stack, or
makes one of the two words on top of it the head of the other, which leaves the stack::

    L(r)   s2 <- s1, relation r; s2 leaves
    R(r)   s2 -> s1, relation r; s1 leaves
    S      the next word of the buffer is shifted

After ``2 n`` actions on a sentence of ``n`` words every word has one head, exactly one of them the
root. Everything is a function of padded integer arrays. Positions: 0 is the root, ``1 .. n`` the
words, and the last one, ``T + 1``, stands for "nothing there".
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like
from rntn_jax.shapes import shapes_repr

__all__ = [
    "LABELLED",
    "POSITIONS",
    "Sentences",
    "State",
    "apply_action",
    "check_sentences",
    "extract_features",
    "initial_state",
    "legal_actions",
    "oracle_transitions",
    "static_oracle",
]

POSITIONS = 18  # s1 s2 s3 b1 b2 b3, and of s1 and s2: lc1 rc1 lc2 rc2 lc1(lc1) rc1(rc1)
LABELLED = 12  # the last of them have a relation to their head


class Sentences(NamedTuple):
    """Padded sentences."""

    ids: tuple[Any, ...]  # of each column int [B, T + 2]: root, words, and what "nothing" has
    length: Any  # int [B], words

    __repr__ = shapes_repr


class State(NamedTuple):
    """Where the parser stands, of each sentence."""

    stack: jax.Array  # int [B, T + 2], positions
    size: jax.Array  # int [B], of the stack
    front: jax.Array  # int [B], the next position of the buffer
    heads: jax.Array  # int [B, T + 2], -1: none yet
    relations: jax.Array  # int [B, T + 2], -1: none yet
    left: jax.Array  # int [2, B, T + 2], the leftmost child, and the one right of it
    right: jax.Array  # int [2, B, T + 2], the rightmost child, and the one left of it

    __repr__ = shapes_repr


def initial_state(sentences: Sentences) -> State:
    """The stack holds the root, the buffer all words.

    Args:
        sentences: padded to ``T`` words.
    """
    shape = jnp.shape(sentences.ids[0])
    nothing = jnp.full(shape, shape[1] - 1, jnp.int32)
    none = jnp.full(shape, -1, jnp.int32)
    one = jnp.ones(shape[0], jnp.int32)
    twice = jnp.stack([nothing, nothing])
    return State(nothing.at[:, 0].set(0), one, one, none, none, twice, twice)


def _pick(values: jax.Array, positions: jax.Array) -> jax.Array:
    """``values[b, positions[b, ..]]``."""
    return jnp.take_along_axis(values, positions, axis=1)


def _top(state: State, count: int) -> jax.Array:
    """Positions ``[B, count]`` on top of the stack, s1 first."""
    nothing = state.stack.shape[1] - 1
    positions = state.size[:, None] - 1 - jnp.arange(count)[None]
    return jnp.where(positions < 0, nothing, _pick(state.stack, jnp.maximum(positions, 0)))


def legal_actions(
    state: State, length: jax.Array, num_relations: int, root: int | jax.Array
) -> jax.Array:
    """Which steps may be taken, bool ``[B, 2 R + 1]``: all L(r), all R(r), S.

    The root has one child, with the relation ``root``, which is attached last; no other arc has
    that relation. A finished sentence has no legal step.

    Args:
        state: of each sentence.
        length: int ``[B]``, words.
        num_relations: ``R``, static.
        root: the relation of the root's child.

    Returns:
        Bool ``[B, 2 R + 1]``.
    """
    empty = state.front > length
    to_root = jnp.arange(num_relations) == root
    left = (state.size >= 3)[:, None] & ~to_root[None]
    at_root = state.size == 2
    right = jnp.where(at_root[:, None], empty[:, None] & to_root[None], ~to_root[None])
    right &= (state.size >= 2)[:, None]
    return jnp.concatenate([left, right, ~empty[:, None]], axis=1)


def apply_action(state: State, step: jax.Array, num_relations: int) -> State:
    """The state after an action of each sentence.

    Args:
        state: of each sentence.
        step: int ``[B]``, the action; -1 leaves the state as it is.
        num_relations: ``R``, static.

    Returns:
        A state of the same shapes.
    """
    state = jax.tree.map(jnp.asarray, state)
    r, step = num_relations, jnp.asarray(step).astype(state.stack.dtype)
    is_left, is_right = (step >= 0) & (step < r), (step >= r) & (step < 2 * r)
    is_arc, is_shift = is_left | is_right, step == 2 * r
    s1, s2 = _top(state, 2).T
    head, child = jnp.where(is_left, s1, s2), jnp.where(is_left, s2, s1)
    rows = jnp.arange(len(step))
    outside = state.stack.shape[1]  # writes there are dropped

    def put(values, positions, here, new):
        return values.at[rows, jnp.where(here, positions, outside)].set(new, mode="drop")

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


def extract_features(state: State, sentences: Sentences) -> tuple[jax.Array, ...]:
    """What the network sees: ids ``[B, 18]`` of each column, and ``[B, 12]`` of relations.

    Ids of relations count from 1; 0 stands for none.

    Args:
        state: of each sentence.
        sentences: padded to ``T`` words.

    Returns:
        Integer arrays: one ``[B, 18]`` for each column of ids, and ``[B, 12]`` of relations.
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
    positions = jnp.concatenate([stack, buffer, *children], axis=1)
    relations = _pick(state.relations, positions[:, POSITIONS - LABELLED :]) + 1
    return *(_pick(jnp.asarray(column), positions) for column in sentences.ids), relations


def static_oracle(
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

    Returns:
        Int ``[B]``.
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


@partial(jax.jit, static_argnames=("num_relations",))
def oracle_transitions(
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
        after the sentence's end. Cost O(2 T) steps.

    Raises:
        AssertionError: when shapes or dtypes do not match.
    """
    sizes = check_sentences(sentences)
    check("heads", heads, "int", "B P", sizes)
    check("relations", relations, "int", "B P", sizes)
    rows, size = heads.shape
    positions = jnp.broadcast_to(jnp.arange(size), heads.shape)
    of_row = jnp.broadcast_to(jnp.arange(rows)[:, None], heads.shape)
    target = jnp.where(heads >= 0, heads, size)
    last_child = (
        jnp.zeros(heads.shape, positions.dtype).at[of_row, target].max(positions, mode="drop")
    )

    def step(state, _):
        action = static_oracle(state, heads, relations, last_child, num_relations)
        return apply_action(state, action, num_relations), (
            extract_features(state, sentences),
            action,
        )

    start = vary_like(initial_state(sentences), sentences, heads, relations)
    _, (ids, steps) = lax.scan(step, start, length=2 * (size - 2))
    return ids, steps


def check_sentences(sentences: Sentences) -> dict[str, int]:
    """Checks ranks and dtypes.

    Args:
        sentences: what came.

    Returns:
        Sizes of the axes ``B`` and ``P``, which is ``T + 2``.

    Raises:
        AssertionError: naming the field.
    """
    sizes: dict[str, int] = {}
    check("sentences.length", sentences.length, "int", "B", sizes)
    for k, ids in enumerate(sentences.ids):
        check(f"sentences.ids[{k}]", ids, "int", "B P", sizes)
    return sizes
