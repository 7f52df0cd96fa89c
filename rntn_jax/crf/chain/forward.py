"""Forward and backward recursion on chains, and the rule "gradient = marginals".

With node scores ``u_t [C]`` and edge scores ``A [C, C]`` the forward recursion is::

    a_t[j] = u_t[j] + ln sum_i exp(a_{t-1}[i] + A[i, j]) - m_t
    ln Z   = sum_t m_t + ln sum_j exp(a_T[j])

with ``m_t`` such that the largest ``a_t`` is 0. The posterior follows from the last step back::

    w_t[i, j]  = exp(a_{t-1}[i] + A[i, j]) / sum_k exp(a_{t-1}[k] + A[k, j])
    g_{t-1}[i] = sum_j w_t[i, j] g_t[j]

``w_t`` being ``P(y_{t-1} = i | y_t = j)`` and the summands the edge marginals.

For edge scores that all steps share see `shared_edges`, for those of every step `per_step_edges`.

Source: 004, P_s, L and the model marginals theorem; the recursion is not in the source.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rntn_jax.crf.chain import per_step_edges, shared_edges
from rntn_jax.ops.logspace import safe_log

__all__ = ["forward_states", "log_partition", "row_marginals"]


def log_partition(node: jax.Array, edge: jax.Array, mask: jax.Array) -> jax.Array:
    """``ln Z [B]`` of node scores ``[B, T, C]``, edge scores ``[C, C]`` or ``[B, T-1, C, C]``.

    Gradient: the marginals. Residuals: the arguments, two arrays of the size of ``node``, and one
    of the size of ``edge`` where every step has its own.
    """
    return (shared_edges if edge.ndim == 2 else per_step_edges).log_partition(node, edge, mask)


def forward_states(node: jax.Array, edge: jax.Array, mask: jax.Array) -> jax.Array:
    """``a_t [T, B, C]``, each up to a constant: how probable labels are given what is before.

    Where masked, those of the position before. All that sampling needs.
    """
    ran = (shared_edges if edge.ndim == 2 else per_step_edges).run(node, edge, mask)[1]
    return jnp.where(ran.products, safe_log(ran.states), ran.states)


def row_marginals(node: jax.Array, edge: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Marginals of nodes ``[B, T, C]``, and of edges for each row.

    Those are ``[B, C, C]``, summed over time, where all steps share the scores, else
    ``[B, T-1, C, C]``.
    """
    return (shared_edges if edge.ndim == 2 else per_step_edges).row_marginals(node, edge, mask)
