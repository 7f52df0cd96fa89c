"""The recursive neural tensor network over sentiment trees (Socher et al. 2013; source 000).

A word's state is ``tanh`` of its embedding (as CoreNLP does), an internal node's state composes
its children's (`rntn_jax.recursive.sweep`), and every node is classified by the same softmax
head (`rntn_jax.models.node_classifier`). With ``tensor=False`` it is the plain recursive net of the
paper's RNN row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.models import node_classifier
from rntn_jax.models.layers import check_config
from rntn_jax.models.node_classifier import Aux, Head
from rntn_jax.ops import accumulator, activate, check_dropout, dropout, embed
from rntn_jax.ops.checks import check
from rntn_jax.recursive import Cell, sweep
from rntn_jax.shapes import shapes_repr
from rntn_jax.trees import Forest

__all__ = [
    "Aux",
    "Cell",
    "Config",
    "Head",
    "Params",
    "apply",
    "init",
    "l2_penalty",
    "loss",
    "predict",
    "states",
]


@dataclass(frozen=True)
class Config:
    """Sizes and initial scales.

    The default initialisation is CoreNLP's: ``V ~ U(+-1/4D)``, each half of ``W`` the identity
    plus ``U(+-1/(2 sqrt D))``, head ``U(+-1/sqrt D)`` with bias ``U(0, 1)``, words ``0.1 N(0, 1)``.

    Raises:
        ValueError: naming the field and its value.
    """

    vocab_size: int
    dim: int = 25
    num_classes: int = 5
    tensor: bool = True  # False: the plain recursive net
    tensor_scale: float = 1.0  # times CoreNLP's range for V
    identity: bool = True  # False: W without the identity blocks (glorot range)
    word_scale: float = 0.1  # standard deviation of the words, or
    word_range: float | None = None  # half-width of a uniform range instead (the paper: 1e-4)

    def __post_init__(self) -> None:
        scales = ["tensor_scale", "word_scale"]
        if self.word_range is not None:
            scales.append("word_range")
        check_config(self, {"vocab_size": 2, "dim": 1, "num_classes": 1}, scales)


class Params(NamedTuple):
    """All parameters; the L of the paper is ``embedding``."""

    embedding: jax.Array  # [V, D]
    cell: Cell  # v [D, 2D, 2D] or None, w [2D, D], b [D]
    head: Head

    __repr__ = shapes_repr


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters: words normal or uniform, as ``config`` says, the cell uniform.

    Args:
        key: a PRNG key.
        config: sizes, and the scales of words and tensor.
        dtype: of all of them.

    Returns:
        ``embedding [V, D]``, the cell, and the head ``[D, C]``.

    Example:
        >>> params = init(jax.random.key(0), Config(vocab_size=7, dim=3))
        >>> params.cell.v.shape, params.head.w.shape
        ((3, 6, 6), (3, 5))
    """
    d = config.dim
    keys = jax.random.split(key, 5)

    def uniform(key, shape, low, high):
        return jax.random.uniform(key, shape, dtype, low, high)

    if config.word_range is None:
        embedding = config.word_scale * jax.random.normal(keys[0], (config.vocab_size, d), dtype)
    else:
        r = config.word_range
        embedding = uniform(keys[0], (config.vocab_size, d), -r, r)
    v = None
    if config.tensor:
        r = config.tensor_scale / (4 * d)
        v = uniform(keys[1], (d, 2 * d, 2 * d), -r, r)
    r = 1 / (2 * d**0.5)
    w = uniform(keys[2], (2 * d, d), -r, r)
    if config.identity:
        w = w + jnp.concatenate([jnp.eye(d, dtype=dtype)] * 2)
    return Params(
        embedding=embedding,
        cell=Cell(v=v, w=w, b=jnp.zeros(d, dtype)),
        head=node_classifier.init(keys[3], keys[4], d, config.num_classes, dtype),
    )


def _check(params: Params, forest: Forest, labels: bool = False) -> None:
    """Shapes, and the words and labels where they are not traced."""
    sizes: dict[str, int] = {}
    check("params.embedding", params.embedding, "float", "V D", sizes)
    d = sizes["D"]
    check("params.cell.w", params.cell.w, "float", f"{2 * d} D", sizes)
    check("params.cell.b", params.cell.b, "float", "D", sizes)
    if params.cell.v is not None:
        check("params.cell.v", params.cell.v, "float", f"D {2 * d} {2 * d}", sizes)
    node_classifier.check_model(params, forest, d, labels)


def states(
    params: Params,
    forest: Forest,
    *,
    activation: str = "tanh",
    leaf_activation: str = "tanh",
    leaf_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """States of all nodes: the features that the head sees, before their dropout.

    Args:
        params: as `init` makes them.
        forest: made by `rntn_jax.trees.pack`.
        activation: as in `apply`.
        leaf_activation: as in `apply`.
        leaf_dropout: as in `apply`.
        key: PRNG key, needed for dropout only.

    Returns:
        ``[N, D]``, one state a slot; padding slots are zero.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        TypeError: when ``forest`` is not packed.
        ValueError: for an unknown activation, a rate outside [0, 1), a missing key, and for words
            beyond the embedding, where ``forest`` is not traced.
    """
    _check(params, forest)
    return _states((activation, leaf_activation, leaf_dropout), params, forest, key)


@partial(jax.jit, static_argnums=0)
def _states(options: tuple[str, str, float], params, forest, key) -> jax.Array:
    activation, leaf_activation, leaf_dropout = options
    check_dropout(key, {"leaf_dropout": leaf_dropout})
    leaves = activate(leaf_activation, embed(params.embedding, forest.tokens))
    leaves = dropout(key, 0, leaves, leaf_dropout)
    return sweep(params.cell, leaves, forest, activation=activation)


def apply(
    params: Params,
    forest: Forest,
    *,
    activation: str = "tanh",
    leaf_activation: str = "tanh",
    leaf_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """Logits of every slot.

    Computes ``W^s h + b^s`` at every node (source 000, equation 9 before the softmax).

    Args:
        params: as `init` makes them.
        forest: made by `rntn_jax.trees.pack`.
        activation: of internal nodes.
        leaf_activation: ``tanh`` as CoreNLP, ``identity`` for raw word vectors.
        leaf_dropout: rate at which entries of the leaves' states are dropped.
        hidden_dropout: rate at which entries of all states are dropped before the head.
        key: PRNG key, needed for dropout only.

    Returns:
        ``[N, C]``; `rntn_jax.trees.unpack` sorts them by tree. Padding slots hold the bias.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        TypeError: when ``forest`` is not packed.
        ValueError: for an unknown activation, a rate outside [0, 1), a missing key, and for words
            beyond the embedding, where ``forest`` is not traced.

    Example:
        >>> from rntn_jax import data, trees
        >>> tree = data.parse_tree("(3 (2 not) (4 (2 very) (0 bad)))")
        >>> vocabulary = data.Vocabulary.build(tree.tokens)
        >>> params = init(jax.random.key(0), Config(vocab_size=len(vocabulary), dim=3))
        >>> logits = apply(params, trees.pack([tree], vocabulary))
        >>> trees.unpack(trees.pack([tree], vocabulary), logits)[0].shape
        (5, 5)
    """
    _check(params, forest)
    options = activation, leaf_activation, leaf_dropout
    return node_classifier.logits_of(_states, options, params, forest, key, hidden_dropout)


def predict(
    params: Params,
    forest: Forest,
    *,
    activation: str = "tanh",
    leaf_activation: str = "tanh",
    leaf_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """Class probabilities of every slot, ``[N, C]``.

    Source: 000, equation 9.

    Args:
        params: as in `apply`.
        forest: as in `apply`.
        activation: as in `apply`.
        leaf_activation: as in `apply`.
        leaf_dropout: as in `apply`.
        hidden_dropout: as in `apply`.
        key: as in `apply`.

    Returns:
        ``[N, C]``, rows summing to 1; rows of slots without a node mean nothing.

    Raises:
        AssertionError: as `apply`.
        TypeError: as `apply`.
        ValueError: as `apply`.
    """
    _check(params, forest)
    options = activation, leaf_activation, leaf_dropout
    return node_classifier.probabilities_of(_states, options, params, forest, key, hidden_dropout)


def loss(
    params: Params,
    forest: Forest,
    *,
    activation: str = "tanh",
    leaf_activation: str = "tanh",
    leaf_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> tuple[jax.Array, Aux]:
    """Cross-entropy summed over all labelled nodes, divided by the number of trees, in nats.

    Source: 000, E before equation 1.
    Differs from source: E is the negative log-likelihood, over every labelled node (errata 000);
    division by trees as CoreNLP does.

    Args:
        params: as `init` makes them.
        forest: made by `rntn_jax.trees.pack`; unlabelled nodes are skipped.
        activation: as in `apply`.
        leaf_activation: as in `apply`.
        leaf_dropout: as in `apply`.
        hidden_dropout: as in `apply`.
        key: as in `apply`.

    Returns:
        ``(loss, aux)``.

    Raises:
        AssertionError: as `apply`.
        TypeError: as `apply`.
        ValueError: as `apply`, and for labels beyond the classes, where ``forest`` is not traced.

    Example:
        >>> from rntn_jax import data, trees
        >>> tree = data.parse_tree("(3 (2 not) (4 (2 very) (0 bad)))")
        >>> vocabulary = data.Vocabulary.build(tree.tokens)
        >>> params = init(jax.random.key(0), Config(vocab_size=len(vocabulary), dim=3))
        >>> (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(
        ...     params, trees.pack([tree], vocabulary)
        ... )
        >>> int(aux.nodes), grads.embedding.shape
        (5, (5, 3))
    """
    _check(params, forest, labels=True)
    options = activation, leaf_activation, leaf_dropout
    return node_classifier.loss_of(_states, options, params, forest, key, hidden_dropout)


def l2_penalty(
    params: Params,
    forest: Forest,
    *,
    tensor: float = 1e-3,
    weights: float = 1e-3,
    head: float = 1e-4,
    words: float = 1e-4,
) -> jax.Array:
    """``sum_j (lambda_j / 2) |theta_j|^2``, weighted as CoreNLP does.

    The penalty is of one minibatch, not divided by its size.

    Source: 000, E before equation 1; the regulariser is missing there (errata 000).

    Args:
        params: as `init` makes them.
        forest: made by `rntn_jax.trees.pack`.
        tensor: lambda of ``V``.
        weights: lambda of ``W`` and its bias.
        head: lambda of the head's weights; its bias is left out.
        words: lambda of the embeddings of the words of this forest; others do not count.

    Returns:
        A scalar, in at least float32.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        TypeError: when ``forest`` is not packed.
        ValueError: for words beyond the embedding, where ``forest`` is not traced.
    """
    _check(params, forest)
    v = params.cell.v
    others = params._replace(cell=params.cell._replace(v=None))
    total = node_classifier.l2_penalty(others, forest, weights=weights, head=head, words=words)
    return total if v is None else total + _half_square(v, tensor)


@jax.jit
def _half_square(x, weight) -> jax.Array:
    return weight * jnp.sum(jnp.square(x.astype(accumulator(x)))) / 2
