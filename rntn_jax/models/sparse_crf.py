"""The linear-chain CRF over sparse features: exactly the model and the objective of CRFsuite.

A token has attributes ``a`` with values ``x_a``. Each pair of an attribute and a label is a state
feature, each pair of labels a transition feature, as far as they are wanted (usually those that
occur in the training data)::

    node[t, c] = sum_a x_a state[a, c],   edge[i, j] = transition[i, j]
    loss = -sum over sentences of ln P(labels) + c2 |weights|^2

Gradient: expected minus observed counts of the features, plus ``2 c2 weights`` (model marginals
theorem, source 004, summed over the positions that share a weight).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rntn_jax.crf import chain
from rntn_jax.ops import SparseMatrix, embed, sparse_matmul, sparse_matrix
from rntn_jax.sequences import pack_rows
from rntn_jax.shapes import shapes_repr

__all__ = [
    "Features",
    "PackedSentences",
    "PaddedFeatures",
    "Params",
    "features",
    "init",
    "loss",
    "pack_sentences",
    "padded_features",
    "weight_matrix",
]


class Params(NamedTuple):
    """Weights of the features."""

    state: jax.Array  # [F]
    edge: jax.Array  # [C, C]; 0 where the transition is no feature

    __repr__ = shapes_repr


class Features(NamedTuple):
    """Which features there are; arrays, to be passed to a program."""

    attribute: Any  # int32 [F], ascending
    label: Any  # int32 [F], ascending where the attribute is the same
    transition: Any  # bool [C, C]

    __repr__ = shapes_repr


class PaddedFeatures(NamedTuple):
    """Attributes of each token side by side, for minibatches: any rows may be taken."""

    ids: Any  # int32 [B, T, S]; A: none
    weights: Any  # float32 [B, T, S], or None: all 1

    __repr__ = shapes_repr


class PackedSentences(NamedTuple):
    """Sentences one after the other in long rows, each followed by a boundary.

    The boundary has a label of its own, ``C``, and scores nothing: before and after it a sum over
    labels begins anew, so that a row's ``ln Z`` is the sum of those of its sentences. So all
    sentences fill one array almost without padding, whatever their lengths.
    """

    attributes: SparseMatrix | PaddedFeatures  # of B T tokens
    labels: Any  # int32 [B, T], C at boundaries

    __repr__ = shapes_repr


def features(
    bags: np.ndarray,
    ids: np.ndarray,
    labels: np.ndarray,
    lengths: np.ndarray,
    num_attributes: int,
    num_labels: int,
    *,
    weights: np.ndarray | None = None,
    min_freq: float = 0.0,
    all_states: bool = False,
    all_transitions: bool = False,
) -> Features:
    """The features that occur in training data; on the host.

    Args:
        bags: integer ``[E]``, the token of each entry.
        ids: integer ``[E]``, its attribute.
        labels: integer ``[N]``, the label of each token.
        lengths: integer ``[S]``, tokens of each sentence.
        num_attributes: ``A``.
        num_labels: ``C``.
        weights: ``[E]``; None: all 1.
        min_freq: features that are rarer (in summed weights) are left out.
        all_states: every attribute with every label, seen or not.
        all_transitions: the same for transitions.

    Returns:
        The features, sorted. Cost O(E ln E).

    Example:
        >>> found = features(
        ...     np.array([0, 1]), np.array([0, 0]), np.array([0, 1]), np.array([2]), 1, 2
        ... )
        >>> found.label.tolist(), found.transition.tolist()
        ([0, 1], [[False, True], [False, False]])
    """
    pairs = ids.astype(np.int64) * num_labels + labels[bags]
    if all_states:
        seen = np.arange(num_attributes * num_labels)
    else:
        seen, place = np.unique(pairs, return_inverse=True)
        counts = np.bincount(place, weights, minlength=len(seen))
        seen = seen[counts >= min_freq]
    inside = np.ones(max(len(labels) - 1, 0), bool)  # of one sentence
    ends = np.cumsum(lengths) - 1
    inside[ends[(ends >= 0) & (ends < len(inside))]] = False
    counts = np.zeros((num_labels, num_labels))
    np.add.at(counts, (labels[:-1][inside], labels[1:][inside]), 1)
    transition = (counts > 0) & (counts >= min_freq)
    return Features(
        (seen // num_labels).astype(np.int32),
        (seen % num_labels).astype(np.int32),
        np.ones_like(transition) if all_transitions else transition,
    )


def pack_sentences(
    bags: np.ndarray,
    ids: np.ndarray,
    labels: np.ndarray,
    lengths: np.ndarray,
    num_attributes: int,
    num_labels: int,
    *,
    weights: np.ndarray | None = None,
    num_rows: int | None = None,
    minibatches: bool = False,
) -> PackedSentences:
    """Packs sentences; on the host.

    Args:
        bags: integer ``[E]``, the token of each entry.
        ids: integer ``[E]``, its attribute.
        labels: integer ``[N]``, the label of each token.
        lengths: integer ``[S]``, tokens of each sentence.
        num_attributes: ``A``.
        num_labels: ``C``.
        weights: ``[E]``; None: all 1.
        num_rows: ``B``; by default, as many as make the rows some 100 steps long.
        minibatches: the attributes become `PaddedFeatures`, of which any rows may be taken, in
            place of a `SparseMatrix` of all rows.

    Returns:
        The rows, ``T`` steps each.

    Example:
        >>> packed = pack_sentences(
        ...     np.array([0, 1, 2]), np.array([0, 0, 0]), np.array([0, 1, 1]), np.array([2, 1]),
        ...     1, 2, num_rows=1,
        ... )
        >>> packed.labels.tolist()
        [[0, 1, 2, 1, 2]]
    """
    lengths = np.asarray(lengths)
    total = int(lengths.sum() + len(lengths))
    if num_rows is None:
        num_rows = max(1, round(total / max(100, int(lengths.max(initial=0)) + 1)))
    row, start, steps = pack_rows(lengths + 1, num_rows)
    first = np.cumsum(lengths) - lengths
    within = np.arange(len(labels)) - np.repeat(first, lengths)
    at = np.repeat(row * steps + start, lengths) + within  # where each token is
    packed = np.full(num_rows * steps, num_labels, np.int32)
    packed[at] = labels
    if minibatches:
        attributes = padded_features(at[bags], ids, weights, (num_rows, steps), num_attributes)
    else:
        attributes = sparse_matrix(at[bags], ids, weights, (len(packed), num_attributes))
    return PackedSentences(attributes, packed.reshape(num_rows, steps))


def padded_features(
    places: np.ndarray,
    ids: np.ndarray,
    weights: np.ndarray | None,
    shape: tuple[int, int],
    num_attributes: int,
) -> PaddedFeatures:
    """Attributes of tokens in an array, padded to the largest number that a token has.

    Args:
        places: integer ``[E]``, the token of each entry, counted over one row after the other.
        ids: integer ``[E]``, its attribute.
        weights: ``[E]``; None: all 1.
        shape: ``(B, T)``.
        num_attributes: ``A``, the padding.

    Returns:
        Ids and weights ``[B, T, S]``.

    Example:
        >>> padded_features(np.array([0, 1, 1]), np.array([5, 6, 7]), None, (1, 2), 9).ids.tolist()
        [[[5, 9], [6, 7]]]
    """
    order = np.argsort(places, kind="stable")
    sizes = np.bincount(places, minlength=shape[0] * shape[1])
    within = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    where = places[order], within
    width = int(sizes.max(initial=1))
    filled = np.full((len(sizes), width), num_attributes, np.int32)
    filled[where] = ids[order]
    values = None
    if weights is not None:
        values = np.zeros(filled.shape, np.float32)
        values[where] = weights[order]
        values = values.reshape(*shape, width)
    return PaddedFeatures(filled.reshape(*shape, width), values)


def init(features: Features, dtype: jnp.dtype = jnp.float32) -> Params:
    """All weights 0, where CRFsuite starts (the loss is convex).

    Args:
        features: of `features`.
        dtype: of the weights.

    Returns:
        `Params`: state ``[F]``, edge ``[C, C]``.

    Example:
        >>> features_ = Features(np.zeros(3, int), np.arange(3), np.ones((3, 3), bool))
        >>> [leaf.shape for leaf in init(features_)]
        [(3,), (3, 3)]
    """
    return Params(
        jnp.zeros(features.label.shape, dtype), jnp.zeros(features.transition.shape, dtype)
    )


def weight_matrix(params: Params, features: Features, num_attributes: int) -> jax.Array:
    """Weights ``[A, C + 1]`` of all attributes with all labels, 0 where there is no feature.

    The last column is the boundary's.

    Args:
        params: the weights.
        features: of `features`.
        num_attributes: ``A``.

    Returns:
        ``[A, C + 1]`` of the weights' dtype.

    Example:
        >>> features_ = Features(np.array([0, 1]), np.array([1, 0]), np.ones((2, 2), bool))
        >>> weight_matrix(Params(jnp.array([3.0, 4.0]), jnp.zeros((2, 2))), features_, 2).tolist()
        [[0.0, 3.0, 0.0], [4.0, 0.0, 0.0]]
    """
    empty = jnp.zeros((num_attributes, len(params.edge) + 1), params.state.dtype)
    return empty.at[features.attribute, features.label].set(
        params.state, indices_are_sorted=True, unique_indices=True, mode="promise_in_bounds"
    )


def _node_scores(
    attributes: SparseMatrix | PaddedFeatures,
    params: Params,
    features: Features,
    num_attributes: int | None,
) -> jax.Array:
    """Scores ``[B T, C + 1]`` or ``[B, T, C + 1]``, the last column 0."""
    if isinstance(attributes, SparseMatrix):
        return sparse_matmul(attributes, weight_matrix(params, features, attributes.shape[1]))
    if num_attributes is None:
        raise ValueError("num_attributes must be given where the attributes are PaddedFeatures")
    # The last row, of the padding, is 0.
    rows = embed(weight_matrix(params, features, num_attributes + 1), attributes.ids)
    return (rows if attributes.weights is None else rows * attributes.weights[..., None]).sum(-2)


@partial(jax.jit, static_argnames=("num_attributes",))
def loss(
    params: Params,
    sentences: PackedSentences,
    features: Features,
    c2: float = 0.0,
    num_attributes: int | None = None,
) -> jax.Array:
    """``-ln P(labels)`` of all sentences in nats, summed, plus ``c2 |weights|^2``.

    Gradient: expected minus observed counts, plus ``2 c2 weights``.

    Source: 004, L and the model marginals theorem.

    Args:
        params: the weights.
        sentences: of `pack_sentences`.
        features: of `features`.
        c2: strength of the L2 penalty.
        num_attributes: ``A``, needed where the attributes are `PaddedFeatures`; static.

    Returns:
        A scalar. Cost O(entries C + tokens C^2).

    Raises:
        ValueError: when the attributes are `PaddedFeatures` and ``num_attributes`` is not given.

    Example:
        >>> arrays = np.array([0, 1]), np.array([0, 0]), np.array([0, 1]), np.array([2]), 1, 2
        >>> found = features(*arrays)
        >>> round(float(jnp.exp(-loss(init(found), pack_sentences(*arrays), found))), 4)
        0.25
    """
    labels = jnp.asarray(sentences.labels)
    classes = len(params.edge)
    node = _node_scores(sentences.attributes, params, features, num_attributes)
    node = node.reshape(*labels.shape, classes + 1)
    # A boundary has its own label, and only that; no token has it.
    forbidden = (labels == classes)[..., None] != (jnp.arange(classes + 1) == classes)[None, None]
    node = jnp.where(forbidden, -jnp.inf, node)
    edge = jnp.pad(jnp.where(features.transition, params.edge, 0), (0, 1))
    nats = -chain.log_prob(chain.Scores(node, edge), labels).sum()
    return nats + c2 * (jnp.square(params.state).sum() + jnp.square(params.edge).sum())
