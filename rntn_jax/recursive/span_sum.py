"""Sums over the words of every node: the recursion without weights.

The sum of a node is that of its children. It goes up the trees like every other recursion, rather
than by differences of running sums: nothing cancels, and a NaN stays in its own tree.
"""

from __future__ import annotations

from typing import NamedTuple

import jax

from rntn_jax.ops import cast_like
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like
from rntn_jax.recursive.sweep import downward, reference, upward
from rntn_jax.trees import Forest

__all__ = ["span_sum"]


@jax.jit
def span_sum(leaves: jax.Array, forest: Forest) -> jax.Array:
    """Sums of the leaves' states under every node of a forest.

    Computes ``h_n = h_left + h_right``. Gradient: a leaf's cotangent is the sum of those of all
    nodes above it, and its own.

    Args:
        leaves: ``[L, S]``, the states of the leaf slots.
        forest: made by `rntn_jax.trees.pack`, with ``L`` leaf slots.

    Returns:
        ``[N, S]``, one sum a slot; padding slots are zero. Cost O(nodes S). Residuals: none.

    Raises:
        AssertionError: when shapes do not match.

    Example:
        >>> import jax.numpy as jnp
        >>> from rntn_jax import data, trees
        >>> tree = data.parse_tree("(3 (2 not) (4 (2 very) (0 bad)))")
        >>> forest = trees.pack([tree], data.Vocabulary.build(tree.tokens))
        >>> sums = span_sum(jnp.ones((forest.tokens.size, 1)), forest)
        >>> trees.unpack(forest, sums)[0].ravel().tolist()
        [1.0, 1.0, 1.0, 2.0, 3.0]
    """
    check("leaves", leaves, "float", "L S", {"L": forest.shape.leaves})
    return _span_sum(*vary_like((leaves, forest)))


def _span_sum_reference(leaves: jax.Array, forest: Forest) -> jax.Array:
    return reference(_compose, (), leaves, forest)


@jax.custom_vjp
def _span_sum(leaves: jax.Array, forest: Forest) -> jax.Array:
    return upward(_compose, (), leaves, forest, keep=False)[0]


def _compose(_, x) -> tuple[jax.Array, None]:
    return x[:, 0] + x[:, 1], None


class _SpanSumResiduals(NamedTuple):
    leaves: jax.Array  # [L, S], for its dtype only
    forest: Forest


def _span_sum_fwd(leaves: jax.Array, forest: Forest) -> tuple[jax.Array, _SpanSumResiduals]:
    sums, _ = upward(_compose, (), leaves, forest, keep=False)
    return sums, _SpanSumResiduals(leaves, forest)


def _span_sum_bwd(res: _SpanSumResiduals, g: jax.Array) -> tuple[jax.Array, None]:
    # The states have no say in it; the cotangent stands in for them.
    _, d_leaves = downward(_backward, (), g, None, res.forest, g)
    return cast_like(d_leaves, res.leaves), None


def _backward(_, error, state, x, kept) -> tuple[None, jax.Array]:
    return None, error[:, None].repeat(2, axis=1)


_span_sum.defvjp(_span_sum_fwd, _span_sum_bwd)
