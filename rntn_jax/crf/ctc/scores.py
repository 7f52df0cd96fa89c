"""Scores of frames and the targets that they are aligned with: the container and its checks."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.crf.nats import Nats, to_nats
from rntn_jax.ops import accumulator
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like
from rntn_jax.shapes import shapes_repr

__all__ = ["Parts", "Scores", "check_scores", "complete"]

BLANK = 0


class Scores(NamedTuple):
    """Scores of the symbols at each frame, in nats, and the symbols to align with the frames.

    Symbol 0 is the blank. Of logarithms of probabilities the sums over alignments are those of
    probabilities, too. ``-inf`` forbids a symbol at a frame. Masks may hold any pattern; what is
    masked may hold anything. NaN at a frame that counts makes everything of its row NaN, and so
    does a target that is no symbol, or the blank.
    """

    node: Any  # [B, T, V]
    targets: Any  # int [B, L], 1 .. V - 1
    mask: Any = None  # bool [B, T]
    target_mask: Any = None  # bool [B, L]

    __repr__ = shapes_repr


class Parts(NamedTuple):
    """Scores, checked: what the rule takes. Real targets stand first in each row."""

    blank: Nats  # [T, B]
    label: Nats  # [T, B, L], of the targets
    mask: jax.Array  # bool [T, B]
    num_targets: jax.Array  # int [B]
    repeated: jax.Array  # bool [B, L], targets that are as those before them


def check_scores(scores: Scores) -> Scores:
    """The scores as arrays, full masks where there was None.

    Raises:
        AssertionError: when shapes or dtypes do not match.
    """
    sizes: dict[str, int] = {}
    node = check("scores.node", scores.node, "float", "B T V", sizes)
    targets = check("scores.targets", scores.targets, "int", "B L", sizes)
    full = jnp.ones(node.shape[:2], bool), jnp.ones(targets.shape, bool)
    mask = full[0] if scores.mask is None else scores.mask
    real = full[1] if scores.target_mask is None else scores.target_mask
    mask = check("scores.mask", mask, "bool", "B T", sizes)
    return Scores(node, targets, mask, check("scores.target_mask", real, "bool", "B L", sizes))


def complete(scores: Scores) -> Parts:
    """The parts of scores that `check_scores` returns, in at least float32."""
    node, targets, mask, real = vary_like(tuple(scores))
    dtype, symbols = accumulator(node), node.shape[2]
    count = real.sum(axis=1)
    order = jnp.argsort(~real, axis=1, stable=True)
    targets = jnp.take_along_axis(targets, order, axis=1)
    real = jnp.arange(targets.shape[1])[None] < count[:, None]
    wrong = (real & ((targets <= BLANK) | (targets >= symbols))).any(axis=1)
    targets = jnp.where(real, jnp.clip(targets, 0, max(symbols - 1, 0)), BLANK)
    lost = (jnp.isnan(node).any(axis=2) & mask).any(axis=1) | wrong
    # An addition, so that the gradient is NaN too.
    bad = jnp.where(lost, jnp.nan, jnp.zeros((), dtype))
    node = jnp.where(mask[..., None], node.astype(dtype) + bad[:, None, None], 0)
    label = jnp.take_along_axis(node, targets[:, None], axis=2)
    before = jnp.pad(targets[:, :-1], ((0, 0), (min(targets.shape[1], 1), 0)))
    blank = to_nats(node[..., BLANK].T)
    label = to_nats(jnp.where(real[:, None], label, -jnp.inf).swapaxes(0, 1))
    return Parts(blank, label, mask.T, count, targets == before)
