"""An embedded corpus for tagging, from a known chain: the best possible tagger is known.

Each token has a word, a part of speech and a chunk tag. The tags are a Markov chain; each of them
emits, on its own, a class of words, which emits a word and, independently of it, a part of speech.
Words belong to several classes ("plans", "open", "can"), and the parts of speech are those of a
poor tagger, so a tag is told by its neighbours too. The tables stand in `_demo_chain.py`; here is
what follows from them: `START`, `TRANSITIONS`, `END` and `EMISSIONS`.

This is a hidden Markov model whose states are the tags. So the exact probability of tags given
words and parts of speech can be computed (`log_posterior`, `marginals`), and no tagger is right
more often, in the long run, than `best_tags`.

Sentences are kept when they have 5 to 20 tokens. Whoever sees the words sees their number, so that
changes nothing in the probability of the tags given the words.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rntn_jax.data._demo_chain import (
    CHAIN,
    EMISSIONS,
    END,
    LABELS,
    POS,
    START,
    TRANSITIONS,
    WORDS,
)
from rntn_jax.data.columns import Sentence

__all__ = [
    "Best",
    "EMISSIONS",
    "END",
    "LABELS",
    "POS",
    "START",
    "TRANSITIONS",
    "WORDS",
    "best_accuracy",
    "best_path",
    "best_tags",
    "log_posterior",
    "marginals",
    "splits",
]

Rows = Sequence[Sequence[str]]

_LENGTHS = range(5, 21)


def splits(
    num_train: int = 1000, num_dev: int = 200, num_test: int = 200, seed: int = 0
) -> dict[str, list[Sentence]]:
    """Draws a train, a dev and a test set.

    Args:
        num_train: number of sentences in train.
        num_dev: the same for dev.
        num_test: the same for test.
        seed: the same seed gives the same sentences; a smaller set is the beginning of a larger
            one.

    Returns:
        `{"train": sentences, "dev": sentences, "test": sentences}`, as `read_columns` returns them:
        lists of rows (word, part of speech, chunk tag). About 0.6 ms a sentence.

    Raises:
        ValueError: for a negative number or seed.

    Example:
        >>> train = splits()["train"]
        >>> len(train), " ".join(word for word, _, _ in train[0])
        (1000, 'is is it clear after shows and')
    """
    sizes = {"train": num_train, "dev": num_dev, "test": num_test}
    if min(sizes.values()) < 0 or seed < 0:
        raise ValueError(f"sizes and seed must not be negative, got {sizes} and seed {seed}")
    # Of the generator only `random` is used: other methods may change between versions of numpy.
    moves = CHAIN.cumsum(1)
    emissions = EMISSIONS.reshape(len(LABELS), -1).cumsum(1)
    drawn: dict[str, list[Sentence]] = {}
    for stream, (name, size) in enumerate(sizes.items()):
        random = np.random.default_rng([seed, stream]).random
        drawn[name] = []
        while len(drawn[name]) < size:
            rows: Sentence = []
            label = _draw(moves[0], random())
            while label < len(LABELS):
                word, pos = divmod(_draw(emissions[label], random()), len(POS))
                rows.append((WORDS[word], POS[pos], LABELS[label]))
                label = _draw(moves[1 + label], random())
            if len(rows) in _LENGTHS:
                drawn[name].append(rows)
    return drawn


def marginals(rows: Rows, *, use_pos: bool = True) -> npt.NDArray[np.float64]:
    """The exact probability of each label at each token, given the sentence.

    `p(y_t = i | x) = a_t(i) b_t(i) / sum_j a_t(j) b_t(j)`, by the forward and backward sums a, b.

    Args:
        rows: the sentence: `T` rows of word, part of speech and, unused here, anything more.
        use_pos: False: given the words alone; the rows then need no part of speech.

    Returns:
        float64 `[T, C]`, the labels in the order of `LABELS`; each row adds up to 1.

    Raises:
        ValueError: naming a word or part of speech that is not in `WORDS` or `POS`, for an empty
            sentence and for one that the chain cannot produce.

    Example:
        >>> rows = [("the", "DT"), ("plans", "NN"), ("can", "NN"), ("open", "VB"), (".", ".")]
        >>> [LABELS[i] for i in marginals(rows).argmax(1)]
        ['B-NP', 'I-NP', 'I-NP', 'B-VP', 'O']
    """
    emitted = _emitted(rows, use_pos)
    forward, _ = _forward(emitted)
    backward = np.empty_like(forward)
    backward[-1] = END
    for t in range(len(emitted) - 1, 0, -1):
        step = TRANSITIONS @ (emitted[t] * backward[t])
        backward[t - 1] = step / step.sum()
    product = forward * backward
    return product / product.sum(1, keepdims=True)


def best_tags(rows: Rows, *, use_pos: bool = True) -> list[str]:
    """The most probable label of each token: what is right most often, token by token.

    As a sequence they may break the rules of BIO, unlike `best_path`.

    Args:
        rows: tokens, as for `marginals`, whose errors this raises.
        use_pos: whether the parts of speech are seen.

    Returns:
        One label a token.

    Example:
        >>> best_tags([("some", "DT"), ("plans", "NN"), ("open", "JJ"), (".", ".")])
        ['B-NP', 'I-NP', 'I-NP', 'O']
    """
    return [LABELS[i] for i in marginals(rows, use_pos=use_pos).argmax(1)]


def best_path(rows: Rows, *, use_pos: bool = True) -> list[str]:
    """The most probable sequence of labels (Viterbi): what is right most often as a whole.

    Args:
        rows: tokens, as for `marginals`, whose errors this raises.
        use_pos: whether the parts of speech are seen.

    Returns:
        One label a token.

    Example:
        >>> best_path([("some", "DT"), ("light", "NN"), ("shows", "NN"), (".", ".")])
        ['B-NP', 'I-NP', 'B-VP', 'O']
    """
    emitted = _emitted(rows, use_pos)
    _forward(emitted)  # refuses impossible sentences
    best = START * emitted[0]
    came_from = []
    for now in emitted[1:]:
        scores = best[:, None] * TRANSITIONS
        came_from.append(scores.argmax(0))
        best = scores.max(0) * now
        best /= best.max()
    path = [int((best * END).argmax())]
    for back in reversed(came_from):
        path.append(int(back[path[-1]]))
    return [LABELS[i] for i in reversed(path)]


def log_posterior(rows: Rows, *, use_pos: bool = True) -> float:
    """The exact log-probability of a sentence's tags given the rest, in nats.

    `log p(y | x) = log p(x, y) - log p(x)`, the latter by the forward sums.

    Args:
        rows: `T` rows of word, part of speech and tag; the tag is the last column.
        use_pos: False: given the words alone.

    Returns:
        The log-probability, at most 0; -inf where the chain cannot produce these tags and words.

    Raises:
        ValueError: as `marginals`, and for a tag that is not in `LABELS`.

    Example:
        >>> rows = [("it", "PRP", "B-NP"), ("shows", "VB", "B-VP"), (".", ".", "O")]
        >>> round(log_posterior(rows), 3)
        -0.125
    """
    emitted = _emitted(rows, use_pos)
    _, log_evidence = _forward(emitted)
    labels = [_place(LABELS, row[-1], "tag", t) for t, row in enumerate(rows)]
    factors = [START[labels[0]], END[labels[-1]]]
    factors += [TRANSITIONS[i, j] for i, j in itertools.pairwise(labels)]
    factors += [now[i] for now, i in zip(emitted, labels)]
    if min(factors) == 0:
        return -math.inf
    return float(np.log(factors).sum()) - log_evidence


class Best(NamedTuple):
    """What the best possible tagger reaches on some sentences.

    Attributes:
        accuracy: the fraction of tokens whose tag `best_tags` gives, from 0 to 1.
        nats: `-log_posterior` in nats, summed over the sentences, divided by the number of tokens.

    Example:
        >>> round(best_accuracy(splits()["test"]).nats, 2)
        0.14
    """

    accuracy: float
    nats: float


def best_accuracy(sentences: Iterable[Rows], *, use_pos: bool = True) -> Best:
    """What the true model reaches on given sentences of the chain.

    A trained tagger may be luckier on a few sentences, but not in the long run.

    Args:
        sentences: rows of word, part of speech and tag; the tag is the last column.
        use_pos: False: for taggers that see the words alone.

    Returns:
        Accuracy per token and mean conditional nats per token. About 0.3 ms a sentence.

    Raises:
        ValueError: as `log_posterior`, and when there are no sentences.

    Example:
        >>> test = splits()["test"]
        >>> best, words_only = best_accuracy(test), best_accuracy(test, use_pos=False)
        >>> round(best.accuracy, 2), round(words_only.accuracy, 2)
        (0.93, 0.88)
    """
    tokens, correct, nats = 0, 0, 0.0
    for rows in sentences:
        guesses = best_tags(rows, use_pos=use_pos)
        correct += sum(guess == row[-1] for guess, row in zip(guesses, rows))
        nats -= log_posterior(rows, use_pos=use_pos)
        tokens += len(guesses)
    if not tokens:
        raise ValueError("there are no sentences")
    return Best(correct / tokens, nats / tokens)


def _draw(cumulative: npt.NDArray[np.float64], uniform: float) -> int:
    """The place that a number in [0, 1) picks; never one of probability 0."""
    return int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))


def _place(names: Sequence[str], name: str, what: str, t: int) -> int:
    try:
        return names.index(name)
    except ValueError:
        raise ValueError(f"{what} {name!r} at token {t} is not one of the chain's") from None


def _emitted(rows: Rows, use_pos: bool) -> npt.NDArray[np.float64]:
    """`[T, C]`: the probability of each token given each label."""
    if not rows:
        raise ValueError("the sentence is empty")
    words = [_place(WORDS, row[0], "word", t) for t, row in enumerate(rows)]
    if not use_pos:
        return EMISSIONS.sum(2)[:, words].T
    pos = [_place(POS, row[1], "part of speech", t) for t, row in enumerate(rows)]
    return EMISSIONS[:, words, pos].T


def _forward(emitted: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], float]:
    """The forward sums `[T, C]`, each row scaled to 1, and the log-probability of the sentence."""
    forward = np.empty_like(emitted)
    log_evidence = 0.0
    prior = START
    for t, now in enumerate(emitted):
        joint = prior * now
        total = joint.sum()
        if total == 0:
            raise ValueError(f"the chain cannot produce the sentence up to token {t}")
        log_evidence += math.log(total)
        forward[t] = joint / total
        prior = forward[t] @ TRANSITIONS
    ended = forward[-1] @ END
    if ended == 0:
        raise ValueError("the chain cannot end the sentence there")
    return forward, log_evidence + math.log(ended)
