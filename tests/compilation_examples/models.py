"""Calls of the functions of `rntn_jax.models`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from rntn_jax.crf import semi_markov
from rntn_jax.models import (
    arc_standard,
    context_parser,
    encoder,
    graph_parser,
    mv_rnn,
    node_classifier,
    parser,
    rnn_lm,
    rntn,
    segment_tagger,
    span_parser,
    sparse_crf,
    tagger,
    tree_lstm,
    vec_avg,
    window,
)
from rntn_jax.sequences import SequenceBatch
from tests.compilation_examples.calls import (
    KEY,
    MASK,
    B,
    C,
    D,
    E,
    Example,
    T,
    V,
    args,
    draw,
    ints,
    tree_of,
)
from tests.compilation_examples.crf import SPANS
from tests.compilation_examples.ops import FOREST_OF_TREES, VOCABULARY


def parameters(model: Any, *config: Any, **options: Any) -> Callable[[np.random.Generator], Any]:
    """Parameters of a model, drawn anew for each seed."""
    sizes = model.Config(*config, **options)
    return tree_of(jax.eval_shape(lambda: model.init(KEY, sizes)))


RNTN = parameters(rntn, len(VOCABULARY), dim=D, num_classes=5)
FAMILY = [
    (tree_lstm, parameters(tree_lstm, len(VOCABULARY), embed_dim=E, hidden_dim=D)),
    (mv_rnn, parameters(mv_rnn, len(VOCABULARY), dim=D)),
    (vec_avg, parameters(vec_avg, len(VOCABULARY), dim=D)),
]
LM = parameters(rnn_lm, V, embed_dim=E, hidden_dim=D, layers=2)
WINDOW = parameters(window, V, window=2, embed_dim=D, hidden_dim=3, num_classes=C)
ENCODER = encoder.Config((V, V), (2, 2), rnn_dim=D)
READER = parameters(encoder, (V, V), (2, 2), rnn_dim=D)
GATED = parameters(encoder, (V, V), (2, 2), rnn_dim=D, cell="lstm")
TAGGER = parameters(tagger, (V, V), (2, 2), C, windows=(3,), rnn_layers=1, hidden_dim=D)
SEGMENTER = parameters(segment_tagger, (V, V), (2, 2), C, 2, windows=(3,), hidden_dim=D)
PARSER = parameters(parser, (V,), num_relations=C, embed_dims=D, hidden_dim=3)
CONTEXT = parameters(context_parser, ENCODER, num_relations=C, relation_dim=2, hidden_dim=3)
ARCS = parameters(graph_parser, ENCODER, num_relations=C, arc_dim=3, relation_dim=2)
SPANNER = parameters(span_parser, ENCODER, hidden_dim=3)
LENGTH = np.array([3, 2])
RATES = {"input_dropout": 0.2, "hidden_dropout": 0.2, "key": KEY}


def text(rng):
    return SequenceBatch(ints(V, B, T)(rng), ints(V, B, T)(rng), MASK)


def tagged(rng):
    return tagger.Batch(ints(V, B, T, 2)(rng), ints(C, B, T)(rng), MASK)


def segmented(rng):
    segments = semi_markov.Segments(np.ones((B, T), bool), np.zeros((B, T), int))
    return segment_tagger.Batch(ints(V, B, T, 2)(rng), MASK, segments)


def parsed(rng):
    return parser.Batch((ints(V, 4, 18)(rng), ints(C + 1, 4, 12)(rng)), ints(2 * C + 1, 4)(rng))


def sentences(columns: int):
    return lambda rng: arc_standard.Sentences(
        tuple(ints(V, B, T + 2)(rng) for _ in range(columns)), LENGTH
    )


HEADS = np.array([[-1, 2, 0, 2, -1], [-1, 0, 1, -1, -1]])
RELATIONS = np.where(HEADS == 0, 1, np.where(HEADS > 0, 0, -1))
TRANSITIONS = 2 * T


def in_states(rng):
    shape = (TRANSITIONS, B)
    return context_parser.Batch(
        sentences(2)(rng),
        ints(T + 2, *shape, 18)(rng),
        ints(C + 1, *shape, 12)(rng),
        ints(2 * C + 1, *shape)(rng),
    )


def spans(rng):
    return span_parser.Batch(ints(V, B, T, 2)(rng), LENGTH, SPANS)


def arcs(rng):
    return graph_parser.Batch(
        ints(V, B, T, 2)(rng), LENGTH, np.array([[2, 0, 2], [0, 1, 0]]), ints(C, B, T)(rng)
    )


def state(rng):
    return jax.tree.map(np.asarray, arc_standard.initial_state(sentences(1)(rng)))


def sparse(rng):
    lengths = np.array([3, 2])
    bags, ids = np.repeat(np.arange(5), 2), np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    own = bags, ids, np.array([0, 1, 1, 0, 1]), lengths, 3, C
    weights = np.arange(1, 11).astype(np.float32)
    features = sparse_crf.features(*own, weights=weights)
    params = tree_of(jax.eval_shape(lambda: sparse_crf.init(features)))(rng)
    return params, sparse_crf.pack_sentences(*own, weights=weights), features


ACTIONS = [
    Example(f, args(*makers), gradient=False, vmap=False)
    for f, *makers in [
        (arc_standard.initial_state, sentences(1)),
        (arc_standard.legal_actions, state, LENGTH, C, 1),
        (arc_standard.apply_action, state, ints(2 * C + 1, B), C),
        (arc_standard.extract_features, state, sentences(1)),
        (arc_standard.static_oracle, state, HEADS, RELATIONS, ints(2, B, T + 2), C),
        (arc_standard.oracle_transitions, sentences(1), HEADS, RELATIONS, C),
    ]
]
MODELS = [
    *(
        Example(f, args(RNTN, FOREST_OF_TREES))
        for f in (rntn.states, rntn.predict, rntn.l2_penalty)
    ),
    Example(rntn.apply, args(RNTN, FOREST_OF_TREES)),
    Example(rntn.loss, args(RNTN, FOREST_OF_TREES)),
    Example(
        rntn.loss,
        args(RNTN, FOREST_OF_TREES),
        {"leaf_dropout": 0.2, "hidden_dropout": 0.2, "key": KEY},
        slow=True,
    ),
    *(
        Example(f, args(params, FOREST_OF_TREES), slow=f is not model.loss)
        for model, params in FAMILY
        for f in (model.states, model.apply, model.predict, model.loss)
    ),
    Example(node_classifier.l2_penalty, args(FAMILY[0][1], FOREST_OF_TREES)),
    Example(
        node_classifier.apply,
        lambda rng: (node_classifier.Head(draw(D, C)(rng), draw(C)(rng)), draw(4, D)(rng)),
    ),
    Example(
        node_classifier.loss,
        lambda rng: (
            node_classifier.Head(draw(D, 5)(rng), draw(5)(rng)),
            draw(FOREST_OF_TREES.shape.slots, D)(rng),
            FOREST_OF_TREES,
        ),
    ),
    *(Example(f, args(LM, text)) for f in (rnn_lm.states, rnn_lm.apply)),
    Example(rnn_lm.loss, args(LM, text)),
    Example(rnn_lm.loss, args(LM, text), {"chunk": 2, **RATES}, vmap=False, slow=True),
    Example(rnn_lm.score, args(LM, text)),
    Example(rnn_lm.generate, args(LM, KEY, ints(V, B, 2), 3), gradient=False, vmap=False),
    Example(rnn_lm.perplexity, args(draw(B, T), MASK)),
    Example(rnn_lm.from_source_003, args(draw(D, V), draw(D, D), draw(V, D))),
    Example(rnn_lm.initial_carry, args(LM, 2), vmap=False),
    Example(window.apply, args(WINDOW, ints(V, 4, 2))),
    Example(
        window.loss, lambda rng: (WINDOW(rng), window.Batch(ints(V, 4, 2)(rng), ints(C, 4)(rng)))
    ),
    Example(encoder.apply, args(READER, ints(V, B, T, 2), LENGTH)),
    Example(
        encoder.apply,
        args(READER, ints(V, B, T, 2), LENGTH),
        {"unknown_rate": 0.2, **RATES},
        vmap=False,
        slow=True,
    ),
    Example(encoder.apply, args(GATED, ints(V, B, T, 2), LENGTH)),
    Example(
        encoder.states,
        lambda rng: (READER(rng).cells[0], draw(B, T, 4)(rng), np.ones((B, T), bool)),
    ),
    Example(
        encoder.embed_columns,
        lambda rng: ((draw(V, 2)(rng), draw(V, 2)(rng)), ints(V, B, T, 2)(rng)),
    ),
    Example(
        encoder.replace_by_unknown, args(KEY, ints(V, B, T, 2), 0.5), gradient=False, vmap=False
    ),
    Example(tagger.apply, args(TAGGER, tagged)),
    Example(tagger.loss, args(TAGGER, tagged)),
    Example(segment_tagger.apply, args(SEGMENTER, segmented), slow=True),
    Example(segment_tagger.loss, args(SEGMENTER, segmented), slow=True),
    Example(parser.apply, args(PARSER, lambda rng: parsed(rng).ids)),
    Example(parser.loss, args(PARSER, parsed)),
    Example(parser.precompute, args(PARSER)),
    Example(parser.decode, args(PARSER, sentences(1), 1), gradient=False, vmap=False),
    Example(
        parser.decode,
        lambda rng: (PARSER(rng), sentences(1)(rng), 1),
        {"activation": "cube"},
        gradient=False,
        vmap=False,
        slow=True,
    ),
    Example(context_parser.in_context, args(CONTEXT, sentences(2)), vmap=False),
    Example(context_parser.loss, args(CONTEXT, in_states), vmap=False),
    Example(context_parser.decode, args(CONTEXT, sentences(2), 1), gradient=False, vmap=False),
    Example(graph_parser.apply, args(ARCS, arcs)),
    Example(graph_parser.loss, args(ARCS, arcs), slow=True),
    Example(graph_parser.decode, args(ARCS, arcs, 1), gradient=False, vmap=False, slow=True),
    Example(span_parser.apply, args(SPANNER, spans)),
    Example(span_parser.loss, args(SPANNER, spans)),
    Example(span_parser.decode, args(SPANNER, spans), gradient=False, vmap=False),
    Example(sparse_crf.loss, sparse, vmap=False),
    Example(sparse_crf.weight_matrix, lambda rng: (*sparse(rng)[::2], 3), vmap=False),
    *ACTIONS,
]
