"""Dependency trees for the battery: sentences of every length, arcs that no tree has are NaN."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np

from rntn_jax.crf import dependency
from tests.crf.battery.case import Case, Listed


@cache
def trees(words: int, projective: bool, single_root: bool) -> list[tuple[int, ...]]:
    """Heads of all trees over the words, found by looking at all heads."""
    return [
        heads
        for heads in itertools.product(range(words + 1), repeat=words)
        if is_tree(heads, projective, single_root)
    ]


def is_tree(heads: tuple[int, ...], projective: bool, single_root: bool) -> bool:
    """Whether every word's heads lead to the root, and so on."""
    for word in range(1, len(heads) + 1):
        at = word
        for _ in heads:
            at = heads[at - 1] if at else 0
        if at:
            return False
    arcs = [(min(h, d), max(h, d)) for d, h in enumerate(heads, 1)]
    crossing = any(i < k < j < l for i, j in arcs for k, l in arcs)
    return not (projective and crossing) and not (
        single_root and sum(h == 0 for h in heads) != min(len(heads), 1)
    )


def _make(labels: int):
    def make(rng, rows, words):
        length = np.array([words, max(words - 1, 0), words // 2])[:rows]
        shape = rows, words + 1, words + 1
        arc = rng.normal(size=(*shape, labels) if labels else shape)
        h, d = np.indices(shape[1:])
        at = length[:, None, None]
        arc[~((h != d) & (d > 0) & (h <= at) & (d <= at))] = np.nan
        return dependency.Scores(arc, length)

    return make


def _listed(labels: int, kind: dict[str, bool]):
    def listed(scores) -> list[Listed]:
        words, out = scores.arc.shape[1] - 1, []
        for row, length in enumerate(scores.length):
            answers, counts = [], []
            for heads in trees(int(length), **kind):
                for own in itertools.product(range(max(labels, 1)), repeat=int(length)):
                    read, answer = np.zeros(scores.arc.shape), np.zeros((2, words), int)
                    for d, (h, label) in enumerate(zip(heads, own), 1):
                        read[(row, h, d, label) if labels else (row, h, d)] = 1
                    answer[0, :length], answer[1, :length] = heads, own
                    answers.append(answer)
                    counts.append(read.ravel())
            out.append(Listed(np.array(answers), np.array(counts)))
        return out

    return listed


def _pack(labels: int):
    def pack(scores, answers):
        words = scores.arc.shape[1] - 1
        both = np.reshape(answers, (len(scores.length), 2, words)).astype(int)
        return dependency.Arcs(both[:, 0], both[:, 1]) if labels else both[:, 0]

    return pack


def _unpack(labels: int):
    def unpack(scores, tree) -> list[np.ndarray]:
        heads, own = tree if labels else (tree, np.zeros_like(tree))
        out = []
        for h, r, n in zip(np.asarray(heads), np.asarray(own), scores.length):
            real = np.arange(len(h)) < n
            out.append(np.stack([np.where(real, h, 0), np.where(real, r, 0)]))
        return out

    return unpack


def _best(labels: int):
    if labels:
        return lambda scores, tree, i: tuple(x[:, i] for x in tree)
    return lambda scores, heads, i: heads[:, i]


def _case(name: str, labels: int, sizes, slow: str = "all", **kind: bool) -> Case:
    return Case(
        name=name,
        module=dependency,
        make=_make(labels),
        listed=_listed(labels, kind),
        pack=_pack(labels),
        unpack=_unpack(labels),
        best=_best(labels),
        sizes=sizes,
        allowed="arc",
        forbid=dependency.constrain,
        options={"*": kind},
        without=frozenset() if kind["projective"] else frozenset({"top_k"}),
        slow=slow,
    )


SMALL = [(0, 3), (2, 0), (2, 1)]
CASES = [
    _case("projective trees", 0, [(3, 4), *SMALL], "most", projective=True, single_root=True),
    _case("all trees", 0, [(3, 4), *SMALL], projective=False, single_root=False),
    _case("projective, many roots, labels", 2, [(2, 3)], projective=True, single_root=False),
    _case("all trees, one root, labels", 2, [(2, 3)], projective=False, single_root=True),
    _case("all trees, one root", 0, [(3, 4), *SMALL], projective=False, single_root=True),
]
