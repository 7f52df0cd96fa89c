"""From tokens to a labelled tree in NumPy, a sentence at a time: what one writes without a library.

The same network, the same best tree and the same labels as `rntn_jax.sentiment`; no batches, no
padding, loops over spans by their width.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rntn_jax.annotate import Pipeline, word_features
from rntn_jax.data import Tree

__all__ = ["labelled_tree"]


def labelled_tree(model: Pipeline, tokens: list[str]) -> Tree:
    """The tree of a sentence of at least one word, with labels."""
    span = _span_scores(model, tokens)
    children = _best_tree(_marginals(span), len(tokens))
    return Tree(tuple(tokens), children, _labels(model, tokens, children))


def _span_scores(model: Pipeline, tokens: list[str]) -> np.ndarray:
    """``[T + 1, T + 1]``, of the words from i to j."""
    (p,) = model.parser.params
    columns = zip(p.encoder.embeddings, model.parser.vocabularies, word_features(tokens))
    layers = [np.concatenate([np.asarray(e)[v.encode(own)] for e, v, own in columns], axis=1)]
    for forward, backward in p.encoder.cells:
        sides = _states(forward, layers[-1]), _states(backward, layers[-1][::-1])[::-1]
        layers.append(np.concatenate(sides, axis=1))
    words = np.concatenate(layers, axis=1)
    none = np.zeros((1, words.shape[1]), words.dtype)
    posts = np.hstack([np.vstack([none, words]), np.vstack([words, none])])
    begin, end = posts @ np.asarray(p.begin.w) + np.asarray(p.begin.b), posts @ np.asarray(p.end)
    return np.maximum(begin[:, None] + end[None], 0) @ np.asarray(p.head)


def _states(cell: Any, x: np.ndarray) -> np.ndarray:
    z, weights = x @ np.asarray(cell.i) + np.asarray(cell.b), np.asarray(cell.h)
    h, found = np.zeros_like(z[0]), np.empty_like(z)
    for t, own in enumerate(z):
        found[t] = h = np.tanh(own + h @ weights)
    return found


def _marginals(span: np.ndarray) -> np.ndarray:
    """``P(i .. j - 1 is a span)`` by the inside and outside recursions."""
    size = len(span)
    inside, parts = np.full(span.shape, -np.inf), {}
    inside[np.arange(size - 1), np.arange(1, size)] = 0
    for width in range(2, size):
        for i in range(size - width):
            j = i + width
            both = inside[i, i + 1 : j] + inside[i + 1 : j, j]
            top = both.max()
            share = np.exp(both - top)
            inside[i, j] = span[i, j] + top + np.log(share.sum())
            parts[i, j] = share / share.sum()
    p = np.zeros_like(span)
    p[0, -1] = 1
    for width in range(size - 1, 1, -1):
        for i in range(size - width):
            j = i + width
            share = p[i, j] * parts[i, j]
            p[i, i + 1 : j] += share
            p[i + 1 : j, j] += share
    return p


def _best_tree(p: np.ndarray, words: int) -> np.ndarray:
    """Children of the tree with the greatest sum of probabilities, in post-order."""
    best, split = np.zeros_like(p), np.zeros(p.shape, int)
    for width in range(2, words + 1):
        for i in range(words + 1 - width):
            j = i + width
            both = best[i, i + 1 : j] + best[i + 1 : j, j]
            k = int(both.argmax())
            best[i, j], split[i, j] = p[i, j] + both[k], i + 1 + k
    children: list[tuple[int, int]] = []

    def build(i: int, j: int) -> int:
        if j - i == 1:
            return i
        children.append((build(i, split[i, j]), build(split[i, j], j)))
        return words + len(children) - 1

    build(0, words)
    return np.array(children, np.int32).reshape(-1, 2)


def _labels(model: Pipeline, tokens: list[str], children: np.ndarray) -> np.ndarray:
    """Of all nodes, by the Tree-LSTM of the model in the package."""
    classifier: Any = model.classifier
    p = classifier.params
    u, b = (np.asarray(x) for x in p.cell)
    words = np.asarray(p.embedding)[classifier.vocabulary.encode(tokens)]
    i, o, new = np.split(words @ np.asarray(p.leaf.w) + np.asarray(p.leaf.b), 3, axis=1)
    memories = list(_sigmoid(i) * np.tanh(new))
    states = list(_sigmoid(o) * np.tanh(memories))
    for left, right in children:
        z = np.concatenate([states[left], states[right]]) @ u + b
        i, of_left, of_right, o, new = np.split(z, 5)
        kept = _sigmoid(of_left) * memories[left] + _sigmoid(of_right) * memories[right]
        memories.append(kept + _sigmoid(i) * np.tanh(new))
        states.append(_sigmoid(o) * np.tanh(memories[-1]))
    return (np.stack(states) @ np.asarray(p.head.w) + np.asarray(p.head.b)).argmax(axis=1)


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))
