"""`repr` of containers: shapes and dtypes, not thousands of numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rntn_jax as rj
from rntn_jax import crf, data, sequences, training, trees
from rntn_jax.models import encoder
from rntn_jax.shapes import shapes_repr
from tests.helpers import enable_x64

TREE = data.parse_tree("(3 (2 not) (4 (2 very) (0 bad)))")
VOCABULARY = data.Vocabulary.build([f"word{i}" for i in range(3000)])
KEY = jax.random.key(0)


class Holder(NamedTuple):
    """Anything."""

    x: Any
    y: Any = None

    __repr__ = shapes_repr


def test_scores_in_full():
    with enable_x64(False):
        node, edge = jnp.zeros((4, 7, 3)), jnp.eye(3)
        scores = crf.chain.Scores(node, edge, mask=np.ones((4, 7), bool))
        assert repr(scores) == (
            "Scores(node=float32[4, 7, 3], edge=float32[3, 3], start=None, end=None, "
            "mask=bool[4, 7])"
        )
        few = crf.chain.Scores(node, jnp.eye(2), start=jnp.arange(3.0))
        assert "edge=Array([[1., 0.], [0., 1.]], dtype=float32), start=Array([0., 1., 2.]" in (
            repr(few)
        )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.zeros(9, np.float16), "float16[9]"),
        (np.zeros(8, np.int8), "array([0, 0, 0, 0, 0, 0, 0, 0], dtype=int8)"),
        (np.zeros((0, 5), np.int32), "array([], shape=(0, 5), dtype=int32)"),
        (np.zeros((3, 9), jnp.bfloat16), "bfloat16[3, 9]"),
        (np.float64(3), "np.float64(3.0)"),
        (jax.ShapeDtypeStruct((2, 3), np.float32), "float32[2, 3]"),
        (jax.random.key(0), "key<fry>[]"),
        ((np.zeros(9, np.int32),), "(int32[9],)"),
        ([np.zeros(9, np.int32)] * 2, "[int32[9], int32[9]]"),
        ((), "()"),
        ({"a": np.zeros(9, np.int32)}, "{'a': int32[9]}"),
        (Holder(np.zeros(9, np.int32)), "Holder(x=int32[9], y=None)"),
        ("text", "'text'"),
        (0.5, "0.5"),
    ],
    ids=str,
)
def test_what_may_stand_in_a_field(value, shown: str):
    assert repr(Holder(value)) == f"Holder(x={shown}, y=None)"


def test_tracers_and_deleted_arrays_are_shown():
    seen = []

    def record(x: jax.Array) -> jax.Array:
        seen.append(repr(Holder(x)))
        return x.sum()

    x = jnp.ones(3, jnp.float32)
    jax.jit(jax.grad(record))(x)
    jax.vmap(record)(jnp.ones((2, 4, 5), jnp.int32))
    x.delete()
    seen.append(repr(Holder(x)))
    shown = ["float32[3]", "int32[4, 5]", "float32[3]"]
    assert seen == [f"Holder(x={text}, y=None)" for text in shown]


def _containers() -> dict[str, Any]:
    """One of each kind, of more than 8 numbers everywhere."""
    forest = trees.pack([TREE] * 20, VOCABULARY)
    rntn = rj.rntn.init(KEY, rj.rntn.Config(3002, dim=10, num_classes=5))
    language = rj.rnn_lm.init(KEY, rj.rnn_lm.Config(3002, 10, 10))
    rows = np.zeros((10, 50), np.int32)
    node, edges = jnp.zeros((100, 4)), crf.graph.grid_edges(10, 10)
    graph = crf.graph.Scores(node, jnp.zeros((len(edges), 4, 4)), edges)
    parent = np.arange(-1, 99)
    small = encoder.Config((3002,), (10,), rnn_dim=10)
    return {
        "forest": forest,
        "treebank": trees.encode([TREE] * 20, VOCABULARY),
        "rntn": rntn,
        "rnn_lm": language,
        "window": rj.window.init(KEY, rj.window.Config(3002, 3, 10, 10, 5)),
        "span_parser": rj.span_parser.init(KEY, rj.span_parser.Config(small, hidden_dim=10)),
        "encoder": encoder.init(KEY, small),
        "sequences": sequences.SequenceBatch(rows, rows, rows > 0),
        "graph scores": graph,
        "graph plan": crf.graph.plan(edges, 100, 4),
        "graph neighbours": crf.graph.neighbours(edges, 100),
        "forest scores": crf.forest.Scores(node, jnp.zeros((4, 4)), parent),
        "forest plan": crf.forest.plan(parent),
        "constituency": crf.constituency.Scores(jnp.zeros((2, 9, 9)), np.full(2, 8)),
        "train state": training.TrainState(language, optax.adam(1.0).init(language), 0, KEY),  # type: ignore[arg-type]
        "pipeline": rj.annotate.SentimentClassifier(rntn, VOCABULARY, {}, {}),
    }


def test_no_container_prints_its_numbers():
    for name, container in _containers().items():
        text = repr(container)
        assert len(text) < 1500 and "\n" not in text, (name, text)
        assert text.startswith(type(container).__name__ + "("), name


def test_every_public_container_of_arrays_has_it():
    """The classes in all `Params`, `Scores`, ... of the package, whoever adds one."""
    import importlib
    import pkgutil

    others = {"data"}  # scores of taggings
    names = {"Params", "Cell", "Head", "Layer", "Scores", "Forest", "Plan", "Batch", "Aux"}
    found = 0
    for info in pkgutil.walk_packages(rj.__path__, "rntn_jax."):
        module = importlib.import_module(info.name)
        for name in names & set(vars(module)):
            thing = getattr(module, name)
            level = info.name.split(".")[1]
            if isinstance(thing, type) and thing.__module__ == info.name and level not in others:
                assert thing.__repr__ is shapes_repr, f"{info.name}.{name}"
                found += 1
    assert found > 20


def test_vocabularies_show_their_first_words():
    few = data.Vocabulary.build(["a"], lowercase=True)
    assert repr(few) == "Vocabulary(3 words: '<pad>', '<unk>', 'a'; lowercase=True)"
    assert repr(VOCABULARY).endswith("'word4', 'word5', ...; lowercase=False)")
