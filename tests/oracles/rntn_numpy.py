"""Source 000 in NumPy, equation by equation, slow and readable.

The source's notation and its column vectors: ``p = f(x^T V^[1:d] x + W x + b)`` with
``x = [a; p1]``. Where the source errs the corrected equation stands here, and the docstring says
what changed (errata 000). Common to all of them: ``E`` is a loss, minus the log-likelihood, so that
``y - t`` stands where the source has ``t - y``.

Shapes: states ``[d]``, ``x [2d]``, ``V [d, 2d, 2d]``, ``W [d, 2d]``, ``b [d]``, ``Ws [C, d]``,
``bs [C]``, ``L [d, words]``, targets ``t [C]`` (0-1 encoded) and posteriors ``y [C]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = Any


class Params(NamedTuple):
    """The parameters, or their gradients, as the source has them."""

    L: Array
    V: Array
    W: Array
    b: Array
    Ws: Array
    bs: Array


def from_rows(embedding, v, w, b, head_w, head_b) -> Params:
    """Parameters of the library, which writes states as rows."""
    columns = (np.asarray(embedding).T, v, np.asarray(w).T, b, np.asarray(head_w).T, head_b)
    return Params(*(np.asarray(a, np.float64) for a in columns))


def to_rows(params: Params) -> tuple[Array, ...]:
    """The inverse of `from_rows`: embedding, v, w, b, head w, head b."""
    return params.L.T, params.V, params.W.T, params.b, params.Ws.T, params.bs


# f, and f' as a function of f's output.
f: Callable = np.tanh


def f_prime(h):
    """``f'(z)`` of ``h = f(z)`` (the source has pre-activations in 3, outputs in 13)."""
    return 1 - h**2


def error(y, t):
    """``E`` of one node, before (1): ``- sum_c t_c log y_c``, over the C classes."""
    return -np.sum(t * np.log(y))


def eq1_error_at_node(Ws, y, t):
    """(1) ``dE/dp = (W^s)^T (y - t)``; the sum runs over the C classes and not to d."""
    return Ws.T @ (y - t)


def eq2_state(V, W, b, x):
    """The state in (2): ``p_[j] = f(x^T V^[j] x + W_[j,:] x + b_[j])``."""
    return f(np.array([x @ V[j] @ x + W[j] @ x + b[j] for j in range(len(b))]))


def eq2_dp_dV(p, x):
    """(2) ``dp_[j] / dV^[k]``, zero unless j = k: ``[d, d, 2d, 2d]``."""
    d, m = len(p), len(x)
    jacobian = np.zeros((d, d, m, m))
    for k in range(d):
        jacobian[k, k] = eq3_dp_dV(p, x, k)
    return jacobian


def eq3_dp_dV(p, x, k):
    """(3) ``dp_[k] / dV^[k] = f'_k x x^T``."""
    return f_prime(p)[k] * np.outer(x, x)


def delta_s(Ws, y, t, slope):
    """A node's own error, ``delta^s = (W^s)^T (y - t) f'``, the first factor of (4)."""
    return eq1_error_at_node(Ws, y, t) * slope


def eq4_dV_at_node(delta, x):
    """(4) ``dE/dV^[k] = delta_[k] x x^T``."""
    return np.array([delta_k * np.outer(x, x) for delta_k in delta])


def eq5_dp_dW(p, x):
    """(5) ``dp_[k] / dW_[i,j] = 1{k=i} f'_k x_j``: a 3-way array, not a matrix."""
    d, m = len(p), len(x)
    jacobian = np.zeros((d, d, m))
    for k in range(d):
        jacobian[k, k] = f_prime(p)[k] * x
    return jacobian


def eq6_dW_at_node(delta, x):
    """(6) ``dE/dW = delta x^T``."""
    return np.outer(delta, x)


def eq7_dp_db(p):
    """(7) ``dp/db = diag(f')``: a matrix, not the vector."""
    return np.diag(f_prime(p))


def eq8_db_at_node(delta):
    """(8) ``dE/db = delta``."""
    return delta


def eq9_posterior(Ws, bs, p):
    """(9) ``y = softmax(W^s p + b^s)``."""
    scores = Ws @ p + bs
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def eq10_dy_dWs(y, p):
    """Section 4's cases, swapped in the source: ``dy_[r] / dW^s_[i,j]``, ``[C, C, d]``."""
    classes, d = len(y), len(p)
    jacobian = np.empty((classes, classes, d))
    for r in range(classes):
        for i in range(classes):
            jacobian[r, i] = -y[r] * y[i] * p
            if r == i:
                jacobian[r, i] += y[r] * p
    return jacobian


def eq10_dWs_at_node(y, t, p):
    """(10) ``dE/dW^s = (y - t) p^T``."""
    return np.outer(y - t, p)


def eq11_dbs_entry(y, t, i):
    """(11) ``dE/db^s_[i] = y_[i] - t_[i]``."""
    return y[i] - t[i]


def eq12_dbs_at_node(y, t):
    """(12) ``dE/db^s = y - t``."""
    return y - t


def eq13_down(W, delta, S, slope):
    """(13) ``delta^down = (W^T delta + S) f'``.

    ``slope [2d]`` stacks the children's f', of their outputs; a leaf that is a raw word vector has
    the factor 1.
    """
    return (W.T @ delta + S) * slope


def eq14_S(V, delta, x):
    """(14) ``S = sum_k delta_[k] (V^[k] + V^[k]T) x``; the source forgets the index of delta."""
    total = np.zeros_like(x)
    for k in range(len(delta)):
        total += delta[k] * (V[k] + V[k].T) @ x
    return total


def eq15_children(down, left_s, right_s):
    """(15) The children's errors: each its own, plus its half of the parent's downward error.

    The source gives leaves no error of their own, though every word has a label.
    """
    d = len(down) // 2
    return left_s + down[:d], right_s + down[d:]


def eq16_totals(shares: Sequence[Params]) -> Params:
    """(16) Every derivative is the sum over all nodes; the source writes two of them out."""
    return Params(*(np.sum(column, axis=0) for column in zip(*shares, strict=True)))


def gradients(
    params: Params, ids: Array, children: Array, labels: Array, leaf: str = "tanh"
) -> tuple[float, Params]:
    """Loss and all gradients of one tree, node by node.

    Args:
        params: the parameters.
        ids: the word of each leaf.
        children: int ``[leaves - 1, 2]``, as in `rntn_jax.data.Tree`.
        labels: int ``[2 leaves - 1]``, -1 for none.
        leaf: ``tanh`` if a leaf's state is f of its word vector, ``identity`` if it is the vector.

    Returns:
        ``E``, summed over all labelled nodes, and its gradients.
    """
    L, V, W, b, Ws, bs = params
    num_leaves, num_nodes = len(ids), len(labels)
    d, classes = len(b), len(bs)

    # Bottom up.
    p = [f(L[:, w]) if leaf == "tanh" else L[:, w] for w in ids]
    slope = [f_prime(h) if leaf == "tanh" else np.ones(d) for h in p]
    x: list[Array] = [None] * num_leaves
    for left, right in children:
        x.append(np.concatenate([p[left], p[right]]))
        p.append(eq2_state(V, W, b, x[-1]))
        slope.append(f_prime(p[-1]))

    # Every node's own error.
    loss = 0.0
    y = [eq9_posterior(Ws, bs, h) for h in p]
    t = [
        np.eye(classes)[c] if c >= 0 else y[n] for n, c in enumerate(labels)
    ]  # no label: y - t = 0
    own = [delta_s(Ws, y[n], t[n], slope[n]) for n in range(num_nodes)]
    for n, c in enumerate(labels):
        loss += error(y[n], t[n]) if c >= 0 else 0.0

    # Top down; the root has nothing but its own error.
    com = list(own)
    for n in reversed(range(num_leaves, num_nodes)):
        left, right = children[n - num_leaves]
        S = eq14_S(V, com[n], x[n])
        down = eq13_down(W, com[n], S, np.concatenate([slope[left], slope[right]]))
        com[left], com[right] = eq15_children(down, own[left], own[right])

    shares = []
    for n in range(num_nodes):
        share = Params(*(np.zeros_like(a) for a in params))
        share = share._replace(
            Ws=eq10_dWs_at_node(y[n], t[n], p[n]), bs=eq12_dbs_at_node(y[n], t[n])
        )
        if n < num_leaves:
            share.L[:, ids[n]] = com[n]  # "etc." of (16): leaves that hold the word
        else:
            share = share._replace(
                V=eq4_dV_at_node(com[n], x[n]),
                W=eq6_dW_at_node(com[n], x[n]),
                b=eq8_db_at_node(com[n]),
            )
        shares.append(share)
    return loss, eq16_totals(shares)
