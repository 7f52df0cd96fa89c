"""One node of each recursive network, as its paper writes it: columns, one equation a line.

Each function takes the weights in the library's layout (rows), puts them into the paper's, and
composes two states. All of it is analytic (see `complex_step`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = Any


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def rntn(v, w, b, left, right):
    """Socher et al. (2013), equation 2."""
    x = np.concatenate([left, right])
    return np.tanh(np.array([x @ V @ x for V in v]) + w.T @ x + b)


def rnn(w, b, left, right):
    """Socher et al. (2013), section 4.1: without the tensor."""
    return np.tanh(w.T @ np.concatenate([left, right]) + b)


def tree_lstm(u, b, left, right):
    """Tai et al. (2015), equations 9 to 14 for N = 2, no input at the node."""
    d = len(b) // 5
    # U[gate][child]: the paper's matrices, of columns.
    U = [[u[k * d : (k + 1) * d, g * d : (g + 1) * d].T for k in range(2)] for g in range(5)]
    bias = b.reshape(5, d)
    (h_1, h_2), (c_1, c_2) = (left[:d], right[:d]), (left[d:], right[d:])
    i = sigmoid(U[0][0] @ h_1 + U[0][1] @ h_2 + bias[0])  # (9)
    f_1 = sigmoid(U[1][0] @ h_1 + U[1][1] @ h_2 + bias[1])  # (10), k = 1
    f_2 = sigmoid(U[2][0] @ h_1 + U[2][1] @ h_2 + bias[2])  # (10), k = 2
    o = sigmoid(U[3][0] @ h_1 + U[3][1] @ h_2 + bias[3])  # (11)
    new = np.tanh(U[4][0] @ h_1 + U[4][1] @ h_2 + bias[4])  # (12)
    c = i * new + f_1 * c_1 + f_2 * c_2  # (13)
    return np.concatenate([o * np.tanh(c), c])  # (14)


def child_sum(u, b, *children, x: Array = 0.0):
    """Tai et al. (2015), equations 2 to 8; ``x [4D]`` are the products of the node's input."""
    d = len(b) // 4
    U_i, U_f, U_o, U_u = (u[:, g * d : (g + 1) * d].T for g in range(4))
    b_i, b_f, b_o, b_u = (b + x).reshape(4, d)
    h_sum = sum((child[:d] for child in children), np.zeros(d))  # (2)
    i = sigmoid(U_i @ h_sum + b_i)  # (3)
    f = [sigmoid(U_f @ child[:d] + b_f) for child in children]  # (4)
    o = sigmoid(U_o @ h_sum + b_o)  # (5)
    new = np.tanh(U_u @ h_sum + b_u)  # (6)
    c = i * new + sum(own * child[d:] for own, child in zip(f, children))  # (7)
    return np.concatenate([o * np.tanh(c), c])  # (8)


def mv_rnn(w, b, w_m, left, right):
    """Socher et al. (2012), section 2.1; a state's matrix is the transpose of the paper's."""
    d = len(b)
    a, A = left[:d], left[d:].reshape(d, d).T
    b_vector, B = right[:d], right[d:].reshape(d, d).T
    p = np.tanh(w.T @ np.concatenate([B @ a, A @ b_vector]) + b)
    P = w_m.T @ np.concatenate([A, B])
    return np.concatenate([p, P.T.ravel()])


def span_sum(left, right):
    """Averaging, before the division."""
    return left + right


def states(node: Callable[..., Array], weights: Sequence[Array], leaves: Array, children: Array):
    """States of one tree's nodes, leaves first: ``children [internal, 2]`` as in a data.Tree."""
    found = list(leaves)
    for left, right in children:
        found.append(node(*weights, found[left], found[right]))
    return np.array(found)
