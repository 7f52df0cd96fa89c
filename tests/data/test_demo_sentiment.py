"""The embedded treebank: labels against an independent oracle, determinism, noise, difficulty."""

import re

import numpy as np
import pytest

from rntn_jax.data import Tree, demo_sentiment
from rntn_jax.data._demo_grammar import RULES, WORDS


@pytest.fixture(scope="module")
def splits():
    return demo_sentiment.sentiment_splits()


NEGATORS = set("not no never hardly rarely without".split())
INTENSIFIERS = set("very extremely truly incredibly remarkably utterly".split())
DIMINISHERS = set("slightly somewhat fairly mildly rather".split())


def oracle(tree):
    """All labels, from those of the leaves, by tables over labels and the first words of parts."""
    labels = tree.labels[: tree.num_leaves].tolist()
    spans = tree.spans()
    for node, (left, right) in enumerate(tree.children.tolist(), tree.num_leaves):
        a, b = labels[left], labels[right]
        alone = spans[left, 1] - spans[left, 0] == 1
        word = tree.tokens[spans[left, 0]] if alone else ""
        if word in NEGATORS:
            labels.append([3, 3, 2, 1, 1][b])
        elif word in INTENSIFIERS:
            labels.append([0, 0, 2, 4, 4][b])
        elif word in DIMINISHERS:
            labels.append([1, 1, 2, 3, 3][b])
        elif word == "but" or tree.tokens[spans[right, 0]] == "but":
            labels.append(b)
        else:
            assert a == 2 or b == 2, f"two polar parts joined in {tree!r}"
            labels.append(b if a == 2 else a)
        assert node == len(labels) - 1
    return labels


def test_labels_follow_the_rules(splits):
    for tree in splits["train"] + splits["dev"] + splits["test"]:
        assert tree.labels.tolist() == oracle(tree), tree


def test_leaf_labels_are_those_of_the_lexicon(splits):
    assert set(demo_sentiment.LEXICON.values()) >= {("plain", score) for score in range(-2, 3)}
    for tree in splits["train"]:
        for word, label in zip(tree.tokens, tree.labels.tolist()):
            assert demo_sentiment.LEXICON[word][1] + 2 == label
    by_category = {
        category: {word for word, (kind, _) in demo_sentiment.LEXICON.items() if kind == category}
        for category in ("negator", "intensifier", "diminisher", "but")
    }
    assert by_category == {
        "negator": NEGATORS,
        "intensifier": INTENSIFIERS,
        "diminisher": DIMINISHERS,
        "but": {"but"},
    }


def test_meaning_of_examples():
    from rntn_jax.data.demo_sentiment import _join, _leaf

    def label(*parts):
        phrase = _leaf(parts[0])
        for part in parts[1:]:  # the first word applies last
            phrase = _join(_leaf(part), phrase)
        return phrase.score + 2

    assert label("bad", "not") == 3
    assert label("good", "not") == 1
    assert label("good", "very") == 4
    assert label("good", "very", "not") == 1
    assert label("terrible", "slightly") == 1
    assert label("brilliant", "a") == 4


def test_deterministic_and_independent_of_python_hashing(splits):
    again = demo_sentiment.sentiment_splits()
    assert again == splits
    assert (
        demo_sentiment.sentiment_trees(50, seed=3)
        == demo_sentiment.sentiment_trees(80, seed=3)[:50]
    )
    assert demo_sentiment.sentiment_trees(50, seed=3) != demo_sentiment.sentiment_trees(50, seed=4)
    # One sentence as a fixed point for other machines and versions.
    assert demo_sentiment.sentiment_trees(1, seed=0)[0].to_brackets() == FIRST


FIRST = (
    "(3 (3 (1 (2 (2 (2 the) (2 camera)) (2 (2 of) (2 (2 the) (2 story))))"
    " (1 (2 was) (1 (2 a) (1 letdown))))"
    " (3 (2 but) (3 (2 (2 (2 the) (2 ending)) (2 (2 in) (2 (2 the) (2 movie))))"
    " (3 (2 is) (3 (2 slightly) (4 magnificent)))))) (2 .))"
)


def test_sizes_and_shape(splits):
    assert {name: len(trees) for name, trees in splits.items()} == {
        "train": 2000,
        "dev": 300,
        "test": 500,
    }
    for tree in splits["train"]:
        assert isinstance(tree, Tree)
        assert 4 <= tree.num_leaves <= 26
        assert tree.tokens[-1] == "."
        assert 0 <= tree.labels.min() <= tree.labels.max() <= 4
    roots = np.bincount([tree.labels[-1] for tree in splits["train"]], minlength=5)
    assert roots.min() > 0.08 * roots.sum()


def test_words(splits):
    train = {word for tree in splits["train"] for word in tree.tokens}
    assert train == set(demo_sentiment.LEXICON)
    assert 150 <= len(demo_sentiment.LEXICON) <= 250
    for other in ("dev", "test"):
        assert train.issuperset(word for tree in splits[other] for word in tree.tokens)
        assert {t.tokens for t in splits[other]}.isdisjoint(t.tokens for t in splits["train"])
    # A word that stood in two classes might have two meanings.
    listed = [word for table in WORDS.values() for words in table for word in words]
    assert {w for w in listed if listed.count(w) > 1} <= {"the", "this", "its"}


def test_small_train_set_holds_the_words_of_the_others():
    splits = demo_sentiment.sentiment_splits(seed=5, sizes=(60, 20, 20))
    train = {word for tree in splits["train"] for word in tree.tokens}
    for other in ("dev", "test"):
        assert len(splits[other]) == 20
        assert train.issuperset(word for tree in splits[other] for word in tree.tokens)


def test_articles(splits):
    text = "\n".join(tree.text for trees in splits.values() for tree in trees)
    assert not re.search(r"\ba [aeiou]", text)
    assert not re.search(r"\ban [^aeiou]", text)
    assert " an " in text


def longest(symbol):
    if symbol not in RULES:
        return 1
    return max(sum(map(longest, production.split())) for _, production in RULES[symbol])


def test_longest_sentence():
    assert longest("sentence") == 26


def test_grammar_is_closed():
    for symbol, productions in RULES.items():
        for weight, production in productions:
            parts = production.split()
            assert weight > 0 and len(parts) in (1, 2), symbol
            for part in parts:
                assert part in RULES or part in WORDS or part in demo_sentiment.LEXICON, part


def test_bag_of_words_fails(splits):
    """The sum of the polarities of the words says little about the sentence."""

    def guess(tree):
        return int(np.clip(sum(demo_sentiment.LEXICON[word][1] for word in tree.tokens), -2, 2)) + 2

    test = splits["test"]
    accuracy = np.mean([guess(tree) == tree.labels[-1] for tree in test])
    assert accuracy < 0.6
    signs = [np.sign(guess(tree) - 2) == np.sign(tree.labels[-1] - 2) for tree in test]
    assert np.mean(signs) < 0.75
    for kind in ("but", "not"):
        right = [guess(tree) == tree.labels[-1] for tree in test if kind in tree.tokens]
        assert np.mean(right) < 0.5


@pytest.mark.parametrize("noise", [0.1, 0.5, 1.0])
def test_noise(noise):
    clean = demo_sentiment.sentiment_trees(300, seed=1)
    noisy = demo_sentiment.sentiment_trees(300, seed=1, noise=noise)
    assert noisy == demo_sentiment.sentiment_trees(300, seed=1, noise=noise)
    assert [(t.tokens, t.children.tolist()) for t in clean] == [
        (t.tokens, t.children.tolist()) for t in noisy
    ]
    true = np.concatenate([tree.labels for tree in clean])
    seen = np.concatenate([tree.labels for tree in noisy])
    error = 4 * np.sqrt(noise * (1 - noise) / len(true))
    assert abs(np.mean(true != seen) - noise) <= error
    # The wrong labels are uniform over the four others: check the shift of each.
    shifts = np.bincount((seen - true) % 5, minlength=5)[1:] / len(true)
    assert np.abs(shifts - noise / 4).max() < 4 * np.sqrt(noise / 4 / len(true))


def test_noise_of_splits():
    clean, noisy = (
        demo_sentiment.sentiment_splits(seed=2),
        demo_sentiment.sentiment_splits(seed=2, noise=0.2),
    )
    for name in clean:
        true = np.concatenate([tree.labels for tree in clean[name]])
        seen = np.concatenate([tree.labels for tree in noisy[name]])
        error = 4 * np.sqrt(0.2 * 0.8 / len(true))
        assert abs(np.mean(true == seen) - demo_sentiment.best_accuracy(0.2)) < error


def test_best_accuracy():
    assert demo_sentiment.best_accuracy() == demo_sentiment.BEST_ACCURACY == 1.0
    assert demo_sentiment.best_accuracy(0.3) == 0.7
    assert demo_sentiment.best_accuracy(0.8) == pytest.approx(0.2)
    assert demo_sentiment.best_accuracy(1.0) == 0.25


def test_mistakes():
    for noise in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="noise"):
            demo_sentiment.best_accuracy(noise)
        with pytest.raises(ValueError, match="noise"):
            demo_sentiment.sentiment_trees(1, 0, noise)
        with pytest.raises(ValueError, match="noise"):
            demo_sentiment.sentiment_splits(noise=noise)
    with pytest.raises(ValueError, match="num_trees"):
        demo_sentiment.sentiment_trees(-1, 0)
    for sizes in ((0, 1, 1), (10, 1), (10, -1, 1)):
        with pytest.raises(ValueError, match="sizes"):
            demo_sentiment.sentiment_splits(sizes=sizes)
    with pytest.raises(ValueError, match="too few train trees"):
        demo_sentiment.sentiment_splits(sizes=(1, 1, 1))
    assert demo_sentiment.sentiment_trees(0, 0) == []
