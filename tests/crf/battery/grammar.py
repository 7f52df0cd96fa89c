"""Parses for the battery: sentences of every length, tags behind the end are NaN."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np

from rntn_jax.crf import grammar
from tests.crf.battery.case import Case, Listed

Tree = tuple  # (begin, end, left, right), or (begin, end) of a word


@cache
def trees(i: int, j: int) -> list[Tree]:
    """All binary trees over the words ``i .. j - 1``."""
    if j - i == 1:
        return [(i, j)]
    return [
        (i, j, left, right)
        for k in range(i + 1, j)
        for left in trees(i, k)
        for right in trees(k, j)
    ]


def post_order(tree: Tree) -> list[Tree]:
    """The inner nodes."""
    return [] if len(tree) == 2 else [*post_order(tree[2]), *post_order(tree[3]), tree]


def _make(rng, rows, words, n, p):
    length = np.array([words, max(words - 1, 0), 1, 0])[:rows]
    terminal = rng.normal(size=(rows, words, p))
    read = (np.arange(words)[None] < length[:, None]) & (length > 1)[:, None]
    terminal[~read] = np.nan
    rule, root = rng.normal(size=(n, n + p, n + p)), rng.normal(size=n)
    longest = max(length, default=0)
    if longest < 4:
        rule[:, :n, :n] = np.nan
    if longest < 3:
        rule[:, :n, n:] = rule[:, n:, :n] = np.nan
    if longest < 2:
        rule[:], root[:] = np.nan, np.nan
    return grammar.Scores(root, rule, terminal, length)


def _listed(scores) -> list[Listed]:
    words, p, n = *scores.terminal.shape[1:], len(scores.root)
    out = []
    for row, length in enumerate(map(int, scores.length)):
        answers, counts = [], []
        found = trees(0, length) if length > 1 else []
        for tree in found:
            nodes = post_order(tree)
            number = {node: length + m for m, node in enumerate(nodes)}
            number |= {(t, t + 1): t for t in range(length)}
            for labels in itertools.product(range(n), repeat=length - 1):
                for tags in itertools.product(range(p), repeat=length):
                    symbol = [*(n + tag for tag in tags), *labels]
                    root, rule, terminal = (np.zeros(x.shape) for x in scores[:3])
                    children = np.zeros((words - 1, 2), int)
                    for m, (label, node) in enumerate(zip(labels, nodes)):
                        children[m] = [number[part] for part in node[2:]]
                        rule[label, symbol[children[m, 0]], symbol[children[m, 1]]] += 1
                    root[labels[-1]] = 1
                    terminal[row, np.arange(length), tags] = 1
                    own = np.zeros((2, words), int)
                    own[0, : length - 1], own[1, :length] = labels, tags
                    answers.append(np.concatenate([children.ravel(), own.ravel()]))
                    counts.append(np.concatenate([x.ravel() for x in (root, rule, terminal)]))
        size = sum(np.size(x) for x in scores[:3])
        width = 2 * max(words - 1, 0) + 2 * words
        if length == 0:
            answers, counts = [np.zeros(width, int)], [np.zeros(size)]
        shapes = (len(answers), width), (len(answers), size)
        out.append(Listed(*(np.reshape(x, shape) for x, shape in zip((answers, counts), shapes))))
    return out


def _pack(scores, answers):
    rows, words, _ = scores.terminal.shape
    nodes = max(words - 1, 0)
    every = np.reshape(answers, (rows, 2 * nodes + 2 * words)).astype(int)
    children, labels, tags = np.split(every, [2 * nodes, 2 * nodes + words], axis=1)
    return grammar.Parse(children.reshape(rows, nodes, 2), labels[:, :nodes], tags)


def _unpack(scores, parse) -> list[np.ndarray]:
    out = []
    for children, labels, tags in zip(*map(np.asarray, parse)):
        wide = np.concatenate([labels, np.zeros(len(tags) - len(labels), int)])
        out.append(np.concatenate([children.ravel(), wide, tags]))
    return out


CASES = [
    Case(
        name="parses",
        module=grammar,
        make=_make,
        listed=_listed,
        pack=_pack,
        unpack=_unpack,
        best=lambda scores, parse, i: tuple(x[:, i] for x in parse),
        sizes=[(4, 4, 2, 2), (2, 2, 1, 2), (2, 0, 1, 1)],
        slow_sizes=[(3, 1, 2, 1), (0, 3, 1, 1), (2, 3, 0, 1), (2, 3, 1, 0)],
        allowed="terminal",
        forbid=grammar.constrain,
        slow="most",
    )
]
