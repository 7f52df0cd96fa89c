"""Dependency trees as a distribution: exponential softmax of scores of arcs.

A tree gives each word a head, a word or the root; its score is the sum of its arcs' scores, and its
probability ``exp(score - ln Z)`` (source 004). Every question about that distribution is a function
of `Scores`; rows are sentences. All verbs take

- ``projective``: only trees whose arcs do not cross, by Eisner's recursion; otherwise all trees, by
  the matrix-tree theorem and maximum spanning arborescences;
- ``single_root``: only trees in which one word hangs from the root.

Both are static. A tree is its heads, int ``[B, T]``: 0 the root, words from 1 on, anything behind a
sentence's end; of labelled arcs it is `Arcs(heads, labels)`, and heads alone stand for all their
labellings, summed.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from rntn_jax.crf import expectations
from rntn_jax.crf.dependency import eisner, elimination
from rntn_jax.crf.dependency.scores import (
    Scores,
    check_scores,
    check_tree,
    readable,
    tree_score,
    without_labels,
)
from rntn_jax.crf.nats import Nats
from rntn_jax.ops import accumulator
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like

__all__ = [
    "expected_score",
    "log_partition",
    "log_prob",
    "marginals",
    "score",
]

of_a_kind = partial(jax.jit, static_argnames=("projective", "single_root"))


@of_a_kind
def log_partition(
    scores: Scores, *, projective: bool = True, single_root: bool = True
) -> jax.Array:
    """``ln`` of the sum over all trees of ``exp s(tree)``.

    Gradient: the marginals.

    Source: 004, Z(s) and the model marginals theorem.

    Args:
        scores: of arcs; ``-inf`` forbids one.
        projective: whether arcs may not cross.
        single_root: whether one word hangs from the root.

    Returns:
        ``[B]`` nats, in at least float32; 0 for sentences of no word, ``-inf`` where every tree is
        forbidden. Cost O(B T^3) both ways; residuals O(B T^2).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.zeros((1, 4, 4)), jnp.array([3]))
        >>> [
        ...     round(float(jnp.exp(log_partition(scores, projective=p, single_root=s)[0])), 3)
        ...     for p in (True, False)
        ...     for s in (True, False)
        ... ]  # trees over three words
        [7.0, 12.0, 9.0, 16.0]
    """
    arc, length = readable(*check_scores(scores)[:2])
    return rule(without_labels(arc), length, projective, single_root).value


def rule(arc: Nats, length: jax.Array, projective: bool, single_root: bool) -> Nats:
    """``ln Z [B]`` of arcs ``[B, T + 1, T + 1]``."""
    if arc.whole.shape[1] == 1:
        nothing = arc.whole[:, 0, 0]
        lost = jnp.where(jnp.isnan(nothing), nothing, 0)
        return Nats(lost, jnp.zeros_like(lost))
    if projective:
        return eisner.log_partition(arc, length, single_root)
    return elimination.log_partition(elimination.complete(arc, length), length, single_root)


@of_a_kind
def score(
    scores: Scores, tree: Any, *, projective: bool = True, single_root: bool = True
) -> jax.Array:
    """Scores of trees: ``s(tree)`` of source 004.

    Args:
        scores: of arcs.
        tree: heads int ``[B, T]``, or `Arcs`, of labelled arcs; heads alone count for all of their
            labellings, summed.
        projective: whether arcs may not cross.
        single_root: whether one word hangs from the root.

    Returns:
        ``[B]`` nats, in at least float32; NaN where a head or label cannot be, ``-inf`` where the
        heads are no tree of the kind asked for. Cost O(B T^2).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.ones((4, 4, 4)), jnp.array([3, 3, 3, 2]))
        >>> heads = jnp.array([[2, 0, 2], [2, 1, 0], [0, 0, 1], [2, 0, 9]])
        >>> score(scores, heads).tolist()  # a tree, a cycle, two roots, two words
        [3.0, -inf, -inf, 2.0]
    """
    arc, length, words = check_scores(scores)
    heads, labels = check_tree(tree, arc, words)
    kind = {"projective": projective, "single_root": single_root}
    return tree_score(*readable(arc, length, False), heads, labels, **kind).value


@of_a_kind
def log_prob(
    scores: Scores, tree: Any, *, projective: bool = True, single_root: bool = True
) -> jax.Array:
    """Log-probability of trees; its negative is the training loss.

    Gradient: indicators of the tree's arcs minus marginals.

    Source: 004, L (of which this is the negative) and the model marginals theorem.

    Args:
        scores: of arcs.
        tree: heads or `Arcs`, as in `score`.
        projective: whether arcs may not cross.
        single_root: whether one word hangs from the root.

    Returns:
        ``[B]`` nats, in at least float32; ``-inf`` where the tree is forbidden or none of the kind.
        Whole nats of score and log-partition are subtracted exactly, however large. Cost as of
        `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.zeros((1, 4, 4)), jnp.array([3]))
        >>> round(1 / float(jnp.exp(log_prob(scores, jnp.array([[2, 0, 2]]))[0])), 3)
        7.0
    """
    arc, length, words = check_scores(scores)
    heads, labels = check_tree(tree, arc, words)
    arc, length = readable(arc, length)
    kind = {"projective": projective, "single_root": single_root}
    own = tree_score(arc, length, heads, labels, **kind)
    total = rule(without_labels(arc), length, projective, single_root)
    whole = own.whole - jnp.where(total.whole == -jnp.inf, 0, total.whole)
    return expectations.log_prob(whole + own.fraction, total.fraction)


@of_a_kind
def marginals(scores: Scores, *, projective: bool = True, single_root: bool = True) -> Scores:
    """Probabilities of arcs, in the container of the scores: the gradient of `log_partition`.

    Source: 004, the model marginals theorem.

    Args:
        scores: of arcs.
        projective: whether arcs may not cross.
        single_root: whether one word hangs from the root.

    Returns:
        ``arc[b, h, d] = P(h is the head of d)``, with labels ``[b, h, d, r]``, in the dtype of the
        scores; 0 where not read, and in all of a sentence whose every tree is forbidden. Lengths
        pass through. Cost as of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.zeros((1, 3, 3)), jnp.array([2]))
        >>> marginals(scores).arc[0].tolist()
        [[0.0, 0.5, 0.5], [0.0, 0.0, 0.5], [0.0, 0.5, 0.0]]
    """
    arc, length, _ = check_scores(scores)
    kind = {"projective": projective, "single_root": single_root}
    total = lambda arc: log_partition(Scores(arc, length), **kind).sum()
    return Scores(jax.grad(total)(vary_like(arc, length)), length)


@of_a_kind
def expected_score(
    scores: Scores, values: Scores, *, projective: bool = True, single_root: bool = True
) -> jax.Array:
    """Mean of another score under the distribution: expected costs, features, risks.

    Computes ``sum_tree P(tree) v(tree)``, ``v(tree)`` being ``score(values, tree)``. What has
    probability 0 counts 0, whatever its value; ``-inf`` of positive probability makes the mean
    ``-inf``.

    Source: 004, the model marginals theorem.

    Args:
        scores: the distribution.
        values: the other score, of the same shape; its lengths are not read.
        projective: whether arcs may not cross.
        single_root: whether one word hangs from the root.

    Returns:
        ``[B]``, in at least float32; NaN where every tree is forbidden, there being no
        distribution. Cost as of `marginals`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.zeros((1, 3, 3)), jnp.array([2]))
        >>> values = scores._replace(arc=jnp.zeros((1, 3, 3)).at[0, 1, 2].set(3.0))
        >>> expected_score(scores, values).tolist()
        [1.5]
    """
    arc, length, _ = check_scores(scores)
    v = alike(values, "values", arc)
    kind = {"projective": projective, "single_root": single_root}
    of_arcs = lambda arc: log_partition(Scores(arc, length), **kind)
    total, pull = jax.vjp(of_arcs, vary_like(arc.astype(accumulator(arc)), length))
    (p,) = pull(jnp.ones_like(total))
    mean = expectations.weighted_sum(p, v, tuple(range(1, arc.ndim)))
    return jnp.where(total == -jnp.inf, jnp.nan, mean)


def alike(scores: Scores, name: str, arc: jax.Array) -> jax.Array:
    """Scores of arcs, which must have the shape of others.

    Raises:
        AssertionError: where they have not.
    """
    sizes = {"B": len(arc), "T": arc.shape[1] - 1} | ({"R": arc.shape[3]} if arc.ndim > 3 else {})
    axes = "B T+1 T+1 R" if arc.ndim > 3 else "B T+1 T+1"
    return check(f"{name}.arc", scores.arc, "float", axes, sizes)
