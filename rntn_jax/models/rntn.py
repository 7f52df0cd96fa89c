"""The recursive neural tensor network over sentiment trees (Socher et al. 2013; source 000).

A word's state is ``tanh`` of its embedding (as CoreNLP does), an internal node's state composes
its children's (`rntn_jax.recursive.sweep`), and every node is classified by the same softmax
head. With ``tensor=False`` it is the plain recursive net of the paper's RNN row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rntn_jax.ops import accumulator, activate, dropout, embed, linear_cross_entropy
from rntn_jax.recursive import Cell, sweep
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
        for name, least in (("vocab_size", 2), ("dim", 1), ("num_classes", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        for name in ("tensor_scale", "word_scale", "word_range"):
            value = getattr(self, name)
            if value is None and name == "word_range":
                continue
            if not isinstance(value, int | float) or not value >= 0:
                raise ValueError(f"{name} must be a number, not negative, got {value!r}")


class Head(NamedTuple):
    """Classification weights ``W^s`` and ``b^s``."""

    w: jax.Array  # [D, C]
    b: jax.Array  # [C]


class Params(NamedTuple):
    """All parameters; the L of the paper is ``embedding``."""

    embedding: jax.Array  # [V, D]
    cell: Cell  # v [D, 2D, 2D] or None, w [2D, D], b [D]
    head: Head


class Aux(NamedTuple):
    """Counts that come with the loss."""

    nodes: jax.Array  # labelled nodes
    correct: jax.Array  # of these, how many the most probable class gets right
    roots: jax.Array  # labelled roots
    roots_correct: jax.Array


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters.

    Args:
        key: a PRNG key.
        config: sizes and scales.
        dtype: of all parameters.

    Example:
        >>> params = init(jax.random.key(0), Config(vocab_size=7, dim=3))
        >>> params.cell.v.shape, params.head.w.shape
        ((3, 6, 6), (3, 5))
    """
    d, c = config.dim, config.num_classes
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
        head=Head(
            w=uniform(keys[3], (d, c), -(d**-0.5), d**-0.5), b=uniform(keys[4], (c,), 0.0, 1.0)
        ),
    )


def states(
    params: Params,
    forest: Forest,
    *,
    activation: str = "tanh",
    leaf_activation: str = "tanh",
    leaf_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """States of all nodes, ``[N, D]``: the features the head sees. See `apply`."""
    leaves = activate(leaf_activation, embed(params.embedding, forest.tokens))
    leaves = dropout(key, 0, leaves, leaf_dropout, "leaf_dropout")
    return sweep(params.cell, leaves, forest, activation=activation)


def _features(params, forest, hidden_dropout: float, key, **options) -> jax.Array:
    h = states(params, forest, key=key, **options)
    return dropout(key, 1, h, hidden_dropout, "hidden_dropout")


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

    Example:
        >>> from rntn_jax import data, trees
        >>> tree = data.parse_tree("(3 (2 not) (4 (2 very) (0 bad)))")
        >>> vocabulary = data.Vocabulary.build(tree.tokens)
        >>> params = init(jax.random.key(0), Config(vocab_size=len(vocabulary), dim=3))
        >>> logits = apply(params, trees.pack([tree], vocabulary))
        >>> trees.unpack(trees.pack([tree], vocabulary), logits)[0].shape
        (5, 5)
    """
    forest = jax.tree.map(jnp.asarray, forest)
    h = _features(
        params,
        forest,
        hidden_dropout,
        key,
        activation=activation,
        leaf_activation=leaf_activation,
        leaf_dropout=leaf_dropout,
    )
    chex.assert_axis_dimension(params.head.w, 0, h.shape[-1])
    return h @ params.head.w + params.head.b[None]


def predict(params: Params, forest: Forest, **options) -> jax.Array:
    """Class probabilities of every slot, ``[N, C]``; options as in `apply`.

    Source: 000, equation 9.
    """
    return jax.nn.softmax(apply(params, forest, **options), axis=-1)


def loss(params: Params, forest: Forest, **options) -> tuple[jax.Array, Aux]:
    """Cross-entropy summed over all labelled nodes, divided by the number of trees, in nats.

    Source: 000, E before equation 1.
    Differs from source: E is minus the log-likelihood, over every labelled node (errata 000);
    division by trees as CoreNLP does.

    Args:
        params: as `init` makes them.
        forest: made by `rntn_jax.trees.pack`; unlabelled nodes are skipped.
        **options: as in `apply`.

    Returns:
        ``(loss, aux)``.

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
    forest = jax.tree.map(jnp.asarray, forest)
    rate = options.pop("hidden_dropout", 0.0)
    h = _features(params, forest, rate, options.pop("key", None), **options)
    nats = linear_cross_entropy(h, *params.head, forest.labels, forest.labelled)
    total = nats.sum() / forest.num_trees.astype(nats.dtype)

    best = jnp.argmax(jax.lax.stop_gradient(h @ params.head.w + params.head.b[None]), axis=-1)
    right = (best == forest.labels) & forest.labelled
    roots = forest.labelled[forest.roots] & (forest.roots > 0)
    aux = Aux(
        nodes=forest.labelled.sum(),
        correct=right.sum(),
        roots=roots.sum(),
        roots_correct=(right[forest.roots] & roots).sum(),
    )
    return total, aux


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

    ``weights`` covers ``W`` and its bias, ``head`` leaves its bias out, ``words`` counts only the
    words of this forest. The penalty is of one minibatch, not divided by its size.

    Source: 000, E before equation 1; the regulariser is missing there (errata 000).
    """
    forest = jax.tree.map(jnp.asarray, forest)
    dtype = accumulator(params.embedding)

    def square(x):
        return jnp.sum(jnp.square(x.astype(dtype)))

    present = jnp.zeros(params.embedding.shape[0], dtype).at[forest.tokens].set(1).at[0].set(0)
    total = weights * (square(params.cell.w) + square(params.cell.b))
    total += head * square(params.head.w)
    total += words * jnp.sum(present[:, None] * jnp.square(params.embedding.astype(dtype)))
    if params.cell.v is not None:
        total += tensor * square(params.cell.v)
    return total / 2
