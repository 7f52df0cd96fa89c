"""Calls of the functions of `rntn_jax.recurrent`, `recursive` and `ops`."""

from __future__ import annotations

import numpy as np

from rntn_jax import ops, recurrent, recursive, trees
from rntn_jax.data import Vocabulary
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
)
from tests.helpers import random_tree


def cell(rng):
    return recurrent.Cell(draw(D, D)(rng), draw(E, D)(rng), draw(D)(rng))


def square_cell(rng):
    return recurrent.Cell(draw(D, D)(rng), draw(D, D)(rng), draw(D)(rng))


def lstm_cell(rng):
    return recurrent.LSTMCell(draw(D, 4 * D)(rng), draw(E, 4 * D)(rng), draw(4 * D)(rng))


def lstm_state(rng):
    return recurrent.LSTMState(draw(B, D)(rng), draw(B, D)(rng))


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
    Example(recurrent.lstm, args(lstm_cell, INPUTS)),
    Example(
        recurrent.lstm,
        args(lstm_cell, INPUTS, lstm_state, MASK),
        {"reverse": True, "remat_every": 2},
    ),
    Example(recurrent.bilstm, args(lstm_cell, lstm_cell, INPUTS, MASK)),
    Example(recurrent.jacobian_norms, args(cell, draw(B, T, D), 2)),
]

TREES = [random_tree(np.random.default_rng(0), n, num_words=3) for n in (3, 2)]
VOCABULARY = Vocabulary.build([f"w{i}" for i in range(3)])
FOREST_OF_TREES = trees.pack(TREES, VOCABULARY, lanes=2)
LEAVES = FOREST_OF_TREES.shape.leaves
DEPENDENCIES = trees.pack_nary(
    [["w0", "w2", "w1"], ["w1", "w2"]], [[1, -1, 1], [-1, 0]], VOCABULARY, lanes=2
)


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
    Example(
        recursive.child_sum.sweep,
        lambda rng: (
            recursive.child_sum.Cell(draw(D, 4 * D)(rng), draw(4 * D)(rng)),
            draw(DEPENDENCIES.shape.slots, 4 * D)(rng),
            DEPENDENCIES,
        ),
    ),
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
    Example(
        ops.pair_scores,
        args(draw(B, 2, D), draw(B, 3, D), draw(B, D)),
        options={"above": True},
        slow=True,
    ),
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
