"""The best alignment of given targets, and targets found for frames."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.ctc import forward
from rntn_jax.crf.ctc.scores import BLANK, Scores, check_scores, complete
from rntn_jax.crf.nats import Nats, largest
from rntn_jax.ops import accumulator
from rntn_jax.ops.checks import check
from rntn_jax.ops.logspace import logsumexp
from rntn_jax.ops.varying import vary_like
from rntn_jax.shapes import shapes_repr

__all__ = ["Found", "argmax", "beam_search", "greedy"]


class Found(NamedTuple):
    """Targets found for frames, 0 behind the last."""

    labels: jax.Array  # int32 [.., T]
    length: jax.Array  # int32 [..]
    score: jax.Array  # [..] nats

    __repr__ = shapes_repr


@jax.jit
def argmax(scores: Scores) -> tuple[jax.Array, jax.Array]:
    """The best alignment of the targets with the frames: forced alignment.

    Args:
        scores: of frames, and the targets.

    Returns:
        ``(labels int32 [B, T], score [B])``: the symbol of each frame, 0 for the blank and where
        masked; the score's gradient is the indicator of the alignment. Where there is no alignment
        the score is ``-inf`` and the labels mean nothing. Cost O(B T L).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> node = jnp.zeros((1, 4, 3)).at[0, 1, 1].set(2.0).at[0, 2, 2].set(2.0)
        >>> labels, best = argmax(Scores(node.at[0, :, 0].set(1.0), jnp.array([[1, 2]])))
        >>> labels.tolist(), best.tolist()
        ([[0, 1, 2, 0]], [6.0])
    """
    scores = check_scores(scores)
    node, targets, mask, real = scores
    parts = complete(Scores(lax.stop_gradient(node), targets, mask, real))
    last, ways = forward.run(parts, _best)
    order = jnp.argsort(~real, axis=1, stable=True)
    targets = jnp.pad(jnp.take_along_axis(targets, order, axis=1), ((0, 0), (0, 1)))
    row = jnp.arange(len(node))
    ends = forward.final(last, parts.num_targets)
    best, nearest = _best(ends)
    on_label = nearest == 1

    def step(carry, inputs):
        """Of the state after a frame the one before it; ``at`` counts targets begun."""
        on_label, at = carry
        (of_label, of_blank), on = inputs
        symbol = jnp.where(on_label, targets[row, jnp.maximum(at - 1, 0)], BLANK)
        width = of_label.shape[1]
        if width == 0:
            return carry, jnp.where(on, symbol, 0)
        from_label = of_label[row, jnp.maximum(at - 1, 0)]  # 0 stays, 1 a blank, 2 the one before
        from_blank = of_blank[row, at]  # 0 stays, 1 a label
        next_label = jnp.where(on_label, from_label != 1, from_blank == 1)
        next_at = jnp.where(on_label & (from_label != 0), at - 1, at)
        new = jnp.where(on, next_label, on_label), jnp.where(on, next_at, at)
        return new, jnp.where(on, symbol, 0)

    initial = on_label, parts.num_targets.astype(jnp.int32)
    _, labels = lax.scan(step, initial, (ways, parts.mask), reverse=True)
    labels = labels.T.astype(jnp.int32)
    # Summed once more from the scores, for the gradient.
    wide = node.astype(accumulator(node))
    own = jnp.take_along_axis(wide, labels[..., None], axis=2)[..., 0]
    own = jnp.where(mask, own, 0).sum(axis=1)
    own = jnp.where(best.whole == -jnp.inf, -jnp.inf, own)
    return labels, jnp.where(jnp.isnan(best.whole), jnp.nan, own)


def _best(terms: tuple[Nats, ...]) -> tuple[Nats, jax.Array]:
    """The largest, and which it is."""
    found, at = largest(Nats(*(jnp.stack(parts) for parts in zip(*terms))), 1)
    return Nats(*(x[0] for x in found)), at[0]


@jax.jit
def greedy(node: jax.Array, mask: jax.Array | None = None) -> Found:
    """The targets of the best labelling of the frames: repetitions and blanks taken out.

    Args:
        node: ``[B, T, V]``, scores of symbols, 0 the blank.
        mask: bool ``[B, T]``, frames that count; None: all.

    Returns:
        Targets ``[B, T]``; their score is that of the labelling. Cost O(B T V).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> node = jax.nn.one_hot(jnp.array([[2, 2, 0, 2, 1]]), 3)
        >>> found = greedy(node)
        >>> found.labels.tolist(), found.length.tolist(), found.score.tolist()
        ([[2, 2, 1, 0, 0]], [3], [5.0])
    """
    node, mask = _frames(node, mask)
    symbol = jnp.where(mask, jnp.argmax(node, axis=2).astype(jnp.int32), BLANK)
    at = lax.cummax(jnp.where(mask, jnp.arange(mask.shape[1])[None], -1), axis=1)
    before = jnp.pad(at[:, :-1], ((0, 0), (min(at.shape[1], 1), 0)), constant_values=-1)
    previous = jnp.where(
        before >= 0, jnp.take_along_axis(symbol, jnp.maximum(before, 0), axis=1), BLANK
    )
    kept = mask & (symbol != BLANK) & (symbol != previous)
    order = jnp.argsort(~kept, axis=1, stable=True)
    length = kept.sum(axis=1, dtype=jnp.int32)
    found = jnp.take_along_axis(symbol, order, axis=1)
    found = jnp.where(jnp.arange(mask.shape[1])[None] < length[:, None], found, 0)
    score = jnp.where(mask, node.max(axis=2, initial=-jnp.inf), 0).sum(axis=1)
    return Found(found, length, score)


def _frames(node: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Scores in at least float32, and a mask.

    Raises:
        AssertionError: when shapes or dtypes do not match.
    """
    sizes: dict[str, int] = {}
    node = check("node", node, "float", "B T V", sizes)
    if mask is None:
        return node.astype(accumulator(node)), jnp.ones(node.shape[:2], bool)
    return node.astype(accumulator(node)), check("mask", mask, "bool", "B T", sizes)


class _Beam(NamedTuple):
    """Prefixes ``[B, W, T]``, and the sums of their alignments that end in a blank or a symbol."""

    prefix: jax.Array
    length: jax.Array  # [B, W]
    blank: jax.Array  # [B, W]
    label: jax.Array  # [B, W]


@partial(jax.jit, static_argnames="width")
def beam_search(node: jax.Array, width: int, mask: jax.Array | None = None) -> Found:
    """The most probable targets found by a search over prefixes, best first.

    Of each prefix all alignments are summed that no frame before it has lost; with ``width`` as
    large as the number of prefixes, these are the most probable targets.

    Source: Graves and Jaitly 2014, algorithm 1, without a language model.

    Args:
        node: ``[B, T, V]``, logarithms of the probabilities of symbols, 0 the blank.
        width: prefixes kept at each frame; static.
        mask: bool ``[B, T]``, frames that count; None: all.

    Returns:
        Targets ``[B, W, T]``, lengths and scores ``[B, W]``: ``ln P`` of them, as far as found;
        ``-inf`` where there are fewer. Cost O(B T W (V + W T)).

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``width`` is not positive.

    Example:
        >>> node = jnp.log(jnp.array([[[0.6, 0.4], [0.6, 0.4]]]))
        >>> found = beam_search(node, 2)  # greedy says nothing, but "1" has 0.64
        >>> found.labels.tolist(), [round(float(p), 2) for p in jnp.exp(found.score[0])]
        ([[[1, 0], [0, 0]]], [0.64, 0.36])
    """
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    node, mask = _frames(node, mask)
    rows, frames, symbols = node.shape
    place = jnp.arange(frames, dtype=jnp.int32)[None, None]

    def step(beam: _Beam, inputs):
        p, on = inputs  # [B, V]
        both = logsumexp(jnp.stack([beam.blank, beam.label]), axis=0)
        last = jnp.take_along_axis(beam.prefix, jnp.maximum(beam.length - 1, 0)[..., None], axis=2)[
            ..., 0
        ]
        last = jnp.where(beam.length > 0, last, BLANK)
        of_last = jnp.take_along_axis(p, last, axis=1)
        blank = both + p[:, :1]
        label = jnp.where(beam.length > 0, beam.label + of_last, -jnp.inf)
        again = jnp.arange(symbols)[None, None] == last[..., None]
        longer = p[:, None] + jnp.where(again, beam.blank[..., None], both[..., None])
        longer = longer.at[:, :, BLANK].set(-jnp.inf)
        # A prefix with its last symbol may stand in the beam already: [B, parent, child].
        same = beam.prefix[:, :, None] == beam.prefix[:, None]
        same |= (place >= beam.length[:, :, None])[:, :, None]
        child = (beam.length[:, :, None] + 1 == beam.length[:, None]) & same.all(axis=3)
        child &= (beam.length > 0)[:, None]
        into = jnp.take_along_axis(longer, last[:, None].repeat(width, 1), axis=2)
        into = jnp.where(child, into, -jnp.inf)
        label = logsumexp(jnp.concatenate([label[:, None], into], axis=1), axis=1)
        taken = (child[..., None] & again[:, None]).any(axis=2)
        longer = jnp.where(taken, -jnp.inf, longer)
        total = logsumexp(jnp.stack([blank, label]), axis=0)
        every = jnp.concatenate([total, lax.collapse(longer, 1)], axis=1)
        _, at = lax.top_k(every, width)
        grown = at >= width
        parent = jnp.where(grown, (at - width) // symbols, at)
        symbol = jnp.where(grown, (at - width) % symbols, 0).astype(jnp.int32)
        take = lambda x: jnp.take_along_axis(x, parent, axis=1)
        length = take(beam.length)
        prefix = jnp.take_along_axis(beam.prefix, parent[..., None], axis=1)
        here = grown[..., None] & (place == length[..., None])
        new = _Beam(
            jnp.where(here, symbol[..., None], prefix),
            length + grown,
            jnp.where(grown, -jnp.inf, take(blank)),
            jnp.where(grown, jnp.take_along_axis(every, at, axis=1), take(label)),
        )
        keep = lambda x, y: jnp.where(on.reshape(*on.shape, *(1,) * (x.ndim - 1)), x, y)
        return jax.tree.map(keep, new, beam), None

    first = jnp.broadcast_to((jnp.arange(width) == 0)[None], (rows, width))
    initial = _Beam(
        jnp.zeros((rows, width, frames), jnp.int32),
        jnp.zeros((rows, width), jnp.int32),
        jnp.where(first, 0, -jnp.inf).astype(node.dtype),
        jnp.full((rows, width), -jnp.inf, node.dtype),
    )
    beam, _ = lax.scan(step, vary_like(initial, node, mask), (node.swapaxes(0, 1), mask.T))
    score = logsumexp(jnp.stack([beam.blank, beam.label]), axis=0)
    best = jnp.argsort(-score, axis=1, stable=True)
    prefix = jnp.take_along_axis(beam.prefix, best[..., None], axis=1)
    length, score = (jnp.take_along_axis(x, best, axis=1) for x in (beam.length, score))
    return Found(jnp.where(place < length[..., None], prefix, 0), length, score)
