"""An embedded text: sentences of a small probabilistic grammar whose entropy is known.

The grammar is a finite automaton. A state says which words may come next and how probable they
are; the word leads to the next state, so the states are a function of the words, and the best
possible language model gives each word just the automaton's probability. The automaton remembers
the number of a subject across what stands between it and its verb ("the film near the houses
opens"), which a model can only learn through its recurrent state.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Sequence

import numpy as np

__all__ = ["END", "best_perplexity", "nats", "sentences", "splits"]

END = "<eos>"
"""What every sentence ends in; `sentences` leaves it out."""

SINGULAR = "film story actor scene ending house river child".split()
PLURAL = "films stories actors scenes endings houses rivers children".split()
ADJECTIVES = "new old long short quiet strange bright".split()
ADVERBS = "again slowly often today".split()
VERBS = {
    "singular": "opens shows moves finds keeps likes".split(),
    "plural": "open show move find keep like".split(),
}


def _zipf(words: Sequence[str], share: float, target: str) -> list[tuple[str, float, str]]:
    """Words with falling probabilities that add up to ``share``, all leading to ``target``."""
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    return [(w, share * p / sum(weights), target) for w, p in zip(words, weights, strict=True)]


def _rules() -> dict[str, list[tuple[str, float, str]]]:
    """State -> (word, probability, next state)."""
    rules = {
        "start": [
            ("the", 0.5, "noun"),
            ("a", 0.25, "noun singular"),
            ("every", 0.05, "noun singular"),
            ("some", 0.2, "noun plural"),
        ],
        "noun": [
            *_zipf(ADJECTIVES, 0.3, "noun"),
            *_zipf(SINGULAR, 0.4, "after singular"),
            *_zipf(PLURAL, 0.3, "after plural"),
        ],
        "object": [("the", 0.4, "object noun"), ("no", 0.1, "object noun")]
        + [(".", 0.3, "end")]
        + _zipf(ADVERBS, 0.2, "close"),
        "object noun": _zipf(ADJECTIVES, 0.2, "object noun")
        + _zipf(SINGULAR, 0.5, "close")
        + _zipf(PLURAL, 0.3, "close"),
        "close": [(".", 0.75, "end"), ("and", 0.2, "start"), ("but", 0.05, "start")],
        "end": [(END, 1.0, "start")],
    }
    for number, nouns in (("singular", SINGULAR), ("plural", PLURAL)):
        rules[f"noun {number}"] = [
            *_zipf(ADJECTIVES, 0.3, f"noun {number}"),
            *_zipf(nouns, 0.7, f"after {number}"),
        ]
        rules[f"after {number}"] = [
            ("near", 0.15, f"near {number}"),
            ("behind", 0.1, f"near {number}"),
            *_zipf(VERBS[number], 0.75, "object"),
        ]
        rules[f"near {number}"] = [("the", 1.0, f"beside {number}")]
        rules[f"beside {number}"] = [
            *_zipf(SINGULAR, 0.5, f"after {number}"),
            *_zipf(PLURAL, 0.5, f"after {number}"),
        ]
    return rules


RULES = _rules()


def sentences(count: int, seed: int) -> list[list[str]]:
    """Draws sentences, without their `END`.

    Args:
        count: how many.
        seed: the same seed gives the same sentences, on every machine and Python version.

    Returns:
        Lists of words. About 10 microseconds a sentence.

    Raises:
        ValueError: when ``count`` is negative.

    Example:
        >>> " ".join(sentences(1, seed=3)[0])
        'the actor opens .'
    """
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}")
    rng = random.Random(seed)
    chances = {
        state: list(itertools.accumulate(p for _, p, _ in options))
        for state, options in RULES.items()
    }
    drawn: list[list[str]] = []
    for _ in range(count):
        words: list[str] = []
        state = "start"
        while True:
            at = rng.random() * chances[state][-1]
            place = next(i for i, bound in enumerate(chances[state]) if at < bound)
            word, _, state = RULES[state][place]
            if word == END:
                break
            words.append(word)
        drawn.append(words)
    return drawn


def splits() -> dict[str, list[list[str]]]:
    """The corpus of the demonstrations: 8,000 train, 500 dev and 500 test sentences."""
    return {"train": sentences(8000, 0), "dev": sentences(500, 1), "test": sentences(500, 2)}


@functools.cache
def best_perplexity() -> float:
    """Perplexity per token, `END` among them, that no model can beat in the long run.

    The exponential of the entropy: with v the expected visits of the states in a sentence, it is
    ``sum_s v_s H_s / sum_s v_s``.

    Example:
        >>> 4 < best_perplexity() < 6
        True
    """
    names = list(RULES)
    move = np.zeros((len(names), len(names)))
    entropy = np.zeros(len(names))
    for row, name in enumerate(names):
        for word, p, target in RULES[name]:
            entropy[row] -= p * math.log(p)
            if word != END:
                move[row, names.index(target)] += p
    start = np.eye(len(names))[names.index("start")]
    visits = np.linalg.solve(np.eye(len(names)) - move.T, start)
    return math.exp(visits @ entropy / visits.sum())


def nats(sentence: Sequence[str]) -> list[float]:
    """Cross-entropy of each word of a sentence and of its `END`, by the grammar itself.

    Raises:
        ValueError: naming the word that the grammar does not allow there.

    Example:
        >>> [round(x, 3) for x in nats(["some", "films", "open", "."])]
        [1.609, 1.357, 1.184, 1.204, 0.0]
    """
    state, costs = "start", []
    for place, word in enumerate([*sentence, END]):
        for option, p, target in RULES[state]:
            if option == word:
                costs.append(0.0 - math.log(p))
                state = target
                break
        else:
            raise ValueError(f"word {place}, {word!r}, cannot follow {list(sentence[:place])}")
    return costs
