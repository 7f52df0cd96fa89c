"""The verbs: every question about the distribution, by the method that is asked for."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from rntn_jax.crf import expectations
from rntn_jax.crf.graph import exact, variational
from rntn_jax.crf.graph.fixed_point import Options
from rntn_jax.crf.graph.free_energy import Beliefs
from rntn_jax.crf.graph.inputs import elimination_plan, neighbour_plan
from rntn_jax.crf.graph.scores import Parts, Scores, check, check_labels, complete, score_of
from rntn_jax.ops import accumulator, checks
from rntn_jax.ops.varying import vary_like

__all__ = [
    "beliefs",
    "entropy",
    "expected_score",
    "kl",
    "log_partition",
    "log_prob",
    "marginals",
]

DEFAULT = Options()
_jit = partial(jax.jit, static_argnames=("method", "options"))


def _inputs(scores: Scores, method: str, plan: Any, options: Options) -> tuple[Scores, Any]:
    """Checked scores, and the plan of a method."""
    scores = check(scores)
    if method == "exact":
        return scores, elimination_plan(scores, plan)
    if method not in variational.METHODS:
        known = ("exact", *variational.METHODS)
        raise ValueError(f"method must be one of {known}, got {method!r}")
    options.check()
    forests = method == "tree_reweighted"
    return scores, neighbour_plan(scores, plan, forests=forests, method=method)


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
            bound once converged; ``mean_field``, a lower bound. Static.
        plan: made for these edges by `plan` (exact) or `neighbours` (others); needed within jit,
            where edges are traced. By default it is made here, and kept for the next call with
            equal edges and masks.
        options: how the others iterate, see `Options`; `beliefs` tells whether they converged.
            Static.

    Returns:
        A scalar in nats, in at least float32; ``-inf`` where every labelling is forbidden, NaN
        where a score is. Exact: O(I C^W) time, W being the plan's width, and residuals of about
        its square root; others: O(E C^2) an iteration. Under `jax.vmap` belief propagation does
        both of what it else chooses from, products and logarithms, and takes as much longer.

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
    scores, plan = _inputs(scores, method, plan, options)
    if allowed is not None:
        sizes = dict(zip("IC", scores.node.shape, strict=True))
        allowed = checks.check("allowed", allowed, "bool", "I C", sizes)
    return _log_partition(scores, allowed, plan, method, options)


@_jit
def _log_partition(scores: Scores, allowed, plan: Any, method: str, options: Options) -> jax.Array:
    parts = complete(scores)
    if allowed is not None:
        forbidden = ~allowed & parts.node_mask[:, None]
        parts = parts._replace(node=jnp.where(forbidden, -jnp.inf, parts.node))
    return _log_z(parts, plan, method, options)


def _log_z(parts: Parts, plan: Any, method: str, options: Options) -> jax.Array:
    if method != "exact":
        return variational.log_partition(method, options, parts, plan)
    node, edge, _, node_mask, edge_mask = parts
    return exact.log_partition(*vary_like((node, edge, node_mask, edge_mask, plan)))


def beliefs(
    scores: Scores, *, method: str = "loopy", plan: Any = None, options: Options = DEFAULT
) -> Beliefs:
    """What an approximate method found, and whether it converged.

    Gradient: implicit, that of the fixed point; or of all iterations, see `Options`.

    Args:
        scores: the CRF.
        method: ``loopy``, ``tree_reweighted`` or ``mean_field``. Static.
        plan: as `log_partition` takes it.
        options: likewise.

    Returns:
        `Beliefs`. Where a score is NaN, all beliefs that it reaches are.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for another method or options that are none; where the plan cannot be made.

    Example:
        >>> scores = Scores(jnp.zeros((2, 2)), jnp.zeros((1, 2, 2)), [(0, 1)])
        >>> found = beliefs(scores)
        >>> found.node.tolist(), float(found.residual)
        ([[0.5, 0.5], [0.5, 0.5]], 0.0)
    """
    if method not in variational.METHODS:
        raise ValueError(f"method must be one of {variational.METHODS}, got {method!r}")
    scores, plan = _inputs(scores, method, plan, options)
    return _beliefs(scores, plan, method, options)


@_jit
def _beliefs(scores: Scores, plan: Any, method: str, options: Options) -> Beliefs:
    return variational.infer(method, options, complete(scores), plan)


def log_prob(
    scores: Scores,
    labels: jax.Array,
    *,
    method: str = "exact",
    plan: Any = None,
    options: Options = DEFAULT,
) -> jax.Array:
    """Log-probability of one labelling, in nats; its negative is the training loss.

    Gradient: indicators of the labelling minus marginals.

    Source: 004, L and the model marginals theorem (of ``-log_prob``).

    Args:
        scores: the CRF.
        labels: integer ``[I]``, as `score` takes them.
        method: as `log_partition` takes it.
        plan: likewise.
        options: likewise.

    Returns:
        A scalar; ``-inf`` where the labelling is forbidden. Cost: that of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: as `log_partition`.

    Example:
        >>> scores = Scores(jnp.zeros((3, 2)), jnp.zeros((2, 2, 2)), [(0, 1), (1, 2)])
        >>> round(float(jnp.exp(log_prob(scores, jnp.array([0, 1, 1])))), 4)
        0.125
    """
    scores, plan = _inputs(scores, method, plan, options)
    return _log_prob(scores, check_labels(labels, scores), plan, method, options)


@_jit
def _log_prob(scores: Scores, labels, plan: Any, method: str, options: Options) -> jax.Array:
    parts = complete(scores)
    log_z = _log_z(parts, plan, method, options)
    return expectations.log_prob(score_of(parts, labels), log_z)


def marginals(
    scores: Scores, *, method: str = "exact", plan: Any = None, options: Options = DEFAULT
) -> Scores:
    """Probabilities of all labels and pairs, in the container of the scores.

    The gradient of `log_partition`: ``node[i, c] = P(y_i = c)``, ``edge[e, c, d]`` that of labels
    c and d of the two nodes; 0 where masked. Integers and masks pass through.

    Source: 004, ``P(y[i] = c)`` and ``P(y[i] = c and y[j] = c')`` of the model marginals theorem.

    Args:
        scores: the CRF.
        method: as `log_partition` takes it.
        plan: likewise.
        options: likewise.

    Returns:
        `Scores` in the dtypes of the scores. Cost: about twice that of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: as `log_partition`.

    Example:
        >>> edge = jnp.log(jnp.array([[[1.0, 2.0], [3.0, 4.0]]]))
        >>> scores = Scores(jnp.zeros((2, 2)), edge, [(0, 1)])
        >>> [round(float(p), 4) for p in marginals(scores).node[1]]
        [0.4, 0.6]
    """
    checked, plan = _inputs(scores, method, plan, options)
    _, (node, edge) = _marginals(checked, plan, method, options)
    return scores._replace(node=node, edge=edge)


@_jit
def _marginals(
    scores: Scores, plan: Any, method: str, options: Options
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """``ln Z``, and the marginals of nodes and edges."""

    def total(node: jax.Array, edge: jax.Array) -> jax.Array:
        parts = complete(scores._replace(node=node, edge=edge))
        return _log_z(parts, plan, method, options)

    return jax.value_and_grad(total, (0, 1))(*vary_like(scores[:2], scores, plan))


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
        options: likewise.

    Returns:
        A scalar in at least float32; NaN where every labelling is forbidden, there being no
        distribution. Cost: that of `marginals`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: as `log_partition`.

    Example:
        >>> fair = Scores(jnp.zeros((3, 2)), jnp.zeros((2, 2, 2)), [(0, 1), (1, 2)])
        >>> ones = fair._replace(node=jnp.tile(jnp.array([0.0, 1.0]), (3, 1)))
        >>> float(expected_score(fair, ones))
        1.5
    """
    scores, plan = _inputs(scores, method, plan, options)
    return _expected_score(scores, _values(scores, values, "values"), plan, method, options)


def _values(scores: Scores, values: Scores, name: str) -> Scores:
    """Other scores on the edges of the first, whose shapes they must have."""
    sizes = dict(zip("IC", scores.node.shape, strict=True)) | {"E": len(scores.edge)}
    node = checks.check(f"{name}.node", values.node, "float", "I C", sizes)
    edge = checks.check(f"{name}.edge", values.edge, "float", "E C C", sizes)
    return scores._replace(node=node, edge=edge)


@_jit
def _expected_score(
    scores: Scores, values: Scores, plan: Any, method: str, options: Options
) -> jax.Array:
    dtype = accumulator(scores.node, scores.edge)
    scores = scores._replace(node=scores.node.astype(dtype), edge=scores.edge.astype(dtype))
    log_z, (p_node, p_edge) = _marginals(scores, plan, method, options)
    v = complete(values)
    mean = expectations.weighted_sum(p_node, v.node, (0, 1))
    mean += expectations.weighted_sum(p_edge, v.edge, (0, 1, 2))
    return jnp.where(log_z == -jnp.inf, jnp.nan, mean)


def entropy(
    scores: Scores, *, method: str = "exact", plan: Any = None, options: Options = DEFAULT
) -> jax.Array:
    """Entropy of the distribution over labellings, in nats.

    Computes ``ln Z - E[score]`` without these two, which may be large and nearly equal: exactly,
    the sum over the steps of elimination of the mean entropy of the variable that goes given its
    separator; by other methods ``sum_i H(b_i) - sum_e r_e I(b_e)`` of their beliefs, which is what
    their ``ln Z`` has besides the mean score.

    Args:
        scores: the CRF.
        method: as `log_partition` takes it.
        plan: likewise.
        options: likewise.

    Returns:
        A scalar in at least float32; NaN where every labelling is forbidden, there being none.
        Cost: about three times that of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: as `log_partition`.

    Example:
        >>> scores = Scores(jnp.zeros((3, 2)), jnp.zeros((2, 2, 2)), [(0, 1), (1, 2)])
        >>> round(float(entropy(scores) / jnp.log(2)), 4)
        3.0
    """
    scores, plan = _inputs(scores, method, plan, options)
    return _entropy(scores, plan, method, options)


@_jit
def _entropy(scores: Scores, plan: Any, method: str, options: Options) -> jax.Array:
    if method == "exact":
        return -exact.divergence(complete(scores), None, plan)
    return variational.infer(method, options, complete(scores), plan).entropy


def kl(p: Scores, q: Scores, *, plan: Any = None) -> jax.Array:
    """Kullback-Leibler divergence of ``q`` from ``p``, in nats, exactly.

    Computes ``sum_y P(y) ln (P(y) / Q(y))``, as the sum over the steps of elimination of the mean
    of ``ln P(y_v | s) - ln Q(y_v | s)``, in which nothing large is subtracted.

    Args:
        p: the distribution that means are taken over.
        q: the other one, of the same shapes; its edges and masks are not read.
        plan: made by `plan`; needed within jit.

    Returns:
        A scalar in at least float32; ``inf`` where ``q`` forbids what ``p`` does not, NaN where
        ``p`` forbids everything. Cost: about five times that of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: where the plan cannot be made.

    Example:
        >>> p = Scores(jnp.log(jnp.array([[0.5, 0.5]])), jnp.zeros((0, 2, 2)), [])
        >>> q = p._replace(node=jnp.log(jnp.array([[0.25, 0.75]])))
        >>> round(float(kl(p, q)), 4)
        0.1438
    """
    p, plan = _inputs(p, "exact", plan, DEFAULT)
    return _kl(p, _values(p, q, "q"), plan)


@jax.jit
def _kl(p: Scores, q: Scores, plan: Any) -> jax.Array:
    return exact.divergence(complete(p), complete(q), plan)
