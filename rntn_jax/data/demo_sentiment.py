"""An embedded treebank: English-like film reviews with sentiment labels that follow exact rules.

Sentences come from a small probabilistic grammar, so nothing need be downloaded, and the best
possible accuracy is known. Every node of a tree has a category and a score from -2 to 2; its label
is the score plus 2 (0 very negative, 2 neutral, 4 very positive). `LEXICON` gives both for each
word. For a node they follow from its two children alone:

- negator + x ("not", "never", "no", "without", ...): mild and of the other sign; 0 stays. So both
  "not good" and "not brilliant" are mildly negative, "not bad" and "not terrible" mildly positive.
- intensifier + x ("very", ...): 1 -> 2 and -1 -> -2, others stay.
- diminisher + x ("slightly", ...): 2 -> 1 and -2 -> -1, others stay.
- "but" + x: the score of x, of category "contrast".
- a + contrast phrase b: the score of b.
- any other two: the sum; the grammar sees to it that one of them is 0.

Results have category "plain" where nothing else is said. The categories are a function of the
words, so a model that sees the words and the tree can be right at every node; one that sees a bag
of words cannot.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from rntn_jax.data._demo_grammar import LEXICON, RULES, START, WORDS
from rntn_jax.data.tree import Tree
from rntn_jax.data.trees_io import parse_tree

__all__ = ["BEST_ACCURACY", "LEXICON", "best_accuracy", "sentiment_splits", "sentiment_trees"]

BEST_ACCURACY = 1.0
"""Best possible node accuracy on labels without noise."""

_T = TypeVar("_T")
_NUM_LABELS = 5
_PATIENCE = 10_000  # sentences refused in a row
_NEGATED = {-2: 1, -1: 1, 0: 0, 1: -1, 2: -1}


def sentiment_trees(num_trees: int, seed: int, noise: float = 0.0) -> list[Tree]:
    """Draws sentences of 4 to 26 words from the grammar.

    Args:
        num_trees: how many.
        seed: the same seed gives the same trees, on every machine and Python version.
        noise: each label is replaced, independently and with this probability, by one of the four
            others. All else is the same at every noise.

    Returns:
        Trees with a label at every node. About 0.1 ms a tree. A sentence may occur twice.

    Raises:
        ValueError: when `num_trees` is negative or `noise` outside of [0, 1].

    Example:
        >>> trees = sentiment_trees(100, seed=0)
        >>> trees[1].labels.min() >= 0 and trees == sentiment_trees(100, seed=0)
        True
    """
    if num_trees < 0:
        raise ValueError(f"num_trees must not be negative, but is {num_trees}")
    best_accuracy(noise)  # checks the noise
    source = _Source(seed, "trees")
    return _noisy([source.tree() for _ in range(num_trees)], seed, noise)


def sentiment_splits(
    seed: int = 0, noise: float = 0.0, sizes: Sequence[int] = (2000, 300, 500)
) -> dict[str, list[Tree]]:
    """Draws a train, a dev and a test set.

    Every word of dev and test occurs in train; no sentence of dev or test occurs in train.

    Args:
        seed: as in `sentiment_trees`.
        noise: as in `sentiment_trees`, for all three sets.
        sizes: number of trees in train, dev and test.

    Returns:
        `{"train": trees, "dev": trees, "test": trees}`.

    Raises:
        ValueError: for a negative size, a `noise` outside of [0, 1], or a train set too small (less
            than some 30 trees) to hold the words of other sentences.

    Example:
        >>> {name: len(trees) for name, trees in sentiment_splits().items()}
        {'train': 2000, 'dev': 300, 'test': 500}
    """
    best_accuracy(noise)
    if len(sizes) != 3 or sizes[0] < 1 or min(sizes) < 0:
        raise ValueError(f"sizes must be three numbers, the first at least 1, not {sizes}")
    source = _Source(seed, "train")
    train = [source.tree() for _ in range(sizes[0])]
    known = {word for tree in train for word in tree.tokens}
    sentences = {tree.tokens for tree in train}
    splits = {"train": train}
    for name, size in zip(("dev", "test"), sizes[1:], strict=True):
        source = _Source(seed, name)
        splits[name], refused = [], 0
        while len(splits[name]) < size:
            tree = source.tree()
            if tree.tokens not in sentences and known.issuperset(tree.tokens):
                splits[name].append(tree)
                refused = 0
            elif (refused := refused + 1) > _PATIENCE:
                raise ValueError(f"too few train trees for the words of {name}: sizes {sizes}")
    return {name: _noisy(trees, f"{seed} {name}", noise) for name, trees in splits.items()}


def best_accuracy(noise: float = 0.0) -> float:
    """The best expected node accuracy any model can reach on labels with this noise.

    Up to noise 0.8 the true label remains the most probable one: 1 - noise. Beyond, it is best to
    name another label: noise / 4.

    Raises:
        ValueError: when `noise` is outside of [0, 1].

    Example:
        >>> best_accuracy(0.25)
        0.75
    """
    if not 0 <= noise <= 1:
        raise ValueError(f"noise must be in [0, 1], but is {noise}")
    return max(1 - noise, noise / (_NUM_LABELS - 1))


def _noisy(trees: list[Tree], seed: int | str, noise: float) -> list[Tree]:
    if noise == 0:
        return trees
    draw = random.Random(f"rntn_jax demo {seed} noise").random
    noisy = []
    for tree in trees:
        # Two draws a label, whatever the noise. A label plus 1 to 4, modulo 5, is another label.
        shifts = [(draw() < noise) * (1 + int(draw() * (_NUM_LABELS - 1))) for _ in tree.labels]
        labels = (tree.labels + np.array(shifts, np.int32)) % _NUM_LABELS
        noisy.append(Tree(tree.tokens, tree.children, labels))
    return noisy


class _Phrase(NamedTuple):
    """A part of a sentence, with its brackets as text."""

    category: str
    score: int
    first_word: str
    brackets: str


def _leaf(word: str) -> _Phrase:
    category, score = LEXICON[word]
    return _Phrase(category, score, word, f"({score + 2} {word})")


def _join(left: _Phrase, right: _Phrase) -> _Phrase:
    """The phrase of two parts, by the rules in the head of this module."""
    if left.brackets == "(2 a)" and right.first_word[0] in "aeiou":
        left = _leaf("an")
    category, score = "plain", right.score  # which is all for "but b" and "a but b"
    if left.category == "negator":
        score = _NEGATED[score]
    elif left.category == "intensifier":
        score = min(2, max(-2, 2 * score))
    elif left.category == "diminisher":
        score = min(1, max(-1, score))
    elif left.category == "but":
        category = "contrast"
    elif right.category != "contrast":
        score = left.score + right.score  # one of them is 0
    brackets = f"({score + 2} {left.brackets} {right.brackets})"
    return _Phrase(category, score, left.first_word, brackets)


class _Source:
    """Sentences of the grammar, from one stream of random numbers."""

    def __init__(self, seed: int, stream: str):
        # Only `random()` is used: its sequence is promised not to change between versions.
        self._random = random.Random(f"rntn_jax demo {seed} {stream}").random

    def tree(self) -> Tree:
        return parse_tree(self._phrase(START).brackets, num_classes=_NUM_LABELS)

    def _phrase(self, symbol: str) -> _Phrase:
        """A random phrase of a symbol, a word class or a word; nested as deep as the grammar."""
        if symbol in RULES:
            parts = self._production(symbol).split()
            return _join(*map(self._phrase, parts)) if len(parts) == 2 else self._phrase(parts[0])
        if symbol in WORDS:
            return _leaf(self._pick(self._pick(WORDS[symbol])))
        return _leaf(symbol)

    def _production(self, symbol: str) -> str:
        draw = self._random() * sum(weight for weight, _ in RULES[symbol])
        for weight, production in RULES[symbol]:
            draw -= weight
            if draw < 0:
                return production
        return RULES[symbol][-1][1]  # rounding

    def _pick(self, options: Sequence[_T]) -> _T:
        return options[int(self._random() * len(options))]
