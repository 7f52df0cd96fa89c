"""Linear-chain CRFs: an exponential softmax over all labellings of a sequence.

A labelling ``y`` scores ``sum_t node[t, y_t] + sum_t edge[y_{t-1}, y_t] + start + end``, and has
probability ``exp(score - ln Z)`` (source 004). Every question about that distribution is a
function of `Scores`; rows are sequences.
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.chain import associative_scan, forward
from rntn_jax.crf.chain._steps import has_edge
from rntn_jax.ops import accumulator, masked

__all__ = [
    "Scores",
    "argmax",
    "constrain",
    "entropy",
    "expected_score",
    "kl",
    "log_partition",
    "log_prob",
    "marginals",
    "sample",
    "score",
    "top_k",
]


class Scores(NamedTuple):
    """Scores of the parts of a labelling, in nats; `marginals` come in the same container.

    ``-inf`` forbids a label or a transition. A mask may hold any pattern: an edge leads from each
    real position to the next real one, whatever lies between, with the edge scores of the position
    it enters; masked entries may hold anything. A row without real positions has one labelling,
    of score 0.
    """

    node: jax.Array  # [B, T, C]
    edge: jax.Array  # [C, C], or [B, T-1, C, C]: [b, t] leads from t (or before) to t + 1
    start: jax.Array | None = None  # [C], of the first real label
    end: jax.Array | None = None  # [C], of the last
    mask: jax.Array | None = None  # bool [B, T]


def log_partition(
    scores: Scores, allowed: jax.Array | None = None, *, method: str = "scan"
) -> jax.Array:
    """``ln Z``: the logarithm of the summed ``exp(score)`` of all labellings.

    Gradient: the marginals (model marginals theorem, 004).

    Args:
        scores: the CRF.
        allowed: bool ``[B, T, C]``; only labellings of allowed labels are summed (partial labels:
            the log-likelihood of the set is this less ``log_partition(scores)``).
        method: ``scan`` goes step by step, O(B T C^2). ``parallel`` (`jax.lax.associative_scan`)
            takes O(log T) steps, O(B T C^3) operations and O(B T C^2) memory, which only
            accelerators repay.

    Returns:
        ``[B]`` nats, in at least float32; ``-inf`` where every labelling is forbidden. Residuals:
        the arguments, twice the size of the node scores, and that of edge scores of every step.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for another method.

    Example:
        >>> scores = Scores(node=jnp.zeros((1, 3, 2)), edge=jnp.zeros((2, 2)))
        >>> round(float(jnp.exp(log_partition(scores)[0])), 4)
        8.0
    """
    if method not in ("scan", "parallel"):
        raise ValueError(f"method must be 'scan' or 'parallel', got {method!r}")
    node, edge, mask = _complete(scores, allowed)
    if node.shape[1] == 0:
        return jnp.zeros(len(node), accumulator(node, edge))
    return (forward if method == "scan" else associative_scan).log_partition(node, edge, mask)


def score(scores: Scores, labels: jax.Array) -> jax.Array:
    """Score of one labelling a row, ``[B]``.

    Computes ``s(y)`` of source 004. Labels of masked positions may be anything; another label
    outside ``0 .. C-1`` makes the result NaN.

    Args:
        scores: the CRF.
        labels: integer ``[B, T]``.

    Example:
        >>> scores = Scores(jnp.ones((1, 2, 2)), jnp.array([[0.0, 5.0], [0.0, 0.0]]))
        >>> float(score(scores, jnp.array([[0, 1]]))[0])
        7.0
    """
    node, edge, mask = _complete(scores, None)
    labels = jnp.asarray(labels)
    chex.assert_shape(labels, mask.shape)
    chex.assert_type(labels, int)
    dtype, classes = accumulator(node, edge), node.shape[-1]
    legal = (~mask | ((labels >= 0) & (labels < classes))).all(axis=1)
    labels = jnp.where(mask, jnp.clip(labels, 0, classes - 1), 0)

    chosen = labels[..., None] == jnp.arange(classes)[None, None]
    of_nodes = jnp.where(chosen & mask[..., None], node, 0).sum((1, 2), dtype=dtype)
    if node.shape[1] < 2:
        return jnp.where(legal, of_nodes, jnp.nan)
    before, after = labels[:, :-1], labels[:, 1:]
    if scores.mask is not None:
        before = _label_before(labels, mask)[:, 1:]
    if edge.ndim == 2:
        of_edges = edge[before, after]
    else:
        rows, steps = jnp.indices(after.shape, sparse=True)
        of_edges = edge[rows, steps, before, after]
    of_edges = jnp.where(has_edge(mask)[:, 1:], of_edges, 0).sum(axis=1, dtype=dtype)
    return jnp.where(legal, of_nodes + of_edges, jnp.nan)


def log_prob(scores: Scores, labels: jax.Array, *, method: str = "scan") -> jax.Array:
    """Log-probability of one labelling a row, ``[B]`` nats; less it is the training loss.

    Gradient: indicators of the labelling minus marginals.

    Source: 004, L and the model marginals theorem (of ``-log_prob``).

    Example:
        >>> scores = Scores(node=jnp.zeros((1, 3, 2)), edge=jnp.zeros((2, 2)))
        >>> round(float(jnp.exp(log_prob(scores, jnp.array([[0, 1, 1]]))[0])), 4)
        0.125
    """
    of_labels = score(scores, labels)
    nats = of_labels - log_partition(scores, method=method)
    return jnp.where(of_labels == -jnp.inf, -jnp.inf, nats)


def marginals(scores: Scores, *, method: str = "scan") -> Scores:
    """Probabilities of all labels and transitions, in the container of the scores.

    The gradient of ``log_partition(scores).sum()``: ``node[b, t, c] = P(y_t = c)``; ``edge`` holds
    ``P(y_{t-1} = i, y_t = j)``, summed over rows and time where the scores are shared; ``start``
    and ``end``, summed over rows. The mask passes through.

    Source: 004, ``P(y[i] = c)`` and ``P(y[i] = c and y[j] = c')`` of the model marginals theorem.

    Example:
        >>> scores = Scores(node=jnp.log(jnp.array([[[1.0, 3.0]]])), edge=jnp.zeros((2, 2)))
        >>> marginals(scores).node.round(4).tolist()
        [[[0.25, 0.75]]]
    """
    mask = scores.mask
    parts = scores._replace(mask=None)

    def total(parts: Scores) -> jax.Array:
        return log_partition(parts._replace(mask=mask), method=method).sum()

    return jax.grad(total)(jax.tree.map(jnp.asarray, parts))._replace(mask=mask)


def argmax(scores: Scores) -> tuple[jax.Array, jax.Array]:
    """The best labelling of each row, and its score (Viterbi).

    Returns:
        ``(labels int32 [B, T], score [B])``, labels 0 where masked. The score's gradient is the
        indicator of the labelling. Cost O(B T C^2).

    Example:
        >>> scores = Scores(jnp.array([[[0.0, 1.0], [2.0, 0.0]]]), jnp.zeros((2, 2)))
        >>> labels, best = argmax(scores)
        >>> labels.tolist(), best.tolist()
        ([[1, 0]], [3.0])
    """
    node, edge, mask = _complete(lax.stop_gradient(scores), None)
    if node.shape[1] == 0:
        return jnp.zeros(mask.shape, jnp.int32), score(scores, jnp.zeros(mask.shape, jnp.int32))
    dtype = accumulator(node, edge)
    u, inner = masked(node, mask).astype(dtype).swapaxes(0, 1), has_edge(mask).T

    def step(best, inputs):
        t, u, here, inner = inputs
        into = (edge[None] if edge.ndim == 2 else _edge_into(edge, t)).astype(dtype)
        top = best.max(axis=-1, keepdims=True)  # taken off a step late: quicker
        best_before = best - jnp.where(top == -jnp.inf, 0, top)
        entering = (best_before[:, :, None] + into).max(axis=1)
        new = jnp.where(inner[:, None], entering, 0) + u
        best = jnp.where(here[:, None], new, best)
        return best, best

    times = jnp.arange(len(u))
    _, states = lax.scan(step, jnp.zeros_like(u[0]), (times, u, mask.T, inner))

    def choose(_, logits):  # quicker than `jnp.argmax` on CPUs
        classes = jnp.arange(logits.shape[-1])[None]
        best = logits == logits.max(axis=-1, keepdims=True)
        return jnp.where(best, classes, logits.shape[-1] - 1).min(axis=-1)

    labels = _walk_back(states, edge, mask, choose, times)
    return labels, score(scores, labels)


def sample(key: jax.Array, scores: Scores, num_samples: int) -> jax.Array:
    """Draws labellings from the distribution: forward filtering, backward sampling.

    Args:
        key: a PRNG key.
        scores: the CRF.
        num_samples: labellings to draw of each row, independently; static.

    Returns:
        int32 ``[num_samples, B, T]``, 0 where masked.

    Example:
        >>> scores = Scores(jnp.array([[[0.0, -jnp.inf], [-jnp.inf, 0.0]]]), jnp.zeros((2, 2)))
        >>> sample(jax.random.key(0), scores, 2).tolist()
        [[[0, 1]], [[0, 1]]]
    """
    node, edge, mask = _complete(lax.stop_gradient(scores), None)
    if node.shape[1] == 0:
        return jnp.zeros((num_samples, *mask.shape), jnp.int32)
    states = forward.forward_states(node, edge, mask)
    keys = jax.random.split(key, (len(states), num_samples))

    def one(keys):
        return _walk_back(states, edge, mask, jax.random.categorical, keys)

    return jax.vmap(one, in_axes=1)(keys)


def _walk_back(states, edge, mask, choose, keys):
    """Labels ``[B, T]``, chosen from the last to the first by ``states`` and the label after."""

    def step(into_next, inputs):
        t, state, key, here, inner = inputs
        label = choose(key, state + into_next).astype(jnp.int32)
        label = jnp.where(here, label, 0)
        if edge.ndim == 2:
            leading = edge.T[label]
        else:
            now = _edge_into(edge, t)
            leading = jnp.take_along_axis(now, label[:, None, None], axis=2)[..., 0]
        leading = jnp.where(inner[:, None], leading.astype(state.dtype), 0)
        return jnp.where(here[:, None], leading, into_next), label

    inputs = jnp.arange(len(states)), states, keys, mask.T, has_edge(mask).T
    _, labels = lax.scan(step, jnp.zeros_like(states[0]), inputs, reverse=True)
    return labels.T


def _edge_into(edge, t):
    """Scores ``[B, C, C]`` of the edges into position ``t``; at 0, where there is none, others."""
    return lax.dynamic_index_in_dim(edge, jnp.maximum(t - 1, 0), axis=1, keepdims=False)


def top_k(scores: Scores, k: int) -> tuple[jax.Array, jax.Array]:
    """The ``k`` best labellings of each row, best first.

    Args:
        scores: the CRF.
        k: how many; static.

    Returns:
        ``(labels int32 [B, k, T], score [B, k])``. Where there are fewer than ``k`` labellings,
        the scores at the end are ``-inf`` and their labels mean nothing. Cost O(B T C^2 k log k).

    Raises:
        ValueError: when ``k`` is not positive.

    Example:
        >>> scores = Scores(jnp.array([[[0.0, 1.0], [3.0, 0.0]]]), jnp.zeros((2, 2)))
        >>> labels, best = top_k(scores, 2)
        >>> labels.tolist(), best.tolist()
        ([[[1, 0], [0, 0]]], [[4.0, 3.0]])
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    node, edge, mask = _complete(lax.stop_gradient(scores), None)
    rows, length, classes = node.shape
    dtype = accumulator(node, edge)
    u, inner = masked(node, mask).astype(dtype).swapaxes(0, 1), has_edge(mask).T
    # One way to be before the first position, counted with every label.
    alone = jnp.where(jnp.arange(k) == 0, 0, -jnp.inf).astype(dtype)[None, None]
    same = jnp.arange(classes * k, dtype=jnp.int32).reshape(1, classes, k)

    def step(best, inputs):
        t, u, here, inner = inputs
        into = edge[None] if edge.ndim == 2 else _edge_into(edge, t)
        ways = best[:, None] + into.astype(dtype).swapaxes(1, 2)[..., None]  # [B, C, C before, k]
        entering, origin = lax.top_k(ways.reshape(rows, classes, classes * k), k)
        new = jnp.where(inner[:, None, None], entering, alone) + u[:, :, None]
        top = new.max(axis=(1, 2), keepdims=True)
        new = new - jnp.where(top == -jnp.inf, 0, top)
        here, inner = here[:, None, None], inner[:, None, None]
        return jnp.where(here, new, best), jnp.where(inner, origin, same)

    initial = jnp.broadcast_to(alone, (rows, classes, k))
    best, origins = lax.scan(step, initial, (jnp.arange(length), u, mask.T, inner))
    # Of a row without positions, all labels stand for the one labelling.
    counted = mask.any(axis=1)[:, None, None] | (jnp.arange(classes) == 0)[None, :, None]
    best = jnp.where(counted, best, -jnp.inf)
    worth, last = lax.top_k(best.reshape(rows, classes * k), k)

    def back(at, inputs):
        origin, here = inputs
        label = jnp.where(here[:, None], at // k, 0).astype(jnp.int32)
        return jnp.take_along_axis(origin.reshape(rows, -1), at, axis=1), label

    _, labels = lax.scan(back, last, (origins, mask.T), reverse=True)
    labels = labels.transpose(1, 2, 0)
    exact = jax.vmap(lambda y: score(scores, y), in_axes=1, out_axes=1)(labels)
    return labels, jnp.where(worth == -jnp.inf, -jnp.inf, exact)


def expected_score(scores: Scores, values: Scores) -> jax.Array:
    """Mean of another score under the distribution, ``[B]``.

    Computes ``sum_y P(y) v(y)``, ``v(y)`` being ``score(values, y)``: expected costs, features,
    risks. What has probability 0 counts 0, whatever its value; ``-inf`` of positive probability
    makes the mean ``-inf``.

    Args:
        scores: the distribution.
        values: parts of the other score, of the same shapes; its mask is not read. ``start`` and
            ``end`` count 0 where they are None.

    Example:
        >>> fair = Scores(node=jnp.zeros((1, 3, 2)), edge=jnp.zeros((2, 2)))
        >>> ones = Scores(node=jnp.tile(jnp.array([0.0, 1.0]), (1, 3, 1)), edge=jnp.zeros((2, 2)))
        >>> expected_score(fair, ones).tolist()
        [1.5]
    """
    node, edge, mask = _complete(scores, None)
    v_node, v_edge, _ = _complete(values._replace(mask=mask), None)
    chex.assert_equal_shape([node, v_node])
    chex.assert_equal_shape([edge, v_edge])
    if node.shape[1] == 0:
        return jnp.zeros(len(node), accumulator(node, edge))
    p_node, p_edge = forward.row_marginals(node, edge, mask)
    if edge.ndim == 4:
        v_edge = masked(v_edge, has_edge(mask)[:, 1:])
    return _mean(p_node, masked(v_node, mask)) + _mean(p_edge, v_edge)


def _mean(p, values):
    """``sum p v`` over all axes but the first, with ``0 times -inf = 0``."""
    dtype = accumulator(p, values)
    values = jnp.broadcast_to(values, p.shape).astype(dtype)
    forbidden = values == -jnp.inf
    axes = tuple(range(1, p.ndim))
    total = (p * jnp.where(forbidden, 0, values)).sum(axes, dtype=dtype)
    return jnp.where((forbidden & (p > 0)).any(axes), -jnp.inf, total)


def entropy(scores: Scores) -> jax.Array:
    """Entropy of the distribution over labellings, ``[B]`` nats.

    Computes ``ln Z - E[score]``. Where every labelling is forbidden: NaN, there being none.

    Example:
        >>> scores = Scores(node=jnp.zeros((1, 3, 2)), edge=jnp.zeros((2, 2)))
        >>> round(float(entropy(scores)[0] / jnp.log(2)), 4)
        3.0
    """
    # Entropy does not know what all labels have in common; digits do.
    node, edge, mask = _complete(scores, None)
    top = masked(node, mask).max(axis=-1, keepdims=True, initial=-jnp.inf)
    common = Scores(node - jnp.where(jnp.isfinite(top), top, 0), edge, mask=mask)
    return log_partition(common) - expected_score(common, common)


def kl(p: Scores, q: Scores) -> jax.Array:
    """Kullback-Leibler divergence of ``q`` from ``p``, ``[B]`` nats.

    Computes ``sum_y P(y) ln (P(y) / Q(y))``: ``inf`` where ``q`` forbids what ``p`` does not. Both
    have the mask of ``p``.

    Example:
        >>> p = Scores(node=jnp.log(jnp.array([[[0.5, 0.5]]])), edge=jnp.zeros((2, 2)))
        >>> q = Scores(node=jnp.log(jnp.array([[[0.25, 0.75]]])), edge=jnp.zeros((2, 2)))
        >>> round(float(kl(p, q)[0]), 4)
        0.1438
    """
    q = q._replace(mask=p.mask)
    return expected_score(p, p) - log_partition(p) - expected_score(p, q) + log_partition(q)


def constrain(
    scores: Scores,
    transitions: jax.Array | None = None,
    start: jax.Array | None = None,
    end: jax.Array | None = None,
) -> Scores:
    """Forbids what is not allowed, by ``-inf``.

    Args:
        scores: the CRF.
        transitions: bool ``[C, C]``, from a label (row) to the next; as
            `rntn_jax.data.chunks.allowed_transitions` makes it for BIO and BIOES tags.
        start: bool ``[C]``, labels allowed first.
        end: bool ``[C]``, labels allowed last.

    Example:
        >>> free = Scores(node=jnp.zeros((1, 2, 2)), edge=jnp.zeros((2, 2)))
        >>> never_same = constrain(free, transitions=~jnp.eye(2, dtype=bool))
        >>> round(float(jnp.exp(log_partition(never_same)[0])), 4)
        2.0
    """

    def only(values, allowed):
        if allowed is None:
            return values
        allowed = jnp.asarray(allowed)
        chex.assert_type(allowed, bool)
        values = jnp.zeros(allowed.shape, scores.node.dtype) if values is None else values
        return jnp.where(allowed, values, -jnp.inf)

    return scores._replace(
        edge=only(scores.edge, transitions),
        start=only(scores.start, start),
        end=only(scores.end, end),
    )


def _complete(scores: Scores, allowed: jax.Array | None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Node scores with start, end and what is allowed put in; edge scores; the mask. Checked."""
    node, edge = jnp.asarray(scores.node), jnp.asarray(scores.edge)
    chex.assert_rank(node, 3)
    chex.assert_type([node, edge], float)
    rows, length, classes = node.shape
    if edge.ndim == 2:
        chex.assert_shape(edge, (classes, classes))
    else:
        chex.assert_shape(edge, (rows, max(length - 1, 0), classes, classes))
        if length < 2:  # there are no edges
            edge = jnp.zeros((classes, classes), edge.dtype)
    mask = jnp.ones((rows, length), bool) if scores.mask is None else jnp.asarray(scores.mask)
    chex.assert_shape(mask, (rows, length))
    chex.assert_type(mask, bool)
    count = jnp.cumsum(mask, axis=1)
    for extra, where in (
        (scores.start, mask & (count == 1)),
        (scores.end, mask & (count == count[:, -1:])),
    ):
        if extra is not None:
            chex.assert_shape(extra, (classes,))
            node = node + jnp.where(where[..., None], jnp.asarray(extra)[None, None], 0)
    if allowed is not None:
        allowed = jnp.asarray(allowed)
        chex.assert_shape(allowed, node.shape)
        chex.assert_type(allowed, bool)
        node = jnp.where(allowed, node, -jnp.inf)
    return node, edge, mask


def _label_before(labels, mask):
    """Label ``[B, T]`` of the last real position before each; 0 where there is none."""
    at = jnp.where(mask, jnp.arange(mask.shape[1])[None], 0)
    at = lax.cummax(at, axis=1)
    at = jnp.concatenate([jnp.zeros_like(at[:, :1]), at[:, :-1]], axis=1)
    return jnp.take_along_axis(labels, at, axis=1)
