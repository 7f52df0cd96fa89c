"""The verbs: every question about the distribution, by the method that is asked for."""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rntn_jax.crf.graph import elimination
from rntn_jax.crf.graph.plan import plan as plan_elimination
from rntn_jax.crf.graph.scores import Parts, Scores, complete, score
from rntn_jax.ops import accumulator

__all__ = [
    "argmax",
    "entropy",
    "expected_score",
    "kl",
    "log_partition",
    "log_prob",
    "marginals",
    "sample",
]


def log_partition(
    scores: Scores,
    allowed: jax.Array | None = None,
    *,
    method: str = "exact",
    plan: Any = None,
) -> jax.Array:
    """``ln Z``: the logarithm of the summed ``exp(score)`` of all labellings.

    Gradient: the marginals (model marginals theorem, 004).

    Args:
        scores: the CRF.
        allowed: bool ``[I, C]``; only labellings of allowed labels are summed.
        method: ``exact``, by elimination.
        plan: what `plan` made for these edges and this method; needed within jit, where edges are
            traced. By default it is made here, which takes longer than using it.

    Returns:
        A scalar in nats, in at least float32; ``-inf`` where every labelling is forbidden.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for another method; where the plan cannot be made.

    Example:
        >>> square = [(0, 1), (1, 2), (2, 3), (3, 0)]
        >>> never_same = jnp.where(jnp.eye(3, dtype=bool), -jnp.inf, 0.0)
        >>> scores = Scores(jnp.zeros((4, 3)), jnp.tile(never_same, (4, 1, 1)), square)
        >>> round(float(jnp.exp(log_partition(scores))), 3)
        18.0
    """
    parts, plan = _ready(scores, method, plan)
    if allowed is not None:
        allowed = jnp.asarray(allowed)
        chex.assert_shape(allowed, parts.node.shape)
        chex.assert_type(allowed, bool)
        forbidden = ~allowed & parts.node_mask[:, None]
        parts = parts._replace(node=jnp.where(forbidden, -jnp.inf, parts.node))
    return _of_method(parts, method, plan)


def _of_method(parts: Parts, method: str, plan: Any) -> jax.Array:
    return elimination.log_partition(parts.node, parts.edge, parts.node_mask, parts.edge_mask, plan)


def _ready(scores: Scores, method: str, plan: Any) -> tuple[Parts, Any]:
    """The checked parts, and the plan as arrays."""
    parts = complete(scores)
    if plan is None:
        plan = _plan_of(scores, method)
    plan = jax.tree.map(jnp.asarray, plan)
    _check_plan(plan, method, *parts.node.shape)
    return parts, plan


def _plan_of(scores: Scores, method: str) -> Any:
    try:
        edges = np.asarray(scores.edges)
        mask = None if scores.edge_mask is None else np.asarray(scores.edge_mask)
    except jax.errors.TracerArrayConversionError:
        problem = "edges are traced: give the plan(edges, ...), made outside of jit"
        raise ValueError(problem) from None
    count, classes = np.shape(scores.node)
    return plan_elimination(edges, count, classes, edge_mask=mask)


def _check_plan(plan: Any, method: str, count: int, classes: int) -> None:
    if plan.send.shape[1] != classes**plan.width:
        raise ValueError(f"the plan is not one for {classes} labels")


def log_prob(
    scores: Scores, labels: jax.Array, *, method: str = "exact", plan: Any = None
) -> jax.Array:
    """Log-probability of one labelling, in nats; less it is the training loss.

    Gradient: indicators of the labelling minus marginals.

    Source: 004, L and the model marginals theorem (of ``-log_prob``).

    Example:
        >>> scores = Scores(jnp.zeros((3, 2)), jnp.zeros((2, 2, 2)), [(0, 1), (1, 2)])
        >>> round(float(jnp.exp(log_prob(scores, jnp.array([0, 1, 1])))), 4)
        0.125
    """
    of_labels = score(scores, labels)
    nats = of_labels - log_partition(scores, method=method, plan=plan)
    return jnp.where(of_labels == -jnp.inf, -jnp.inf, nats)


def marginals(scores: Scores, *, method: str = "exact", plan: Any = None) -> Scores:
    """Probabilities of all labels and pairs, in the container of the scores.

    The gradient of `log_partition`: ``node[i, c] = P(y_i = c)``, ``edge[e, c, d]`` that of labels
    c and d of the two nodes; 0 where masked. Integers and masks pass through.

    Source: 004, ``P(y[i] = c)`` and ``P(y[i] = c and y[j] = c')`` of the model marginals theorem.

    Example:
        >>> edge = jnp.log(jnp.array([[[1.0, 2.0], [3.0, 4.0]]]))
        >>> scores = Scores(jnp.zeros((2, 2)), edge, [(0, 1)])
        >>> [round(float(p), 4) for p in marginals(scores).node[1]]
        [0.4, 0.6]
    """
    plan = _plan_of(scores, method) if plan is None else plan

    def total(node: jax.Array, edge: jax.Array) -> jax.Array:
        return log_partition(scores._replace(node=node, edge=edge), method=method, plan=plan)

    node, edge = jax.grad(total, (0, 1))(jnp.asarray(scores.node), jnp.asarray(scores.edge))
    return scores._replace(node=node, edge=edge)


def argmax(
    scores: Scores, *, method: str = "exact", plan: Any = None
) -> tuple[jax.Array, jax.Array]:
    """The best labelling, and its score.

    Returns:
        ``(labels int32 [I], score)``, labels 0 where masked. The score's gradient is the indicator
        of the labelling.

    Example:
        >>> scores = Scores(jnp.array([[0.0, 1.0], [2.0, 0.0]]), jnp.zeros((1, 2, 2)), [(0, 1)])
        >>> labels, best = argmax(scores)
        >>> labels.tolist(), float(best)
        ([1, 0], 3.0)
    """
    parts, plan = _ready(scores, method, plan)
    node, edge, _, node_mask, edge_mask = lax.stop_gradient(parts)
    labels = elimination.best_labels(node, edge, node_mask, edge_mask, plan)
    return labels, score(scores, labels)


def sample(key: jax.Array, scores: Scores, num_samples: int, *, plan: Any = None) -> jax.Array:
    """Draws labellings from the distribution, independently and exactly.

    Args:
        key: a PRNG key.
        scores: the CRF.
        num_samples: labellings to draw; static.
        plan: as `log_partition` takes it.

    Returns:
        int32 ``[num_samples, I]``, 0 where masked.

    Example:
        >>> node = jnp.array([[0.0, -jnp.inf], [-jnp.inf, 0.0]])
        >>> sample(jax.random.key(0), Scores(node, jnp.zeros((1, 2, 2)), [(0, 1)]), 2).tolist()
        [[0, 1], [0, 1]]
    """
    parts, plan = _ready(scores, "exact", plan)
    node, edge, _, node_mask, edge_mask = lax.stop_gradient(parts)
    return elimination.sample_labels(key, node, edge, node_mask, edge_mask, plan, num_samples)


def expected_score(
    scores: Scores, values: Scores, *, method: str = "exact", plan: Any = None
) -> jax.Array:
    """Mean of another score under the distribution, a scalar.

    Computes ``sum_y P(y) v(y)``, ``v(y)`` being ``score(values, y)``. What has probability 0
    counts 0, whatever its value; ``-inf`` of positive probability makes the mean ``-inf``.

    Args:
        scores: the distribution.
        values: parts of the other score, of the same shapes; its edges and masks are not read.
        method: as `log_partition` takes it: whose marginals are used.
        plan: likewise.

    Example:
        >>> fair = Scores(jnp.zeros((3, 2)), jnp.zeros((2, 2, 2)), [(0, 1), (1, 2)])
        >>> ones = fair._replace(node=jnp.tile(jnp.array([0.0, 1.0]), (3, 1)))
        >>> float(expected_score(fair, ones))
        1.5
    """
    p = marginals(scores, method=method, plan=plan)
    v = complete(scores._replace(node=values.node, edge=values.edge))
    chex.assert_equal_shape([p.node, v.node])
    chex.assert_equal_shape([p.edge, v.edge])
    return _mean(p.node, v.node) + _mean(p.edge, v.edge)


def _mean(p, values):
    """``sum p v``, with ``0 times -inf = 0``."""
    forbidden = values == -jnp.inf
    total = (p * jnp.where(forbidden, 0, values)).sum(dtype=accumulator(p, values))
    return jnp.where((forbidden & (p > 0)).any(), -jnp.inf, total)


def entropy(scores: Scores, *, method: str = "exact", plan: Any = None) -> jax.Array:
    """Entropy of the distribution over labellings, in nats.

    Computes ``ln Z - E[score]``, both by the same method. Where every labelling is forbidden: NaN,
    there being none.

    Example:
        >>> scores = Scores(jnp.zeros((3, 2)), jnp.zeros((2, 2, 2)), [(0, 1), (1, 2)])
        >>> round(float(entropy(scores) / jnp.log(2)), 4)
        3.0
    """
    # Entropy does not know what all labels have in common; digits do.
    node = complete(scores).node
    top = node.max(axis=-1, keepdims=True, initial=-jnp.inf)
    scores = scores._replace(node=node - jnp.where(jnp.isfinite(top), top, 0))
    how = {"method": method, "plan": _plan_of(scores, method) if plan is None else plan}
    return log_partition(scores, **how) - expected_score(scores, scores, **how)


def kl(p: Scores, q: Scores, *, plan: Any = None) -> jax.Array:
    """Kullback-Leibler divergence of ``q`` from ``p``, in nats, exactly.

    Computes ``sum_y P(y) ln (P(y) / Q(y))``: ``inf`` where ``q`` forbids what ``p`` does not. Both
    have the edges and masks of ``p``.

    Example:
        >>> p = Scores(jnp.log(jnp.array([[0.5, 0.5]])), jnp.zeros((0, 2, 2)), [])
        >>> q = p._replace(node=jnp.log(jnp.array([[0.25, 0.75]])))
        >>> round(float(kl(p, q)), 4)
        0.1438
    """
    q = p._replace(node=q.node, edge=q.edge)
    how = {"plan": _plan_of(p, "exact") if plan is None else plan}
    of_p = expected_score(p, p, **how) - log_partition(p, **how)
    return of_p - expected_score(p, q, **how) + log_partition(q, **how)
