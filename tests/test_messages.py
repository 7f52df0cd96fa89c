"""A wrong argument is named, with what it must be and what came; ids are looked at on the host."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rntn_jax as rj
from rntn_jax import ops, recurrent, recursive, trees
from rntn_jax.models import context_parser, encoder, parser, rnn_lm, rntn, tagger, window
from rntn_jax.sequences import SequenceBatch

# NumPy arrays serve where JAX's are asked for.
array: Any = np.array
zeros: Any = np.zeros
ones: Any = np.ones
full: Any = np.full

KEY = jax.random.key(0)
TREE = rj.data.parse_tree("(3 (2 not) (4 (2 very) (0 bad)))")
VOCABULARY = rj.data.Vocabulary.build(TREE.tokens)
FOREST = trees.pack([TREE], VOCABULARY)
MASK = ones((2, 3), bool)

RNTN = rntn.init(KEY, rntn.Config(len(VOCABULARY), dim=3))
LM = rnn_lm.init(KEY, rnn_lm.Config(5, embed_dim=2, hidden_dim=3))
WINDOW = window.init(KEY, window.Config(5, window=2, embed_dim=2, hidden_dim=3))
READER = encoder.init(KEY, encoder.Config((5, 5), (2, 2), rnn_dim=3))
TAGGER = tagger.init(KEY, tagger.Config((5, 5), (2, 2), 2, hidden_dim=3))
PARSER = parser.init(KEY, parser.Config((5,), num_relations=2, embed_dims=2, hidden_dim=3))
CONTEXT = context_parser.init(
    KEY, context_parser.Config(encoder.Config((5,), (2,), rnn_dim=3), num_relations=2)
)
CELL = recurrent.Cell(jnp.zeros((3, 3)), jnp.zeros((2, 3)), jnp.zeros(3))


def tokens(*bad: int) -> SequenceBatch:
    """Two rows of three words, the first of them as given."""
    ids = ones((2, 3), int)
    ids[0, : len(bad)] = bad
    return SequenceBatch(ids, ones((2, 3), int), MASK)


def columns(*bad: int) -> Any:
    return np.stack([tokens().tokens, tokens(*bad).tokens], axis=-1)


WRONG = {
    "crf.enumerate.table": (
        lambda: rj.crf.enumerate.table(zeros((3, 2)), zeros((1, 2, 3)), [(0, 1)]),
        r"edge must be float \[1, C, C\] = \[1, 2, 2\], got float\d+ \[1, 2, 3\]",
    ),
    "ops.embed": (
        lambda: ops.embed(zeros(4), zeros(2, int)),
        r"table must be float \[V, E\], got float\d+ \[4\]",
    ),
    "ops.embed of no integers": (
        lambda: ops.embed(zeros((4, 2)), zeros(2)),
        r"ids must be int \[2\], got float\d+ \[2\]",
    ),
    "ops.linear_cross_entropy": (
        lambda: ops.linear_cross_entropy(zeros((4, 2)), zeros((3, 5)), None, zeros(4, int)),
        r"x must be float \[4, D\] = \[4, 3\], got float\d+ \[4, 2\]",
    ),
    "ops.softmax_cross_entropy": (
        lambda: ops.softmax_cross_entropy(zeros((4, 2)), zeros(3, int)),
        r"labels must be int \[4\], got int\d+ \[3\]",
    ),
    "ops.pair_scores": (
        lambda: ops.pair_scores(zeros((1, 2, 3)), zeros((1, 2, 4)), zeros((1, 3))),
        r"right must be float \[B, J, H\], got float\d+ \[1, 2, 4\]",
    ),
    "recurrent.rnn": (
        lambda: recurrent.rnn(CELL, zeros((1, 4, 2)), mask=ones((1, 4), int)),
        r"mask must be bool \[B, T\] = \[1, 4\], got int\d+ \[1, 4\]",
    ),
    "recurrent.rnn of a wrong cell": (
        lambda: recurrent.rnn(CELL._replace(i=CELL.h), zeros((1, 4, 2))),
        r"cell.i must be float \[E, D\] = \[2, 3\], got float\d+ \[3, 3\]",
    ),
    "recursive.sweep": (
        lambda: recursive.sweep(RNTN.cell, zeros((1, 3)), FOREST),
        r"leaves must be float \[L, D\], got float\d+ \[1, 3\]",
    ),
    "rntn.loss": (
        lambda: rntn.loss(RNTN._replace(embedding=jnp.zeros(3)), FOREST),
        r"params.embedding must be float \[V, D\], got float\d+ \[3\]",
    ),
    "rnn_lm.loss": (
        lambda: rnn_lm.loss(LM, tokens()._replace(tokens=zeros((2, 3)))),
        r"batch.tokens must be int \[B, T\], got float\d+ \[2, 3\]",
    ),
    "rnn_lm.loss with a carry": (
        lambda: rnn_lm.loss(LM, tokens(), (jnp.zeros((3, 3)),)),
        r"carry\[0\] must be float \[B, 3\] = \[2, 3\], got float\d+ \[3, 3\]",
    ),
    "window.apply": (
        lambda: window.apply(WINDOW, zeros((4, 2))),
        r"ids must be int \[B, W0\], got float\d+ \[4, 2\]",
    ),
    "encoder.apply": (
        lambda: encoder.apply(READER, columns()[..., :1], array([3, 3])),
        r"ids must be int \[B, T, 2\], got int\d+ \[2, 3, 1\]",
    ),
    "tagger.apply": (
        lambda: tagger.apply(TAGGER, tagger.Batch(columns(), None, MASK.astype(int))),
        r"batch.mask must be bool \[B, T\], got int\d+ \[2, 3\]",
    ),
    "parser.decode": (
        lambda: parser.decode(PARSER, parser.Sentences((tokens().tokens,), zeros(3, int)), 1),
        r"sentences.ids\[0\] must be int \[B, P\], got int\d+ \[2, 3\]",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_shapes_and_dtypes(name):
    call, message = WRONG[name]
    with pytest.raises(AssertionError, match=message):
        call()


NUMBER: Any = 3
ONE_TREE: Any = TREE
LIST: Any = [TREE]
IDS: Any = tokens().tokens
TYPES = {
    "sentiment of a number": (
        lambda: rj.sentiment(NUMBER),
        "text must be a str or a sequence of str, got int",
    ),
    "sentiment of numbers": (
        lambda: rj.sentiment(["good", NUMBER]),
        r"text\[1\] must be a str, got int",
    ),
    "pack of one tree": (
        lambda: trees.pack(ONE_TREE, VOCABULARY),
        r"trees must be a sequence of Tree, got one Tree",
    ),
    "pack of texts": (
        lambda: trees.pack(["(3 good)"], VOCABULARY),
        r"trees\[0\] must be a Tree, got str",
    ),
    "rntn.loss of trees": (
        lambda: rntn.loss(RNTN, LIST),
        r"forest must be a Forest, made by rntn_jax.trees.pack, got list",
    ),
    "rntn.l2_penalty of a tree": (
        lambda: rntn.l2_penalty(RNTN, ONE_TREE),
        "forest must be a Forest",
    ),
    "rnn_lm.loss of ids": (
        lambda: rnn_lm.loss(LM, IDS),
        "batch must be a SequenceBatch, got ndarray",
    ),
}


@pytest.mark.parametrize("name", TYPES)
def test_types(name):
    call, message = TYPES[name]
    with pytest.raises(TypeError, match=message):
        call()


SMALL = RNTN._replace(embedding=RNTN.embedding[:-1])
BEYOND = {
    "ops.embed": (
        lambda: ops.embed(zeros((4, 2)), array([0, 4])),
        r"ids must lie in 0 .. 3 .* got 4 at \[1\]",
    ),
    "rntn.loss": (lambda: rntn.loss(SMALL, FOREST), "forest.tokens must lie in 0 .. 3"),
    "rntn.apply": (lambda: rntn.apply(SMALL, FOREST), "forest.tokens must lie in 0 .. 3"),
    "rntn.loss, classes": (
        lambda: rntn.loss(
            RNTN._replace(head=rntn.Head(jnp.zeros((3, 4)), jnp.zeros(4))),
            FOREST._replace(labels=FOREST.labels + 1),
        ),
        "forest.labels must lie in 0 .. 3 .* got [45] at",
    ),
    "rnn_lm.loss": (
        lambda: rnn_lm.loss(LM, tokens(5)),
        r"batch.tokens must lie in 0 .. 4 .* got 5 at \[0, 0\]",
    ),
    "rnn_lm.loss, negative": (lambda: rnn_lm.loss(LM, tokens(1, -1)), r"got -1 at \[0, 1\]"),
    "rnn_lm.loss, targets": (
        lambda: rnn_lm.loss(LM, tokens()._replace(targets=tokens(9).tokens)),
        r"batch.targets must lie in 0 .. 4",
    ),
    "rnn_lm.generate": (
        lambda: rnn_lm.generate(LM, KEY, array([[7]]), 2),
        "prompt must lie in 0 .. 4",
    ),
    "window.loss": (
        lambda: window.loss(WINDOW, window.Batch(array([[0, 5]]), array([0]))),
        "batch.ids must lie in 0 .. 4",
    ),
    "window.loss, classes": (
        lambda: window.loss(WINDOW, window.Batch(array([[0, 1]]), array([2]))),
        "batch.labels must lie in 0 .. 1",
    ),
    "encoder.apply": (
        lambda: encoder.apply(READER, columns(6), array([3, 3])),
        r"ids\[\.\.\., 1\] must lie in 0 .. 4",
    ),
    "tagger.loss": (
        lambda: tagger.loss(TAGGER, tagger.Batch(columns(6), zeros((2, 3), int), MASK)),
        r"batch.ids\[\.\.\., 1\] must lie",
    ),
    "tagger.loss, classes": (
        lambda: tagger.loss(TAGGER, tagger.Batch(columns(), full((2, 3), 2), MASK)),
        "batch.labels must lie in 0 .. 1",
    ),
    "parser.decode": (
        lambda: parser.decode(PARSER, parser.Sentences((tokens(5).tokens,), array([1, 1])), 1),
        r"sentences.ids\[0\] must lie",
    ),
    "context_parser.decode": (
        lambda: context_parser.decode(
            CONTEXT, parser.Sentences((tokens(1, 5).tokens,), array([1, 1])), 1
        ),
        "must lie in 0 .. 4",
    ),
}


@pytest.mark.parametrize("name", BEYOND)
def test_ids_beyond_a_table(name):
    call, message = BEYOND[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_masked_may_hold_any_id():
    hidden = MASK.copy()
    hidden[0, 0] = False
    clean, dirty = (tokens(*bad)._replace(mask=hidden) for bad in ((), (99,)))
    assert rnn_lm.loss(LM, clean)[0] == rnn_lm.loss(LM, dirty)[0]


def test_traced_ids_pass_unseen():
    assert np.isfinite(jax.jit(rntn.loss)(SMALL, FOREST)[0])
    gradient = jax.grad(lambda params: rntn.loss(params, FOREST)[0])
    with pytest.raises(ValueError, match=r"forest\.tokens"):  # only the parameters are traced
        gradient(SMALL)
