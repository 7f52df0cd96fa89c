"""Models and minibatches in pieces, as several devices or processes share them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rntn_jax import trees
from rntn_jax.data import Vocabulary
from rntn_jax.models import (
    arc_standard,
    context_parser,
    encoder,
    graph_parser,
    mv_rnn,
    parser,
    rnn_lm,
    rntn,
    span_parser,
    tagger,
    tree_lstm,
    vec_avg,
    window,
)
from rntn_jax.sequences import SequenceBatch
from rntn_jax.training import devices
from tests.helpers import random_tree

B, T, V, C, STEPS, PIECES = 2, 4, 7, 3, 20, 4
VOCABULARY = Vocabulary.build([f"w{i}" for i in range(V - 2)])
SHAPE = trees.Shape(leaves=12, steps=9, lanes=2, trees=2)
KEY = jax.random.key(0)


def concatenated(pieces: Sequence[Any]) -> Any:
    """Rows of several batches as one batch."""
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *pieces)


class Case(NamedTuple):
    """A model, and how its minibatches are made, put together, and counted."""

    loss: Callable[..., Any]
    init: Callable[[], Any]
    piece: Callable[[np.random.Generator], Any]
    count: Callable[[Any, Any], Any]
    join: Callable[[Sequence[Any]], Any] = concatenated


def mask_of(rng) -> np.ndarray:
    return np.arange(T)[None] < rng.integers(0, T + 1, (B, 1))


def text(rng) -> SequenceBatch:
    return SequenceBatch(*rng.integers(1, V, (2, B, T)), mask_of(rng))


def tagged(rng) -> tagger.Batch:
    return tagger.Batch(rng.integers(1, V, (B, T, 1)), rng.integers(0, C, (B, T)), mask_of(rng))


def windows(rng) -> window.Batch:
    return window.Batch(rng.integers(1, V, (B, 3)), rng.integers(0, C, B), rng.random(B) < 0.7)


def forest(rng) -> list[Any]:
    return [random_tree(rng, int(rng.integers(1, 7)), num_words=V - 2) for _ in range(B)]


def packed(pieces: Sequence[Any]) -> trees.Forest:
    one = SHAPE._replace(
        leaves=SHAPE.leaves * len(pieces), steps=9 * len(pieces), trees=B * len(pieces)
    )
    return trees.pack([tree for own in pieces for tree in own], VOCABULARY, shape=one)


def actions(rng) -> parser.Batch:
    ids = rng.integers(1, V, (B, 18)), rng.integers(0, C + 1, (B, 12))
    return parser.Batch(ids, rng.integers(0, 2 * C + 1, B))


def in_context(rng) -> context_parser.Batch:
    shape, length = (2 * T, B), rng.integers(1, T + 1, B)
    steps = rng.integers(0, 2 * C + 1, shape)
    steps[np.arange(2 * T)[:, None] >= 2 * length[None]] = -1
    sentences = arc_standard.Sentences((rng.integers(1, V, (B, T + 2)),), length)
    ids = rng.integers(0, T + 2, (*shape, 18)), rng.integers(0, C + 1, (*shape, 12))
    return context_parser.Batch(sentences, *ids, steps)


def joined_states(pieces: Sequence[context_parser.Batch]) -> context_parser.Batch:
    """Sentences along the first axis, steps along the second."""
    rest = (np.concatenate(parts, axis=1) for parts in zip(*(piece[1:] for piece in pieces)))
    return context_parser.Batch(concatenated([piece.sentences for piece in pieces]), *rest)


def brackets(rng) -> span_parser.Batch:
    length = rng.integers(1, T + 1, B)
    spans = np.zeros((B, T - 1, 2), np.int64)
    for row, words in enumerate(length):  # every node joins what is before with one word more
        spans[row, : words - 1, 1] = np.arange(2, words + 1)
    return span_parser.Batch(rng.integers(1, V, (B, T, 1)), length, spans)


def dependencies(rng) -> graph_parser.Batch:
    """Each word hangs on the one before it, the first on the root."""
    heads = np.broadcast_to(np.arange(T), (B, T))
    ids, relations = rng.integers(1, V, (B, T, 1)), rng.integers(0, C, (B, T))
    return graph_parser.Batch(ids, rng.integers(0, T + 1, B), heads, relations)


def of_trees(batch: Any, aux: Any) -> Any:
    return batch.num_trees


READER = encoder.Config((V,), (2,), rnn_dim=2)
CASES = {
    "rnn_lm": Case(
        lambda params, batch: rnn_lm.loss(params, batch, chunk=3),
        lambda: rnn_lm.init(KEY, rnn_lm.Config(V, embed_dim=2, hidden_dim=3)),
        text,
        lambda batch, aux: aux.tokens,
    ),
    "rntn": Case(
        rntn.loss,
        lambda: rntn.init(KEY, rntn.Config(V, dim=2, num_classes=5)),
        forest,
        of_trees,
        packed,
    ),
    "tree_lstm": Case(
        tree_lstm.loss,
        lambda: tree_lstm.init(KEY, tree_lstm.Config(V, embed_dim=2, hidden_dim=2, num_classes=5)),
        forest,
        of_trees,
        packed,
    ),
    "mv_rnn": Case(
        mv_rnn.loss,
        lambda: mv_rnn.init(KEY, mv_rnn.Config(V, dim=2, num_classes=5)),
        forest,
        of_trees,
        packed,
    ),
    "vec_avg": Case(
        vec_avg.loss,
        lambda: vec_avg.init(KEY, vec_avg.Config(V, dim=2, num_classes=5)),
        forest,
        of_trees,
        packed,
    ),
    "window": Case(
        window.loss,
        lambda: window.init(
            KEY, window.Config(V, window=3, embed_dim=2, hidden_dim=3, num_classes=C)
        ),
        windows,
        lambda batch, aux: batch.mask.sum(),
    ),
    "tagger": Case(
        tagger.loss,
        lambda: tagger.init(
            KEY, tagger.Config((V,), (2,), C, windows=(3,), rnn_layers=1, hidden_dim=2)
        ),
        tagged,
        lambda batch, aux: batch.mask.any(axis=1).sum(),
    ),
    "parser": Case(
        parser.loss,
        lambda: parser.init(KEY, parser.Config((V,), num_relations=C, embed_dims=2, hidden_dim=3)),
        actions,
        lambda batch, aux: B,
    ),
    "context_parser": Case(
        context_parser.loss,
        lambda: context_parser.init(
            KEY, context_parser.Config(READER, num_relations=C, relation_dim=2, hidden_dim=3)
        ),
        in_context,
        lambda batch, aux: (batch.steps >= 0).sum(),
        joined_states,
    ),
    "span_parser": Case(
        span_parser.loss,
        lambda: span_parser.init(KEY, span_parser.Config(READER, hidden_dim=3)),
        brackets,
        lambda batch, aux: (batch.length > 1).sum(),
    ),
    "graph_parser": Case(
        graph_parser.loss,
        lambda: graph_parser.init(
            KEY, graph_parser.Config(READER, num_relations=C, arc_dim=3, relation_dim=2)
        ),
        dependencies,
        lambda batch, aux: batch.length.sum(),
    ),
}


def minibatches(case: Case, count: int) -> list[Any]:
    """The same minibatches for any number of devices."""
    rng = np.random.default_rng(0)
    batches = [[case.piece(rng) for _ in range(PIECES)] for _ in range(STEPS)]
    size = PIECES // count
    pieces = [[case.join(own[i : i + size]) for i in range(0, PIECES, size)] for own in batches]
    return [devices.side_by_side(own) for own in pieces]
