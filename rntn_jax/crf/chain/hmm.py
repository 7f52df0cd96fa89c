"""Hidden Markov models as chains: filtering, prediction, smoothing with a lag, and EM.

An HMM is the chain whose scores are logarithms of its probabilities (source 004: a Markov random
field is an exponential softmax), so that ``log_partition`` is the log-likelihood of what was
observed, ``marginals`` the smoothed probabilities and expected counts, ``argmax`` the best path and
``sample`` a draw of the states given the observations.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.crf.chain.queries import log_partition, no_choice, rule_of
from rntn_jax.crf.chain.scores import Scores, complete
from rntn_jax.ops import masked
from rntn_jax.ops.checks import check
from rntn_jax.ops.logspace import einsum, log_normalize, logsumexp, normalize, safe_log
from rntn_jax.ops.varying import vary_like
from rntn_jax.shapes import shapes_repr

__all__ = ["HMM", "em_step", "filtered", "from_hmm", "predicted", "smoothed"]


class HMM(NamedTuple):
    """A hidden Markov model with discrete observations: logarithms of its probabilities."""

    initial: jax.Array  # [C]
    transition: jax.Array  # [C, C], from a state (row) to the next
    emission: jax.Array  # [C, V], of the symbols that a state shows

    __repr__ = shapes_repr


def from_hmm(
    initial: jax.Array,
    transition: jax.Array,
    observed: jax.Array,
    mask: jax.Array | None = None,
) -> Scores:
    """A hidden Markov model as a chain.

    Args:
        initial: ``[C]``, ``ln P`` of the first state.
        transition: ``[C, C]`` or ``[B, T-1, C, C]``, ``ln P`` of the next state (column) given a
            state (row).
        observed: ``[B, T, C]``, ``ln P`` of what was observed given the state; 0 where nothing was.
        mask: bool ``[B, T]``, steps that there are.

    Returns:
        The chain, whose `log_partition` is ``ln P(observations)``.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> half = jnp.log(jnp.full((2, 2), 0.5))
        >>> scores = from_hmm(half[0], half, jnp.log(jnp.array([[[0.9, 0.1], [0.9, 0.1]]])))
        >>> round(float(jnp.exp(log_partition(scores)[0])), 3)
        0.25
    """
    sizes: dict[str, int] = {}
    node = check("observed", observed, "float", "B T C", sizes)
    axes = "C C" if jnp.ndim(transition) == 2 else "B T-1 C C"
    edge = check("transition", transition, "float", axes, sizes)
    start = check("initial", initial, "float", "C", sizes)
    return Scores(node, edge, start, None, mask)


@jax.jit
def filtered(scores: Scores) -> jax.Array:
    """``P(y_t | all up to and with t)``: of an HMM, the state given what was observed so far.

    The forward recursion's states, normalised. Of any chain: the label's probability if the
    sequence ended there; ``end`` is not read.

    Args:
        scores: a chain, `from_hmm` for instance.

    Returns:
        ``[B, T, C]``, in at least float32; 0 where masked, or everything is forbidden. Cost O(B T
        C^2).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> half = jnp.log(jnp.full((2, 2), 0.5))
        >>> scores = from_hmm(half[0], half, jnp.log(jnp.array([[[0.9, 0.1], [0.2, 0.2]]])))
        >>> [round(float(p), 2) for p in filtered(scores)[0, :, 0]]
        [0.9, 0.5]
    """
    node, edge, mask = complete(scores._replace(end=None))
    if no_choice(node):
        return jnp.zeros_like(node)
    ran = rule_of(edge).run(node, edge, mask)[1]
    logs = log_normalize(jnp.where(ran.products, 0, ran.states))
    p = jnp.where(ran.products, normalize(ran.states), jnp.exp(logs))
    return masked(p.swapaxes(0, 1), mask)


@partial(jax.jit, static_argnames="steps")
def predicted(scores: Scores, steps: int) -> jax.Array:
    """``P(y_{t+k} | all up to and with t)`` of an HMM: the state k steps ahead.

    Computes ``filtered @ P^k``, ``P`` being the transition probabilities.

    Args:
        scores: a chain with shared edges, the logarithms of transition probabilities.
        steps: ``k``, 0 or more; static.

    Returns:
        ``[B, T, C]`` as `filtered`. Cost of `filtered`, and O(k C^3 + B T C^2).

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``steps`` is negative.

    Example:
        >>> half = jnp.log(jnp.full((2, 2), 0.5))
        >>> scores = from_hmm(half[0], half, jnp.log(jnp.array([[[0.9, 0.1]]])))
        >>> [round(float(p), 2) for p in predicted(scores, 1)[0, 0]]
        [0.5, 0.5]
    """
    if steps < 0:
        raise ValueError(f"steps must not be negative, got {steps}")
    edge = check("scores.edge", scores.edge, "float", "C C")
    p = filtered(scores)
    ahead = jnp.eye(len(edge), dtype=p.dtype)
    for _ in range(steps):
        ahead = einsum("ij,jk->ik", ahead, jnp.exp(log_normalize(edge.astype(p.dtype))))
    return einsum("bti,ij->btj", p, ahead)


@partial(jax.jit, static_argnames="lag")
def smoothed(scores: Scores, lag: int) -> jax.Array:
    """``P(y_t | all up to and with t + lag)``: smoothing as one goes, ``lag`` steps late.

    With a lag of 0 that is `filtered`, with one of ``T - 1`` or more and no ``end`` the node
    marginals. ``end`` is not read.

    Args:
        scores: a chain.
        lag: steps, of those that are not masked; static.

    Returns:
        ``[B, T, C]`` as `filtered`. Cost O(lag B T C^2).

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``lag`` is negative.

    Example:
        >>> stay = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
        >>> observed = jnp.log(jnp.array([[[0.5, 0.5], [0.9, 0.1]]]))
        >>> scores = from_hmm(jnp.log(jnp.full(2, 0.5)), stay, observed)
        >>> [round(float(smoothed(scores, lag)[0, 0, 0]), 2) for lag in (0, 1)]
        [0.5, 0.82]
    """
    if lag < 0:
        raise ValueError(f"lag must not be negative, got {lag}")
    p = filtered(scores)
    node, edge, mask = complete(scores._replace(end=None))
    if no_choice(node) or node.shape[1] == 1:
        return p
    # Real positions first, so that the next one is the next in the array.
    order = jnp.argsort(~mask, axis=1, stable=True)
    real = jnp.take_along_axis(mask, order, axis=1)
    u = masked(jnp.take_along_axis(node, order[..., None], axis=1), real).astype(p.dtype)
    if edge.ndim == 2:
        into = edge.astype(p.dtype)[None, None]
    else:
        entered = jnp.maximum(order[:, 1:] - 1, 0)[..., None, None]
        into = jnp.take_along_axis(edge, entered, axis=1).astype(p.dtype)
    after, rows = real[:, 1:, None], ((0, 0), (0, 1), (0, 0))
    later = jnp.zeros_like(u)
    for _ in range(lag):
        ways = into + (u + later)[:, 1:, None]
        later = jnp.pad(jnp.where(after, logsumexp(ways, axis=3), 0), rows)
    back = jnp.argsort(order, axis=1)
    later = jnp.take_along_axis(later, back[..., None], axis=1)
    return masked(jnp.exp(log_normalize(safe_log(p) + later)), mask)


@jax.jit
def em_step(hmm: HMM, symbols: jax.Array, mask: jax.Array | None = None) -> tuple[HMM, jax.Array]:
    """One step of expectation and maximisation (Baum and Welch 1970) on sequences of symbols.

    The expected counts of first states, transitions and emissions are the gradient of the
    log-likelihood for their logarithms (source 004, the model marginals theorem); normalised, they
    are the new model, whose likelihood is never less.

    Args:
        hmm: the model.
        symbols: int ``[B, T]``, ``0 .. V - 1``; anything where masked.
        mask: bool ``[B, T]``; None: all symbols count.

    Returns:
        ``(the new model, ln P(symbols) [B] under the one before)``. A state that is never expected
        keeps its rows. Cost O(B T C^2).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> half, third = jnp.log(jnp.full((2, 2), 0.5)), jnp.log(jnp.full((2, 3), 1 / 3))
        >>> new, before = em_step(HMM(half[0], half, third), jnp.array([[0, 0, 1, 0]]))
        >>> [round(float(p), 2) for p in jnp.exp(new.emission[0])]
        [0.75, 0.25, 0.0]
        >>> round(float(jnp.exp(before[0]) * 81), 2)
        1.0
    """
    sizes: dict[str, int] = {}
    check("hmm.emission", hmm.emission, "float", "C V", sizes)
    symbols = check("symbols", symbols, "int", "B T")
    real = jnp.ones(symbols.shape, bool) if mask is None else mask

    def total(hmm: HMM) -> tuple[jax.Array, jax.Array]:
        observed = masked(hmm.emission.T[jnp.where(real, symbols, 0)], real)
        likelihood = log_partition(from_hmm(hmm.initial, hmm.transition, observed, real))
        return likelihood.sum(), likelihood

    hmm = vary_like(HMM(*map(jnp.asarray, hmm)), symbols, real)  # each device's own counts
    counts, likelihood = jax.grad(total, has_aux=True)(hmm)

    def normalized(counts: jax.Array, before: jax.Array) -> jax.Array:
        some = counts.sum(axis=-1, keepdims=True) > 0
        return jnp.where(some, safe_log(normalize(counts)), before)

    return jax.tree.map(normalized, counts, hmm), likelihood
