"""Source 002 in NumPy: its identities, and the gradients of its example, as they stand there.

Rows, one window at a time. Corrected by the errata where the source is wrong: identity 5 reads
``delta^T x^T``, and a word that stands at several places accumulates.
"""

from __future__ import annotations

import numpy as np

__all__ = ["IDENTITIES", "example"]


def _column_times(w, x):
    """(1) z = W x, x a column: dz/dx = W."""
    return w @ x, w


def _row_times(w, x):
    """(2) z = x W, x a row: dz/dx = W^T."""
    return x @ w.T, w  # W of the identity is w^T here, so that dz/dx = (w^T)^T


def _itself(w, x):
    """(3) z = x: dz/dx = I."""
    return x.copy(), np.eye(len(x))


def _elementwise(w, x):
    """(4) z = f(x): dz/dx = diag(f'(x)), here of tanh."""
    return np.tanh(x), np.diag(1 - np.tanh(x) ** 2)


# name -> (w, x) to (z, dz/dx)
IDENTITIES = {"1": _column_times, "2": _row_times, "3": _itself, "4": _elementwise}


def example(embedding, w, b1, u, b2, window, label):
    """Loss and gradients of one window, by the derivation of section 4."""
    m, d = len(window), embedding.shape[1]
    x = np.concatenate([embedding[word] for word in window]) if m else np.zeros(0)
    z = x @ w + b1
    h = np.maximum(z, 0)
    theta = h @ u + b2
    y_hat = np.exp(theta - theta.max())
    y_hat /= y_hat.sum()
    loss = -np.log(y_hat[label])
    delta_1 = y_hat - np.eye(len(b2))[label]  # identity 7
    delta_2 = (delta_1 @ u.T) * np.sign(h)  # identities 2 and 4
    d_embedding = np.zeros_like(embedding)
    for i, word in enumerate(window):  # accumulated where a word stands twice
        d_embedding[word] += delta_2 @ w[d * i : d * (i + 1)].T
    return loss, {
        "u": np.outer(h, delta_1),  # identity 6
        "b2": delta_1,  # identity 3
        "w": np.outer(x, delta_2),
        "b1": delta_2,
        "embedding": d_embedding,
    }
