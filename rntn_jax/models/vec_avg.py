"""Averaged word vectors: a node's state is the mean of the vectors of its words.

The baseline "VecAvg" of Socher et al. (2013), which knows the words of a phrase and nothing of
their order. Every node is classified by the same head as in the recursive networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.models import node_classifier
from rntn_jax.models.layers import check_config
from rntn_jax.models.node_classifier import Aux, Head
from rntn_jax.ops import accumulator, check_dropout, dropout, embed
from rntn_jax.recursive import span_sum
from rntn_jax.shapes import shapes_repr
from rntn_jax.trees import Forest

__all__ = ["Aux", "Config", "Head", "Params", "apply", "init", "loss", "predict", "states"]


@dataclass(frozen=True)
class Config:
    """Sizes, and initial scale of the words.

    Raises:
        ValueError: naming the field and its value.
    """

    vocab_size: int
    dim: int = 25
    num_classes: int = 5
    word_scale: float = 0.1  # standard deviation of the initial word vectors

    def __post_init__(self) -> None:
        check_config(self, {"vocab_size": 2, "dim": 1, "num_classes": 1}, ["word_scale"])


class Params(NamedTuple):
    """All parameters."""

    embedding: jax.Array  # [V, D]
    head: Head

    __repr__ = shapes_repr


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters.

    Args:
        key: a PRNG key.
        config: sizes and scale.
        dtype: of all parameters.

    Returns:
        `Params`.

    Example:
        >>> init(jax.random.key(0), Config(vocab_size=7, dim=3)).embedding.shape
        (7, 3)
    """
    keys = jax.random.split(key, 3)
    words = config.vocab_size, config.dim
    return Params(
        embedding=config.word_scale * jax.random.normal(keys[0], words, dtype),
        head=node_classifier.init(keys[1], keys[2], config.dim, config.num_classes, dtype),
    )


def _check(params: Params, forest: Forest, labels: bool = False) -> None:
    """Shapes, and the words and labels where they are not traced."""
    node_classifier.check_model(params, forest, jnp.shape(params.embedding)[-1], labels)


def states(
    params: Params,
    forest: Forest,
    *,
    leaf_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """States of all nodes: the features that the head sees, before their dropout.

    Args:
        params: as `init` makes them.
        forest: made by `rntn_jax.trees.pack`.
        leaf_dropout: as in `apply`.
        key: PRNG key, needed for dropout only.

    Returns:
        ``[N, D]``, one state a slot; padding slots are zero.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        TypeError: when ``forest`` is not packed.
        ValueError: for a rate outside [0, 1), a missing key, and for words
            beyond the embedding, where ``forest`` is not traced.
    """
    _check(params, forest)
    return _states((leaf_dropout,), params, forest, key)


@partial(jax.jit, static_argnums=0)
def _states(options: tuple[Any, ...], params: Params, forest: Forest, key) -> jax.Array:
    (leaf_dropout,) = options
    check_dropout(key, {"leaf_dropout": leaf_dropout})
    x = dropout(key, 0, embed(params.embedding, forest.tokens), leaf_dropout)
    one = jnp.ones((len(x), 1), accumulator(x))  # bfloat16 counts to 256
    sums = span_sum(jnp.concatenate([x.astype(one.dtype), one], axis=1), forest)
    return (sums[:, :-1] / jnp.maximum(sums[:, -1:], 1)).astype(x.dtype)


def apply(
    params: Params,
    forest: Forest,
    *,
    leaf_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """Logits of every slot: ``W^s h + b^s``.

    Args:
        params: as `init` makes them.
        forest: made by `rntn_jax.trees.pack`.
        leaf_dropout: rate at which entries of the word vectors are dropped.
        hidden_dropout: rate at which entries of all states are dropped before the head.
        key: PRNG key, needed for dropout only.

    Returns:
        ``[N, C]``; `rntn_jax.trees.unpack` sorts them by tree. Padding slots hold the bias.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        TypeError: when ``forest`` is not packed.
        ValueError: for a rate outside [0, 1), a missing key, and for words
            beyond the embedding, where ``forest`` is not traced.
    """
    _check(params, forest)
    options = (leaf_dropout,)
    return node_classifier.logits_of(_states, options, params, forest, key, hidden_dropout)


def predict(
    params: Params,
    forest: Forest,
    *,
    leaf_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """Class probabilities of every slot, ``[N, C]``.

    Args:
        params: as in `apply`.
        forest: as in `apply`.
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
    options = (leaf_dropout,)
    return node_classifier.probabilities_of(_states, options, params, forest, key, hidden_dropout)


def loss(
    params: Params,
    forest: Forest,
    *,
    leaf_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> tuple[jax.Array, Aux]:
    """Cross-entropy summed over all labelled nodes, divided by the number of trees, in nats.

    Args:
        params: as `init` makes them.
        forest: made by `rntn_jax.trees.pack`; unlabelled nodes are skipped.
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
        >>> params = init(jax.random.key(0), Config(len(vocabulary), dim=3))
        >>> value, aux = loss(params, trees.pack([tree], vocabulary))
        >>> int(aux.nodes), int(aux.roots)
        (5, 1)
    """
    _check(params, forest, labels=True)
    options = (leaf_dropout,)
    return node_classifier.loss_of(_states, options, params, forest, key, hidden_dropout)
