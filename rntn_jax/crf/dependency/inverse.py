"""All trees: the matrix-tree theorem by one inverse, and when it may be trusted.

With ``w(h, d)`` the weight of an arc divided by those of all heads of d, and the Laplacian
``M = I - w``, which is ``L`` of `rntn_jax.crf.dependency.elimination` with columns so divided::

    Z = det M                            P(h -> d) = w(h, d) (M^-1(d, d) - M^-1(d, h))
                                         P(0 -> d) = w(0, d) M^-1(d, d)

With one word at the root, heads are words only and the first row is ``w(0, .)`` (Koo et al. 2007),
the first column of the inverse is the root's, ``P(0 -> d) = w(0, d) M^-1(d, 1)``, and the first
word's differences lack what belongs to the row that went: ``M^-1(1, 1)`` of arcs into the first
word, ``M^-1(d, 1)`` of arcs from it.

The differences lose digits where words are each other's best heads: entries of the inverse are
then large. What is lost is seen in ``M^-1 M - I``, whose diagonal is how far probabilities of heads
are from the sum 1: where it is above `MOST` rounding errors, `elimination` is right.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.nats import Nats, to_nats
from rntn_jax.ops.logspace import finite_max, safe_log

__all__ = ["MOST", "answer", "relative_to_best"]

MOST = 128


def relative_to_best(arc: Nats, single_root: bool) -> tuple[Nats, jax.Array]:
    """Arcs less each word's best; with one word at the root, its arcs less the best of these.

    Args:
        arc: ``[B, T + 1, T]``, of `elimination.complete`.
        single_root: whether one word hangs from the root.

    Returns:
        `Nats` ``[B, T + 1, T]``, and what was subtracted of every tree, whole numbers ``[B]``.
    """
    among = arc.whole[:, 1:] if single_root else arc.whole
    best = lax.stop_gradient(finite_max(among, axis=1))
    whole = arc.whole - best
    of_root = finite_max(whole[:, :1], (1, 2)) * single_root
    at_root = (jnp.arange(arc.whole.shape[1]) == 0)[None, :, None]
    whole = whole - jnp.where(at_root, of_root, 0)
    return Nats(whole, arc.fraction), best.sum(axis=(1, 2)) + of_root[:, 0, 0]


def answer(arc: Nats, single_root: bool) -> tuple[Nats, jax.Array, jax.Array]:
    """``ln Z``, marginals, and whether they are right to about `MOST` rounding errors of 1.

    Args:
        arc: ``[B, T + 1, T]``, of `elimination.complete`; ``-inf`` where not read.
        single_root: whether one word hangs from the root.

    Returns:
        `Nats` ``[B]``, ``[B, T + 1, T]``, and bool ``[B]``. Cost: of an inverse, O(B T^3).
    """
    words = arc.whole.shape[2]
    relative, subtracted = relative_to_best(arc, single_root)
    weights = jnp.exp(relative.whole + relative.fraction)
    eye = jnp.eye(words, dtype=weights.dtype)[None]
    root, w = weights[:, 0], weights[:, 1:] * (1 - eye)
    every = w.sum(axis=1) + (0 if single_root else root)
    some = every > 0  # a word without a head among these has 0 on the diagonal
    every = jnp.where(some, every, 1)
    w, root = w / every[:, None], root / every
    matrix = eye * some[:, None] - w
    if single_root:
        matrix = matrix.at[:, 0].set(root)

    factors, _, order = lax.linalg.lu(matrix)
    rows = (order[:, :, None] == jnp.arange(words)[None, None]).astype(matrix.dtype)
    half = lax.linalg.triangular_solve(
        factors, rows, left_side=True, lower=True, unit_diagonal=True
    )
    inverse = lax.linalg.triangular_solve(factors, half, left_side=True)
    pivots = safe_log(jnp.abs(jnp.diagonal(factors, axis1=1, axis2=2)))
    total = to_nats((pivots + jnp.log(every)).sum(axis=1), subtracted)

    own, turned = jnp.diagonal(inverse, axis1=1, axis2=2), inverse.swapaxes(1, 2)
    into_root = own
    if single_root:
        into_root, own, turned = inverse[:, :, 0], own.at[:, 0].set(0), turned.at[:, 0].set(0)
    p = jnp.concatenate([(root * into_root)[:, None], w * (own[:, None] - turned)], axis=1)
    lost = jnp.abs(inverse @ matrix - eye).max(axis=(1, 2), initial=0)
    return total, jnp.maximum(p, 0), lost <= MOST * jnp.finfo(p.dtype).eps
