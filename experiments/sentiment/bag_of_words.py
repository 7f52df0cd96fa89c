"""Baselines that know the words of a phrase and not their order: Naive Bayes, bigrams, an SVM.

Every labelled node of a tree is a training example. Its features are the words that it spans (with
bigrams the pairs of neighbours among them too), and the group of lengths that it is of: most short
phrases are neutral, few sentences are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from experiments.sentiment.config import Config
from rntn_jax.data import Tree, Vocabulary

__all__ = ["Predict", "fit"]

# Words of the shortest phrase of each group of lengths.
_GROUPS = np.array([1, 2, 3, 4, 6, 8, 11, 15, 20, 27, 37, 49])

Predict = Callable[[Sequence[Tree]], list[np.ndarray]]


class _Phrases(NamedTuple):
    """Every node of all trees in a row, as a span of all their words in a row."""

    words: np.ndarray  # int [n], ids
    inside: np.ndarray  # bool [n], whether a word's right neighbour is of the same sentence
    begins: np.ndarray  # int [nodes]
    ends: np.ndarray  # int [nodes]
    labels: np.ndarray  # int [nodes], -1: none
    sizes: list[int]  # nodes of each tree

    @property
    def group(self) -> np.ndarray:
        """The group of lengths of each node, counted from 0."""
        return np.searchsorted(_GROUPS, self.ends - self.begins, side="right") - 1


def _phrases(forest: Sequence[Tree], vocabulary: Vocabulary) -> _Phrases:
    lengths = np.array([tree.num_leaves for tree in forest])
    starts = np.cumsum(lengths) - lengths
    spans = np.concatenate([tree.spans() + start for tree, start in zip(forest, starts)])
    words = vocabulary.encode([word for tree in forest for word in tree.tokens])
    inside = np.ones(len(words), bool)
    inside[starts + lengths - 1] = False
    labels = np.concatenate([tree.labels for tree in forest])
    return _Phrases(words, inside, spans[:, 0], spans[:, 1], labels, [len(t) for t in forest])


def fit(config: Config, forest: Sequence[Tree], vocabulary: Vocabulary) -> Predict:
    """Trains a baseline.

    Args:
        config: ``model`` (nb, binb or svm), ``num_classes``, ``smoothing``, ``length_weight``,
            ``svm_c``, ``seed``.
        forest: training trees.
        vocabulary: of their words.

    Returns:
        A function from trees to the probabilities ``[2L-1, C]`` of the nodes of each. Those of the
        SVM are a softmax of its scores: right in their order, and no more.
    """
    train = _phrases(forest, vocabulary)
    if config.model == "svm":
        return _svm(config, train, vocabulary)
    return _naive_bayes(config, train, vocabulary)


# --- Naive Bayes ---


def _naive_bayes(config: Config, train: _Phrases, vocabulary: Vocabulary) -> Predict:
    """``p(c | phrase)``, proportional to ``p(c, g) prod_f p(f | c)``: known words (and pairs) f.

    ``g`` is the phrase's group of lengths. In the counts of words a phrase of n words weighs
    ``n^-length_weight``: a word of a long sentence is in dozens of its phrases.

    Nothing is stored for a phrase. How often a word is met in phrases of a class is the weight of
    such phrases that span it, at all of its places; and a phrase's sum of ``log p(f | c)`` is a
    difference of running sums over the text.
    """
    size, classes = len(vocabulary), config.num_classes
    tables = [_log_probabilities(config, train, train.words, size, 1)]
    tables[0][1] = 0  # unknown words have no say
    known = np.zeros(0, np.int64)
    if config.model == "binb":
        known, pairs = _pairs(train, size)
        tables.append(_log_probabilities(config, train, pairs, len(known) + 1, 2))
        tables[1][0] = 0
    labelled = train.labels >= 0
    counts = np.ones((len(_GROUPS), classes))
    np.add.at(counts, (train.group[labelled], train.labels[labelled]), 1)
    prior = np.log(counts)

    def predict(forest: Sequence[Tree]) -> list[np.ndarray]:
        phrases = _phrases(forest, vocabulary)
        found = prior[phrases.group]
        found += _sums(tables[0][phrases.words], phrases, 1)
        if config.model == "binb":
            found += _sums(tables[1][_pairs(phrases, size, known)[1]], phrases, 2)
        return np.split(_softmax(found), np.cumsum(phrases.sizes)[:-1])

    return predict


def _pairs(
    phrases: _Phrases, size: int, known: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs that are known, and of each word the number of the pair that begins with it.

    Pairs count from 1; 0 is a pair that is not known, or none.
    """
    right = np.append(phrases.words[1:], 0)
    keys = np.where(phrases.inside, phrases.words.astype(np.int64) * size + right, -1)
    if known is None:
        known = np.unique(keys[phrases.inside])
    at = np.searchsorted(known, keys)
    found = (at < len(known)) & phrases.inside
    found &= known[np.minimum(at, len(known) - 1)] == keys if len(known) else False
    return known, np.where(found, at + 1, 0)


def _log_probabilities(
    config: Config, train: _Phrases, features: np.ndarray, size: int, length: int
) -> np.ndarray:
    """``log p(f | c)`` as ``[size, C]``, with additive smoothing."""
    counts = np.zeros((size, config.num_classes))
    weights = (train.ends - train.begins) ** -float(config.length_weight)
    last = train.ends - (length - 1)  # features that begin in begins .. last-1 are in the phrase
    for c in range(config.num_classes):
        own = (train.labels == c) & (last > train.begins)
        edges = np.zeros(len(features) + 1)
        np.add.at(edges, train.begins[own], weights[own])
        np.add.at(edges, last[own], -weights[own])
        counts[:, c] = np.bincount(features, np.cumsum(edges)[:-1], minlength=size)
    counts = np.maximum(counts, 0) + config.smoothing  # a difference of sums may be -1e-12
    return np.log(counts / counts.sum(axis=0))


def _sums(values: np.ndarray, phrases: _Phrases, length: int) -> np.ndarray:
    """Sums of ``values [n, C]`` over the features of every phrase."""
    running = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    last = np.maximum(phrases.ends - (length - 1), phrases.begins)
    return running[last] - running[phrases.begins]


def _softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


# --- the SVM ---


def _svm(config: Config, train: _Phrases, vocabulary: Vocabulary) -> Predict:
    """Linear SVMs of sets of words, one class against the rest.

    Phrases of the same words and label are one example, which weighs the square root of how many
    they are, times ``n^-length_weight`` if of n words. LIBLINEAR's dual coordinate descent needs
    a few dozen passes over the treebank's 157,401 examples; its primal method takes many times as
    long.
    """
    try:
        import scipy.sparse as sp  # pyright: ignore[reportMissingImports]
        from sklearn.svm import LinearSVC  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            "model=svm needs scikit-learn: pip install 'rntn-jax[baselines]'"
        ) from error

    def bags(phrases: _Phrases, rows: np.ndarray):
        begins, counts = phrases.begins[rows], (phrases.ends - phrases.begins)[rows]
        ends = np.cumsum(counts)
        words = phrases.words[np.arange(ends[-1]) + np.repeat(begins - (ends - counts), counts)]
        size, groups = len(vocabulary), len(_GROUPS)
        found = sp.csr_matrix((np.ones(len(words)), words, np.append(0, ends)), (len(rows), size))
        found.sum_duplicates()
        found.data[:] = 1
        lengths = sp.csr_matrix(np.eye(groups))[phrases.group[rows]]
        return sp.hstack([found, lengths], format="csr")

    rows, weights = _unique(train)
    model = LinearSVC(
        C=config.svm_c,
        dual=True,  # pyright: ignore[reportArgumentType]
        tol=0.05,
        max_iter=1000,
        random_state=config.seed,
    )
    lengths = (train.ends - train.begins)[rows]
    weights = np.sqrt(weights) * lengths ** -float(config.length_weight)
    model.fit(bags(train, rows), train.labels[rows], sample_weight=weights / weights.mean())

    def predict(forest: Sequence[Tree]) -> list[np.ndarray]:
        phrases = _phrases(forest, vocabulary)
        scores = model.decision_function(bags(phrases, np.arange(len(phrases.labels))))
        scores = np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores
        every = np.full((len(scores), config.num_classes), -np.inf)  # a class may have no example
        every[:, model.classes_] = scores
        return np.split(_softmax(every), np.cumsum(phrases.sizes)[:-1])

    return predict


def _unique(train: _Phrases) -> tuple[np.ndarray, np.ndarray]:
    """Labelled phrases that differ in words or label: one node of each, and how many there are."""
    first: dict[tuple[bytes, int], int] = {}
    counts: dict[int, int] = {}
    words = np.ascontiguousarray(train.words)
    for node in np.flatnonzero(train.labels >= 0).tolist():
        key = words[train.begins[node] : train.ends[node]].tobytes(), int(train.labels[node])
        own = first.setdefault(key, node)
        counts[own] = counts.get(own, 0) + 1
    return np.array(list(counts)), np.array(list(counts.values()), float)
