"""The window network: embeddings side by side, one hidden layer, softmax (source 002).

With rows, as in the source::

    x = [L_w0, L_w1, .., L_wm-1],   z = x W + b1,   h = f(z),   theta = h U + b2

There may be several vocabularies (words, tags, labels), each with its table and its own places in
the window; their vectors stand one after the other in ``x``. Small vocabularies are folded: the
products of all their vectors with the rows of ``W`` of a place are formed once, and then looked up,
which is less work than to multiply what stands there in every window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops import (
    accumulator,
    activate,
    cast_like,
    dropout,
    embed,
    softmax_cross_entropy,
)

__all__ = ["Aux", "Batch", "Config", "Layer", "Params", "apply", "init", "loss", "window_layer"]

FOLDED = 4096  # places times words, up to which a vocabulary is folded


@dataclass(frozen=True)
class Config:
    """Sizes and initial scales; ``vocab_size``, ``window`` and ``embed_dim`` may be tuples.

    Embeddings start uniform ``+-word_range``, weights in Glorot's range, biases at 0.

    Raises:
        ValueError: naming the field and its value.
    """

    vocab_size: int | tuple[int, ...]
    window: int | tuple[int, ...]  # places, of each vocabulary
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
        """Vocabulary, places and width of each table."""
        values = [
            v if isinstance(v, tuple) else (v,)
            for v in (self.vocab_size, self.window, self.embed_dim)
        ]
        count = max(map(len, values))
        return list(zip(*(v * count if len(v) == 1 else v for v in values)))


class Layer(NamedTuple):
    """A linear layer."""

    w: jax.Array  # [in, out]
    b: jax.Array  # [out]


class Params(NamedTuple):
    """All parameters."""

    embedding: jax.Array | tuple[jax.Array, ...]  # L [V, E], of each vocabulary
    hidden: Layer  # W, b1
    head: Layer  # U, b2


class Batch(NamedTuple):
    """Windows and their classes."""

    ids: Any  # int [B, W], of each vocabulary
    labels: Any  # int [B]
    mask: Any = None  # bool [B], or None: all count
    legal: Any = None  # bool [B, C], classes that the softmax runs over; None: all


class Aux(NamedTuple):
    """What comes with the loss."""

    logits: jax.Array  # [B, C]
    nats: jax.Array  # [B], 0 where masked


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters.

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

    def linear(key, inputs, outputs):
        r = (6 / max(inputs + outputs, 1)) ** 0.5
        w = jax.random.uniform(key, (inputs, outputs), dtype, -r, r)
        return Layer(w, jnp.zeros(outputs, dtype))

    width = sum(places * e for _, places, e in sizes)
    several = any(
        isinstance(v, tuple) for v in (config.vocab_size, config.window, config.embed_dim)
    )
    return Params(
        tables if several else tables[0],
        linear(keys[0], width, config.hidden_dim),
        linear(keys[1], config.hidden_dim, config.num_classes),
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
        input_dropout: rate on the vectors; nothing is folded then.
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
    tables, ids = _as_tuples(params.embedding, ids)
    if input_dropout:
        x = _side_by_side(tables, ids)
        x = dropout(key, 0, x, input_dropout, "input_dropout")
        z = x @ params.hidden.w + params.hidden.b[None]
    else:
        z = window_layer(tables, ids, *params.hidden)
    h = z**3 if activation == "cube" else activate(activation, z)  # the cube of Chen and Manning
    h = dropout(key, 1, h, hidden_dropout, "hidden_dropout")
    return h @ params.head.w + params.head.b[None]


def loss(params: Params, batch: Batch, **options) -> tuple[jax.Array, Aux]:
    """Mean cross-entropy of the windows in nats; options as in `apply`.

    Gradient, with ``delta_1 = (y_hat - y) / B`` and ``delta_2 = (delta_1 U^T) f'(z)``::

        dU = h^T delta_1,  db2 = sum delta_1,  dW = x^T delta_2,  db1 = sum delta_2,
        dL_v = sum over all places i that hold v of delta_2 (W_i)^T

    Source: 002, J and all of its gradients.
    Differs from source: repeated words accumulate; sums over a batch (errata 002).

    Args:
        params: as `init` makes them.
        batch: with ``legal``, the softmax runs over the legal classes only.
        **options: as in `apply`.

    Returns:
        ``(nats, aux)``; 0 when all windows are masked.

    Example:
        >>> config = Config(vocab_size=9, window=5, embed_dim=3, num_classes=4, word_range=0.0)
        >>> batch = Batch(jnp.ones((7, 5), int), jnp.zeros(7, int))
        >>> round(float(jnp.exp(loss(init(jax.random.key(0), config), batch)[0])), 3)
        4.0
    """
    logits = apply(params, batch.ids, **options)
    if batch.legal is not None:
        chex.assert_equal_shape([batch.legal, logits])
        logits = jnp.where(batch.legal, logits, -jnp.inf)
    nats = softmax_cross_entropy(logits, batch.labels, batch.mask)
    count = nats.size if batch.mask is None else jnp.maximum(jnp.asarray(batch.mask).sum(), 1)
    return nats.sum() / jnp.asarray(count, nats.dtype), Aux(logits, nats)


# --- the hidden layer before its activation ---


def window_layer(
    tables: Sequence[jax.Array], ids: Sequence[jax.Array], w: jax.Array, b: jax.Array
) -> jax.Array:
    """``z = x W + b1``, ``x`` being the vectors of a window side by side.

    Gradient: with ``delta`` the cotangent of ``z``, ``dW = x^T delta``, ``db1 = sum delta``, and
    ``dL_v = sum over places that hold v of delta (W_i)^T``. Of a folded vocabulary with products
    ``P_i = L W_i``, ``dP_iv`` is the sum of ``delta`` over the windows with v at place i, from
    which ``dL = sum_i dP_i W_i^T`` and ``dW_i = L^T dP_i``.

    Source: 002, z and the split of W by rows.

    Args:
        tables: ``[V, E]`` of each vocabulary.
        ids: integer ``[B, W]`` of each vocabulary, in ``0 .. V-1``.
        w: ``[sum of W E, H]``.
        b: ``[H]``.

    Returns:
        ``[B, H]``. Cost O(B H) times the width of what is not folded plus the places times words
        of what is; residuals: the arguments.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when the windows do not fit ``w``.

    Example:
        >>> window_layer([jnp.eye(2)], [jnp.array([[1, 0]])], jnp.eye(4), jnp.zeros(4)).tolist()
        [[0.0, 1.0, 1.0, 0.0]]
    """
    tables, ids = _as_tuples(tuple(tables), tuple(ids))
    w, b = jnp.asarray(w), jnp.asarray(b)
    chex.assert_rank([w, b], [2, 1])
    width = sum(i.shape[1] * t.shape[1] for t, i in zip(tables, ids))
    if w.shape != (width, b.shape[0]):
        raise ValueError(
            f"windows of {[i.shape[1] for i in ids]} vectors of width "
            f"{[t.shape[1] for t in tables]} need weights ({width}, {b.shape[0]}), got {w.shape}"
        )
    return _window_layer(tables, ids, w, b)


def _as_tuples(tables: Any, ids: Any) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    several = isinstance(tables, (tuple, list))
    tables = tuple(map(jnp.asarray, tables)) if several else (jnp.asarray(tables),)
    ids = tuple(map(jnp.asarray, ids)) if several else (jnp.asarray(ids),)
    if len(tables) != len(ids):
        raise ValueError(f"{len(tables)} vocabularies, but ids of {len(ids)}")
    chex.assert_rank([*tables, *ids], 2)
    chex.assert_type(list(ids), int)
    chex.assert_equal_shape_prefix(list(ids), 1)
    return tables, ids


def _side_by_side(tables, ids):
    """``x [B, sum of W E]``."""
    return jnp.concatenate([embed(t, i).reshape(len(i), -1) for t, i in zip(tables, ids)], axis=1)


def _vectors(table, ids):
    """``[B, W E]`` of one vocabulary; XLA is quicker at a gather for each place than at one."""
    if ids.shape[1] > 64:  # but would compile for long
        return table[ids].reshape(len(ids), -1)
    return jnp.concatenate([table[own] for own in ids.T], axis=1)


def _blocks(tables, ids, w):
    """Rows ``[W, E, H]`` of the weights that belong to each vocabulary."""
    blocks, start = [], 0
    for t, i in zip(tables, ids):
        places, width = i.shape[1], t.shape[1]
        blocks.append(w[start : start + places * width].reshape(places, width, w.shape[1]))
        start += places * width
    return blocks


def _folds(table, ids) -> bool:
    return 0 < ids.shape[1] * table.shape[0] <= FOLDED


def _window_layer_reference(tables, ids, w, b):
    return _side_by_side(tables, ids) @ w + b[None]


def _window_layer_folded(tables, ids, w, b):
    dtype = accumulator(w, b, *tables)
    sum_in = partial(jnp.matmul, preferred_element_type=dtype)
    z = jnp.broadcast_to(b.astype(dtype), (len(ids[0]), w.shape[1]))
    for t, i, block in zip(tables, ids, _blocks(tables, ids, w)):
        if _folds(t, i):

            def look_up(z, place, t=t):
                own, of_place = place
                return z + sum_in(t, of_place)[own], None

            # One place after the other: XLA would store what is looked up in all of them.
            z, _ = lax.scan(look_up, z, (i.T, block))
        elif i.shape[1]:
            z = z + sum_in(_vectors(t, i), block.reshape(-1, w.shape[1]))
    return z.astype(jnp.result_type(w, b, *tables))


_window_layer = jax.custom_vjp(_window_layer_folded)


class _WindowLayerResiduals(NamedTuple):
    tables: tuple[jax.Array, ...]
    ids: tuple[jax.Array, ...]
    w: jax.Array
    b: jax.Array  # for its dtype only


def _window_layer_fwd(tables, ids, w, b):
    return _window_layer_folded(tables, ids, w, b), _WindowLayerResiduals(tables, ids, w, b)


def _window_layer_bwd(res: _WindowLayerResiduals, delta):
    tables, ids, w, b = res
    dtype = accumulator(delta)
    sum_in = partial(jnp.einsum, preferred_element_type=dtype)
    d_tables, d_w = [], [jnp.zeros((0, w.shape[1]), dtype)]
    for t, i, block in zip(tables, ids, _blocks(tables, ids, w)):
        d_t = jnp.zeros(t.shape, dtype)
        if _folds(t, i):

            def add_up(d_t, place, t=t):
                own, of_place = place
                d_products = jnp.zeros((len(t), w.shape[1]), dtype).at[own].add(delta)
                d_t = d_t + sum_in("vh,eh->ve", d_products, of_place)
                return d_t, sum_in("ve,vh->eh", t, d_products)

            d_t, d_block = lax.scan(add_up, d_t, (i.T, block))
            d_w.append(d_block.reshape(-1, w.shape[1]))
        elif i.shape[1]:
            d_t = d_t.at[i].add(sum_in("bh,peh->bpe", delta, block))
            d_w.append(sum_in("bx,bh->xh", _vectors(t, i), delta))
        d_tables.append(d_t)
    grads = tuple(d_tables), jnp.concatenate(d_w), delta.sum(0, dtype=dtype)
    d_tables, d_w, d_b = cast_like(grads, (tables, w, b))
    return d_tables, None, d_w, d_b


_window_layer.defvjp(_window_layer_fwd, _window_layer_bwd)
