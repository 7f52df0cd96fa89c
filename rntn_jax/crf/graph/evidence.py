"""What is known of some nodes, and what several nodes are jointly."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rntn_jax.crf.graph import scores as graph_scores
from rntn_jax.crf.graph.plan import plan as plan_of
from rntn_jax.crf.graph.queries import log_partition
from rntn_jax.crf.graph.scores import Scores
from rntn_jax.ops import checks
from rntn_jax.ops.varying import vary_like

__all__ = ["clamp", "constrain", "joint_marginals"]


def constrain(scores: Scores, allowed: jax.Array) -> Scores:
    """Forbids labels, by ``-inf``: partly known labels, or nodes with fewer labels than others.

    Every function of `crf.graph`, exact or not, takes the result.

    Args:
        scores: the CRF.
        allowed: bool ``[I, C]``, labels that a node may have.

    Returns:
        The scores, ``-inf`` where not allowed.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.zeros((2, 3)), jnp.zeros((1, 3, 3)), [(0, 1)])
        >>> two_and_three = constrain(scores, jnp.arange(3)[None] < jnp.array([[2], [3]]))
        >>> round(float(jnp.exp(log_partition(two_and_three))), 3)
        6.0
    """
    scores = graph_scores.check(scores)
    allowed = checks.check("allowed", allowed, "bool", "I C", dict(zip("IC", scores.node.shape)))
    return scores._replace(node=jnp.where(allowed, scores.node, -jnp.inf))


def clamp(scores: Scores, labels: jax.Array, known: jax.Array) -> Scores:
    """Evidence: some nodes have given labels.

    The result is the distribution of all nodes given these, and
    ``log_partition(clamp(..)) - log_partition(scores)`` is ``ln P`` of the evidence.

    Args:
        scores: the CRF.
        labels: int ``[I]``; of nodes that are not known they may be anything.
        known: bool ``[I]``, which nodes have their labels.

    Returns:
        The scores, ``-inf`` at all other labels of these nodes.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.zeros((2, 2)), jnp.array([[[1.0, 0.0], [0.0, 1.0]]]), [(0, 1)])
        >>> from rntn_jax.crf.graph import marginals
        >>> given = clamp(scores, jnp.array([1, 0]), jnp.array([True, False]))
        >>> round(float(marginals(given).node[1, 1]), 3)
        0.731
    """
    scores = graph_scores.check(scores)
    labels = graph_scores.check_labels(labels, scores)
    known = checks.check("known", known, "bool", "I", {"I": len(scores.node)})
    own = labels[:, None] == jnp.arange(scores.node.shape[1])[None]
    return constrain(scores, own | ~known[:, None])


def joint_marginals(scores: Scores, nodes: Sequence[int], *, plan: Any = None) -> jax.Array:
    """The joint distribution of a few nodes, wherever they stand, exactly.

    Computes ``P(y_S) = exp(ln Z(y_S) - ln Z)`` of all labels of the set, ``ln Z(y_S)`` being of the
    graph in which its nodes are clamped (source 004, P, summed over the other nodes). Two nodes
    with an edge need none of it: they are in `marginals`.

    Args:
        scores: the CRF; no node of the set is masked.
        nodes: numbers of the nodes, k of them, each once; static.
        plan: of `plan`, for the graph; None: made here.

    Returns:
        ``[C] * k``, in the order of ``nodes``; zeros where everything is forbidden. Cost as of
        `log_partition`, ``C^k`` times.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for a number that is no node, or one that comes twice.

    Example:
        >>> scores = Scores(jnp.zeros((3, 2)), jnp.tile(jnp.eye(2), (2, 1, 1)), [(0, 1), (1, 2)])
        >>> round(float(joint_marginals(scores, (0, 2))[0, 0]), 3)
        0.303
    """
    scores = graph_scores.check(scores)
    count, classes = scores.node.shape
    numbers = [int(node) for node in nodes]
    if any(not 0 <= node < count for node in numbers) or len(set(numbers)) < len(numbers):
        raise ValueError(f"nodes must be different numbers of 0 .. {count - 1}, got {numbers}")
    if plan is None:
        plan = plan_of(scores.edges, count, classes)
    every = list(itertools.product(range(classes), repeat=len(numbers)))
    answers = np.zeros((len(every), count), np.int32)
    answers[:, numbers] = np.reshape(every, (len(every), len(numbers)))
    known = np.zeros(count, bool)
    known[numbers] = True
    found = _joint(scores, answers, known, plan)
    return found.reshape((classes,) * len(numbers))


@jax.jit
def _joint(scores: Scores, answers: Any, known: Any, plan: Any) -> jax.Array:
    """Probabilities ``[n]`` of the known nodes having the labels of each answer ``[n, I]``."""

    def one(labels: jax.Array) -> jax.Array:
        return log_partition(clamp(scores, labels, known), plan=plan)

    logs = lax.map(one, vary_like(answers, scores))
    total = log_partition(scores, plan=plan)
    impossible = total == -jnp.inf
    found = jnp.exp(logs - jnp.where(impossible, 0, total))
    return jnp.where(impossible, 0, found)
