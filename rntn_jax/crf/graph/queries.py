"""The verbs: every question about the distribution, by the method that is asked for."""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rntn_jax.crf.graph import elimination, sampling, variational
from rntn_jax.crf.graph.neighbours import Neighbours, neighbours
from rntn_jax.crf.graph.plan import Plan
from rntn_jax.crf.graph.plan import plan as plan_elimination
from rntn_jax.crf.graph.scores import Parts, Scores, complete, score
from rntn_jax.crf.graph.variational import METHODS, Beliefs, Options
from rntn_jax.ops import accumulator

__all__ = [
    "argmax",
    "beliefs",
    "entropy",
    "expected_score",
    "kl",
    "log_partition",
    "log_prob",
    "marginals",
    "sample",
]

DEFAULT = Options()


def log_partition(
    scores: Scores,
    allowed: jax.Array | None = None,
    *,
    method: str = "exact",
    plan: Any = None,
    options: Options = DEFAULT,
) -> jax.Array:
    """``ln Z``: the logarithm of the summed ``exp(score)`` of all labellings.

    Gradient: the marginals (model marginals theorem, 004).

    Args:
        scores: the CRF.
        allowed: bool ``[I, C]``; only labellings of allowed labels are summed.
        method: ``exact``, by elimination; ``loopy``, belief propagation (Bethe's free energy, exact
            on trees, else neither bound nor certain to converge); ``tree_reweighted``, an upper
            bound once converged; ``mean_field``, a lower bound.
        plan: made for these edges by `plan` (exact) or `neighbours` (others); needed within jit,
            where edges are traced. By default it is made here, which takes longer than using it.
        options: how the others iterate, see `Options`; `beliefs` tells whether they converged.

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
    if method != "exact":
        return variational.log_partition(method, options, parts, plan)
    node, edge, _, node_mask, edge_mask = parts
    return elimination.log_partition(node, edge, node_mask, edge_mask, plan)


def beliefs(
    scores: Scores, *, method: str = "loopy", plan: Any = None, options: Options = DEFAULT
) -> Beliefs:
    """What an approximate method found, and whether it converged.

    Args:
        scores: the CRF.
        method: ``loopy``, ``tree_reweighted`` or ``mean_field``.
        plan: as `log_partition` takes it.
        options: likewise.

    Example:
        >>> scores = Scores(jnp.zeros((2, 2)), jnp.zeros((1, 2, 2)), [(0, 1)])
        >>> found = beliefs(scores)
        >>> found.node.tolist(), float(found.residual)
        ([[0.5, 0.5], [0.5, 0.5]], 0.0)
    """
    parts, plan = _ready(scores, method, plan)
    return variational.infer(method, options, parts, plan)


def _ready(scores: Scores, method: str, plan: Any) -> tuple[Parts, Any]:
    """The checked parts, and the plan as arrays."""
    parts = complete(scores)
    plan = jax.tree.map(jnp.asarray, _plan_of(scores, method) if plan is None else plan)
    count, classes = parts.node.shape
    if method == "exact":
        if not isinstance(plan, Plan):
            raise ValueError(f"exact inference needs a plan, got {type(plan).__name__}")
        if plan.send.shape[1] != classes**plan.width:
            raise ValueError(f"the plan is not one for {classes} labels")
    else:
        if not isinstance(plan, Neighbours):
            raise ValueError(f"method {method!r} needs neighbours, got {type(plan).__name__}")
        chex.assert_shape(plan.colour, (count,))
        chex.assert_shape(plan.slot, (len(parts.edge), 2))
    return parts, plan


def _plan_of(scores: Scores, method: str) -> Any:
    if method not in ("exact", *METHODS):
        raise ValueError(f"method must be one of {('exact', *METHODS)}, got {method!r}")
    try:
        edges = np.asarray(scores.edges)
        mask = None if scores.edge_mask is None else np.asarray(scores.edge_mask)
    except jax.errors.TracerArrayConversionError:
        problem = "edges are traced: give the plan(edges, ...), made outside of jit"
        raise ValueError(problem) from None
    count, classes = np.shape(scores.node)
    if method != "exact":
        forests = method == "tree_reweighted"
        return neighbours(edges, count, edge_mask=mask, forests=forests)
    return plan_elimination(edges, count, classes, edge_mask=mask)


def log_prob(
    scores: Scores,
    labels: jax.Array,
    *,
    method: str = "exact",
    plan: Any = None,
    options: Options = DEFAULT,
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
    nats = of_labels - log_partition(scores, method=method, plan=plan, options=options)
    return jnp.where(of_labels == -jnp.inf, -jnp.inf, nats)


def marginals(
    scores: Scores, *, method: str = "exact", plan: Any = None, options: Options = DEFAULT
) -> Scores:
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
        parts = scores._replace(node=node, edge=edge)
        return log_partition(parts, method=method, plan=plan, options=options)

    node, edge = jax.grad(total, (0, 1))(jnp.asarray(scores.node), jnp.asarray(scores.edge))
    return scores._replace(node=node, edge=edge)


def argmax(
    scores: Scores,
    *,
    method: str = "exact",
    plan: Any = None,
    options: Options = DEFAULT,
    key: jax.Array | None = None,
    num_sweeps: int = 100,
) -> tuple[jax.Array, jax.Array]:
    """The best labelling, or a good one, and its score.

    Args:
        scores: the CRF.
        method: ``exact``; ``max_product`` messages (exact on trees where the best is unique);
            ``modes``: from each node's best label on, each node takes its best given the others;
            ``annealing``: Gibbs sampling at falling temperatures, the best of 16 chains. All but
            the first end with `improve`.
        plan: as `log_partition` takes it.
        options: of max-product.
        key: a PRNG key, for annealing.
        num_sweeps: of modes or annealing; static.

    Returns:
        ``(labels int32 [I], score)``, labels 0 where masked. The score's gradient is the indicator
        of the labelling.

    Example:
        >>> scores = Scores(jnp.array([[0.0, 1.0], [2.0, 0.0]]), jnp.zeros((1, 2, 2)), [(0, 1)])
        >>> labels, best = argmax(scores)
        >>> labels.tolist(), float(best)
        ([1, 0], 3.0)
    """
    if method not in ("exact", "max_product", "modes", "annealing"):
        raise ValueError(f"argmax knows no method {method!r}")
    parts, plan = _ready(scores, "exact" if method == "exact" else "loopy", plan)
    parts = lax.stop_gradient(parts)
    node, edge, _, node_mask, edge_mask = parts
    if method == "exact":
        labels = elimination.best_labels(node, edge, node_mask, edge_mask, plan)
        return labels, score(scores, labels)
    labels = jnp.argmax(node, axis=1).astype(jnp.int32)[None]
    if method == "max_product":
        labels, num_sweeps = variational.best_labels(options, parts, plan)[None], 10
    if method == "annealing":
        if key is None:
            raise ValueError("annealing needs a key")
        colds = jnp.linspace(0.1, 5, num_sweeps, dtype=accumulator(node, edge))
        labels = jnp.tile(labels, (16, 1))
        labels, num_sweeps = sampling.cool(key, scores, labels, colds, plan), 10
    labels = sampling.improve(scores, labels, num_sweeps, plan=plan)
    labels = labels[jax.vmap(lambda y: score(scores, y))(labels).argmax()]
    return labels, score(scores, labels)


def sample(
    key: jax.Array,
    scores: Scores,
    num_samples: int,
    *,
    method: str = "exact",
    plan: Any = None,
    num_sweeps: int = 100,
) -> jax.Array:
    """Draws labellings from the distribution, independently.

    Args:
        key: a PRNG key.
        scores: the CRF.
        num_samples: labellings to draw; static.
        method: ``exact``, or ``gibbs``: where as many chains are after ``num_sweeps``, which is
            close to the distribution once they have mixed.
        plan: as `log_partition` takes it.
        num_sweeps: of Gibbs sampling; static.

    Returns:
        int32 ``[num_samples, I]``, 0 where masked.

    Example:
        >>> node = jnp.array([[0.0, -jnp.inf], [-jnp.inf, 0.0]])
        >>> sample(jax.random.key(0), Scores(node, jnp.zeros((1, 2, 2)), [(0, 1)]), 2).tolist()
        [[0, 1], [0, 1]]
    """
    if method not in ("exact", "gibbs"):
        raise ValueError(f"sample knows no method {method!r}")
    parts, plan = _ready(scores, "exact" if method == "exact" else "loopy", plan)
    if method == "gibbs":
        first, rest = jax.random.split(key)
        labels = sampling.start(first, scores, num_samples)
        return sampling.gibbs(rest, scores, labels, num_sweeps, plan=plan)
    node, edge, _, node_mask, edge_mask = lax.stop_gradient(parts)
    return elimination.sample_labels(key, node, edge, node_mask, edge_mask, plan, num_samples)


def expected_score(
    scores: Scores,
    values: Scores,
    *,
    method: str = "exact",
    plan: Any = None,
    options: Options = DEFAULT,
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
    p = marginals(scores, method=method, plan=plan, options=options)
    v = complete(scores._replace(node=values.node, edge=values.edge))
    chex.assert_equal_shape([p.node, v.node])
    chex.assert_equal_shape([p.edge, v.edge])
    return _mean(p.node, v.node) + _mean(p.edge, v.edge)


def _mean(p, values):
    """``sum p v``, with ``0 times -inf = 0``."""
    forbidden = values == -jnp.inf
    total = (p * jnp.where(forbidden, 0, values)).sum(dtype=accumulator(p, values))
    return jnp.where((forbidden & (p > 0)).any(), -jnp.inf, total)


def entropy(
    scores: Scores, *, method: str = "exact", plan: Any = None, options: Options = DEFAULT
) -> jax.Array:
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
    plan = _plan_of(scores, method) if plan is None else plan
    how: Any = {"method": method, "plan": plan, "options": options}
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
    how: Any = {"plan": _plan_of(p, "exact") if plan is None else plan}
    of_p = expected_score(p, p, **how) - log_partition(p, **how)
    return of_p - expected_score(p, q, **how) + log_partition(q, **how)
