"""An embedded corpus that needs skip edges: sentences drawn so that equal words help each other.

A sentence names one person or one company, most often twice. Names are of either kind equally
often and not those of training, so that they tell no more than that they are names; and at most
one of the places has a word before it that says which kind it is. A chain knows that place; the
other is too far away for its features, and only an edge between the equal names carries the news.
"""

from __future__ import annotations

import numpy as np

__all__ = ["splits"]

CUES = {"PER": ("mr", "analyst", "chairman"), "ORG": ("maker", "bank", "insurer")}
FILLERS = (
    "the said in of and a was to on its with that after now sold more shares which year had new "
    "plans at from over market would by early price"
).split()
SYLLABLES = "ba do ka le mi no ra su ti ve".split()
CUED = 0.9  # share of sentences that have the word before


def splits(
    num_train: int = 600, num_dev: int = 100, num_test: int = 400, seed: int = 0
) -> dict[str, list[list[tuple[str, ...]]]]:
    """Sentences of train, dev and test: rows of word, case (for a part of speech) and tag.

    Example:
        >>> print(" ".join(row[0] for row in splits(1, 0, 0)["train"][0]))
        its said Rano the a over had insurer Rano year price plans
    """
    found = {}
    for stream, (split, size) in enumerate(
        {"train": num_train, "dev": num_dev, "test": num_test}.items()
    ):
        rng = np.random.default_rng((seed, stream))
        found[split] = [_sentence(rng, stream) for _ in range(size)]
    return found


def _sentence(rng: np.random.Generator, stream: int) -> list[tuple[str, ...]]:
    kind = ("PER", "ORG")[rng.integers(2)]
    # Each split has first syllables of its own.
    name = (rng.choice(SYLLABLES[stream::3]) + rng.choice(SYLLABLES)).capitalize()
    rows = [(str(word), "small", "O") for word in rng.choice(FILLERS, rng.integers(11, 17))]
    # Too far from each other for features that see two words around.
    places = np.cumsum([rng.integers(1, 4), rng.integers(4, 8)])[: rng.choice([1, 2, 2, 2])]
    for place in places:
        rows[place] = str(name), "capital", f"B-{kind}"
    if rng.random() < CUED:
        rows[rng.choice(places) - 1] = str(rng.choice(CUES[kind])), "small", "O"
    return rows
