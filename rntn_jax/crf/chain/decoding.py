"""Labellings of chains: the best, the best few, and draws; all end in a walk back from the last."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.chain._steps import edge_into, has_edge
from rntn_jax.crf.chain.queries import log_partition, no_choice, rule_of, score
from rntn_jax.crf.chain.scores import Scores, complete
from rntn_jax.ops import accumulator, masked
from rntn_jax.ops.logspace import finite_max, safe_log
from rntn_jax.ops.varying import vary_like

__all__ = ["argmax", "sample", "top_k"]


@jax.jit
def argmax(scores: Scores) -> tuple[jax.Array, jax.Array]:
    """The best labelling of each row, and its score (Viterbi).

    Args:
        scores: the CRF.

    Returns:
        ``(labels int32 [B, T], score [B])``, labels 0 where masked. The score's gradient is the
        indicator of the labelling. Where every labelling is forbidden the score is ``-inf``, where
        a score is NaN it is NaN, and the labels mean nothing. Cost O(B T C^2).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.array([[[0.0, 1.0], [2.0, 0.0]]]), jnp.zeros((2, 2)))
        >>> labels, best = argmax(scores)
        >>> labels.tolist(), best.tolist()
        ([[1, 0]], [3.0])
    """
    node, edge, mask = complete(lax.stop_gradient(scores))
    if no_choice(node):
        return _no_labels(scores, mask)
    dtype = accumulator(node, edge)
    u, entered = masked(node, mask).astype(dtype).swapaxes(0, 1), has_edge(mask).T

    def step(best, inputs):
        t, u, mask, entered = inputs
        # The largest is subtracted a step late: quicker.
        relative = best - finite_max(best)
        entering = (relative[:, :, None] + edge_into(edge, t).astype(dtype)).max(axis=1)
        new = jnp.where(entered[:, None], entering, 0) + u
        best = jnp.where(mask[:, None], new, best)
        return best, best

    times = jnp.arange(len(u))
    _, states = lax.scan(step, jnp.zeros_like(u[0]), (times, u, mask.T, entered))

    def choose(_, logits):  # quicker than `jnp.argmax` on CPUs
        classes = jnp.arange(logits.shape[-1])[None]
        best = logits == logits.max(axis=-1, keepdims=True)
        return jnp.where(best, classes, logits.shape[-1] - 1).min(axis=-1)

    labels = _walk_back(states, edge, mask, choose, times)
    lost = jnp.isnan(states[-1]).any(axis=-1)
    impossible = mask.any(axis=1) & (states[-1] == -jnp.inf).all(axis=-1)
    own = jnp.where(impossible, -jnp.inf, score(scores, labels))
    return labels, jnp.where(lost, jnp.nan, own)


def _no_labels(scores: Scores, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What `argmax` returns where there is no position, or no label to choose."""
    labels = jnp.zeros(mask.shape, jnp.int32)
    return labels, log_partition(scores)


@partial(jax.jit, static_argnames="num_samples")
def sample(key: jax.Array, scores: Scores, num_samples: int) -> jax.Array:
    """Draws labellings from the distribution: forward filtering, backward sampling.

    Args:
        key: a PRNG key.
        scores: the CRF.
        num_samples: labellings to draw of each row, independently; static.

    Returns:
        int32 ``[num_samples, B, T]``, 0 where masked; where every labelling is forbidden, or a
        score is NaN, they mean nothing. Cost O(B T C^2), and O(B T C) for each sample.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.array([[[0.0, -jnp.inf], [-jnp.inf, 0.0]]]), jnp.zeros((2, 2)))
        >>> sample(jax.random.key(0), scores, 2).tolist()
        [[[0, 1]], [[0, 1]]]
    """
    node, edge, mask = complete(lax.stop_gradient(scores))
    if no_choice(node) or num_samples == 0:
        return jnp.zeros((num_samples, *mask.shape), jnp.int32)
    ran = rule_of(edge).run(node, edge, mask)[1]
    states = jnp.where(ran.products, safe_log(ran.states), ran.states)  # up to constants
    keys = jax.random.split(key, (len(states), num_samples))

    def one(keys):
        return _walk_back(states, edge, mask, jax.random.categorical, keys)

    return jax.vmap(one, in_axes=1)(keys)


def _walk_back(states, edge, mask, choose, keys) -> jax.Array:
    """Labels ``[B, T]``, chosen from the last to the first by ``states`` and the label after."""

    def step(into_next, inputs):
        t, state, key, mask, entered = inputs
        label = choose(key, state + into_next).astype(jnp.int32)
        label = jnp.where(mask, label, 0)
        if edge.ndim == 2:
            leading = edge.T[label]
        else:
            now = edge_into(edge, t)
            leading = jnp.take_along_axis(now, label[:, None, None], axis=2)[..., 0]
        leading = jnp.where(entered[:, None], leading.astype(state.dtype), 0)
        return jnp.where(mask[:, None], leading, into_next), label

    inputs = jnp.arange(len(states)), states, keys, mask.T, has_edge(mask).T
    _, labels = lax.scan(step, jnp.zeros_like(states[0]), inputs, reverse=True)
    return labels.T


@partial(jax.jit, static_argnames="k")
def top_k(scores: Scores, k: int) -> tuple[jax.Array, jax.Array]:
    """The ``k`` best labellings of each row, best first.

    Args:
        scores: the CRF.
        k: how many; static.

    Returns:
        ``(labels int32 [B, k, T], score [B, k])``. Where there are fewer than ``k`` labellings,
        the scores at the end are ``-inf`` and their labels mean nothing; where a score of the row
        is NaN, all of them are. Cost O(B T C^2 k log k).

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``k`` is not positive.

    Example:
        >>> scores = Scores(jnp.array([[[0.0, 1.0], [3.0, 0.0]]]), jnp.zeros((2, 2)))
        >>> labels, best = top_k(scores, 2)
        >>> labels.tolist(), best.tolist()
        ([[[1, 0], [0, 0]]], [[4.0, 3.0]])
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    node, edge, mask = complete(lax.stop_gradient(scores))
    rows, length, classes = node.shape
    if rows == 0 or no_choice(node):
        labels, best = _no_labels(scores, mask)
        labels = jnp.broadcast_to(labels[:, None], (rows, k, length))
        rest = jnp.full((rows, k - 1), -jnp.inf, best.dtype)
        return labels, jnp.concatenate([best[:, None], rest], axis=1)
    dtype = accumulator(node, edge)
    u, entered = masked(node, mask).astype(dtype).swapaxes(0, 1), has_edge(mask).T
    # One labelling of what is before the first position, counted with every label.
    alone = jnp.where(jnp.arange(k) == 0, 0, -jnp.inf).astype(dtype)[None, None]
    same = jnp.arange(classes * k, dtype=jnp.int32).reshape(1, classes, k)

    def step(best, inputs):
        t, u, mask, entered = inputs
        into = edge_into(edge, t).astype(dtype).swapaxes(1, 2)
        candidates = best[:, None] + into[..., None]  # [B, C, C before, k]
        # Before the lists are cut, so that NaN cannot be left out.
        candidates = candidates - finite_max(candidates, (1, 2, 3))
        entering, origin = lax.top_k(candidates.reshape(rows, classes, classes * k), k)
        new = jnp.where(entered[:, None, None], entering, alone) + u[:, :, None]
        mask, entered = mask[:, None, None], entered[:, None, None]
        return jnp.where(mask, new, best), jnp.where(entered, origin, same)

    initial = vary_like(jnp.broadcast_to(alone, (rows, classes, k)), u)
    best, origins = lax.scan(step, initial, (jnp.arange(length), u, mask.T, entered))
    # Of a row without positions, all labels stand for the one labelling.
    counted = mask.any(axis=1)[:, None, None] | (jnp.arange(classes) == 0)[None, :, None]
    lost = jnp.isnan(best).any(axis=(1, 2))
    best = jnp.where(counted, best, -jnp.inf)
    final, last = lax.top_k(best.reshape(rows, classes * k), k)

    def back(at, inputs):
        origin, mask = inputs
        label = jnp.where(mask[:, None], at // k, 0).astype(jnp.int32)
        return jnp.take_along_axis(origin.reshape(rows, -1), at, axis=1), label

    _, labels = lax.scan(back, last, (origins, mask.T), reverse=True)
    labels = labels.transpose(1, 2, 0)
    own = jax.vmap(lambda y: score(scores, y), in_axes=1, out_axes=1)(labels)
    own = jnp.where(final == -jnp.inf, -jnp.inf, own)
    return labels, jnp.where(lost[:, None], jnp.nan, own)
