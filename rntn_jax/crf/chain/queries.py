"""Linear-chain CRFs: an exponential softmax over all labellings of a sequence.

A labelling ``y`` scores ``sum_t node[t, y_t] + sum_t edge[y_{t-1}, y_t] + start + end``, and has
probability ``exp(score - ln Z)`` (source 004). Every question about that distribution is a
function of `Scores`; rows are sequences.
"""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf import expectations
from rntn_jax.crf.chain import associative_scan, information, per_step_edges, shared_edges
from rntn_jax.crf.chain._steps import has_edge
from rntn_jax.crf.chain.scores import Scores, check_labels, complete
from rntn_jax.ops import accumulator, masked
from rntn_jax.ops.checks import check
from rntn_jax.ops.logspace import long_sum
from rntn_jax.ops.varying import vary_like

__all__ = [
    "entropy",
    "expected_score",
    "kl",
    "log_partition",
    "log_prob",
    "marginals",
    "no_choice",
    "rule_of",
    "score",
]


@partial(jax.jit, static_argnames="method")
def log_partition(
    scores: Scores, allowed: jax.Array | None = None, *, method: str = "scan"
) -> jax.Array:
    """``ln Z``: the logarithm of the summed ``exp(score)`` of all labellings.

    Gradient: the marginals (model marginals theorem, 004).

    Args:
        scores: the CRF.
        allowed: bool ``[B, T, C]``; only labellings of allowed labels are summed (partial labels:
            the log-likelihood of the set is this minus ``log_partition(scores)``).
        method: ``scan`` goes step by step, O(B T C^2). ``parallel`` (`jax.lax.associative_scan`)
            takes O(log T) steps, O(B T C^3) operations and O(B T C^2) memory, which only
            accelerators repay. ``kernel`` is ``scan`` as one program on TPUs and NVIDIA GPUs, for
            edge scores that all steps share; interpreted on a CPU. Static.

    Returns:
        ``[B]`` nats, in at least float32; ``-inf`` where every labelling is forbidden.

    Cost:
        As ``method`` says. Residuals: the arguments, twice the size of the node scores, and that of
        edge scores of every step.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for another method, and for ``kernel`` with edge scores of every step.

    Example:
        >>> scores = Scores(node=jnp.zeros((1, 3, 2)), edge=jnp.zeros((2, 2)))
        >>> round(float(jnp.exp(log_partition(scores)[0])), 4)
        8.0
    """
    if method not in ("scan", "parallel", "kernel"):
        raise ValueError(f"method must be 'scan', 'parallel' or 'kernel', got {method!r}")
    node, edge, mask = complete(scores, allowed)
    if no_choice(node):
        return jnp.where(mask.any(axis=1), -jnp.inf, 0).astype(accumulator(node, edge))
    if method == "kernel":
        if edge.ndim != 2:
            raise ValueError("method 'kernel' is for edge scores that all steps share, [C, C]")
        return shared_edges.log_partition(node, edge, mask, True)
    return (rule_of(edge) if method == "scan" else associative_scan).log_partition(node, edge, mask)


def rule_of(edge: jax.Array) -> ModuleType:
    """The file with the equations for such edges."""
    return shared_edges if edge.ndim == 2 else per_step_edges


def no_choice(node: jax.Array) -> bool:
    """Whether there is no position, or no label to choose: 0 labellings a row or 1."""
    return node.shape[1] == 0 or node.shape[2] == 0


@jax.jit
def score(scores: Scores, labels: jax.Array) -> jax.Array:
    """Score of one labelling a row, ``[B]``.

    Computes ``s(y)`` of source 004. Labels of masked positions may be anything; another label
    outside ``0 .. C-1`` makes the result NaN.

    Args:
        scores: the CRF.
        labels: integer ``[B, T]``.

    Returns:
        ``[B]`` nats, in at least float32. Cost O(B T C).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.ones((1, 2, 2)), jnp.array([[0.0, 5.0], [0.0, 0.0]]))
        >>> float(score(scores, jnp.array([[0, 1]]))[0])
        7.0
    """
    node, edge, mask = complete(scores)
    labels = check_labels(labels, mask)
    dtype, classes = accumulator(node, edge), node.shape[-1]
    legal = (~mask | ((labels >= 0) & (labels < classes))).all(axis=1)
    if classes == 0:
        return jnp.where(legal, 0, jnp.nan).astype(dtype)
    labels = jnp.where(mask, jnp.clip(labels, 0, classes - 1), 0)

    chosen = labels[..., None] == jnp.arange(classes)[None, None]
    node_score = jnp.where(chosen & mask[..., None], node, 0).sum((1, 2), dtype=dtype)
    if node.shape[1] < 2:
        return jnp.where(legal, node_score, jnp.nan)
    before, after = labels[:, :-1], labels[:, 1:]
    if scores.mask is not None:
        before = _label_before(labels, mask)[:, 1:]
    if edge.ndim == 2:
        edge_score = edge[before, after]
    else:
        rows, steps = jnp.indices(after.shape, sparse=True)
        edge_score = edge[rows, steps, before, after]
    edge_score = jnp.where(has_edge(mask)[:, 1:], edge_score, 0).sum(axis=1, dtype=dtype)
    return jnp.where(legal, node_score + edge_score, jnp.nan)


def _label_before(labels, mask) -> jax.Array:
    """Label ``[B, T]`` of the last real position before each; 0 where there is none."""
    at = jnp.where(mask, jnp.arange(mask.shape[1])[None], 0)
    at = lax.cummax(at, axis=1)
    at = jnp.concatenate([jnp.zeros_like(at[:, :1]), at[:, :-1]], axis=1)
    return jnp.take_along_axis(labels, at, axis=1)


@partial(jax.jit, static_argnames="method")
def log_prob(scores: Scores, labels: jax.Array, *, method: str = "scan") -> jax.Array:
    """Log-probability of one labelling a row, ``[B]`` nats; its negative is the training loss.

    Gradient: indicators of the labelling minus marginals.

    Source: 004, L and the model marginals theorem (of ``-log_prob``).

    Args:
        scores: the CRF.
        labels: integer ``[B, T]``, as `score` takes them.
        method: as `log_partition` takes it.

    Returns:
        ``[B]``, ``-inf`` where the labelling is forbidden. Cost and residuals: of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for another method.

    Example:
        >>> scores = Scores(node=jnp.zeros((1, 3, 2)), edge=jnp.zeros((2, 2)))
        >>> round(float(jnp.exp(log_prob(scores, jnp.array([[0, 1, 1]]))[0])), 4)
        0.125
    """
    return expectations.log_prob(score(scores, labels), log_partition(scores, method=method))


@partial(jax.jit, static_argnames="method")
def marginals(scores: Scores, *, method: str = "scan") -> Scores:
    """Probabilities of all labels and transitions, in the container of the scores.

    The gradient of ``log_partition(scores).sum()``: ``node[b, t, c] = P(y_t = c)``; ``edge`` holds
    ``P(y_{t-1} = i, y_t = j)``, summed over rows and time where the scores are shared; ``start``
    and ``end``, summed over rows. The mask passes through.

    Source: 004, ``P(y[i] = c)`` and ``P(y[i] = c and y[j] = c')`` of the model marginals theorem.

    Args:
        scores: the CRF.
        method: as `log_partition` takes it.

    Returns:
        The container of the scores, shapes and dtypes too; 0 where masked, and in rows where every
        labelling is forbidden. Cost: about three times that of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for another method.

    Example:
        >>> scores = Scores(node=jnp.log(jnp.array([[[1.0, 3.0]]])), edge=jnp.zeros((2, 2)))
        >>> marginals(scores).node.round(4).tolist()
        [[[0.25, 0.75]]]
    """
    mask = scores.mask
    parts = scores._replace(mask=None)

    def total(parts: Scores) -> jax.Array:
        return log_partition(parts._replace(mask=mask), method=method).sum()

    parts = vary_like(jax.tree.map(jnp.asarray, parts), mask)  # each device's own counts
    return jax.grad(total)(parts)._replace(mask=mask)


@jax.jit
def expected_score(scores: Scores, values: Scores) -> jax.Array:
    """Mean of another score under the distribution, ``[B]``.

    Computes ``sum_y P(y) v(y)``, ``v(y)`` being ``score(values, y)``: expected costs, features,
    risks. What has probability 0 counts 0, whatever its value; ``-inf`` of positive probability
    makes the mean ``-inf``.

    Args:
        scores: the distribution.
        values: parts of the other score, of the same shapes; its mask is not read. ``start`` and
            ``end`` count 0 where they are None.

    Returns:
        ``[B]`` in at least float32; NaN where every labelling is forbidden, there being no
        distribution. Cost: of `marginals`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> fair = Scores(node=jnp.zeros((1, 3, 2)), edge=jnp.zeros((2, 2)))
        >>> ones = Scores(node=jnp.tile(jnp.array([0.0, 1.0]), (1, 3, 1)), edge=jnp.zeros((2, 2)))
        >>> expected_score(fair, ones).tolist()
        [1.5]
    """
    node, edge, mask = complete(scores)
    v_node, v_edge = _alike(values, "values", node, edge, mask)
    if no_choice(node):
        return _nothing(mask, accumulator(node, edge))
    p_node, p_edge = rule_of(edge).row_marginals(node, edge, mask)
    if edge.ndim == 4:
        v_edge = masked(v_edge, has_edge(mask)[:, 1:])
    over = expectations.weighted_sum
    of_nodes = long_sum(over(p_node, masked(v_node, mask), (2,)).T)
    if edge.ndim == 2:
        of_edges = over(p_edge, v_edge[None], (1, 2))
    else:
        of_edges = long_sum(over(p_edge, v_edge, (2, 3)).T)
    impossible = mask.any(axis=1) & (p_node == 0).all(axis=(1, 2))
    return jnp.where(impossible, jnp.nan, of_nodes + of_edges)


def _nothing(mask: jax.Array, dtype: Any) -> jax.Array:
    """Of rows without a choice: NaN, or 0 where there is no position to label either."""
    return jnp.where(mask.any(axis=1), jnp.nan, 0).astype(dtype)


def _alike(
    scores: Scores, name: str, node: jax.Array, edge: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Node and edge scores of another chain of the same shapes, under this mask."""
    other = complete(scores._replace(mask=mask), name=name)
    sizes = dict(zip("BTC", node.shape))
    check(f"{name}.node", other.node, "float", "B T C", sizes)
    check(f"{name}.edge", other.edge, "float", "C C" if edge.ndim == 2 else "B T-1 C C", sizes)
    return other.node, other.edge


@jax.jit
def entropy(scores: Scores) -> jax.Array:
    """Entropy of the distribution over labellings, ``[B]`` nats.

    Computes ``-sum_y P(y) ln P(y)``, by the chain rule from conditional distributions, whose terms
    are of the size of the result (see `rntn_jax.crf.chain.information`). Where every labelling is
    forbidden: NaN, there being none.

    Args:
        scores: the CRF.

    Returns:
        ``[B]`` in at least float32. Cost O(B T C^2); memory O(B T C) with the gradient.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(node=jnp.zeros((1, 3, 2)), edge=jnp.zeros((2, 2)))
        >>> round(float(entropy(scores)[0] / jnp.log(2)), 4)
        3.0
    """
    node, edge, mask = complete(scores)
    if no_choice(node):
        return _nothing(mask, accumulator(node, edge))
    return information.entropy(node, edge, mask)


@jax.jit
def kl(p: Scores, q: Scores) -> jax.Array:
    """Kullback-Leibler divergence of ``q`` from ``p``, ``[B]`` nats.

    Computes ``sum_y P(y) ln (P(y) / Q(y))``, from conditional distributions as `entropy` does:
    ``inf`` where ``q`` forbids what ``p`` does not, NaN where ``p`` forbids everything. Both have
    the mask of ``p``.

    Args:
        p: a CRF.
        q: another, of the same shapes; its mask is not read.

    Returns:
        ``[B]`` in at least float32, never negative but for rounding. Cost as that of `entropy`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> p = Scores(node=jnp.log(jnp.array([[[0.5, 0.5]]])), edge=jnp.zeros((2, 2)))
        >>> q = Scores(node=jnp.log(jnp.array([[[0.25, 0.75]]])), edge=jnp.zeros((2, 2)))
        >>> round(float(kl(p, q)[0]), 4)
        0.1438
    """
    node, edge, mask = complete(p, name="p")
    other = _alike(q, "q", node, edge, mask)
    if no_choice(node):
        return _nothing(mask, accumulator(node, edge, *other))
    return information.kl((node, edge), other, mask)
