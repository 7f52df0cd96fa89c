"""Agreement of brackets."""

from __future__ import annotations

import numpy as np
import pytest

from rntn_jax import data

GOLD = "(2 (2 (2 a) (2 b)) (2 (2 c) (2 d)))"
OTHER = "(2 (2 a) (2 (2 b) (2 (2 c) (2 d))))"


def tree(text: str) -> data.Tree:
    return data.parse_tree(text)


def test_the_counts_of_a_small_example():
    # Gold: ab, cd, abcd. Other: cd, bcd, abcd. A second pair that agrees: one join of two words.
    pairs = [GOLD, "(2 (2 x) (2 y))"], [OTHER, "(1 (0 x) (3 y))"]
    scores = data.bracket_scores(*([tree(text) for text in texts] for texts in pairs))
    assert scores.f1 == 3 / 4
    assert scores.f1_below_root == 1 / 2
    assert scores.exact == 1 / 2
    assert scores.root == 1 / 2  # ab | cd against a | bcd; x | y


def test_f1_is_symmetric_and_one_for_a_tree_itself():
    assert data.bracket_scores([tree(GOLD)], [tree(GOLD)]) == (1, 1, 1, 1)
    there = data.bracket_scores([tree(GOLD)], [tree(OTHER)])
    assert there == data.bracket_scores([tree(OTHER)], [tree(GOLD)])


def test_single_words_count_as_exact_trees_only():
    assert data.bracket_scores([tree("(2 a)")], [tree("(1 b)")]) == (0, 0, 1, 0)
    assert data.bracket_scores([], []) == (0, 0, 0, 0)


def test_a_brute_force_count_agrees_on_the_demo_corpus():
    gold = data.demo_sentiment.sentiment_trees(40, seed=1)
    rng = np.random.default_rng(0)

    def shuffled(own: data.Tree) -> data.Tree:
        waiting = list(range(own.num_leaves))
        text = [f"(2 {token})" for token in own.tokens]
        while len(waiting) > 1:
            at = int(rng.integers(len(waiting) - 1))
            text[at : at + 2] = [f"(2 {text[at]} {text[at + 1]})"]
            waiting.pop()
        return tree(text[0])

    other = [shuffled(own) for own in gold]
    shared = total = 0
    for one, two in zip(gold, other):
        of_one = {tuple(s) for s in one.spans().tolist() if s[1] - s[0] > 1}
        of_two = {tuple(s) for s in two.spans().tolist() if s[1] - s[0] > 1}
        shared, total = shared + len(of_one & of_two), total + len(of_one)
    assert data.bracket_scores(gold, other).f1 == shared / total


def test_trees_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="pair 1 has 4 and 1 words"):
        data.bracket_scores([tree(GOLD)], [tree("(2 a)")])
    with pytest.raises(ValueError, match="shorter"):
        data.bracket_scores([tree(GOLD)], [])
