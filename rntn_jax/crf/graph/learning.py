"""Losses that need no ln Z: pseudo-likelihood, and contrastive divergence."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.graph.inputs import neighbour_plan
from rntn_jax.crf.graph.neighbours import Neighbours
from rntn_jax.crf.graph.sampling import conditional_scores, gibbs
from rntn_jax.crf.graph.scores import (
    Parts,
    Scores,
    check,
    check_labels,
    complete,
    has_nan,
    score_of,
)
from rntn_jax.ops import accumulator, cast_like
from rntn_jax.ops.logspace import subtract_max
from rntn_jax.ops.varying import vary_like

__all__ = ["contrastive_divergence", "pseudo_log_likelihood"]


def pseudo_log_likelihood(
    scores: Scores, labels: jax.Array, *, plan: Neighbours | None = None
) -> jax.Array:
    """Summed log-probabilities of each node's label given all others', a scalar.

    Computes ``sum_i ln P(y_i | y_others)``: exact where there are no edges, consistent everywhere,
    and as cheap as looking at all neighbours. Gradient, with ``p_i = P(. | y_others)``::

        d node[i, c]     = 1[y_i = c] - p_i[c]
        d edge[e, c, c'] = 1[y_i = c] (1[y_j = c'] - p_j[c']) + 1[y_j = c'] (1[y_i = c] - p_i[c])

    Source: 004 asks for an approximation of the gradient; this is Besag's (1975).

    Args:
        scores: the CRF.
        labels: integer ``[I]``; those of masked nodes may be anything, others outside ``0 .. C-1``
            make the result NaN.
        plan: made by `neighbours`; needed within jit.

    Returns:
        Nats, in at least float32; ``-inf`` where a label is forbidden given the others. Residuals:
        the arguments, and ``p``. Cost O(E C).

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: where the plan cannot be made.

    Example:
        >>> scores = Scores(jnp.zeros((2, 2)), jnp.zeros((1, 2, 2)), [(0, 1)])
        >>> value = pseudo_log_likelihood(scores, jnp.array([0, 1]))
        >>> round(float(jnp.exp(value)), 4)
        0.25
    """
    scores = check(scores)
    labels = check_labels(labels, scores)
    return _pseudo_log_likelihood(scores, labels, neighbour_plan(scores, plan))


@jax.jit
def _pseudo_log_likelihood(scores: Scores, labels: jax.Array, plan: Any) -> jax.Array:
    parts = complete(scores)
    classes = parts.node.shape[1]
    legal = (~parts.node_mask | ((labels >= 0) & (labels < classes))).all()
    labels = jnp.where(parts.node_mask, jnp.clip(labels, 0, classes - 1), 0).astype(jnp.int32)
    _, _, edges, node_mask, edge_mask = parts
    rest = edges, node_mask, edge_mask, plan, labels
    return jnp.where(legal, _pseudo(*vary_like((parts.node, parts.edge, rest))), jnp.nan)


def _log_conditionals(node, edge, rest) -> jax.Array:
    """``ln P(. | others) [I, C]``."""
    *others, plan, labels = rest
    node, edge = (x.astype(accumulator(node, edge)) for x in (node, edge))
    node_scores, edge_scores = conditional_scores(Parts(node, edge, *others), plan, labels)
    logits, _ = subtract_max((node_scores + edge_scores).T)
    total = jnp.exp(logits).sum(axis=1, keepdims=True)
    return logits - jnp.log(jnp.where(total == 0, 1, total))


def _of_labels(logs, rest) -> jax.Array:
    _, node_mask, _, _, labels = rest
    chosen = jnp.take_along_axis(logs, labels[:, None], axis=1)[:, 0]
    return jnp.where(node_mask, chosen, 0).sum()


@jax.custom_vjp
def _pseudo(node, edge, rest) -> jax.Array:
    """The plain oracle, too: ``_pseudo.fun``."""
    return _of_labels(_log_conditionals(node, edge, rest), rest)


class _Residuals(NamedTuple):
    node: jax.Array  # [I, C]
    edge: jax.Array  # [E, C, C]
    rest: tuple
    p: jax.Array  # [I, C]


def _fwd(node, edge, rest) -> tuple[jax.Array, _Residuals]:
    logs = _log_conditionals(node, edge, rest)
    return _of_labels(logs, rest), _Residuals(node, edge, rest, jnp.exp(logs))


def _bwd(res: _Residuals, ct) -> tuple:
    edges, node_mask, edge_mask, _, labels = res.rest
    gold = (labels[:, None] == jnp.arange(res.node.shape[1])[None]).astype(res.p.dtype)
    delta = jnp.where(node_mask[:, None], gold - res.p, 0) * ct
    i, j = edges[:, 0], edges[:, 1]
    d_edge = gold[i][:, :, None] * delta[j][:, None, :] + delta[i][:, :, None] * gold[j][:, None, :]
    d_edge = jnp.where(edge_mask[:, None, None], d_edge, 0)
    return *cast_like((delta, d_edge), (res.node, res.edge)), None


_pseudo.defvjp(_fwd, _bwd)


def contrastive_divergence(
    key: jax.Array,
    scores: Scores,
    labels: jax.Array,
    *,
    chains: jax.Array | None = None,
    num_sweeps: int = 1,
    plan: Neighbours | None = None,
) -> tuple[jax.Array, jax.Array]:
    """A loss whose gradient is that of ``-ln P(labels)`` with sampled in place of true marginals.

    Computes ``mean over chains of score(sampled) - score(labels)``; the samples are constants.
    Chains that begin at the labels make it contrastive divergence (Hinton 2002), those that go on
    from where they were persistent contrastive divergence (Tieleman 2008), which as parameters
    come to rest is maximum likelihood. The value itself means little.

    Args:
        key: a PRNG key.
        scores: the CRF.
        labels: integer ``[I]``.
        chains: int ``[chains, I]``, where chains go on; None: one chain, from the labels.
        num_sweeps: of Gibbs sampling; static.
        plan: made by `neighbours`; needed within jit.

    Returns:
        ``(loss, chains)``: a scalar, NaN where a score is, and where the chains are now, to go on
        from. Cost: that of `gibbs`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: where the plan cannot be made.

    Example:
        >>> scores = Scores(jnp.zeros((2, 2)), jnp.zeros((1, 2, 2)), [(0, 1)])
        >>> loss, chains = contrastive_divergence(jax.random.key(0), scores, jnp.array([0, 1]))
        >>> float(loss), chains.shape
        (0.0, (1, 2))
    """
    scores = check(scores)
    labels = check_labels(labels, scores)
    chains = labels[None] if chains is None else check_labels(chains, scores, "chains", "K I")
    plan = neighbour_plan(scores, plan, method="contrastive divergence")
    now = gibbs(key, lax.stop_gradient(scores), chains, num_sweeps, plan=plan)
    return _score_difference(scores, now, labels), now


@jax.jit
def _score_difference(scores: Scores, sampled: jax.Array, labels: jax.Array) -> jax.Array:
    parts = complete(scores)
    mean = jax.vmap(partial(score_of, parts))(sampled).mean()
    return jnp.where(has_nan(parts), jnp.nan, mean - score_of(parts, labels))
