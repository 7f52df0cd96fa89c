"""Slow NumPy transcriptions of sources 001 and 003, corrected by the errata, by equation."""

from __future__ import annotations

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


# --- source 001: rows, sigmoid, biases ---


def s001_forward(H, I, U, b1, b2, e, h0):
    """h^(t) with h^(0) first, and y_hat^(t)."""
    h, y_hat = [h0], []
    for e_t in e:
        h.append(sigmoid(h[-1] @ H + e_t @ I + b1))
        y_hat.append(softmax(h[-1] @ U + b2))
    return np.array(h), np.array(y_hat)


def s001_J(y_hat, y, log_likelihood=False):
    """Cross-entropy of one step; with the sign as printed it is the log-likelihood."""
    value = np.sum(y * np.log(y_hat))
    return value if log_likelihood else -value


def s001_dJ_dz2(y_hat, y, log_likelihood=False):
    """The general form: the targets need not add up to 1."""
    delta = y_hat * y.sum() - y
    return -delta if log_likelihood else delta


def s001_dJ_dH_at_t(H, U, h_before, h, y_hat, y, log_likelihood=False):
    """The immediate term only: h^(t-1) held fixed."""
    delta = s001_dJ_dz2(y_hat, y, log_likelihood) @ U.T @ np.diag(h * (1 - h))
    return np.outer(h_before, delta)


def s001_gradients(H, I, U, b1, b2, e, h0, y):
    """All gradients of the sum of J over time (errata 001, items 2 and 3)."""
    h, y_hat = s001_forward(H, I, U, b1, b2, e, h0)
    d = {name: np.zeros_like(a) for name, a in zip(("H", "I", "U", "b1", "b2"), (H, I, U, b1, b2))}
    d["e"], down = np.zeros_like(e), np.zeros_like(h0)
    for k in range(len(e), 0, -1):
        dz2 = s001_dJ_dz2(y_hat[k - 1], y[k - 1])
        delta = (dz2 @ U.T + down) * h[k] * (1 - h[k])
        d["H"] += np.outer(h[k - 1], delta)
        d["I"] += np.outer(e[k - 1], delta)
        d["U"] += np.outer(h[k], dz2)
        d["b1"] += delta
        d["b2"] += dz2
        d["e"][k - 1] = delta @ I.T
        down = delta @ H.T
    d["h0"] = down
    return d


# --- source 003: columns, tanh, no biases ---


def eq1_forward(U, W, V, x):
    """s_t with s_{-1} = 0 first, and y_hat_t."""
    s, y_hat = [np.zeros(len(W))], []
    for x_t in x:
        s.append(np.tanh(U @ x_t + W @ s[-1]))
        y_hat.append(softmax(V @ s[-1]))
    return np.array(s), np.array(y_hat)


def eq2_loss(y_hat, y):
    """The 1/N, N the number of steps."""
    return sum(eq3_E(*pair) for pair in zip(y_hat, y, strict=True)) / len(y)


def eq3_E(y_hat, y):
    return -np.sum(y * np.log(y_hat))


def eq8_dE_dyhat(y_hat, y):
    return -y / y_hat


def eq9_dyhat_dq(y_hat):
    """[k, l]."""
    return np.diag(y_hat) - np.outer(y_hat, y_hat)


def eq10_dE_dq(y_hat, y):
    return -y + y_hat * y.sum()


def eq14_dE_dV(y_hat, y, s):
    return np.outer(y_hat - y, s)


def ds_dr(s, W, t, r):
    """ds_t / ds_r [m, n] = the product over k = r+1 .. t of diag(1 - s_k^2) W."""
    product = np.eye(len(W))
    for k in range(r + 1, t + 1):
        product = np.diag(1 - s[k + 1] ** 2) @ W @ product  # s[0] is s_{-1}
    return product


def immediate(s, before, r):
    """d+ s_r[n] / dW[i, j], s_{r-1} held fixed: (1 - s_rn^2) delta_ni before_j."""
    return np.einsum("n,ni,j->nij", 1 - s[r + 1] ** 2, np.eye(len(s[0])), before)


def eq20_ds_dW(s, W, t):
    """Over r <= t."""
    return sum(np.einsum("mn,nij->mij", ds_dr(s, W, t, r), immediate(s, s[r], r))
               for r in range(t + 1))  # fmt: skip


def eq23_ds_dU(s, W, x, t):
    return sum(np.einsum("mn,nij->mij", ds_dr(s, W, t, r), immediate(s, x[r], r))
               for r in range(t + 1))  # fmt: skip


def eq21_dE_dW(s, W, V, y_hat, y, t):
    return np.einsum("l,lm,mij->ij", y_hat[t] - y[t], V, eq20_ds_dW(s, W, t))


def eq24_dE_dU(s, W, V, x, y_hat, y, t):
    return np.einsum("l,lm,mij->ij", y_hat[t] - y[t], V, eq23_ds_dU(s, W, x, t))
