"""Graphs with tables over any number of variables: an exponential softmax over all labellings.

A labelling ``y`` scores ``sum_f tables[f][y_u, y_v, ..]`` over the variables ``(u, v, ..) =
scopes[f]`` of each table, and has probability ``exp(score - ln Z)`` (source 004): the Markov
networks of UAI files (`rntn_jax.data.read_uai_factors`). Exact, by elimination, where the bags are
small; one graph a call, several of one shape by `jax.vmap`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rntn_jax.crf import expectations
from rntn_jax.crf.factor_graph import elimination
from rntn_jax.crf.factor_graph.scores import (
    Scopes,
    Scores,
    alike,
    check_scores,
    labels_score,
    readable,
    sizes_of,
)
from rntn_jax.crf.nats import Nats
from rntn_jax.ops import accumulator
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like

__all__ = [
    "check_labels",
    "expected_score",
    "log_partition",
    "log_prob",
    "marginals",
    "rule",
    "score",
    "variable_marginals",
]


def check_labels(labels: jax.Array, scores: Scores) -> jax.Array:
    """Labels as an array.

    Args:
        labels: int ``[I]``.
        scores: of `check_scores`.

    Returns:
        The array.

    Raises:
        AssertionError: when shape or dtype does not match.
    """
    return check("labels", labels, "int", "I", {"I": len(sizes_of(scores))})


def rule(scores: Scores) -> Nats:
    """``ln Z`` of scores that `check_scores` returns."""
    return elimination.log_partition(readable(scores), scores.scopes, elimination.bags_of(scores))


def log_partition(scores: Scores) -> jax.Array:
    """``ln`` of the sum over all labellings of ``exp s(y)``.

    Gradient: the marginals.

    Source: 004, Z(s) and the model marginals theorem.

    Args:
        scores: of a graph; ``-inf`` forbids.

    Returns:
        Nats in at least float32, a scalar; ``-inf`` where every labelling is forbidden. Cost and
        residuals: the sizes of the bags, at best the product of the labels of the largest table.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when scopes are traced or no sets of variables, and when a bag is too large.

    Example:
        >>> scores = Scores((jnp.zeros((2, 3, 2)), jnp.zeros((3, 4))), Scopes([(0, 1, 2), (1, 3)]))
        >>> round(float(jnp.exp(log_partition(scores))), 3)  # 2 x 3 x 2 x 4 labellings
        48.0
    """
    return _log_partition(check_scores(scores))


@jax.jit
def _log_partition(scores: Scores) -> jax.Array:
    return rule(scores).value


def score(scores: Scores, labels: jax.Array) -> jax.Array:
    """Score of one labelling: ``s(y)`` of source 004.

    Args:
        scores: of a graph.
        labels: int ``[I]``, one of each variable.

    Returns:
        Nats in at least float32, a scalar; NaN where a variable has no such label. Cost: the number
        of tables.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: as `log_partition`.

    Example:
        >>> scores = Scores((jnp.arange(6.0).reshape(2, 3),), Scopes([(0, 1)]))
        >>> float(score(scores, jnp.array([1, 2])))
        5.0
    """
    scores = check_scores(scores)
    return _score(scores, check_labels(labels, scores))


@jax.jit
def _score(scores: Scores, labels: jax.Array) -> jax.Array:
    return labels_score(readable(scores, False), scores.scopes, labels).value


def log_prob(scores: Scores, labels: jax.Array) -> jax.Array:
    """Log-probability of a labelling; its negative is the training loss.

    Gradient: indicators of the labelling minus marginals.

    Source: 004, L (of which this is the negative) and the model marginals theorem.

    Args:
        scores: of a graph.
        labels: int ``[I]``.

    Returns:
        Nats, a scalar; ``-inf`` where the labelling is forbidden. Whole nats of score and
        log-partition are subtracted exactly, however large. Cost as of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: as `log_partition`.

    Example:
        >>> scores = Scores((jnp.zeros((2, 3)),), Scopes([(0, 1)]))
        >>> round(1 / float(jnp.exp(log_prob(scores, jnp.array([1, 2])))), 3)
        6.0
    """
    scores = check_scores(scores)
    return _log_prob(scores, check_labels(labels, scores))


@jax.jit
def _log_prob(scores: Scores, labels: jax.Array) -> jax.Array:
    own, log_z = labels_score(readable(scores), scores.scopes, labels), rule(scores)
    whole = own.whole - jnp.where(log_z.whole == -jnp.inf, 0, log_z.whole)
    return expectations.log_prob(whole + own.fraction, log_z.fraction)


def marginals(scores: Scores) -> Scores:
    """Joint probabilities of the labels in each table: the gradient of `log_partition`.

    Source: 004, the model marginals theorem.

    Args:
        scores: of a graph.

    Returns:
        ``tables[f][a, b, ..] = P(y_u = a, y_v = b, ..)``, in the dtypes of the scores; 0 all where
        every labelling is forbidden. Cost as of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: as `log_partition`.

    Example:
        >>> scores = Scores((jnp.log(jnp.array([[1.0, 2.0], [3.0, 4.0]])),), Scopes([(0, 1)]))
        >>> (10 * marginals(scores).tables[0]).round().tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    return _marginals(check_scores(scores))


@jax.jit
def _marginals(scores: Scores) -> Scores:
    total = lambda tables: _log_partition(Scores(tables, scores.scopes))
    return Scores(jax.grad(total)(vary_like(scores.tables)), scores.scopes)


def variable_marginals(scores: Scores) -> tuple[jax.Array, ...]:
    """Probabilities of each variable's labels.

    Args:
        scores: of a graph.

    Returns:
        Of each variable an array of as many as it has labels. Cost as of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: as `log_partition`.

    Example:
        >>> scores = Scores((jnp.log(jnp.array([[1.0, 2.0], [3.0, 4.0]])),), Scopes([(0, 1)]))
        >>> [(10 * p).round().tolist() for p in variable_marginals(scores)]
        [[3.0, 7.0], [4.0, 6.0]]
    """
    scores = check_scores(scores)
    sizes = sizes_of(scores)
    alone = tuple(jnp.zeros(size, accumulator(*scores.tables)) for size in sizes)
    scopes = Scopes([*scores.scopes, *((v,) for v in range(len(sizes)))])
    found = marginals(Scores((*scores.tables, *alone), scopes))
    return found.tables[len(scores.tables) :]


def expected_score(scores: Scores, values: Scores) -> jax.Array:
    """Mean of another score under the distribution: expected costs, features, risks.

    Computes ``sum_y P(y) v(y)``, ``v(y)`` being ``score(values, y)``. What has probability 0 counts
    0, whatever its value; ``-inf`` of positive probability makes the mean ``-inf``.

    Source: 004, the model marginals theorem.

    Args:
        scores: the distribution.
        values: the other score, over the same variables.

    Returns:
        A scalar in at least float32; NaN where every labelling is forbidden, there being no
        distribution. Cost as of `marginals`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: as `log_partition`, and when scopes differ.

    Example:
        >>> scores = Scores((jnp.zeros((2, 2)),), Scopes([(0, 1)]))
        >>> float(expected_score(scores, Scores((jnp.eye(2),), Scopes([(0, 1)]))))
        0.5
    """
    scores = check_scores(scores)
    return _expected_score(scores, alike(values, "values", scores))


@jax.jit
def _expected_score(scores: Scores, values: Scores) -> jax.Array:
    dtype = accumulator(*scores.tables)
    wide = vary_like(tuple(x.astype(dtype) for x in scores.tables), values)
    of_tables = lambda tables: _log_partition(Scores(tables, scores.scopes))
    log_z, p = jax.value_and_grad(of_tables)(wide)
    mean = sum(
        expectations.weighted_sum(own, v, tuple(range(own.ndim)))
        for own, v in zip(p, values.tables, strict=True)
    )
    return jnp.where(log_z == -jnp.inf, jnp.nan, mean)
