"""Whole models as layers; options of their calls are those of the functions they name."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rntn_jax.models import rnn_lm
from rntn_jax.models import window as window_model
from rntn_jax.sequences import SequenceBatch

__all__ = ["RNNLM", "WindowClassifier"]


class WindowClassifier(nnx.Module):
    """The window network (source 002), `rntn_jax.window`.

    Args:
        vocab_size: ``V``.
        window: ``W`` places.
        embed_dim: ``E``.
        hidden_dim: ``D``.
        num_classes: ``C``.
        rngs: for the initial weights.
        param_dtype: of the weights.

    Attributes:
        embedding, hidden_kernel, hidden_bias, head_kernel, head_bias: the weights.

    Example:
        >>> model = WindowClassifier(9, window=3, num_classes=2, rngs=nnx.Rngs(0))
        >>> model(jnp.ones((4, 3), int)).shape
        (4, 2)
    """

    def __init__(
        self,
        vocab_size: int,
        window: int,
        embed_dim: int = 50,
        hidden_dim: int = 200,
        num_classes: int = 2,
        *,
        rngs: nnx.Rngs,
        param_dtype: Any = jnp.float32,
    ):
        config = window_model.Config(vocab_size, window, embed_dim, hidden_dim, num_classes)
        made = window_model.init(rngs.params(), config, param_dtype)
        self.embedding = nnx.Param(made.embedding)
        self.hidden_kernel, self.hidden_bias = map(nnx.Param, made.hidden)
        self.head_kernel, self.head_bias = map(nnx.Param, made.head)

    @property
    def params(self) -> window_model.Params:
        """The weights as the functions of `rntn_jax.window` take them."""
        return window_model.Params(
            self.embedding[...],
            window_model.Layer(self.hidden_kernel[...], self.hidden_bias[...]),
            window_model.Layer(self.head_kernel[...], self.head_bias[...]),
        )

    def __call__(
        self,
        ids: jax.Array,
        *,
        activation: str = "relu",
        input_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Logits of windows.

        Args:
            ids: int ``[B, W]``.
            activation: as in `rntn_jax.window.apply`.
            input_dropout: as in `rntn_jax.window.apply`.
            hidden_dropout: as in `rntn_jax.window.apply`.
            key: as in `rntn_jax.window.apply`.

        Returns:
            ``[B, C]``.

        Raises:
            AssertionError, TypeError, ValueError: as `rntn_jax.window.apply`.
        """
        return window_model.apply(
            self.params,
            ids,
            activation=activation,
            input_dropout=input_dropout,
            hidden_dropout=hidden_dropout,
            key=key,
        )

    def loss(
        self,
        batch: window_model.Batch,
        *,
        activation: str = "relu",
        input_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, window_model.Aux]:
        """Mean cross-entropy of the real rows, in nats.

        Args:
            batch: windows with their labels.
            activation: as in `rntn_jax.window.loss`.
            input_dropout: as in `rntn_jax.window.loss`.
            hidden_dropout: as in `rntn_jax.window.loss`.
            key: as in `rntn_jax.window.loss`.

        Returns:
            The loss, a scalar; the logits and nats of the rows.

        Raises:
            AssertionError, TypeError, ValueError: as `rntn_jax.window.loss`.
        """
        return window_model.loss(
            self.params,
            batch,
            activation=activation,
            input_dropout=input_dropout,
            hidden_dropout=hidden_dropout,
            key=key,
        )


class RNNLM(nnx.Module):
    """A recurrent language model of one layer (sources 001 and 003), `rntn_jax.rnn_lm`.

    Args:
        vocab_size: ``V``.
        embed_dim: ``E``.
        hidden_dim: ``D``.
        rngs: for the initial weights.
        tied: the head's weights are the embedding's.
        param_dtype: of the weights.

    Attributes:
        embedding, kernel, recurrent_kernel, bias, head_kernel, head_bias: the weights.

    Example:
        >>> model = RNNLM(9, embed_dim=3, hidden_dim=4, rngs=nnx.Rngs(0))
        >>> tokens = jnp.ones((2, 5), int)
        >>> loss, aux = model.loss(SequenceBatch(tokens, tokens, tokens > 0))
        >>> aux.carry[0].shape
        (2, 4)
    """

    def __init__(
        self,
        vocab_size: int,
        embed_dim: int = 200,
        hidden_dim: int = 200,
        *,
        rngs: nnx.Rngs,
        tied: bool = False,
        param_dtype: Any = jnp.float32,
    ):
        config = rnn_lm.Config(vocab_size, embed_dim, hidden_dim, tied=tied)
        made = rnn_lm.init(rngs.params(), config, param_dtype)
        assert isinstance(made.cell, rnn_lm.Cell)
        self.embedding = nnx.Param(made.embedding)
        self.recurrent_kernel, self.kernel, self.bias = map(nnx.Param, made.cell)
        self.head_kernel = nnx.data(None) if tied else nnx.Param(made.head.w)
        self.head_bias = nnx.Param(made.head.b)

    @property
    def params(self) -> rnn_lm.Params:
        """The weights as the functions of `rntn_jax.rnn_lm` take them."""
        cell = rnn_lm.Cell(self.recurrent_kernel[...], self.kernel[...], self.bias[...])
        kernel = None if self.head_kernel is None else self.head_kernel[...]
        return rnn_lm.Params(self.embedding[...], cell, rnn_lm.Head(kernel, self.head_bias[...]))

    def __call__(
        self,
        batch: SequenceBatch,
        carry: tuple[jax.Array, ...] | None = None,
        *,
        activation: str = "tanh",
        input_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        output_dropout: float = 0.0,
        key: jax.Array | None = None,
        remat_every: int | None = None,
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """Logits of the next tokens.

        Args:
            batch: tokens ``[B, T]`` and their mask.
            carry: states before them; None: zeros.
            activation: as in `rntn_jax.rnn_lm.apply`.
            input_dropout: as in `rntn_jax.rnn_lm.apply`.
            hidden_dropout: as in `rntn_jax.rnn_lm.apply`.
            recurrent_dropout: as in `rntn_jax.rnn_lm.apply`.
            output_dropout: as in `rntn_jax.rnn_lm.apply`.
            key: as in `rntn_jax.rnn_lm.apply`.
            remat_every: as in `rntn_jax.rnn_lm.apply`.

        Returns:
            Logits ``[B, T, V]``, and the states after the batch.

        Raises:
            AssertionError, TypeError, ValueError: as `rntn_jax.rnn_lm.apply`.
        """
        return rnn_lm.apply(
            self.params,
            batch,
            carry,
            activation=activation,
            input_dropout=input_dropout,
            hidden_dropout=hidden_dropout,
            recurrent_dropout=recurrent_dropout,
            output_dropout=output_dropout,
            key=key,
            remat_every=remat_every,
        )

    def loss(
        self,
        batch: SequenceBatch,
        carry: tuple[jax.Array, ...] | None = None,
        *,
        chunk: int | None = 160,
        activation: str = "tanh",
        input_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        output_dropout: float = 0.0,
        key: jax.Array | None = None,
        remat_every: int | None = None,
    ) -> tuple[jax.Array, rnn_lm.Aux]:
        """Mean cross-entropy of the real tokens, in nats.

        Args:
            batch: tokens and targets ``[B, T]``, and their mask.
            carry: states before them; None: zeros.
            chunk: as in `rntn_jax.rnn_lm.loss`.
            activation: as in `rntn_jax.rnn_lm.loss`.
            input_dropout: as in `rntn_jax.rnn_lm.loss`.
            hidden_dropout: as in `rntn_jax.rnn_lm.loss`.
            recurrent_dropout: as in `rntn_jax.rnn_lm.loss`.
            output_dropout: as in `rntn_jax.rnn_lm.loss`.
            key: as in `rntn_jax.rnn_lm.loss`.
            remat_every: as in `rntn_jax.rnn_lm.loss`.

        Returns:
            The loss, a scalar; the states after the batch and counts.

        Raises:
            AssertionError, TypeError, ValueError: as `rntn_jax.rnn_lm.loss`.
        """
        return rnn_lm.loss(
            self.params,
            batch,
            carry,
            chunk=chunk,
            activation=activation,
            input_dropout=input_dropout,
            hidden_dropout=hidden_dropout,
            recurrent_dropout=recurrent_dropout,
            output_dropout=output_dropout,
            key=key,
            remat_every=remat_every,
        )
