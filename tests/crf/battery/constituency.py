"""Binary trees for the battery: sentences of every length, spans that no tree has are NaN."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np

from rntn_jax.crf import constituency
from rntn_jax.data import Tree
from tests.crf.battery.case import Case, Listed


@cache
def trees(begin: int, end: int) -> list[tuple[tuple[int, int], ...]]:
    """All binary trees over the words, each as its spans in post-order."""
    if end - begin < 2:
        return [()]
    return [
        (*left, *right, (begin, end))
        for middle in range(begin + 1, end)
        for left in trees(begin, middle)
        for right in trees(middle, end)
    ]


def _make(rng, rows, words):
    length = np.array([words, max(words - 1, 0), words // 2])[:rows]
    span = rng.normal(size=(rows, words + 1, words + 1))
    begin, end = np.indices(span.shape[1:])
    span[~((end > begin + 1) & (end <= length[:, None, None]))] = np.nan
    return constituency.Scores(span, length)


def _padded(spans, words: int) -> np.ndarray:
    answer = np.zeros((max(words - 1, 0), 2), int)
    answer[: len(spans)] = np.reshape(spans, (-1, 2))
    return answer


def _listed(scores) -> list[Listed]:
    words, out = scores.span.shape[1] - 1, []
    for row, length in enumerate(scores.length):
        answers, counts = [], []
        for tree in trees(0, int(length)):
            read = np.zeros(scores.span.shape)
            for i, j in tree:
                read[row, i, j] = 1
            answers.append(_padded(tree, words))
            counts.append(read.ravel())
        out.append(Listed(np.array(answers), np.array(counts)))
    return out


def _pack(scores, answers):
    rows, words = len(scores.length), scores.span.shape[1] - 1
    return np.reshape(answers, (rows, max(words - 1, 0), 2)).astype(int)


def _unpack(scores, children) -> list[np.ndarray]:
    words, out = scores.span.shape[1] - 1, []
    for row, n in enumerate(scores.length):
        own = np.asarray(children[row])[: max(n - 1, 0)]
        spans = Tree(("w",) * n, own, [-1] * (2 * n - 1)).spans()[n:] if n else []
        out.append(_padded(spans, words))
    return out


def _make_labelled(rng, rows, words, labels):
    length = np.array([words, max(words - 1, 0), 1, 0])[:rows]
    span = rng.normal(size=(rows, words + 1, words + 1, labels))
    begin, end = np.indices(span.shape[1:3])
    span[~((end > begin) & (end <= length[:, None, None]))] = np.nan
    return constituency.Scores(span, length)


def _wide(words: int, children, labels) -> np.ndarray:
    """Spans and labels in one answer, 0 behind the last."""
    own = np.zeros(max(2 * words - 1, 0), int)
    own[: len(labels)] = labels
    return np.concatenate([_padded(children, words).ravel(), own])


def _listed_labelled(scores) -> list[Listed]:
    words, count, out = scores.span.shape[1] - 1, scores.span.shape[3], []
    for row, length in enumerate(map(int, scores.length)):
        answers, counts = [], []
        for tree in trees(0, length):
            nodes = [*((t, t + 1) for t in range(length)), *tree]
            for labels in itertools.product(range(count), repeat=len(nodes)):
                read = np.zeros(scores.span.shape)
                for (i, j), c in zip(nodes, labels):
                    read[row, i, j, c] = 1
                answers.append(_wide(words, tree, labels))
                counts.append(read.ravel())
        out.append(Listed(np.array(answers), np.array(counts)))
    return out


def _pack_labelled(scores, answers):
    rows, words = len(scores.length), scores.span.shape[1] - 1
    inner = max(words - 1, 0)
    both = np.reshape(answers, (rows, 2 * inner + max(2 * words - 1, 0))).astype(int)
    return constituency.Parse(both[:, : 2 * inner].reshape(rows, inner, 2), both[:, 2 * inner :])


def _unpack_labelled(scores, parse) -> list[np.ndarray]:
    children, labels = parse
    spans = _unpack(scores, children)
    return [np.concatenate([own.ravel(), np.asarray(labels[row])]) for row, own in enumerate(spans)]


CASES = [
    Case(
        name="binary trees",
        module=constituency,
        make=_make,
        listed=_listed,
        pack=_pack,
        unpack=_unpack,
        best=lambda scores, children, i: children[:, i],
        sizes=[(3, 5), (0, 4), (2, 0), (2, 1)],
        allowed="span",
        forbid=constituency.constrain,
    ),
    Case(
        name="labelled binary trees",
        module=constituency,
        make=_make_labelled,
        listed=_listed_labelled,
        pack=_pack_labelled,
        unpack=_unpack_labelled,
        best=lambda scores, parse, i: tuple(x[:, i] for x in parse),
        sizes=[(4, 3, 2), (0, 3, 2), (2, 0, 2), (2, 1, 2)],
        slow_sizes=[(2, 4, 1), (2, 2, 3)],
        allowed="span",
        forbid=constituency.constrain,
        slow="most",
    ),
]
