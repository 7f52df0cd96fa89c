"""Outside of `jax.jit` too, a second call on new arrays of the same shapes compiles nothing.

Every public function of `crf`, `recurrent`, `recursive`, the models and `ops` has an example in
`tests/compilation_examples` or is on the list of those that have nothing to compile. A function
with neither fails a test.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rntn_jax.crf
import rntn_jax.models
from rntn_jax import ops
from rntn_jax.crf import forest, graph, nats, semi_markov
from rntn_jax.models import (
    arc_standard,
    context_parser,
    encoder,
    graph_parser,
    layers,
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
from tests.compilation_examples.calls import Example
from tests.compilation_examples.crf import CHAIN, CONSTITUENCY, ENUMERATE, FOREST, GRAPH
from tests.compilation_examples.models import MODELS
from tests.compilation_examples.ops import OPS, RECURRENT, RECURSIVE
from tests.compilation_examples.structures import STRUCTURES
from tests.helpers import compilations

EXAMPLES = [
    *CHAIN,
    *FOREST,
    *GRAPH,
    *CONSTITUENCY,
    *ENUMERATE,
    *STRUCTURES,
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
    rnn_lm.vocabulary_specs,
    nats.rank_pairs,
    forest.plan,
    semi_markov.from_bio,
    semi_markov.to_bio,
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
    encoder.check_cell,
    encoder.check_columns,
    encoder.check_columns_config,
    encoder.init_cells,
    encoder.init_embeddings,
    layers.check_config,
    layers.glorot,
    layers.linear,
    layers.lstm_cell,
    layers.recurrent_cell,
    *(
        module.init
        for module in (
            *(rntn, rnn_lm, window, encoder, tagger, parser, context_parser, span_parser),
            segment_tagger,
            graph_parser,
            *(sparse_crf, node_classifier, tree_lstm, mv_rnn, vec_avg),
        )
    ),
}


def public_functions() -> dict[str, Any]:
    """Every function in the ``__all__`` of the modules that this is about, by its name."""
    names = ["ops", "recurrent", "recursive", "recursive.child_sum"]
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
