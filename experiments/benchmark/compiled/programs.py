"""What is compiled: the training step of every model, and of structures over a linear layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rntn_jax import trees
from rntn_jax.crf import chain, constituency, ctc, dependency, forest, graph, semi_markov
from rntn_jax.data import Vocabulary, demo_sentiment
from rntn_jax.models import (
    arc_standard,
    context_parser,
    encoder,
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
from rntn_jax.training import devices, init_state, make_train_step

__all__ = ["PROGRAMS", "Program", "step_of"]

B, T, F, C, D, V = 16, 32, 64, 16, 64, 5_000  # rows of a device, steps, features, labels, ...
KEY = jax.random.key(0)
SHAPE = trees.Shape(leaves=512, steps=64, lanes=16, trees=27)


class Program(NamedTuple):
    """A loss, what it is of, and how a piece of a minibatch, one device's, is made."""

    init: Callable[[jax.Array], Any]
    piece: Callable[[np.random.Generator], Any]
    loss: Callable[[Any, Any], tuple[jax.Array, Any]]
    count: Callable[[Any, Any], Any] = lambda piece, aux: B


def step_of(program: Program, mesh: Mesh | None) -> tuple[Any, tuple[Any, ...]]:
    """The jitted training step, and shapes of its arguments, on the devices of a mesh.

    Args:
        program: of `PROGRAMS`.
        mesh: of one axis, ``data``; None: one device, which is not named.

    Returns:
        The step, to be lowered with the shapes.
    """
    optimizer = optax.adam(1e-3)
    place = devices.Placement(mesh)
    step = make_train_step(place.loss(program.loss, program.count), optimizer)
    state = jax.eval_shape(lambda key: init_state(program.init(key), optimizer, key), KEY)
    piece = program.piece(np.random.default_rng(0))

    def shape(x: Any, spec: PartitionSpec, lead: tuple[int, ...] = ()) -> jax.ShapeDtypeStruct:
        dtype = jax.dtypes.canonicalize_dtype(x.dtype) if isinstance(x, np.ndarray) else x.dtype
        sharding = None if mesh is None else NamedSharding(mesh, spec)
        return jax.ShapeDtypeStruct((*lead, *x.shape), dtype, sharding=sharding)

    lead = () if mesh is None else (place.count,)
    state = jax.tree.map(lambda x: shape(x, PartitionSpec()), state)
    pieces = jax.tree.map(lambda x: shape(np.asarray(x), PartitionSpec(devices.DATA), lead), piece)
    return step, (state, pieces)


# --- structures: their scores are a linear function of features ---


def _weights(*shapes: tuple[int, ...]) -> Callable[[jax.Array], Any]:
    return lambda key: tuple(0.1 * jax.random.normal(key, shape) for shape in shapes)


def _features(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: rng.normal(size=(*shape, F)).astype(np.float32)


def _labelled(rng: np.random.Generator) -> Any:
    return _features(B, T)(rng), rng.integers(0, C, (B, T), np.int32), np.ones((B, T), bool)


def _chain(params: Any, piece: Any) -> tuple[jax.Array, Any]:
    (w, edge), (x, labels, mask) = params, piece
    return -chain.log_prob(chain.Scores(x @ w, edge, mask=mask), labels).mean(), None


def _chain_by_step(params: Any, piece: Any) -> tuple[jax.Array, Any]:
    (w, of_edges), (x, labels, mask) = params, piece
    edge = (x[:, 1:] @ of_edges).reshape(B, T - 1, C, C)
    return -chain.log_prob(chain.Scores(x @ w, edge, mask=mask), labels).mean(), None


def _constituency(params: Any, piece: Any) -> tuple[jax.Array, Any]:
    x, length = piece
    span = (x @ params[0])[..., 0]
    return constituency.log_partition(constituency.Scores(span, length)).mean(), None


def _dependency(projective: bool) -> Callable[[Any, Any], tuple[jax.Array, Any]]:
    def loss(params: Any, piece: Any) -> tuple[jax.Array, Any]:
        x, length = piece
        scores = dependency.Scores((x @ params[0])[..., 0], length)
        return dependency.log_partition(scores, projective=projective).mean(), None

    return loss


def _semi_markov(params: Any, piece: Any) -> tuple[jax.Array, Any]:
    x, length = piece
    span = (x @ params[0]).reshape(B, T, 4, C)
    return semi_markov.log_partition(
        semi_markov.Scores(span, params[1], length=length)
    ).mean(), None


def _ctc(params: Any, piece: Any) -> tuple[jax.Array, Any]:
    x, targets = piece
    return -ctc.log_prob(ctc.Scores(jax.nn.log_softmax(x @ params[0]), targets)).mean(), None


LABEL_TREE = forest.plan(np.array([-1, *[(i - 1) // 2 for i in range(1, 255)]]))
GRID = graph.grid_edges(6, 6)
GRID_PLANS: dict[str, Any] = {
    "exact": graph.plan(GRID, 36, 2),
    "loopy": graph.neighbours(GRID, 36),
}


def _forest(params: Any, piece: Any) -> tuple[jax.Array, Any]:
    w, edge = params
    return forest.log_partition(forest.Scores(piece @ w, edge, LABEL_TREE)).mean(), None


def _grid(method: str) -> Callable[[Any, Any], tuple[jax.Array, Any]]:
    def loss(params: Any, piece: Any) -> tuple[jax.Array, Any]:
        w, edge = params
        scores = graph.Scores(piece @ w, jnp.tile(edge, (len(GRID), 1, 1)), jnp.asarray(GRID))
        return graph.log_partition(scores, method=method, plan=GRID_PLANS[method]), None

    return loss


def _square(rng: np.random.Generator) -> Any:
    return _features(B, T + 1, T + 1)(rng), np.full(B, T, np.int32)


# --- models ---


def _text(rng: np.random.Generator) -> SequenceBatch:
    tokens, targets = rng.integers(1, V, (2, B, T), np.int32)
    return SequenceBatch(tokens, targets, np.ones((B, T), bool))


def _trees(rng: np.random.Generator) -> trees.Forest:
    found = demo_sentiment.sentiment_trees(SHAPE.trees, seed=0)
    vocabulary = Vocabulary.build(w for tree in found for w in tree.tokens)
    return trees.pack(found, vocabulary, shape=SHAPE)


def _tagged(rng: np.random.Generator) -> tagger.Batch:
    return tagger.Batch(
        rng.integers(1, V, (B, T, 1), np.int32),
        rng.integers(0, C, (B, T), np.int32),
        np.ones((B, T), bool),
    )


def _windows(rng: np.random.Generator) -> window.Batch:
    return window.Batch(
        rng.integers(1, V, (B, 5), np.int32), rng.integers(0, C, B, np.int32), np.ones(B, bool)
    )


def _actions(rng: np.random.Generator) -> parser.Batch:
    ids = rng.integers(1, V, (B, 18), np.int32), rng.integers(0, C + 1, (B, 12), np.int32)
    return parser.Batch(ids, rng.integers(0, 2 * C + 1, B, np.int32))


def _states(rng: np.random.Generator) -> context_parser.Batch:
    shape = 2 * T, B
    sentences = arc_standard.Sentences(
        (rng.integers(1, V, (B, T + 2), np.int32),), np.full(B, T, np.int32)
    )
    ids = (
        rng.integers(0, T + 2, (*shape, 18), np.int32),
        rng.integers(0, C + 1, (*shape, 12), np.int32),
    )
    return context_parser.Batch(sentences, *ids, rng.integers(0, 2 * C + 1, shape, np.int32))


def _spans(rng: np.random.Generator) -> span_parser.Batch:
    spans = np.zeros((B, T - 1, 2), np.int32)
    spans[..., 1] = np.arange(2, T + 1)
    ids = rng.integers(1, V, (B, T, 1), np.int32)
    return span_parser.Batch(ids, np.full(B, T, np.int32), spans)


READER = encoder.Config((V,), (D,), rnn_dim=D)


def _of_trees(model: Any, **sizes: Any) -> Program:
    config = model.Config(V, **sizes)
    return Program(
        lambda key: model.init(key, config), _trees, model.loss, lambda own, _: own.num_trees
    )


PROGRAMS: dict[str, Program] = {
    "RNN language model": Program(
        lambda key: rnn_lm.init(key, rnn_lm.Config(V, embed_dim=D, hidden_dim=D)),
        _text,
        lambda params, own: rnn_lm.loss(params, own, chunk=128),
        lambda own, aux: aux.tokens,
    ),
    "RNTN": _of_trees(rntn, dim=25),
    "Tree-LSTM": _of_trees(tree_lstm, embed_dim=D, hidden_dim=D),
    "MV-RNN": _of_trees(mv_rnn, dim=11),
    "VecAvg": _of_trees(vec_avg, dim=25),
    "window network": Program(
        lambda key: window.init(
            key, window.Config(V, window=5, embed_dim=D, hidden_dim=D, num_classes=C)
        ),
        _windows,
        window.loss,
    ),
    "tagger (neural CRF)": Program(
        lambda key: tagger.init(
            key, tagger.Config((V,), (D,), C, windows=(3,), rnn_layers=1, hidden_dim=D)
        ),
        _tagged,
        tagger.loss,
    ),
    "transition parser": Program(
        lambda key: parser.init(key, parser.Config((V,), C, embed_dims=D, hidden_dim=D)),
        _actions,
        parser.loss,
    ),
    "transition parser in context": Program(
        lambda key: context_parser.init(
            key, context_parser.Config(READER, C, relation_dim=D, hidden_dim=D)
        ),
        _states,
        context_parser.loss,
        lambda own, _: (own.steps >= 0).sum(),
    ),
    "span parser": Program(
        lambda key: span_parser.init(key, span_parser.Config(READER, hidden_dim=D)),
        _spans,
        span_parser.loss,
    ),
    "chain (shared edges)": Program(_weights((F, C), (C, C)), _labelled, _chain),
    "chain (edges of each step)": Program(_weights((F, C), (F, C * C)), _labelled, _chain_by_step),
    "forest of labels": Program(_weights((F, C), (C, C)), _features(255), _forest),
    "grid (exact)": Program(_weights((F, 2), (1, 2, 2)), _features(36), _grid("exact")),
    "grid (loopy)": Program(_weights((F, 2), (1, 2, 2)), _features(36), _grid("loopy")),
    "binary trees": Program(_weights((F, 1)), _square, _constituency),
    "dependency trees (projective)": Program(_weights((F, 1)), _square, _dependency(True)),
    "dependency trees (all)": Program(_weights((F, 1)), _square, _dependency(False)),
    "segments": Program(
        _weights((F, 4 * C), (C, C)),
        lambda rng: (_features(B, T)(rng), np.full(B, T, np.int32)),
        _semi_markov,
    ),
    "CTC": Program(
        _weights((F, C)),
        lambda rng: (_features(B, T)(rng), rng.integers(1, C, (B, 8), np.int32)),
        _ctc,
    ),
}
