"""The graph-based parser against its equations in NumPy, and all trees."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.annotate import (
    DependencyParser,
    load_dependency_parser,
    save_dependency_parser,
)
from rntn_jax.data import Vocabulary
from rntn_jax.models import encoder, graph_parser, tagger
from rntn_jax.models.graph_parser import Batch, Config
from rntn_jax.recurrent import LSTMCell
from tests.crf.battery.dependency import trees

RELATIONS, WORDS = 3, 4
CONFIG = Config(encoder.Config((7, 5), (3, 2), rnn_dim=4), RELATIONS, arc_dim=6, relation_dim=5)
LENGTH = np.array([4, 2, 3])
HEADS = np.array([[2, 0, 4, 2], [0, 1, 9, 9], [3, 3, 0, 9]])
LABELS = np.where(HEADS == 0, 2, HEADS % 2)


@pytest.fixture(scope="module")
def params():
    drawn = graph_parser.init(jax.random.key(0), CONFIG, jnp.float64)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: leaf + 0.4 * rng.normal(size=leaf.shape), drawn)


def batch() -> Batch:
    rng = np.random.default_rng(0)
    ids = np.stack([rng.integers(2, v, (3, WORDS)) for v in CONFIG.encoder.vocab_sizes], axis=-1)
    return Batch(ids, LENGTH, HEADS, LABELS)


def known(params, own: Batch) -> np.ndarray:
    words = np.asarray(encoder.apply(params.encoder, own.ids, own.length))
    root = np.broadcast_to(params.root, (len(words), 1, words.shape[2]))
    return np.concatenate([root, words], axis=1)


def hidden(layer, x: np.ndarray) -> np.ndarray:
    return np.maximum(x @ np.asarray(layer.w) + np.asarray(layer.b), 0)


def arc_scores(params, x: np.ndarray, row: int) -> np.ndarray:
    """``s(h, d)`` of one sentence as the docstring says it."""
    size = x.shape[1]
    of_head, of_word = (hidden(layer, x[row]) for layer in (params.head, params.word))
    u, v, found = np.asarray(params.arc), np.asarray(params.distance), np.zeros((size, size))
    for h in range(size):
        for d in range(1, size):
            steps = abs(h - d)
            near = sum(steps >= least for least in (2, 3, 4, 5, 7, 10, 15))
            kind = 16 if h == 0 else near + 8 * (h > d)
            found[h, d] = np.append(of_head[h], 1) @ u @ of_word[d] + of_word[d] @ v[:, kind]
    return found


def relation_logits(params, x: np.ndarray, row: int, head: int, word: int) -> np.ndarray:
    p = hidden(params.relation_head, x[row, head])
    q = hidden(params.relation_word, x[row, word])
    return np.concatenate([p, q, p * q]) @ np.asarray(params.relation.w) + params.relation.b


@pytest.mark.parametrize(
    "projective", [pytest.param(True, marks=pytest.mark.slow), pytest.param(False)]
)
def test_the_loss_is_that_of_all_trees(params, projective):
    own = batch()
    nats, aux = graph_parser.loss(params, own, projective=projective)
    x, tree_nats, relation_nats = known(params, own), [], []
    for row, length in enumerate(LENGTH):
        s = arc_scores(params, x, row)
        worth = {
            heads: sum(s[h, d] for d, h in enumerate(heads, 1))
            for heads in trees(int(length), projective, True)
        }
        gold = tuple(HEADS[row, :length])
        tree_nats.append(np.logaddexp.reduce(list(worth.values())) - worth[gold])
        relation_nats.append(0.0)
        for d, h in enumerate(gold, 1):
            logits = relation_logits(params, x, row, h, d)
            relation_nats[-1] += np.logaddexp.reduce(logits) - logits[LABELS[row, d - 1]]
    np.testing.assert_allclose(aux.nats, tree_nats, rtol=1e-9)
    np.testing.assert_allclose(aux.relation_nats, relation_nats, rtol=1e-9)
    np.testing.assert_allclose(nats, (sum(tree_nats) + sum(relation_nats)) / LENGTH.sum())
    if projective:
        return
    parse = graph_parser.decode(params, own, root=2)
    for row, length in enumerate(LENGTH):
        s = arc_scores(params, x, row)
        answers = np.array(trees(int(length), False, True))
        worth = s[answers, np.arange(1, length + 1)].sum(axis=1)
        p = np.exp(worth - np.logaddexp.reduce(worth))
        right = np.zeros_like(s)
        for answer, own_p in zip(answers, p):
            right[answer, np.arange(1, length + 1)] += own_p
        expected = right[answers, np.arange(1, length + 1)].sum(axis=1)
        best = answers[expected.argmax()]
        np.testing.assert_array_equal(parse.heads[row, :length], best)
        found = right[best, np.arange(1, length + 1)]
        np.testing.assert_allclose(parse.probability[row, :length], found, rtol=1e-9)
        np.testing.assert_array_equal(parse.heads[row, length:], 0)
        for d, h in enumerate(best, 1):
            logits = relation_logits(params, x, row, h, d)
            wanted = 2 if h == 0 else logits[:2].argmax()
            assert parse.relations[row, d - 1] == wanted


def test_every_weight_learns_and_dropout_needs_a_key(params):
    own = batch()
    grads = jax.grad(lambda params: graph_parser.loss(params, own)[0])(params)
    assert all((np.asarray(leaf) != 0).any() for leaf in jax.tree.leaves(grads))
    with pytest.raises(ValueError, match="key"):
        graph_parser.loss(params, own, hidden_dropout=0.5)
    with pytest.raises(ValueError, match="root must be one of 3 relations"):
        graph_parser.decode(params, own, root=3)
    with pytest.raises(ValueError, match=r"batch\.relations must lie"):
        graph_parser.loss(params, own._replace(relations=LABELS + 1))


@pytest.mark.parametrize("kind", [encoder.Config, tagger.Config])
def test_cells_that_there_are_not(kind):
    sizes = {"num_classes": 3} if kind is tagger.Config else {}
    assert kind((9,), (3,), cell="lstm", **sizes).cell == "lstm"
    with pytest.raises(ValueError, match="cell must be one of elman, lstm, got 'gru'"):
        kind((9,), (3,), cell="gru", **sizes)


def test_a_gated_parser_is_read_back(tmp_path):
    sizes = Config(encoder.Config((4, 3), (3, 2), rnn_dim=4, cell="lstm"), num_relations=2)
    words = Vocabulary.build(["a"]), Vocabulary(("<pad>", "<unk>"))
    params = graph_parser.init(jax.random.key(0), sizes)
    options = {"projective": False, "feats": False, "suffixes": False}
    made = DependencyParser(params, words, ["obj", "root"], sizes, options)
    save_dependency_parser(tmp_path / "model", made)
    again = load_dependency_parser(tmp_path / "model")
    assert again.config == sizes and isinstance(again.params.encoder.cells[0][0], LSTMCell)
    jax.tree.map(np.testing.assert_array_equal, again.params, params)
