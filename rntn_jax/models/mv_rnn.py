"""The matrix-vector recursive network over sentiment trees (Socher et al. 2012).

Every word has a vector and a matrix, an internal node composes both (`rntn_jax.recursive.mv_rnn`),
and every node is classified by its vector (`rntn_jax.models.node_classifier`). The table of the
words holds the vector and what makes the matrix side by side. A word's matrix is::

    A = I + M            M of D D numbers, or with a rank r
    A = I + U V + diag(a)     U [D, r], V [r, D], a [D]: D (2 r + 1) numbers
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
from rntn_jax.ops import activate, check_dropout, dropout, embed
from rntn_jax.ops.checks import check
from rntn_jax.recursive.mv_rnn import Cell, sweep
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
    "loss",
    "predict",
    "states",
]


@dataclass(frozen=True)
class Config:
    """Sizes and initial scales.

    Raises:
        ValueError: naming the field and its value.
    """

    vocab_size: int
    dim: int = 25
    num_classes: int = 5
    rank: int | None = None  # of the words' matrices; None: full
    word_scale: float = 0.1  # standard deviation of the initial word vectors
    matrix_scale: float = 0.01  # and of the entries of their matrices, beside the identity

    def __post_init__(self) -> None:
        sizes = {"vocab_size": 2, "dim": 1, "num_classes": 1}
        check_config(
            self, sizes | ({} if self.rank is None else {"rank": 1}), ["word_scale", "matrix_scale"]
        )
        if self.rank is not None and 2 * self.rank + 1 >= self.dim:
            raise ValueError(
                f"rank must save numbers, 2 rank + 1 < dim = {self.dim}, got {self.rank}"
            )


class Params(NamedTuple):
    """All parameters."""

    embedding: jax.Array  # [V, D + D D], or [V, D + D (2 r + 1)]
    cell: Cell  # w [2D, D], b [D], w_m [2D, D]
    head: Head

    __repr__ = shapes_repr


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters.

    The halves of ``W`` are the identity plus ``U(+-1/(2 sqrt D))`` as in `rntn_jax.rntn`, those of
    ``W_M`` half the identity plus a tenth of that range: the matrix of a node begins as about the
    mean of its children's, close to the identity.

    Args:
        key: a PRNG key.
        config: sizes and scales.
        dtype: of all parameters.

    Returns:
        `Params`.

    Example:
        >>> params = init(jax.random.key(0), Config(vocab_size=7, dim=4))
        >>> params.embedding.shape, params.cell.w_m.shape
        ((7, 20), (8, 4))
        >>> init(jax.random.key(0), Config(vocab_size=7, dim=4, rank=1)).embedding.shape
        (7, 16)
    """
    d, rank = config.dim, config.rank
    keys = jax.random.split(key, 6)
    normal = partial(jax.random.normal, dtype=dtype)
    vectors = config.word_scale * normal(keys[0], (config.vocab_size, d))
    if rank is None:
        matrices = config.matrix_scale * normal(keys[1], (config.vocab_size, d * d))
    else:
        factors = normal(keys[1], (config.vocab_size, 2 * d * rank))
        factors = (config.matrix_scale / rank**0.5) ** 0.5 * factors  # U V has that scale
        matrices = jnp.concatenate([factors, jnp.zeros((config.vocab_size, d), dtype)], axis=1)
    r = 1 / (2 * d**0.5)
    identity = jnp.concatenate([jnp.eye(d, dtype=dtype)] * 2)
    uniform = partial(jax.random.uniform, shape=(2 * d, d), dtype=dtype, minval=-r, maxval=r)
    return Params(
        embedding=jnp.concatenate([vectors, matrices], axis=1),
        cell=Cell(
            w=identity + uniform(keys[2]),
            b=jnp.zeros(d, dtype),
            w_m=identity / 2 + uniform(keys[3]) / 10,
        ),
        head=node_classifier.init(keys[4], keys[5], d, config.num_classes, dtype),
    )


def _check(params: Params, forest: Forest, labels: bool = False) -> None:
    """Shapes, and the words and labels where they are not traced."""
    sizes: dict[str, int] = {}
    check("params.cell.b", params.cell.b, "float", "D", sizes)
    d = sizes["D"]
    check("params.embedding", params.embedding, "float", "V E", sizes)
    rank, rest = divmod(sizes["E"] - 2 * d, 2 * d)
    if sizes["E"] != d + d * d and (rest or rank < 1):
        raise AssertionError(
            f"params.embedding must be float [V, {d + d * d}] or [V, {2 * d} + {2 * d} rank], "
            f"got {list(params.embedding.shape)}"
        )
    check("params.cell.w", params.cell.w, "float", f"{2 * d} D", sizes)
    check("params.cell.w_m", params.cell.w_m, "float", f"{2 * d} D", sizes)
    node_classifier.check_model(params, forest, d, labels)


def _word_matrices(rows: jax.Array, d: int) -> jax.Array:
    """Matrices ``[L, D, D]`` of the words' rows, which lack the vectors."""
    identity = jnp.eye(d, dtype=rows.dtype)[None]
    if rows.shape[1] == d * d:
        return identity + rows.reshape(-1, d, d)
    rank = (rows.shape[1] // d - 1) // 2
    u, v, a = jnp.split(rows, [d * rank, 2 * d * rank], axis=1)
    low_rank = u.reshape(-1, d, rank) @ v.reshape(-1, rank, d)
    return identity + low_rank + a[:, :, None] * identity


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
def _states(options: tuple[Any, ...], params: Params, forest: Forest, key) -> jax.Array:
    activation, leaf_activation, leaf_dropout = options
    check_dropout(key, {"leaf_dropout": leaf_dropout})
    d = params.cell.b.shape[0]
    rows = embed(params.embedding, forest.tokens)
    vectors = dropout(key, 0, activate(leaf_activation, rows[:, :d]), leaf_dropout)
    matrices = _word_matrices(rows[:, d:], d).reshape(-1, d * d)
    leaves = jnp.concatenate([vectors, matrices], axis=1)
    return sweep(params.cell, leaves, forest, activation=activation)[:, :d]


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
    """Logits of every slot: ``W^s h + b^s``.

    Args:
        params: as `init` makes them.
        forest: made by `rntn_jax.trees.pack`.
        activation: of internal nodes.
        leaf_activation: of the word vectors, ``tanh`` or ``identity``.
        leaf_dropout: rate at which entries of the word vectors are dropped.
        hidden_dropout: rate at which entries of all states are dropped before the head.
        key: PRNG key, needed for dropout only.

    Returns:
        ``[N, C]``; `rntn_jax.trees.unpack` sorts them by tree. Padding slots hold the bias.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        TypeError: when ``forest`` is not packed.
        ValueError: for an unknown activation, a rate outside [0, 1), a missing key, and for words
            beyond the embedding, where ``forest`` is not traced.
    """
    _check(params, forest)
    options = (activation, leaf_activation, leaf_dropout)
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
    options = (activation, leaf_activation, leaf_dropout)
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
        >>> params = init(jax.random.key(0), Config(len(vocabulary), dim=3))
        >>> value, aux = loss(params, trees.pack([tree], vocabulary))
        >>> int(aux.nodes), int(aux.roots)
        (5, 1)
    """
    _check(params, forest, labels=True)
    options = (activation, leaf_activation, leaf_dropout)
    return node_classifier.loss_of(_states, options, params, forest, key, hidden_dropout)
