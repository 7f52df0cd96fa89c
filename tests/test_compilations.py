"""Outside of `jax.jit` too, a second call on new arrays of the same shapes compiles nothing.

Every public function of `crf`, `recurrent`, `recursive`, the models and `ops` has an example here
or is on the list of those that have nothing to compile. A function with neither fails a test.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rntn_jax.crf
import rntn_jax.models
from rntn_jax import ops, recurrent, recursive, trees
from rntn_jax.crf import chain, constituency, enumerate, expectations, forest, graph
from rntn_jax.data import Vocabulary
from rntn_jax.models import (
    arc_standard,
    context_parser,
    encoder,
    layers,
    mv_rnn,
    node_classifier,
    parser,
    rnn_lm,
    rntn,
    span_parser,
    sparse_crf,
    tagger,
    tree_lstm,
    vec_avg,
    window,
)
from rntn_jax.sequences import SequenceBatch
from tests.helpers import random_tree

EVENT = "/jax/core/compile/backend_compile_duration"
_compiled: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: _compiled.append(event) if event == EVENT else None
)


@contextmanager
def compilations() -> Iterator[list[str]]:
    """What is compiled inside, one entry each."""
    _compiled.clear()
    yield _compiled


class Example(NamedTuple):
    """How a function is called: once for each seed, with arrays of the same shapes."""

    function: Callable[..., Any]
    make: Callable[[np.random.Generator], tuple[Any, ...]]  # positional arguments, NumPy arrays
    options: dict[str, Any] = {}  # noqa: RUF012  # keyword arguments
    gradient: bool = True
    vmap: bool = True
    slow: bool = False  # what compiles for long


B, T, C, D, E, V, N = 2, 3, 2, 2, 3, 5, 4


def draw(*shape: int) -> Callable[[np.random.Generator], Any]:
    """Normal numbers of a shape."""
    return lambda rng: rng.normal(size=shape)


def tree_of(like: Any) -> Callable[[np.random.Generator], Any]:
    """Normal numbers in place of a pytree's arrays."""
    return lambda rng: jax.tree.map(lambda a: rng.normal(size=a.shape), like)


def args(*makers: Any) -> Callable[[np.random.Generator], tuple[Any, ...]]:
    """Arguments that are drawn, those that are functions, or constants."""
    return lambda rng: tuple(m(rng) if callable(m) else m for m in makers)


def ints(high: int, *shape: int) -> Callable[[np.random.Generator], Any]:
    """Integers from 0 on."""
    return lambda rng: rng.integers(0, high, shape)


MASK = np.array([[True, True, True], [True, False, False]])
KEY = jax.random.key(0)


# --- crf ---


def chain_scores(edge: tuple[int, ...] = (C, C), **rest: Any):
    def make(rng):
        more = {k: rng.normal(size=C) for k in rest.get("ends", ())}
        return chain.Scores(draw(B, T, C)(rng), draw(*edge)(rng), mask=rest.get("mask"), **more)

    return make


CHAINS = chain_scores(), chain_scores((B, T - 1, C, C), ends=("start", "end"), mask=MASK)
LABELS = ints(C, B, T)
PARENT: Any = np.array([-1, 0, 0, 1])


def forest_scores(rng):
    return forest.Scores(draw(N, C)(rng), draw(C, C)(rng), PARENT)


EDGES = np.array([[0, 1], [1, 2], [2, 3], [3, 0]], np.int32)


def graph_scores(rng):
    return graph.Scores(draw(N, C)(rng), draw(4, C, C)(rng), EDGES)


def span_scores(rng):
    return constituency.Scores(draw(B, T + 1, T + 1)(rng), np.array([3, 2]))


SPANS = np.array([[[0, 2], [0, 3]], [[0, 2], [0, 0]]])
SOME = np.ones((B, T, C), bool)


def of_chain(function: Any, *more: Any, **options: Any) -> list[Example]:
    """With shared edges and no mask, and with all that a chain may have."""
    return [Example(function, args(scores, *more), **options) for scores in CHAINS]


CHAIN = [
    *of_chain(chain.log_partition),
    *of_chain(chain.log_partition, SOME),
    *of_chain(chain.log_partition, options={"method": "parallel"}, slow=True),
    *of_chain(chain.score, LABELS),
    *of_chain(chain.log_prob, LABELS),
    *of_chain(chain.marginals, slow=True),
    *of_chain(chain.argmax, gradient=False),
    *(Example(chain.top_k, args(s, 2), gradient=False, slow=True) for s in CHAINS),
    *(Example(chain.sample, args(KEY, s, 2), gradient=False, vmap=False) for s in CHAINS),
    *of_chain(chain.entropy, slow=True),
    *(Example(chain.kl, args(s, s), slow=True) for s in CHAINS),
    *(Example(chain.expected_score, args(s, s), slow=True) for s in CHAINS),
    *(Example(chain.constrain, args(s, np.ones((C, C), bool))) for s in CHAINS),
]
FOREST = [
    Example(forest.log_partition, args(forest_scores)),
    Example(forest.log_partition, args(forest_scores, np.ones((N, C), bool))),
    Example(forest.score, args(forest_scores, ints(C, N))),
    Example(forest.log_prob, args(forest_scores, ints(C, N))),
    Example(forest.marginals, args(forest_scores), slow=True),
    Example(forest.argmax, args(forest_scores), gradient=False),
    Example(forest.top_k, args(forest_scores, 2), gradient=False, slow=True),
    Example(forest.sample, args(KEY, forest_scores, 2), gradient=False, vmap=False),
    Example(forest.entropy, args(forest_scores), slow=True),
    Example(forest.kl, args(forest_scores, forest_scores), slow=True),
    Example(forest.expected_score, args(forest_scores, forest_scores), slow=True),
]
APPROXIMATE = ("loopy", "mean_field", "tree_reweighted")
GRAPH = [
    Example(graph.log_partition, args(graph_scores), vmap=False),
    Example(graph.log_partition, args(graph_scores, np.ones((N, C), bool)), vmap=False),
    *(
        Example(f, args(graph_scores), {"method": method}, vmap=False, slow=True)
        for method in APPROXIMATE
        for f in (graph.log_partition, graph.beliefs, graph.entropy, graph.marginals)
    ),
    Example(graph.score, args(graph_scores, ints(C, N)), vmap=False),
    Example(graph.log_prob, args(graph_scores, ints(C, N)), vmap=False),
    Example(graph.marginals, args(graph_scores), vmap=False, slow=True),
    Example(graph.argmax, args(graph_scores), gradient=False, vmap=False),
    Example(graph.top_k, args(graph_scores, 2), gradient=False, vmap=False, slow=True),
    Example(graph.sample, args(KEY, graph_scores, 2), gradient=False, vmap=False),
    Example(graph.entropy, args(graph_scores), vmap=False, slow=True),
    Example(graph.kl, args(graph_scores, graph_scores), vmap=False, slow=True),
    Example(graph.expected_score, args(graph_scores, graph_scores), vmap=False, slow=True),
    Example(graph.pseudo_log_likelihood, args(graph_scores, ints(C, N)), vmap=False),
    *(
        Example(f, make, options, gradient=False, vmap=False)
        for f, make, options in [
            (graph.gibbs, args(KEY, graph_scores, ints(C, 2, N), 2), {}),
            (graph.icm, args(graph_scores, ints(C, 2, N), 2), {}),
            (graph.contrastive_divergence, args(KEY, graph_scores, ints(C, N)), {}),
            (
                graph.annealed_log_partition,
                args(KEY, graph_scores),
                {"num_steps": 2, "num_chains": 2},
            ),
        ]
    ),
]
CONSTITUENCY = [
    Example(constituency.log_partition, args(span_scores)),
    Example(constituency.score, args(span_scores, SPANS)),
    Example(constituency.log_prob, args(span_scores, SPANS)),
    Example(constituency.marginals, args(span_scores), slow=True),
    Example(constituency.argmax, args(span_scores), gradient=False),
    Example(constituency.entropy, args(span_scores), slow=True),
    Example(constituency.constrain, args(span_scores, np.ones((B, T + 1, T + 1), bool))),
    Example(
        constituency.to_spans,
        args(np.array([[[0, 1], [3, 2]], [[0, 1], [0, 0]]]), np.array([3, 2])),
        gradient=False,
        vmap=False,
    ),
    Example(constituency.top_k, args(span_scores, 2), gradient=False, slow=True),
    Example(constituency.sample, args(KEY, span_scores, 2), gradient=False, vmap=False),
    Example(constituency.kl, args(span_scores, span_scores), slow=True),
    Example(constituency.expected_score, args(span_scores, span_scores), slow=True),
]
TABLE = draw(C, C, C)
ENUMERATE = [
    Example(expectations.log_prob, args(draw(3), draw(3))),
    Example(expectations.weighted_sum, args(draw(3, 2), draw(3, 2), (0,))),
    Example(enumerate.log_partition, args(TABLE)),
    Example(enumerate.marginal, args(TABLE, 1)),
    Example(enumerate.table, args(draw(3, C), draw(2, C, C), [(0, 1), (1, 2)])),
    Example(enumerate.of_chain, args(chain_scores(), 0)),
]


# --- recurrent, recursive, ops ---


def cell(rng):
    return recurrent.Cell(draw(D, D)(rng), draw(E, D)(rng), draw(D)(rng))


def square_cell(rng):
    return recurrent.Cell(draw(D, D)(rng), draw(D, D)(rng), draw(D)(rng))


INPUTS = draw(B, T, E)
RECURRENT = [
    Example(recurrent.rnn, args(cell, INPUTS)),
    Example(
        recurrent.rnn,
        args(cell, INPUTS, draw(B, D), MASK),
        {"activation": "sigmoid", "reverse": True, "remat_every": 2},
    ),
    Example(recurrent.stacked_rnn, lambda rng: ([cell(rng), square_cell(rng)], INPUTS(rng))),
    Example(recurrent.birnn, args(cell, cell, INPUTS, None)),
    Example(recurrent.birnn, args(cell, cell, INPUTS, MASK)),
    Example(recurrent.jacobian_norms, args(cell, draw(B, T, D), 2)),
]

TREES = [random_tree(np.random.default_rng(0), n, num_words=3) for n in (3, 2)]
VOCABULARY = Vocabulary.build([f"w{i}" for i in range(3)])
FOREST_OF_TREES = trees.pack(TREES, VOCABULARY, lanes=2)
LEAVES = FOREST_OF_TREES.shape.leaves


def rntn_cell(rng):
    return recursive.Cell(draw(D, 2 * D, 2 * D)(rng), draw(2 * D, D)(rng), draw(D)(rng))


RECURSIVE = [
    Example(recursive.sweep, args(rntn_cell, draw(LEAVES, D), FOREST_OF_TREES)),
    Example(
        recursive.sweep,
        lambda rng: (rntn_cell(rng)._replace(v=None), draw(LEAVES, D)(rng), FOREST_OF_TREES),
        {"activation": "relu"},
    ),
    Example(recursive.span_sum, args(draw(LEAVES, D), FOREST_OF_TREES)),
]


def doubled(i, carry, operands):
    """A step of a loop."""
    return carry * operands


MATRIX = ops.sparse_matrix(np.array([0, 0, 2]), np.array([1, 0, 1]), np.array([1.0, 2, 3]), (3, 2))
ROWS, HEAD = draw(4, D), (draw(D, C), draw(C))
OPS = [
    Example(ops.activate, args("cube", draw(3))),
    Example(ops.derivative_from_output, args("cube", draw(3))),
    Example(ops.bounded_loop, args(lambda _: doubled, 4, np.int32(3), draw(2), draw(2))),
    Example(ops.cast_like, args(draw(2), np.zeros(2, np.float32))),
    Example(ops.dropout, args(KEY, 0, draw(4), 0.5), vmap=False),
    Example(ops.embed, args(draw(V, D), ints(V, 4))),
    Example(ops.embed_sum, args(draw(2, V, D), ints(V, 4, 2))),
    Example(ops.linear_cross_entropy, args(ROWS, *HEAD, ints(C, 4))),
    Example(ops.linear_cross_entropy, args(ROWS, *HEAD, ints(C, 4), np.arange(4) < 3, 2)),
    Example(ops.linear_cross_entropy_sum, args(ROWS, *HEAD, ints(C, 4), draw(4))),
    Example(ops.linear_cross_entropy_sum, args(ROWS, HEAD[0], None, ints(C, 4), draw(4), 2)),
    Example(ops.masked, args(ROWS, np.arange(4) < 3)),
    Example(ops.masked_mean, args(draw(4), np.arange(4) < 3)),
    Example(ops.outer_sum, args(ROWS, draw(4, 3))),
    Example(ops.outer_sum, args(ROWS, draw(4, 3), np.int32(2))),
    Example(ops.pair_scores, args(draw(B, 2, D), draw(B, 3, D), draw(B, D))),
    Example(ops.side_by_side, lambda rng: ([draw(V, D)(rng)], [ints(V, 4, 2)(rng)])),
    Example(ops.slice_products, args(draw(4, 3), draw(3, 2 * 3))),
    Example(ops.softmax_cross_entropy, args(draw(4, C), ints(C, 4))),
    Example(ops.softmax_cross_entropy, args(draw(4, C), ints(C, 4), np.arange(4) < 3)),
    Example(ops.sparse_matmul, args(MATRIX, draw(2, C))),
    Example(ops.symmetric_slices, args(draw(D, 3, 3))),
    Example(ops.tensor_product, args(draw(4, 3), draw(D, 3, 3))),
    Example(
        ops.window_layer,
        lambda rng: ([draw(V, D)(rng)], [ints(V, 4, 2)(rng)], draw(4, 3)(rng), draw(3)(rng)),
    ),
]


# --- models ---


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
TAGGER = parameters(tagger, (V, V), (2, 2), C, windows=(3,), rnn_layers=1, hidden_dim=D)
PARSER = parameters(parser, (V,), num_relations=C, embed_dims=D, hidden_dim=3)
CONTEXT = parameters(context_parser, ENCODER, num_relations=C, relation_dim=2, hidden_dim=3)
SPANNER = parameters(span_parser, ENCODER, hidden_dim=3)
LENGTH = np.array([3, 2])
RATES = {"input_dropout": 0.2, "hidden_dropout": 0.2, "key": KEY}


def text(rng):
    return SequenceBatch(ints(V, B, T)(rng), ints(V, B, T)(rng), MASK)


def tagged(rng):
    return tagger.Batch(ints(V, B, T, 2)(rng), ints(C, B, T)(rng), MASK)


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
    Example(
        encoder.embed_columns,
        lambda rng: ((draw(V, 2)(rng), draw(V, 2)(rng)), ints(V, B, T, 2)(rng)),
    ),
    Example(
        encoder.replace_by_unknown, args(KEY, ints(V, B, T, 2), 0.5), gradient=False, vmap=False
    ),
    Example(tagger.apply, args(TAGGER, tagged)),
    Example(tagger.loss, args(TAGGER, tagged)),
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
    Example(span_parser.apply, args(SPANNER, spans)),
    Example(span_parser.loss, args(SPANNER, spans)),
    Example(span_parser.decode, args(SPANNER, spans), gradient=False, vmap=False),
    Example(sparse_crf.loss, sparse, vmap=False),
    Example(sparse_crf.weight_matrix, lambda rng: (*sparse(rng)[::2], 3), vmap=False),
    *ACTIONS,
]

EXAMPLES = [
    *CHAIN,
    *FOREST,
    *GRAPH,
    *CONSTITUENCY,
    *ENUMERATE,
    *RECURRENT,
    *RECURSIVE,
    *OPS,
    *MODELS,
]

# Plans and checks on the host, dtypes; and the random parameters that a run begins with.
NOTHING_TO_COMPILE = {
    ops.accumulator,
    ops.check_dropout,
    ops.check_ids,
    ops.sparse_matrix,
    forest.plan,
    graph.best_order,
    graph.plan,
    graph.neighbours,
    graph.colours,
    graph.grid_edges,
    graph.random_edges,
    sparse_crf.pack_sentences,
    sparse_crf.features,
    sparse_crf.padded_features,
    arc_standard.check_sentences,
    encoder.check_columns,
    encoder.check_columns_config,
    encoder.init_cells,
    encoder.init_embeddings,
    layers.check_config,
    layers.glorot,
    layers.linear,
    layers.recurrent_cell,
    *(
        module.init
        for module in (
            *(rntn, rnn_lm, window, encoder, tagger, parser, context_parser, span_parser),
            *(sparse_crf, node_classifier, tree_lstm, mv_rnn, vec_avg),
        )
    ),
}


def public_functions() -> dict[str, Any]:
    """Every function in the ``__all__`` of the modules that this is about, by its name."""
    names = ["ops", "recurrent", "recursive"]
    for package in (rntn_jax.crf, rntn_jax.models):
        short = package.__name__.removeprefix("rntn_jax.")
        names += [f"{short}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    found = {}
    for name in names:
        module = importlib.import_module(f"rntn_jax.{name}")
        for public in getattr(module, "__all__", []):
            thing = getattr(module, public)
            if callable(thing) and not isinstance(thing, type):
                found[f"{name}.{public}"] = thing
    return found


def test_every_public_function_has_an_example_or_nothing_to_compile():
    functions = public_functions()
    assert len(functions) > 100
    known = {example.function for example in EXAMPLES} | NOTHING_TO_COMPILE
    assert not [name for name, function in functions.items() if function not in known]
    assert not known - set(functions.values())


def is_float(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def total(outputs: Any) -> jax.Array:
    """The sum of all floating point outputs."""
    leaves = [
        x for x in jax.tree.leaves(outputs) if jnp.issubdtype(jnp.result_type(x), jnp.floating)
    ]
    return sum((jnp.asarray(x, jnp.float64).sum() for x in leaves), jnp.zeros(()))


def of_floats(example: Example, seed: int) -> tuple[Callable[..., Any], list[np.ndarray]]:
    """The example as a function of its floating point arrays, and these."""
    leaves, structure = jax.tree.flatten(example.make(np.random.default_rng(seed)))
    at = [i for i, x in enumerate_leaves(leaves) if is_float(x)]

    def call(*floats):
        full = list(leaves)
        for i, x in zip(at, floats, strict=True):
            full[i] = x
        return example.function(*jax.tree.unflatten(structure, full), **example.options)

    return call, [leaves[i] for i in at]


def enumerate_leaves(leaves: list[Any]) -> Iterator[tuple[int, Any]]:
    """`enumerate`, whose name the module of brute force has here."""
    return zip(range(len(leaves)), leaves)


def plainly(example: Example, seed: int) -> Callable[[], Any]:
    call, floats = of_floats(example, seed)
    return lambda: call(*floats)


def gradient(example: Example, seed: int) -> Callable[[], Any]:
    call, floats = of_floats(example, seed)
    wrt = tuple(range(len(floats)))
    return lambda: jax.grad(lambda *floats: total(call(*floats)), wrt)(*floats)


def batched(example: Example, seed: int) -> Callable[[], Any]:
    call, floats = of_floats(example, seed)
    stacked = [np.stack([x, 0.5 * x]) for x in floats]
    return lambda: jax.vmap(lambda *floats: call(*floats))(*stacked)


def compiled_by_the_second_call(how: Callable[..., Any], example: Example) -> int:
    first, second = how(example, 0), how(example, 1)
    jax.block_until_ready(first())
    with compilations() as compiled:
        jax.block_until_ready(second())
        return len(compiled)


# Those of whole models and of the rules that loop; the others' compile for long.
QUICK_GRADIENTS = {
    *("loss", "log_partition", "rnn", "sweep", "bounded_loop", "linear_cross_entropy_sum"),
    *("pair_scores", "sparse_matmul", "tensor_product", "window_layer"),
}


def cases(how: str) -> list[Any]:
    """The examples that a transformation goes with."""
    found, numbers = [], {}
    for example in EXAMPLES:
        if how != "plainly" and not getattr(example, how):
            continue
        module = example.function.__module__.removeprefix("rntn_jax.")
        name = f"{module}.{example.function.__name__}"
        numbers[name] = numbers.get(name, 0) + 1
        slow = example.slow or how == "vmap"
        slow |= how == "gradient" and example.function.__name__ not in QUICK_GRADIENTS
        marks = [pytest.mark.slow] if slow else []
        found.append(pytest.param(example, id=f"{name}-{numbers[name]}", marks=marks))
    return found


def test_compilations_are_seen():
    with compilations() as compiled:
        jax.jit(lambda x: x + 1)(np.ones(3))
        assert compiled


@pytest.mark.parametrize("example", cases("plainly"))
def test_a_second_call_compiles_nothing(example):
    assert compiled_by_the_second_call(plainly, example) == 0


@pytest.mark.parametrize("example", cases("gradient"))
def test_a_second_gradient_compiles_nothing(example):
    assert compiled_by_the_second_call(gradient, example) == 0


@pytest.mark.parametrize("example", cases("vmap"))
def test_a_second_vmap_compiles_nothing(example):
    assert compiled_by_the_second_call(batched, example) == 0
