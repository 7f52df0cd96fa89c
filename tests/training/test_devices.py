"""Data-parallel training: what one device gives, and how often devices talk to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from experiments.benchmark.compiled.hlo import collectives
from rntn_jax import trees
from rntn_jax.data import Vocabulary
from rntn_jax.models import (
    arc_standard,
    context_parser,
    encoder,
    parser,
    rnn_lm,
    rntn,
    span_parser,
    tagger,
    window,
)
from rntn_jax.sequences import SequenceBatch
from rntn_jax.training import TrainState, devices, init_state, make_train_step
from tests.helpers import assert_close, random_tree

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
        lambda batch, aux: batch.num_trees,
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
}


def minibatches(case: Case, count: int) -> list[Any]:
    """The same minibatches for any number of devices."""
    rng = np.random.default_rng(0)
    batches = [[case.piece(rng) for _ in range(PIECES)] for _ in range(STEPS)]
    size = PIECES // count
    pieces = [[case.join(own[i : i + size]) for i in range(0, PIECES, size)] for own in batches]
    return [devices.side_by_side(own) for own in pieces]


def initial(case: Case, optimizer: Any) -> TrainState:
    """In float64, that what is left is rounding."""
    params = jax.tree.map(lambda x: x.astype(np.float64), case.init())
    return init_state(params, optimizer, jax.random.key(1))


def trained(case: Case, count: int) -> tuple[Any, Any, list[float]]:
    """Parameters after all steps, the compiled step, and losses."""
    mesh, optimizer = devices.data_mesh(count), optax.sgd(0.1)
    step = make_train_step(devices.data_parallel(case.loss, mesh, case.count), optimizer)
    state = devices.place(mesh, initial(case, optimizer))
    batches = [devices.place(mesh, own, P("data")) for own in minibatches(case, count)]
    program, losses = step.lower(state, batches[0]).compile(), []
    for batch in batches:
        state, out = program(state, batch)
        losses.append(float(out["loss"]))
    return state.params, program, losses


def alone(case: Case) -> tuple[Any, list[float]]:
    """Training by the loss as it is, of whole minibatches."""
    optimizer = optax.sgd(0.1)
    step = make_train_step(case.loss, optimizer)
    state, losses = initial(case, optimizer), []
    for batch in minibatches(case, 1):
        state, out = step(state, jax.tree.map(lambda x: x[0], batch))
        losses.append(float(out["loss"]))
    return state.params, losses


QUICK = "rnn_lm", "rntn", "parser"


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CASES]
)
def test_several_devices_train_as_one_and_never_wait_within_a_loop(name):
    case = CASES[name]
    params, losses = alone(case)
    assert len(set(losses)) > STEPS // 2  # something is learnt
    for count in (1, 2, 4):
        found, program, own = trained(case, count)
        assert_close(own, losses, 1e-9)
        assert_close(found, params, 1e-9)
        everywhere, in_loops = collectives(program)
        assert not in_loops
        assert everywhere == {"all-reduce": 1}  # gradients, losses, and what they are means over
