"""The transition parser of Chen and Manning (2014) on the window network (source 002).

The transition system is `rntn_jax.models.arc_standard`. The network reads 18 positions around the
top of the stack and chooses among the legal actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rntn_jax.models import window
from rntn_jax.models.arc_standard import (
    LABELLED,
    POSITIONS,
    Sentences,
    State,
    apply_action,
    check_sentences,
    extract_features,
    initial_state,
    legal_actions,
    oracle_transitions,
    static_oracle,
)
from rntn_jax.models.window import Batch, Params, apply, loss
from rntn_jax.ops import activate, check_ids
from rntn_jax.ops.embedding import is_concrete
from rntn_jax.ops.varying import vary_like

__all__ = [
    "LABELLED",
    "POSITIONS",
    "Batch",
    "Config",
    "Params",
    "Sentences",
    "State",
    "apply",
    "apply_action",
    "decode",
    "extract_features",
    "init",
    "initial_state",
    "legal_actions",
    "loss",
    "oracle_transitions",
    "precompute",
    "static_oracle",
]


@dataclass(frozen=True)
class Config:
    """Sizes. The vocabularies are those of words and other columns, then that of relations.

    Raises:
        ValueError: naming the field and its value.
    """

    vocab_sizes: tuple[int, ...]  # of the columns: words, tags, ...
    num_relations: int
    embed_dims: int | tuple[int, ...] = 50  # of the columns and of the relations
    hidden_dim: int = 200
    word_range: float = 0.1

    def __post_init__(self) -> None:
        if self.num_relations < 1:
            raise ValueError(f"num_relations must be at least 1, got {self.num_relations}")
        self.network()

    def network(self) -> window.Config:
        """The window network's sizes."""
        return window.Config(
            vocab_size=(*self.vocab_sizes, self.num_relations + 1),
            window=(*(POSITIONS for _ in self.vocab_sizes), LABELLED),
            embed_dim=self.embed_dims,
            hidden_dim=self.hidden_dim,
            num_classes=2 * self.num_relations + 1,
            word_range=self.word_range,
        )


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters, of the window network.

    Args:
        key: a PRNG key.
        config: sizes.
        dtype: of all parameters.

    Returns:
        The parameters of the window network, `rntn_jax.models.window.Params`.

    Example:
        >>> params = init(jax.random.key(0), Config(vocab_sizes=(9, 4), num_relations=3))
        >>> params.hidden.w.shape, params.head.w.shape
        ((2400, 200), (200, 7))
    """
    return window.init(key, config.network(), dtype)


def precompute(
    params: Params, positions: Sequence[Sequence[int]] | None = None
) -> tuple[jax.Array, ...]:
    """Of each vocabulary, the products ``[W V, H]`` of every vector with every position's weights.

    With these a hidden layer is a sum of gathered rows (Chen and Manning's precomputation, of all
    inputs). Memory: 4 bytes times positions times words times hidden units.

    Args:
        params: as `init` makes them.
        positions: as in `decode`.

    Returns:
        One array ``[W V, H]`` for each vocabulary.
    """
    tables = params.embedding
    assert isinstance(tables, tuple)
    counts = [POSITIONS] * (len(tables) - 1) + [LABELLED]
    if positions is not None:
        counts = list(map(len, positions))
    products, first = [], 0
    for table, count in zip(tables, counts):
        (words, width), hidden = table.shape, params.hidden.w.shape[1]
        block = params.hidden.w[first : first + count * width].reshape(count, width, hidden)
        products.append(jnp.einsum("ve,peh->pvh", table, block).reshape(count * words, hidden))
        first += count * width
    return tuple(products)


def _hidden(
    params: Params, products: tuple[jax.Array, ...], ids: tuple[jax.Array, ...]
) -> jax.Array:
    """``z [B, H]`` from the products."""
    z = params.hidden.b[None]
    for table, own in zip(products, ids):
        words = table.shape[0] // own.shape[1]
        for k in range(own.shape[1]):  # one gather each: XLA adds them up unstored
            z = z + table[k * words + own[:, k]]
    return z


def decode(
    params: Params,
    sentences: Sentences,
    root: int,
    *,
    products: tuple[jax.Array, ...] | None = None,
    positions: Sequence[Sequence[int]] | None = None,
    activation: str = "relu",
) -> tuple[jax.Array, jax.Array]:
    """Parses greedily: at each step the best of the legal ones.

    Args:
        params: as `init` makes them.
        sentences: padded to ``T`` words.
        root: the relation of the root's child.
        products: of `precompute`; None: multiplied as in training.
        positions: of each vocabulary, those of `extract_features` that the network sees; None:
            all.
        activation: as in training.

    Returns:
        ``(heads, relations)``, int ``[B, T + 2]``: of the words ``1 .. n``; -1 elsewhere. Always
        trees with one child of the root. Cost O(2 T) steps of the network.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for an unknown activation, and for words outside of their table, where they are
            not traced.

    Example:
        >>> params = init(jax.random.key(0), Config(vocab_sizes=(9,), num_relations=3))
        >>> sentences = Sentences((jnp.array([[1, 5, 6, 7, 0]]),), jnp.array([3]))
        >>> heads, relations = decode(params, sentences, root=2)
        >>> int((heads[0, 1:4] == 0).sum()), int((relations[0, 1:4] == 2).sum())
        (1, 1)
    """
    sizes = check_sentences(sentences)
    tables = params.embedding if isinstance(params.embedding, tuple) else (params.embedding,)
    if is_concrete(sentences.length):
        # The root, the words, and what stands for nothing are read.
        position = np.arange(sizes["P"])[None]
        seen = (position <= np.asarray(sentences.length)[:, None]) | (position == sizes["P"] - 1)
        for k, (table, ids) in enumerate(zip(tables, sentences.ids)):
            check_ids(f"sentences.ids[{k}]", ids, table.shape[0], seen)
    positions = None if positions is None else tuple(tuple(map(int, own)) for own in positions)
    return _decode(params, sentences, root, products, positions, activation)


@partial(jax.jit, static_argnames=("positions", "activation"))
def _decode(
    params: Params,
    sentences: Sentences,
    root: jax.Array,
    products: tuple[jax.Array, ...] | None,
    positions: tuple[tuple[int, ...], ...] | None,
    activation: str,
) -> tuple[jax.Array, jax.Array]:
    num_relations = (params.head.b.shape[0] - 1) // 2

    def running(state):
        return ((state.size > 1) | (state.front <= sentences.length)).any()

    def step(state):
        ids = extract_features(state, sentences)
        if positions is not None:
            ids = tuple(own[:, np.array(seen)] for own, seen in zip(ids, positions))
        if products is None:
            logits = apply(params, ids, activation=activation)
        else:
            z = _hidden(params, products, ids)
            logits = activate(activation, z) @ params.head.w + params.head.b[None]
        allowed = legal_actions(state, sentences.length, num_relations, root)
        best = jnp.argmax(jnp.where(allowed, logits, -jnp.inf), axis=1)
        return apply_action(state, jnp.where(allowed.any(axis=1), best, -1), num_relations)

    start = vary_like(initial_state(sentences), params, sentences, root, products)
    state = lax.while_loop(running, step, start)
    return state.heads, state.relations
