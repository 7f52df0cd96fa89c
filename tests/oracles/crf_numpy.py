"""Source 004 in NumPy, by summing over all labellings. Slow, and meant to be read beside it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Model(NamedTuple):
    """``s_n [I, C]``, ``s_e [E, C, C]`` and the edges ``<i, j>``."""

    s_n: np.ndarray
    s_e: np.ndarray
    edges: list[tuple[int, int]]


def all_labellings(model: Model) -> np.ndarray:
    """All possible y-hat, ``[C^I, I]``: a label for each node."""
    count, classes = model.s_n.shape
    return np.indices((classes,) * count).reshape(count, classes**count).T


def s(model: Model, y: np.ndarray) -> np.ndarray:
    """``[K]``, of ``[K, I]``: ``s(y) = sum_i s_n[i, y[i]] + sum_<i,j> s_e[<i,j>, y[i], y[j]]``."""
    y = np.asarray(y)
    total = np.zeros(len(y))
    for i in range(y.shape[1]):
        total += model.s_n[i, y[:, i]]
    for e, (i, j) in enumerate(model.edges):
        total += model.s_e[e, y[:, i], y[:, j]]
    return total


def ln_z(model: Model) -> float:
    """``ln Z``, ``Z = sum_y exp s(y)``."""
    return float(np.logaddexp.reduce(s(model, all_labellings(model))))


def p_s(model: Model) -> np.ndarray:
    """``P_s(y) = softmax_y s(y)``, of `all_labellings`; 0 where all are impossible."""
    z = ln_z(model)
    scores = s(model, all_labellings(model))
    return np.exp(scores - z) if z > -np.inf else np.zeros(len(scores))


def loss(model: Model, gold: np.ndarray) -> float:
    """``L = -ln P_s(y)``."""
    return ln_z(model) - float(s(model, np.asarray(gold)[None])[0])


def marginals(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """``E 1[y[i] = c]`` and ``E 1[y[i] = c and y[j] = c']``, expectations under ``P_s``."""
    return _expectations(model, all_labellings(model), p_s(model))


def gradients(model: Model, gold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The model marginals theorem: marginals less the indicators of the gold labelling."""
    of_gold = _expectations(model, np.asarray(gold)[None], np.ones(1))
    d_n, d_e = marginals(model)
    return d_n - of_gold[0], d_e - of_gold[1]


def _expectations(model: Model, y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    of_nodes, of_edges = np.zeros(model.s_n.shape), np.zeros(model.s_e.shape)
    for i in range(y.shape[1]):
        np.add.at(of_nodes, (i, y[:, i]), p)
    for e, (i, j) in enumerate(model.edges):
        np.add.at(of_edges, (e, y[:, i], y[:, j]), p)
    return of_nodes, of_edges
