"""Recursive networks over trees as layers; options of their calls are those of the functions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rntn_jax.models import rntn, tree_lstm
from rntn_jax.models.layers import Layer
from rntn_jax.trees import Forest, NaryForest

__all__ = ["RNTN", "TreeLSTM"]


class RNTN(nnx.Module):
    """The recursive neural tensor network over trees (source 000), `rntn_jax.rntn`.

    Args:
        vocab_size: ``V``.
        dim: ``D``, the width of a state.
        num_classes: ``C``.
        rngs: for the initial weights.
        tensor: False makes it the plain recursive net.
        param_dtype: of the weights.

    Attributes:
        embedding, v, w, b, head_kernel, head_bias: the weights, as in `rntn_jax.rntn.Params`.

    Example:
        >>> from rntn_jax import data, trees
        >>> tree = data.parse_tree("(3 (2 not) (4 (2 very) (0 bad)))")
        >>> vocabulary = data.Vocabulary.build(tree.tokens)
        >>> model = RNTN(len(vocabulary), dim=3, num_classes=5, rngs=nnx.Rngs(0))
        >>> loss, aux = model.loss(trees.pack([tree], vocabulary))
        >>> int(aux.nodes)
        5
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int = 25,
        num_classes: int = 5,
        *,
        rngs: nnx.Rngs,
        tensor: bool = True,
        param_dtype: Any = jnp.float32,
    ):
        config = rntn.Config(vocab_size, dim, num_classes, tensor=tensor)
        made = rntn.init(rngs.params(), config, param_dtype)
        self.embedding = nnx.Param(made.embedding)
        self.v = nnx.data(None) if made.cell.v is None else nnx.Param(made.cell.v)
        self.w, self.b = nnx.Param(made.cell.w), nnx.Param(made.cell.b)
        self.head_kernel, self.head_bias = nnx.Param(made.head.w), nnx.Param(made.head.b)

    @property
    def params(self) -> rntn.Params:
        """The weights as the functions of `rntn_jax.rntn` take them."""
        v = None if self.v is None else self.v[...]
        cell = rntn.Cell(v, self.w[...], self.b[...])
        return rntn.Params(
            self.embedding[...], cell, rntn.Head(self.head_kernel[...], self.head_bias[...])
        )

    def __call__(
        self,
        forest: Forest,
        *,
        activation: str = "tanh",
        leaf_activation: str = "tanh",
        leaf_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Logits of every slot.

        Args:
            forest: packed trees, of `rntn_jax.trees.pack`.
            activation: as in `rntn_jax.rntn.apply`.
            leaf_activation: as in `rntn_jax.rntn.apply`.
            leaf_dropout: as in `rntn_jax.rntn.apply`.
            hidden_dropout: as in `rntn_jax.rntn.apply`.
            key: as in `rntn_jax.rntn.apply`.

        Returns:
            ``[N, C]``.

        Raises:
            AssertionError, TypeError, ValueError: as `rntn_jax.rntn.apply`.
        """
        return rntn.apply(
            self.params,
            forest,
            activation=activation,
            leaf_activation=leaf_activation,
            leaf_dropout=leaf_dropout,
            hidden_dropout=hidden_dropout,
            key=key,
        )

    def loss(
        self,
        forest: Forest,
        *,
        activation: str = "tanh",
        leaf_activation: str = "tanh",
        leaf_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, rntn.Aux]:
        """Cross-entropy of the labelled nodes: nats a tree.

        Args:
            forest: packed trees, of `rntn_jax.trees.pack`.
            activation: as in `rntn_jax.rntn.loss`.
            leaf_activation: as in `rntn_jax.rntn.loss`.
            leaf_dropout: as in `rntn_jax.rntn.loss`.
            hidden_dropout: as in `rntn_jax.rntn.loss`.
            key: as in `rntn_jax.rntn.loss`.

        Returns:
            The loss, a scalar, and counts.

        Raises:
            AssertionError, TypeError, ValueError: as `rntn_jax.rntn.loss`.
        """
        return rntn.loss(
            self.params,
            forest,
            activation=activation,
            leaf_activation=leaf_activation,
            leaf_dropout=leaf_dropout,
            hidden_dropout=hidden_dropout,
            key=key,
        )


class TreeLSTM(nnx.Module):
    """The Tree-LSTM over trees, `rntn_jax.tree_lstm`.

    Args:
        vocab_size: ``V``.
        embed_dim: ``E``, the width of a word vector.
        hidden_dim: ``D``, the width of ``h`` and of ``c``.
        num_classes: ``C``.
        kind: ``binary``, ``child_sum`` or ``dependency``.
        rngs: for the initial weights.
        param_dtype: of the weights.

    Attributes:
        embedding, leaf_kernel, leaf_bias, u, b, head_kernel, head_bias: the weights, as in
            `rntn_jax.tree_lstm.Params`.

    Example:
        >>> from rntn_jax import data, trees
        >>> tree = data.parse_tree("(3 (2 not) (4 (2 very) (0 bad)))")
        >>> vocabulary = data.Vocabulary.build(tree.tokens)
        >>> model = TreeLSTM(len(vocabulary), embed_dim=4, hidden_dim=3, rngs=nnx.Rngs(0))
        >>> loss, aux = model.loss(trees.pack([tree], vocabulary))
        >>> int(aux.nodes)
        5
    """

    def __init__(
        self,
        vocab_size: int,
        embed_dim: int = 50,
        hidden_dim: int = 50,
        num_classes: int = 5,
        *,
        kind: str = "binary",
        rngs: nnx.Rngs,
        param_dtype: Any = jnp.float32,
    ):
        config = tree_lstm.Config(vocab_size, embed_dim, hidden_dim, num_classes, kind)
        made = tree_lstm.init(rngs.params(), config, param_dtype)
        self.embedding = nnx.Param(made.embedding)
        self.leaf_kernel, self.leaf_bias = nnx.Param(made.leaf.w), nnx.Param(made.leaf.b)
        self.u, self.b = nnx.Param(made.cell.u), nnx.Param(made.cell.b)
        self.head_kernel, self.head_bias = nnx.Param(made.head.w), nnx.Param(made.head.b)

    @property
    def params(self) -> tree_lstm.Params:
        """The weights as the functions of `rntn_jax.tree_lstm` take them."""
        return tree_lstm.Params(
            self.embedding[...],
            Layer(self.leaf_kernel[...], self.leaf_bias[...]),
            tree_lstm.Cell(self.u[...], self.b[...]),
            tree_lstm.Head(self.head_kernel[...], self.head_bias[...]),
        )

    def __call__(
        self,
        forest: Forest | NaryForest,
        *,
        leaf_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Logits of every slot.

        Args:
            forest: packed trees, of `rntn_jax.trees.pack`; ``dependency``: of ``pack_nary``.
            leaf_dropout: as in `rntn_jax.tree_lstm.apply`.
            hidden_dropout: as in `rntn_jax.tree_lstm.apply`.
            key: as in `rntn_jax.tree_lstm.apply`.

        Returns:
            ``[N, C]``.

        Raises:
            AssertionError, TypeError, ValueError: as `rntn_jax.tree_lstm.apply`.
        """
        rates = {"leaf_dropout": leaf_dropout, "hidden_dropout": hidden_dropout}
        return tree_lstm.apply(self.params, forest, **rates, key=key)

    def loss(
        self,
        forest: Forest | NaryForest,
        *,
        leaf_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, tree_lstm.Aux]:
        """Cross-entropy of the labelled nodes: nats a tree.

        Args:
            forest: packed trees, of `rntn_jax.trees.pack`; ``dependency``: of ``pack_nary``.
            leaf_dropout: as in `rntn_jax.tree_lstm.loss`.
            hidden_dropout: as in `rntn_jax.tree_lstm.loss`.
            key: as in `rntn_jax.tree_lstm.loss`.

        Returns:
            The loss, a scalar, and counts.

        Raises:
            AssertionError, TypeError, ValueError: as `rntn_jax.tree_lstm.loss`.
        """
        rates = {"leaf_dropout": leaf_dropout, "hidden_dropout": hidden_dropout}
        return tree_lstm.loss(self.params, forest, **rates, key=key)
