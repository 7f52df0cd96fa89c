"""Dependency trees: the best, the best few, and draws."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.dependency import arborescence, eisner, elimination
from rntn_jax.crf.dependency import projective as crossing_free
from rntn_jax.crf.dependency.queries import of_a_kind
from rntn_jax.crf.dependency.scores import (
    Arcs,
    Scores,
    check_scores,
    readable,
    tree_score,
    without_labels,
)
from rntn_jax.crf.nats import Nats

__all__ = ["argmax", "sample", "top_k"]


@of_a_kind
def argmax(
    scores: Scores, *, projective: bool = True, single_root: bool = True
) -> tuple[Any, jax.Array]:
    """The best tree of each sentence.

    Of `marginals`, that is the tree with the greatest expected number of right arcs.

    Args:
        scores: of arcs.
        projective: whether arcs may not cross; then by Eisner's recursion, otherwise by maximum
            spanning arborescences (Chu and Liu, Edmonds).
        single_root: whether one word hangs from the root.

    Returns:
        ``(tree, score)``: heads int32 ``[B, T]``, or `Arcs` of labelled arcs, 0 behind the end; and
        ``[B]`` nats, whose gradient is the indicator of the tree. Where every tree is forbidden,
        some heads and ``-inf``. Cost O(B T^3) at most.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> arc = jnp.zeros((1, 5, 5)).at[0, 3, 1].set(3.0).at[0, 4, 2].set(3.0)
        >>> scores = Scores(arc, jnp.array([4]))
        >>> argmax(scores)[1].tolist(), argmax(scores, projective=False)[1].tolist()
        ([3.0], [6.0])
    """
    if projective:
        tree, best = top_k(scores, 1, projective=True, single_root=single_root)
        return jax.tree.map(lambda x: x[:, 0], tree), best[:, 0]
    arc, length, words = check_scores(scores)
    labelled, kind = arc.ndim == 4, {"projective": False, "single_root": single_root}
    arc, length = readable(arc, length)
    if words == 0:
        heads = labels = jnp.zeros((len(length), 0), jnp.int32)
    else:
        near = (arc.whole - lax.stop_gradient(arc.whole).max(axis=3, keepdims=True)) + arc.fraction
        label = jnp.argmax(near, axis=3, keepdims=True)
        own = Nats(*(jnp.take_along_axis(x, label, axis=3)[..., 0] for x in arc))
        own = elimination.complete(lax.stop_gradient(own), length)
        heads = arborescence.best_heads(own, single_root)
        word = jnp.arange(1, words + 1)[None]
        real = word <= length[:, None]
        heads = jnp.where(real, heads, 0).astype(jnp.int32)
        labels = label[jnp.arange(len(length))[:, None], heads, word, 0]
        labels = jnp.where(real, labels, 0).astype(jnp.int32)
    return (Arcs(heads, labels) if labelled else heads), tree_score(
        arc, length, heads, labels, **kind
    ).value


@partial(jax.jit, static_argnames=("k", "projective", "single_root"))
def top_k(
    scores: Scores, k: int, *, projective: bool = True, single_root: bool = True
) -> tuple[Any, jax.Array]:
    """The ``k`` best projective trees of each sentence, best first.

    Args:
        scores: of arcs.
        k: how many; static.
        projective: must be true: the k best of all trees are not implemented.
        single_root: whether one word hangs from the root.

    Returns:
        ``(tree, score)``: heads int32 ``[B, k, T]`` or `Arcs` of them, and ``[B, k]`` nats, whose
        gradient is the indicators of the trees. Where there are fewer than ``k`` trees, scores at
        the end are ``-inf`` and their heads mean nothing. Cost O(B T^3 k log k).

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``k`` is not positive, or ``projective`` is false.

    Example:
        >>> arc = jnp.zeros((1, 3, 3)).at[0, 0, 1].set(2.0).at[0, 0, 2].set(1.0)
        >>> heads, best = top_k(Scores(arc, jnp.array([2])), 2)
        >>> heads[0].tolist(), best.tolist()
        ([[0, 1], [2, 0]], [[2.0, 1.0]])
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if not projective:
        raise ValueError("projective must be True in top_k, got False: only argmax has all trees")
    arc, length, _ = check_scores(scores)
    labelled = arc.ndim == 4
    arc, length = readable(arc, length)
    own = lax.stop_gradient(arc)
    heads, labels, possible = crossing_free.k_best(own, length, single_root, k)

    def own_score(heads, labels):
        kind = {"projective": True, "single_root": single_root}
        return tree_score(arc, length, heads, labels, **kind).value

    worth = jnp.where(possible, jax.vmap(own_score)(heads, labels), -jnp.inf)
    worth = jnp.where(jnp.isnan(arc.whole).any(axis=(1, 2, 3)), jnp.nan, worth)
    heads, labels = heads.swapaxes(0, 1), labels.swapaxes(0, 1)
    return (Arcs(heads, labels) if labelled else heads), worth.T


@partial(jax.jit, static_argnames=("num_samples", "projective", "single_root"))
def sample(
    key: jax.Array,
    scores: Scores,
    num_samples: int,
    *,
    projective: bool = True,
    single_root: bool = True,
) -> Any:
    """Draws trees from the distribution, exactly.

    Args:
        key: a PRNG key.
        scores: of arcs.
        num_samples: trees to draw of each sentence, independently; static.
        projective: whether arcs may not cross.
        single_root: whether one word hangs from the root.

    Returns:
        Heads, int32 ``[num_samples, B, T]``, or `Arcs` of them; where every tree is forbidden or a
        score is NaN, some heads. Cost O(B T^3), and for each sample O(B T^2) if projective, else
        O(B T^4).

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``num_samples`` is negative.

    Example:
        >>> arc = jnp.zeros((1, 3, 3)).at[0, 0, 1].set(-jnp.inf)
        >>> sample(jax.random.key(0), Scores(arc, jnp.array([2])), 2).tolist()
        [[[2, 0]], [[2, 0]]]
    """
    if num_samples < 0:
        raise ValueError(f"num_samples must not be negative, got {num_samples}")
    arc, length, words = check_scores(scores)
    labelled, shape = arc.ndim == 4, (num_samples, len(length), words)
    arc, length = readable(lax.stop_gradient(arc), length)
    of_heads, of_labels = jax.random.split(key)
    if words == 0 or num_samples == 0:
        heads = jnp.zeros(shape, jnp.int32)
        return Arcs(heads, heads) if labelled else heads
    own = without_labels(arc)
    if projective:
        chart, _ = eisner.sweep(Nats(*(x[None] for x in own)), single_root)
        heads = crossing_free.random_heads(of_heads, chart, length, single_root, num_samples)
    else:
        own = elimination.complete(own, length)
        heads = arborescence.random_heads(of_heads, own, single_root, num_samples)
    word = jnp.arange(1, words + 1)[None, None]
    real = word <= length[None, :, None]
    heads = jnp.where(real, heads, 0).astype(jnp.int32)
    if not labelled:
        return heads
    rows = jnp.arange(len(length))[None, :, None]
    own = Nats(*(x[rows, heads, word] for x in arc))
    logits = (own.whole - jnp.maximum(own.whole.max(axis=3, keepdims=True), -1e30)) + own.fraction
    labels = jax.random.categorical(of_labels, logits)
    return Arcs(heads, jnp.where(real, labels, 0).astype(jnp.int32))
