"""The Tree-LSTM over sentiment trees (Tai, Socher and Manning 2015).

Words stand at the leaves, whose states are those of an LSTM without children::

    i = sigmoid(x W^i + b^i),  o = sigmoid(x W^o + b^o),  u = tanh(x W^u + b^u)
    c = i u,  h = o tanh(c)

An internal node composes its children's states (`rntn_jax.recursive.tree_lstm`), and every node is
classified by its ``h`` (`rntn_jax.models.node_classifier`). Of the kind ``dependency`` any node may
have a word, whose products join its gates, and any number of children
(`rntn_jax.recursive.child_sum`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.models import node_classifier
from rntn_jax.models.layers import Layer, check_config, glorot
from rntn_jax.models.node_classifier import Aux, Head
from rntn_jax.ops import check_dropout, dropout, embed
from rntn_jax.ops.checks import check
from rntn_jax.recursive import child_sum
from rntn_jax.recursive.tree_lstm import Cell, sweep
from rntn_jax.shapes import shapes_repr
from rntn_jax.trees import Forest, NaryForest

__all__ = [
    "Aux",
    "Cell",
    "Config",
    "Head",
    "Params",
    "apply",
    "init",
    "loss",
    "predict",
    "states",
]

KINDS = ("binary", "child_sum", "dependency")


@dataclass(frozen=True)
class Config:
    """Sizes, kind of cell, and initial scale of the words.

    Raises:
        ValueError: naming the field and its value.
    """

    vocab_size: int
    embed_dim: int = 50
    hidden_dim: int = 50
    num_classes: int = 5
    # binary: weights of its own for each child; child_sum: the same for both; dependency: the same
    # for any number of children, and a word at any node
    kind: str = "binary"
    word_scale: float = 0.1  # standard deviation of the initial word vectors

    def __post_init__(self) -> None:
        sizes = {"vocab_size": 2, "embed_dim": 1, "hidden_dim": 1, "num_classes": 1}
        check_config(self, sizes, ["word_scale"])
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")


class Params(NamedTuple):
    """All parameters."""

    embedding: jax.Array  # [V, E]
    leaf: Layer  # w [E, 3D], b [3D], of the gates i, o, u; dependency: 4D, of i, f, o, u
    cell: Cell  # u [2D, 5D], b [5D]; the other kinds: u [D, 4D], b [4D]
    head: Head

    __repr__ = shapes_repr


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters: gates in Glorot's range, their biases 0, words normal.

    Args:
        key: a PRNG key.
        config: sizes, kind and scale.
        dtype: of all parameters.

    Returns:
        `Params`.

    Example:
        >>> params = init(jax.random.key(0), Config(vocab_size=7, embed_dim=4, hidden_dim=3))
        >>> params.cell.u.shape, params.leaf.w.shape
        ((6, 15), (4, 9))
    """
    e, d = config.embed_dim, config.hidden_dim
    keys = jax.random.split(key, 5)

    def gates(key, inputs: int, count: int):
        made = [glorot(own, inputs, d, dtype) for own in jax.random.split(key, count)]
        return jnp.concatenate(made, axis=1)

    children, count = (2, 5) if config.kind == "binary" else (1, 4)
    of_word = 4 if config.kind == "dependency" else 3
    return Params(
        embedding=config.word_scale * jax.random.normal(keys[0], (config.vocab_size, e), dtype),
        leaf=Layer(gates(keys[1], e, of_word), jnp.zeros(of_word * d, dtype)),
        cell=Cell(gates(keys[2], children * d, count), jnp.zeros(count * d, dtype)),
        head=node_classifier.init(keys[3], keys[4], d, config.num_classes, dtype),
    )


def _check(params: Params, forest: Forest | NaryForest, labels: bool = False) -> None:
    """Shapes, and the words and labels where they are not traced."""
    sizes: dict[str, int] = {}
    check("params.embedding", params.embedding, "float", "V E", sizes)
    check("params.head.w", params.head.w, "float", "D C", sizes)
    d = sizes["D"]
    nary = isinstance(forest, NaryForest)
    of_word = (4 if nary else 3) * d
    check("params.leaf.w", params.leaf.w, "float", f"E {of_word}", sizes)
    check("params.leaf.b", params.leaf.b, "float", f"{of_word}", sizes)
    if nary or jnp.shape(params.cell.u) == (d, 4 * d):
        check("params.cell.u", params.cell.u, "float", f"{d} {4 * d}", sizes)
    else:
        check("params.cell.u", params.cell.u, "float", f"{2 * d} {5 * d}", sizes)
    check("params.cell.b", params.cell.b, "float", f"{jnp.shape(params.cell.u)[1]}", sizes)
    node_classifier.check_model(params, forest, d, labels, (Forest, NaryForest))


def states(
    params: Params,
    forest: Forest | NaryForest,
    *,
    leaf_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """States of all nodes: the features that the head sees, before their dropout.

    Args:
        params: as `init` makes them.
        forest: made by `rntn_jax.trees.pack`; of the kind ``dependency``, by ``pack_nary``.
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
def _states(
    options: tuple[Any, ...], params: Params, forest: Forest | NaryForest, key
) -> jax.Array:
    (leaf_dropout,) = options
    check_dropout(key, {"leaf_dropout": leaf_dropout})
    x = dropout(key, 0, embed(params.embedding, forest.tokens), leaf_dropout)
    z = x @ params.leaf.w + params.leaf.b[None]
    if isinstance(forest, NaryForest):
        z = jnp.where((forest.tokens > 0)[:, None], z, 0)
        return child_sum.sweep(params.cell, z, forest)[:, : params.cell.u.shape[0]]
    i, o, u = jnp.split(z, 3, axis=1)
    c = jax.nn.sigmoid(i) * jnp.tanh(u)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    swept = sweep(params.cell, jnp.concatenate([h, c], axis=1), forest)
    return swept[:, : h.shape[1]]


def apply(
    params: Params,
    forest: Forest | NaryForest,
    *,
    leaf_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """Logits of every slot: ``W^s h + b^s``.

    Args:
        params: as `init` makes them.
        forest: made by `rntn_jax.trees.pack`; of the kind ``dependency``, by ``pack_nary``.
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
    forest: Forest | NaryForest,
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
    forest: Forest | NaryForest,
    *,
    leaf_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> tuple[jax.Array, Aux]:
    """Cross-entropy summed over all labelled nodes, divided by the number of trees, in nats.

    Args:
        params: as `init` makes them.
        forest: as in `apply`; unlabelled nodes are skipped.
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
        >>> params = init(jax.random.key(0), Config(len(vocabulary), embed_dim=4, hidden_dim=3))
        >>> value, aux = loss(params, trees.pack([tree], vocabulary))
        >>> int(aux.nodes), int(aux.roots)
        (5, 1)
        >>> config = Config(len(vocabulary), embed_dim=4, hidden_dim=3, kind="dependency")
        >>> forest = trees.pack_nary([tree.tokens], [[2, 2, -1]], vocabulary, labels=[[2, 2, 0]])
        >>> value, aux = loss(init(jax.random.key(0), config), forest)
        >>> int(aux.nodes), int(aux.roots)
        (3, 1)
    """
    _check(params, forest, labels=True)
    options = (leaf_dropout,)
    return node_classifier.loss_of(_states, options, params, forest, key, hidden_dropout)
