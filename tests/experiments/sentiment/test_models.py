"""`./launch.sh sentiment --model=...`: networks from training to their files; baselines."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments.sentiment import bag_of_words, networks, train
from experiments.sentiment.config import Config
from rntn_jax import data, trees
from rntn_jax.annotate import label_trees, load_classifier
from rntn_jax.annotate.classifier import model_of
from rntn_jax.models import mv_rnn, vec_avg

TREES = data.demo_sentiment.sentiment_trees(40, seed=0)
VOCABULARY = data.Vocabulary.build(word for tree in TREES for word in tree.tokens)
SETTINGS: dict[str, dict[str, Any]] = {
    "mv_rnn": {"dim": 4, "rank": 1},
    "tree_lstm": {"dim": 3, "embed_dim": 4, "kind": "child_sum"},
    "vec_avg": {"dim": 3},
}


@pytest.mark.parametrize("model", SETTINGS)
def test_a_network_is_trained_and_its_file_answers_the_same(tmp_path: Path, model: str):
    config = Config(
        model=model, max_trees=24, epochs=2, batch_size=12, updates_per_dispatch=2, lanes=4,
        leaf_dropout=0.1, hidden_dropout=0.1, average=0.9, **SETTINGS[model],
    )  # fmt: skip
    result = train.run(config, tmp_path)
    loaded = load_classifier(tmp_path / "model.safetensors")
    assert model_of(loaded.params).__name__ == f"rntn_jax.models.{model}"
    dev = train.load_splits(config)["dev"]
    predictions = train.scores.collect(dev, label_trees(loaded, dev))
    assert train.scores.score(predictions) == pytest.approx(result["dev"])
    rows = [json.loads(row) for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[1]["train_loss"] < rows[0]["train_loss"]


def test_words_and_matrices_have_step_sizes_of_their_own():
    config = Config(
        model="mv_rnn", dim=2, optimizer="sgd", learning_rate=1.0, tensor_learning_rate=0.1,
        word_learning_rate=0.5,
    )  # fmt: skip
    params = mv_rnn.init(jax.random.key(0), mv_rnn.Config(4, 2))
    ones = jax.tree.map(np.ones_like, params)
    rule = networks.make_optimizer(config, 1)
    updates: Any = rule.update(ones, rule.init(params), params)[0]
    np.testing.assert_allclose(updates.embedding[0], [-0.5] * 2 + [-0.05] * 4)
    np.testing.assert_allclose(updates.cell.w_m, -0.1)
    np.testing.assert_allclose(updates.cell.w, -1)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_word_vectors_of_a_file_are_where_training_begins(tmp_path: Path, rate: float):
    """Frozen they come out as they went in; tuned they do not. Words of dev have theirs too."""
    config = Config(
        model="tree_lstm", dim=3, embed_dim=2, max_trees=24, epochs=1, batch_size=12,
        updates_per_dispatch=2, lanes=4, vectors=str(tmp_path / "vectors.txt"), l2_words=0.0,
        word_learning_rate=rate,
    )  # fmt: skip
    splits = train.load_splits(config)
    first, second = splits["train"][0].tokens[0].lower(), splits["dev"][0].tokens[0].lower()
    (tmp_path / "vectors.txt").write_text(f"{first} 0.5 -0.25\n{second} 1 2\nnobody 3 4\n")
    train.run(config, tmp_path / "run")
    loaded = load_classifier(tmp_path / "run" / "model.safetensors")
    rows = loaded.params.embedding[loaded.vocabulary.encode([first, second])]
    expected = [[0.5, -0.25], [0.5, -0.25] if first == second else [1, 2]]
    assert np.allclose(rows, expected) == (rate == 0)
    assert "nobody" not in loaded.vocabulary


def test_word_vectors_of_another_width_are_refused(tmp_path: Path):
    word = train.load_splits(Config(max_trees=3))["train"][0].tokens[0].lower()
    (tmp_path / "v.txt").write_text(f"{word} 1 2 3\n")
    config = Config(max_trees=3, dim=2, vectors=str(tmp_path / "v.txt"))
    with pytest.raises(data.DataError, match="3 numbers, the model takes 2: --dim"):
        train.run(config, tmp_path / "run")


def bags(tree: data.Tree, pairs: bool) -> list[list[Any]]:
    """The features of each node, written down."""
    found = []
    for begin, end in tree.spans():
        words = [word.lower() for word in tree.tokens[begin:end]]
        found.append(words + (list(pairwise(words)) if pairs else []))
    return found


@pytest.mark.parametrize(("pairs", "weight"), [(False, 0.0), (True, 0.5)])
def test_naive_bayes_is_that_of_counts_written_down(pairs: bool, weight: float):
    model = "binb" if pairs else "nb"
    config = Config(model=model, smoothing=0.5, length_weight=weight)
    train_trees, other = TREES[:30], TREES[30:]
    predict = bag_of_words.fit(config, train_trees, VOCABULARY)
    examples = [
        (bag, label)
        for tree in train_trees
        for bag, label in zip(bags(tree, pairs), tree.labels)
        if label >= 0
    ]

    def words_in(bag: list[Any]) -> int:
        return sum(isinstance(f, str) for f in bag)

    def group(bag: list[Any]) -> int:
        return max(
            i for i, n in enumerate([1, 2, 3, 4, 6, 8, 11, 15, 20, 27]) if n <= words_in(bag)
        )

    known = {f for bag, _ in examples for f in bag if isinstance(f, tuple)}
    sizes = {str: len(VOCABULARY), tuple: len(known) + 1}
    counts = {kind: np.full((5,), 0.5 * size) for kind, size in sizes.items()}
    each: dict[Any, np.ndarray] = {}
    for bag, label in examples:
        for f in bag:
            each.setdefault(f, np.full(5, 0.5))[label] += words_in(bag) ** -weight
            counts[type(f)][label] += words_in(bag) ** -weight
    for tree, found in zip(other, predict(other)):
        for bag, p in zip(bags(tree, pairs), found):
            alike = [label for other_bag, label in examples if group(other_bag) == group(bag)]
            scores = np.log(np.bincount(alike, minlength=5) + 1.0) + sum(
                np.log(each.get(f, np.full(5, 0.5)) / counts[type(f)])
                for f in bag
                if isinstance(f, str) or f in known
            )
            expected = np.exp(scores - scores.max())
            np.testing.assert_allclose(p, expected / expected.sum(), rtol=1e-9)


@pytest.mark.parametrize("model", ["nb", "binb", "svm"])
def test_baselines_learn_the_demo_corpus_and_report(tmp_path: Path, model: str):
    if model == "svm":
        pytest.importorskip("sklearn")
    config = Config(model=model, max_trees=200)
    result = train.run(config, tmp_path)
    labels = np.concatenate([tree.labels for tree in train.load_splits(config)["dev"]])
    assert result["dev"]["fine_all"] > np.bincount(labels[labels >= 0]).max() / len(labels)
    assert result == train.run(config, tmp_path)  # it has ended
    assert "Confusion" in Path(result["report"]).read_text("utf-8")


def test_the_svm_leaves_out_what_a_class_lacks():
    """Two classes, of which scikit-learn gives one score."""
    pytest.importorskip("sklearn")
    trees = [data.parse_tree("(1 (1 good) (1 film))"), data.parse_tree("(0 (0 bad) (0 film))")]
    vocabulary = data.Vocabulary.build(["good", "bad", "film"])
    predict = bag_of_words.fit(Config(model="svm", num_classes=2, svm_c=10.0), trees, vocabulary)
    for tree, p in zip(trees, predict(trees)):
        np.testing.assert_allclose(p.sum(axis=1), 1)
        assert p[-1].argmax() == tree.labels[-1]


def test_phrases_weigh_by_their_length_in_the_loss():
    forest = trees.pack(TREES[:4], data.Vocabulary.build(w for t in TREES for w in t.tokens))
    config = Config(model="vec_avg", dim=3, length_weight=-0.5, l2_words=0.0, l2_head=0.0)
    params = networks.init(jax.random.key(0), config, 1000)
    found, _ = networks.make_loss(config)(params, forest, jax.random.key(1))
    total = 0.0
    for tree, p in zip(TREES[:4], trees.unpack(forest, vec_avg.predict(params, forest))):
        for (begin, end), label, own in zip(tree.spans(), tree.labels, p):
            if label >= 0:
                total -= (end - begin) ** 0.5 * np.log(own[label])
    np.testing.assert_allclose(found, total / 4, rtol=1e-5)
    with pytest.raises(ValueError, match="length_weight must be from -3 to 3, got 4"):
        Config(length_weight=4.0)
