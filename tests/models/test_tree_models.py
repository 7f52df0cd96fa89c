"""`models.tree_lstm`, `mv_rnn`, `vec_avg`: leaves, head and loss against NumPy, configurations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax import trees
from rntn_jax.data import Vocabulary
from rntn_jax.models import mv_rnn, node_classifier, rntn, tree_lstm, vec_avg
from tests.helpers import assert_close, random_tree
from tests.oracles import cells_numpy

VOCABULARY = Vocabulary.build([f"w{i}" for i in range(6)])  # w6 is unknown
RNG = np.random.default_rng(4)
TREES = [random_tree(RNG, n, unlabelled=0.3) for n in (5, 1, 9)]
FOREST = trees.pack(TREES, VOCABULARY, lanes=4)
CONFIGS = {
    "tree_lstm": (tree_lstm, tree_lstm.Config(len(VOCABULARY), embed_dim=4, hidden_dim=3)),
    "child_sum": (
        tree_lstm,
        tree_lstm.Config(len(VOCABULARY), embed_dim=4, hidden_dim=3, kind="child_sum"),
    ),
    "mv_rnn": (mv_rnn, mv_rnn.Config(len(VOCABULARY), dim=3, matrix_scale=0.3)),
    "low_rank": (mv_rnn, mv_rnn.Config(len(VOCABULARY), dim=4, rank=1, matrix_scale=0.3)),
    "vec_avg": (vec_avg, vec_avg.Config(len(VOCABULARY), dim=3)),
}


def of_tree_lstm(params, ids, children):
    x = params.embedding[ids]
    i, o, u = np.split(x @ params.leaf.w + params.leaf.b, 3, axis=1)
    c = cells_numpy.sigmoid(i) * np.tanh(u)
    leaves = np.concatenate([cells_numpy.sigmoid(o) * np.tanh(c), c], axis=1)
    node = cells_numpy.tree_lstm if params.cell.u.shape[1] == 15 else cells_numpy.child_sum
    return cells_numpy.states(node, list(params.cell), leaves, children)[:, :3]


def of_mv_rnn(params, ids, children):
    d = len(params.cell.b)
    leaves = []
    for row in params.embedding[ids]:
        if len(row) == d + d * d:
            matrix = np.eye(d) + row[d:].reshape(d, d)
        else:  # rank 1
            u, v, a = row[d:].reshape(3, d)
            matrix = np.eye(d) + np.outer(u, v) + np.diag(a)
        leaves.append(np.concatenate([np.tanh(row[:d]), matrix.ravel()]))
    return cells_numpy.states(cells_numpy.mv_rnn, list(params.cell), leaves, children)[:, :d]


def of_vec_avg(params, ids, children):
    spans = [[i] for i in range(len(ids))]
    for left, right in children:
        spans.append(spans[left] + spans[right])
    return np.array([params.embedding[ids[span]].mean(axis=0) for span in spans])


ORACLES = {tree_lstm: of_tree_lstm, mv_rnn: of_mv_rnn, vec_avg: of_vec_avg}


@pytest.mark.parametrize("name", CONFIGS)
def test_states_and_loss_are_those_written_down(name):
    model, config = CONFIGS[name]
    params = model.init(jax.random.key(0), config, jnp.float64)
    # Biases begin at 0; nothing here may.
    params = jax.tree.map(lambda x: np.asarray(x + 0.1 * RNG.normal(size=x.shape)), params)
    (value, aux), gradients = jax.value_and_grad(model.loss, has_aux=True)(params, FOREST)
    total = 0.0
    for tree, found in zip(TREES, trees.unpack(FOREST, model.states(params, FOREST))):
        states = ORACLES[model](params, VOCABULARY.encode(tree.tokens), tree.children)
        assert_close(found, states, 1e-12)
        logits = states @ params.head.w + params.head.b
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        total -= sum(log_p[n, label] for n, label in enumerate(tree.labels) if label >= 0)
    assert_close(value, total / len(TREES), 1e-12)
    assert int(aux.nodes) == sum((tree.labels >= 0).sum() for tree in TREES)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, path


def test_a_tree_lstm_of_dependency_trees_is_that_written_down():
    """A word at some of the nodes, labels at some, any number of children."""
    parents = [[2, 2, -1, 2], [-1], [1, 3, 3, -1]]
    words = [["w0", "w3", "w6", None], ["w2"], ["w1", None, "w1", "w5"]]
    labels = [[2, -1, 4, 0], [1], [-1, 3, 3, 0]]
    forest = trees.pack_nary(words, parents, VOCABULARY, labels=labels)
    config = tree_lstm.Config(len(VOCABULARY), embed_dim=4, hidden_dim=3, kind="dependency")
    params = tree_lstm.init(jax.random.key(0), config, jnp.float64)
    params = jax.tree.map(lambda x: np.asarray(x + 0.1 * RNG.normal(size=x.shape)), params)
    (value, aux), gradients = jax.value_and_grad(tree_lstm.loss, has_aux=True)(params, forest)
    total = 0.0
    found = trees.unpack(forest, tree_lstm.states(params, forest))
    for own_words, own_parents, own_labels, states in zip(words, parents, labels, found):

        def state(node, own_words=own_words, own_parents=own_parents):
            children = [state(k) for k, up in enumerate(own_parents) if up == node]
            x, word = np.zeros(12), own_words[node]
            if word is not None:
                x = params.embedding[VOCABULARY.encode([word])[0]] @ params.leaf.w + params.leaf.b
            return cells_numpy.child_sum(*params.cell, *children, x=x)

        expected = np.array([state(node)[:3] for node in range(len(own_words))])
        assert_close(states, expected, 1e-12)
        logits = expected @ params.head.w + params.head.b
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        total -= sum(log_p[n, label] for n, label in enumerate(own_labels) if label >= 0)
    assert_close(value, total / 3, 1e-12)
    assert (int(aux.nodes), int(aux.roots)) == (7, 3)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, path
    with pytest.raises(AssertionError, match=r"params\.leaf\.w"):
        tree_lstm.apply(params, FOREST)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tree_lstm.Config(9, kind="ternary"), "kind must be .*'ternary'"),
        (lambda: tree_lstm.Config(9, hidden_dim=0), "hidden_dim must be .* got 0"),
        (lambda: mv_rnn.Config(9, dim=5, rank=2), "rank must save numbers.* got 2"),
        (lambda: mv_rnn.Config(9, rank=0), "rank must be .* got 0"),
        (lambda: vec_avg.Config(1), "vocab_size must be .* got 1"),
    ],
)
def test_configurations_name_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", CONFIGS)
def test_arguments_are_checked(name):
    model, config = CONFIGS[name]
    params = model.init(jax.random.key(0), config)
    with pytest.raises(TypeError, match="forest must be a Forest"):
        model.apply(params, TREES[0])
    with pytest.raises(ValueError, match="leaf_dropout needs a key"):
        model.loss(params, FOREST, leaf_dropout=0.5)
    with pytest.raises(AssertionError, match=r"params\.head\.b"):
        model.apply(params._replace(head=rntn.Head(params.head.w, params.head.b[:-1])), FOREST)


def test_penalty_counts_each_part_with_its_weight():
    model, config = CONFIGS["mv_rnn"]
    params = jax.tree.map(jnp.ones_like, model.init(jax.random.key(0), config))
    of = lambda **weights: float(
        node_classifier.l2_penalty(
            params, FOREST, **{"weights": 0.0, "head": 0.0, "words": 0.0} | weights
        )
    )
    assert of(weights=2.0) == 18 + 3 + 18
    assert of(head=2.0) == 15
    used = len(set(np.concatenate([VOCABULARY.encode(t.tokens) for t in TREES])))
    assert of(words=2.0) == used * 12


def test_a_mean_in_bfloat16_is_of_all_words():
    (long,) = [random_tree(np.random.default_rng(0), 3000, "left")]
    forest = trees.pack([long], VOCABULARY)
    params = vec_avg.Params(
        jnp.ones((len(VOCABULARY), 1), jnp.bfloat16),
        rntn.Head(jnp.ones((1, 5), jnp.bfloat16), jnp.zeros(5, jnp.bfloat16)),
    )
    states = vec_avg.states(params, forest)
    assert states.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(states[jnp.asarray(forest.roots[:1])], np.float32), 1.0)
