"""The window network: embeddings side by side, one hidden layer, softmax (source 002).

With rows, as in the source::

    x = [L_w0, L_w1, .., L_wm-1],   z = x W + b1,   h = f(z),   theta = h U + b2

There may be several vocabularies (words, tags, labels), each with its table and its own positions
in the window. The layer before its activation is `rntn_jax.ops.window_layer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.models.layers import Layer, linear
from rntn_jax.ops import (
    activate,
    check_dropout,
    check_ids,
    dropout,
    side_by_side,
    softmax_cross_entropy,
    window_layer,
)
from rntn_jax.ops.checks import check
from rntn_jax.shapes import shapes_repr

__all__ = ["Aux", "Batch", "Config", "Layer", "Params", "apply", "init", "loss", "window_layer"]


@dataclass(frozen=True)
class Config:
    """Sizes and initial scales; ``vocab_size``, ``window`` and ``embed_dim`` may be tuples.

    Embeddings start uniform ``+-word_range``, weights in Glorot's range, biases at 0.

    Raises:
        ValueError: naming the field and its value.
    """

    vocab_size: int | tuple[int, ...]
    window: int | tuple[int, ...]  # positions, of each vocabulary
    embed_dim: int | tuple[int, ...] = 50
    hidden_dim: int = 200
    num_classes: int = 2
    word_range: float = 0.1

    def __post_init__(self) -> None:
        lists = {}
        for name in ("vocab_size", "window", "embed_dim"):
            value = getattr(self, name)
            lists[name] = value if isinstance(value, tuple) else (value,)
            least = 0 if name == "window" else 1
            if not lists[name] or min(lists[name]) < least:
                raise ValueError(f"{name} must be at least {least}, got {value!r}")
        if len({len(values) for values in lists.values() if len(values) > 1}) > 1:
            raise ValueError(f"vocab_size, window and embed_dim must be equally many, got {lists}")
        for name in ("hidden_dim", "num_classes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if not self.word_range >= 0:
            raise ValueError(f"word_range must not be negative, got {self.word_range!r}")

    def sizes(self) -> list[tuple[int, int, int]]:
        """Vocabulary, positions and width of each table."""
        values = [
            v if isinstance(v, tuple) else (v,)
            for v in (self.vocab_size, self.window, self.embed_dim)
        ]
        count = max(map(len, values))
        return list(zip(*(v * count if len(v) == 1 else v for v in values)))


class Params(NamedTuple):
    """All parameters."""

    embedding: jax.Array | tuple[jax.Array, ...]  # L [V, E], of each vocabulary
    hidden: Layer  # W, b1
    head: Layer  # U, b2

    __repr__ = shapes_repr


class Batch(NamedTuple):
    """Windows and their classes."""

    ids: Any  # int [B, W], of each vocabulary
    labels: Any  # int [B]
    mask: Any = None  # bool [B], or None: all count
    legal: Any = None  # bool [B, C], classes that the softmax runs over; None: all

    __repr__ = shapes_repr


class Aux(NamedTuple):
    """What comes with the loss."""

    logits: jax.Array  # [B, C]
    nats: jax.Array  # [B], 0 where masked

    __repr__ = shapes_repr


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters: layers in Glorot's range, words uniform ``+-word_range``.

    Args:
        key: a PRNG key.
        config: vocabularies and their places in the window, widths.
        dtype: of all of them.

    Returns:
        A table ``[V, E]`` for each vocabulary, and two layers.

    Example:
        >>> config = Config(vocab_size=9, window=5, embed_dim=3, hidden_dim=4, num_classes=2)
        >>> params = init(jax.random.key(0), config)
        >>> params.embedding.shape, params.hidden.w.shape, params.head.w.shape
        ((9, 3), (15, 4), (4, 2))
    """
    sizes = config.sizes()
    keys = jax.random.split(key, len(sizes) + 2)
    r = config.word_range
    tables = tuple(
        jax.random.uniform(k, (v, e), dtype, -r, r) for k, (v, _, e) in zip(keys[2:], sizes)
    )

    width = sum(positions * e for _, positions, e in sizes)
    several = any(
        isinstance(v, tuple) for v in (config.vocab_size, config.window, config.embed_dim)
    )
    return Params(
        tables if several else tables[0],
        linear(keys[0], width, config.hidden_dim, dtype),
        linear(keys[1], config.hidden_dim, config.num_classes, dtype),
    )


def apply(
    params: Params,
    ids: jax.Array | Sequence[jax.Array],
    *,
    activation: str = "relu",
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """Logits of the classes of each window.

    Source: 002, x, z, h and theta.

    Args:
        params: as `init` makes them.
        ids: integer ``[B, W]``; a sequence of such where there are several vocabularies.
        activation: ``relu``, ``cube``, ``tanh``, ``sigmoid`` or ``identity``.
        input_dropout: rate on the vectors; nothing is precomputed then.
        hidden_dropout: rate on the hidden layer.
        key: PRNG key, needed when a rate is not 0.

    Returns:
        ``[B, C]``.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for an unknown activation, windows that do not fit the weights, a rate outside
            [0, 1), a missing key.

    Example:
        >>> config = Config(vocab_size=9, window=5, embed_dim=3, hidden_dim=4, num_classes=2)
        >>> apply(init(jax.random.key(0), config), jnp.ones((7, 5), int)).shape
        (7, 2)
    """
    tables, ids = _checked(params, ids, "ids")
    return _apply(
        params._replace(embedding=tables),
        ids,
        key,
        activation=activation,
        input_dropout=input_dropout,
        hidden_dropout=hidden_dropout,
    )


def _checked(
    params: Params, ids: Any, name: str, mask: Any = None
) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    """Tables and ids as tuples; their shapes, and the ids where they are not traced."""
    tables = params.embedding
    if not isinstance(tables, tuple | list):
        tables, ids = (tables,), (ids,)
    elif isinstance(ids, tuple | list):
        tables, ids = tuple(tables), tuple(ids)
    else:
        raise TypeError(f"{name} must be {len(tables)} arrays, one for each vocabulary")
    sizes: dict[str, int] = {}
    for k, (table, own) in enumerate(zip(tables, ids)):
        of = "" if len(tables) == 1 else f"[{k}]"
        check(f"params.embedding{of}", table, "float", f"V{k} E{k}", sizes)
        check(f"{name}{of}", own, "int", f"B W{k}", sizes)
        check_ids(f"{name}{of}", own, sizes[f"V{k}"], mask)
    return tables, ids


@partial(jax.jit, static_argnames=("activation", "input_dropout", "hidden_dropout"))
def _apply(
    params, ids, key, *, activation: str, input_dropout: float, hidden_dropout: float
) -> jax.Array:
    check_dropout(key, {"input_dropout": input_dropout, "hidden_dropout": hidden_dropout})
    if input_dropout:
        x = dropout(key, 0, side_by_side(params.embedding, ids), input_dropout)
        z = x @ params.hidden.w + params.hidden.b[None]
    else:
        z = window_layer(params.embedding, ids, *params.hidden)
    h = dropout(key, 1, activate(activation, z), hidden_dropout)
    return h @ params.head.w + params.head.b[None]


def loss(
    params: Params,
    batch: Batch,
    *,
    activation: str = "relu",
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> tuple[jax.Array, Aux]:
    """Mean cross-entropy of the windows in nats.

    Gradient, with ``delta_1 = (y_hat - y) / B`` and ``delta_2 = (delta_1 U^T) f'(z)``::

        dU = h^T delta_1,  db2 = sum delta_1,  dW = x^T delta_2,  db1 = sum delta_2,
        dL_v = sum over all positions i that hold v of delta_2 (W_i)^T

    Source: 002, J and all of its gradients.
    Differs from source: repeated words accumulate; sums over a batch (errata 002).

    Args:
        params: as `init` makes them.
        batch: with ``legal``, the softmax runs over the legal classes only.
        activation: as in `apply`.
        input_dropout: as in `apply`.
        hidden_dropout: as in `apply`.
        key: as in `apply`.

    Returns:
        ``(nats, aux)``; 0 when all windows are masked.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: as `apply`, and for labels beyond the classes, where they are not traced.

    Example:
        >>> config = Config(vocab_size=9, window=5, embed_dim=3, num_classes=4, word_range=0.0)
        >>> batch = Batch(jnp.ones((7, 5), int), jnp.zeros(7, int))
        >>> round(float(jnp.exp(loss(init(jax.random.key(0), config), batch)[0])), 3)
        4.0
    """
    classes = params.head.b.shape[0]
    check_ids("batch.labels", batch.labels, classes, batch.mask)
    tables, ids = _checked(params, batch.ids, "batch.ids", batch.mask)
    return _loss(
        params._replace(embedding=tables),
        batch._replace(ids=ids),
        key,
        activation=activation,
        input_dropout=input_dropout,
        hidden_dropout=hidden_dropout,
    )


@partial(jax.jit, static_argnames=("activation", "input_dropout", "hidden_dropout"))
def _loss(params, batch, key, **options) -> tuple[jax.Array, Aux]:
    logits = _apply(params, batch.ids, key, **options)
    sizes = dict(zip("BC", logits.shape))
    check("batch.labels", batch.labels, "int", "B", sizes)
    if batch.mask is not None:
        check("batch.mask", batch.mask, "bool", "B", sizes)
    if batch.legal is not None:
        legal = check("batch.legal", batch.legal, "bool", "B C", sizes)
        logits = jnp.where(legal, logits, -jnp.inf)
    nats = softmax_cross_entropy(logits, batch.labels, batch.mask)
    count = nats.size if batch.mask is None else jnp.maximum(batch.mask.sum(), 1)
    return nats.sum() / jnp.asarray(count, nats.dtype), Aux(logits, nats)
