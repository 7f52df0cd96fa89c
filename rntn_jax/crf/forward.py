"""Forward and backward recursion on chains, and the rule "gradient = marginals".

With node scores ``u_t [C]`` and edge scores ``A [C, C]`` the forward recursion is::

    a_t[j] = u_t[j] + ln sum_i exp(a_{t-1}[i] + A[i, j]) - m_t
    ln Z   = sum_t m_t + ln sum_j exp(a_T[j])

with ``m_t`` such that the largest ``a_t`` is 0. The posterior follows from the last step back::

    w_t[i, j]  = exp(a_{t-1}[i] + A[i, j]) / sum_k exp(a_{t-1}[k] + A[k, j])
    g_{t-1}[i] = sum_j w_t[i, j] g_t[j]

``w_t`` being ``P(y_{t-1} = i | y_t = j)`` and the summands the edge marginals.

Edge scores that all steps share make both sums matrix products, ``exp(a) @ exp(A)``, of all rows
at once. A product of floating point numbers loses terms below ``exp(-87)``, which matters when
some label can be entered by such terms only. So the products are used

* unseen when no finite range of a column of ``A`` is wider than `SAFE_RANGE` (nothing that counts
  can get lost, whatever the node scores),
* else with a check at every step that each label that can be reached at all is entered by at least
  `LEAST_MASS`;

and where the check fails, and with edge scores of their own for every step, the sums are taken in
logarithms.

Source: 004, P_s, L and the model marginals theorem; the recursion is not in the source.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops import accumulator, cast_like, masked

__all__ = [
    "LEAST_MASS",
    "SAFE_RANGE",
    "advance",
    "entered",
    "forward_states",
    "log_partition",
    "row_marginals",
    "safe_log",
]

SAFE_RANGE = 35.0  # nats
LEAST_MASS = 1e-30  # of labels at most exp(0) each: terms lost weigh 1e-8 of it at most


def log_partition(node: jax.Array, edge: jax.Array, mask: jax.Array) -> jax.Array:
    """``ln Z [B]`` of node scores ``[B, T, C]``, edge scores ``[C, C]`` or ``[B, T-1, C, C]``.

    Gradient: the marginals. Residuals: the arguments, and two arrays of the size of ``node``.
    """
    return (_shared if edge.ndim == 2 else _stepwise)(node, edge, mask)


def forward_states(node: jax.Array, edge: jax.Array, mask: jax.Array) -> jax.Array:
    """``a_t [T, B, C]``, each up to a constant: how probable labels are given what is before.

    Where masked, those of the position before. All that sampling needs.
    """
    if edge.ndim == 4:
        return _stepwise_forward(node, edge, mask)[1]
    _, states, products = _shared_forward(node, edge, mask)
    return jnp.where(products, safe_log(states), states)


# --- what both share ---


def entered(mask: jax.Array) -> jax.Array:
    """``[B, T]``: real positions but the first of each row: those that an edge leads to."""
    return mask & (jnp.cumsum(mask, axis=1) > 1)


def _without_largest(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``x`` less its largest entry along the last axis, and that (0 where it is ``-inf``)."""
    top = x.max(axis=-1, keepdims=True)
    top = jnp.where(top == -jnp.inf, 0, top)
    return x - top, top[..., 0]


def safe_log(x: jax.Array) -> jax.Array:
    """``ln x``, and ``-inf`` at 0, there without a gradient."""
    return jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1)), -jnp.inf)


def _log_sum(a: jax.Array, edge: jax.Array) -> jax.Array:
    """``ln sum_i exp(a[.., i] + edge[.., i, j])`` over ``[B, C, C]``, without a range."""
    z = a[:, :, None] + edge
    top = z.max(axis=1, keepdims=True)
    top = jnp.where(top == -jnp.inf, 0, top)
    return safe_log(jnp.exp(z - top).sum(axis=1)) + top[:, 0]


def advance(a, entering, u, here, inner):
    """The next state, its entering mass, and what the normalisation took off, ``-inf`` included."""
    entering = jnp.where(inner[:, None], entering, 0)
    n = entering + u
    top = n.max(axis=-1)
    new = n - jnp.where(top == -jnp.inf, 0, top)[:, None]
    return jnp.where(here[:, None], new, a), entering, jnp.where(here, top, 0)


def _log_total(state: jax.Array) -> jax.Array:
    """``ln`` of what a state, normalised to at most 0, sums to."""
    return safe_log(jnp.exp(state).sum(axis=-1))


def _ending(states, taken, here):
    """``ln Z``: the parts taken off, and what the last state sums to."""
    rest = jnp.where(here.any(axis=0), _log_total(states[-1]), 0)
    return jnp.where(here, taken, 0).sum(axis=0) + rest


def _matmul(x, y):
    return jnp.matmul(x, y, precision=lax.Precision.HIGHEST)


def _contract(shape, x, y):
    return jnp.einsum(shape, x, y, precision=lax.Precision.HIGHEST)


def _normalised(p: jax.Array) -> jax.Array:
    total = p.sum(axis=-1, keepdims=True)
    return p / jnp.where(total == 0, 1, total)


# --- edge scores shared by all steps ---


class _Prepared(NamedTuple):
    u: jax.Array  # [T, B, C], largest 0
    taken: jax.Array  # [T, B], what was taken off
    edge: jax.Array  # [C, C], largest of each column 0
    here: jax.Array
    inner: jax.Array


def _prepare(node, edge, mask) -> _Prepared:
    """Scores without what all labels, and all ways into a label, have in common."""
    dtype = accumulator(node, edge)
    here, inner = mask.T, entered(mask).T
    # The largest first: a column's largest added to scores of 10,000 would cost four digits.
    u, taken = _without_largest(masked(node, mask).astype(dtype).swapaxes(0, 1))
    columns, best = _without_largest(edge.astype(dtype).T)
    u, more = _without_largest(u + jnp.where(inner[..., None], best[None, None], 0))
    return _Prepared(u, jnp.where(here, taken + more, 0), columns.T, here, inner)


def _product_steps(prepared: _Prepared):
    """Probabilities ``[T, B, C]`` of the labels given what is before, and what was taken off."""
    u, taken, edge, here, inner = prepared
    e = jnp.exp(edge)

    def step(p, inputs):
        w, here, inner = inputs
        n = w * jnp.where(inner[:, None], _matmul(p, e), 1)
        total = n.sum(axis=-1)
        new = n / jnp.where(total == 0, 1, total)[:, None]
        p = jnp.where(here[:, None], new, p)
        return p, (p, total)

    w = jnp.exp(u)
    _, (p, totals) = lax.scan(step, jnp.ones_like(w[0]), (w, here, inner))
    return p, taken + safe_log(totals)


def _checked_steps(prepared: _Prepared):
    """The same with the states in logarithms, and whether a product lost what counts."""
    u, taken, edge, here, inner = prepared
    e, possible = jnp.exp(edge), (edge > -jnp.inf).astype(edge.dtype)

    def step(carry, inputs):
        a, lost = carry
        u, here, inner = inputs
        q = _matmul(jnp.exp(a), e)
        reachable = _matmul((a > -jnp.inf).astype(a.dtype), possible) > 0
        lost = lost | (inner[:, None] & reachable & (q < LEAST_MASS)).any()
        a, _, top = advance(a, safe_log(q), u, here, inner)
        return (a, lost), (a, top)

    initial = jnp.zeros(u.shape[1:], u.dtype), jnp.zeros((), bool)
    (_, lost), (states, tops) = lax.scan(step, initial, (u, here, inner))
    return states, taken + tops, lost


def _log_steps(prepared: _Prepared):
    """The recursion in logarithms."""
    u, taken, edge, here, inner = prepared

    def step(a, inputs):
        a, _, top = advance(a, _log_sum(a, edge[None]), *inputs)
        return a, (a, top)

    states, tops = lax.scan(step, jnp.zeros(u.shape[1:], u.dtype), (u, here, inner))[1]
    return states, taken + tops


def _shared_forward(node, edge, mask):
    """``ln Z [B]``; states, of which ``products`` says whether they are no logarithms."""
    prepared = _prepare(node, edge, mask)

    def unchecked(prepared):
        return *_product_steps(prepared), jnp.ones((), bool)

    def checked(prepared):
        states, taken, lost = _checked_steps(prepared)
        products = jnp.exp(states), taken, ~lost
        return lax.cond(
            lost, lambda p, o: (*_log_steps(p), o[2]), lambda _, o: o, prepared, products
        )

    safe = (prepared.edge >= -SAFE_RANGE).all()
    states, taken, products = lax.cond(safe, unchecked, checked, prepared)
    last = jnp.where(products, safe_log(states[-1].sum(axis=-1)), _log_total(states[-1]))
    total = jnp.where(prepared.here, taken, 0).sum(axis=0)
    return total + jnp.where(prepared.here.any(axis=0), last, 0), states, products


def _shared_total(node, edge, mask):
    return _shared_forward(node, edge, mask)[0]


_shared = jax.custom_vjp(_shared_total)


class _SharedResiduals(NamedTuple):
    node: jax.Array  # [B, T, C]
    edge: jax.Array  # [C, C]
    mask: jax.Array  # [B, T]
    states: jax.Array  # [T, B, C]
    products: jax.Array  # bool []


def _shared_fwd(node, edge, mask):
    total, *rest = _shared_forward(node, edge, mask)
    return total, _SharedResiduals(node, edge, mask, *rest)


def _shared_bwd(res: _SharedResiduals, ct):
    d_node, d_edge = _shared_marginals(res, ct.astype(res.states.dtype))
    return *cast_like((d_node, d_edge), (res.node, res.edge)), None


_shared.defvjp(_shared_fwd, _shared_bwd)


def _shared_marginals(res: _SharedResiduals, ct=None):
    """Marginals times ``ct [B]``, those of edges summed ``[C, C]``; without it ``[B, C, C]``."""
    dtype = res.states.dtype
    here, inner = res.mask.T, entered(res.mask).T
    columns, _ = _without_largest(res.edge.astype(dtype).T)
    edge = columns.T
    before = jnp.concatenate([jnp.zeros_like(res.states[:1]), res.states[:-1]])

    def by_products():
        e = jnp.exp(edge)
        q = _matmul(before, e)  # of all steps at once
        used = inner[..., None] & (q > 0)
        inverse = jnp.where(used, 1 / jnp.where(used, q, 1), 0)

        def step(g, inputs):
            before, inverse, inner = inputs
            back = before * _matmul(g * inverse, e.T)
            return jnp.where(inner[:, None], back, g), g

        last = _normalised(res.states[-1])
        _, g = lax.scan(step, last, (before, inverse, inner), reverse=True)
        g = _normalised(g)  # rounding errors of 100,000 steps add up
        v = g * inverse
        if ct is None:
            return g, e[None] * _contract("tbi,tbj->bij", before, v)
        return g, e * _contract("tbi,tbj->ij", before * ct[None, :, None], v)

    def in_logs():
        def step(carry, inputs):
            g, counts = carry
            before, inner = inputs
            both = _edge_posterior(before, edge[None], _log_sum(before, edge[None]), g, inner)
            back = jnp.where(inner[:, None], _normalised(both.sum(axis=2)), g)
            return (back, counts + (both if ct is None else jnp.einsum("bij,b->ij", both, ct))), g

        last = _normalised(jnp.exp(res.states[-1]))
        rows = () if ct is not None else (last.shape[0],)
        initial = last, jnp.zeros((*rows, *edge.shape), dtype)
        (_, counts), g = lax.scan(step, initial, (before, inner), reverse=True)
        return g, counts

    g, counts = lax.cond(res.products, by_products, in_logs)
    return masked(g if ct is None else g * ct[None, :, None], here).swapaxes(0, 1), counts


def row_marginals(node: jax.Array, edge: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Marginals of nodes ``[B, T, C]``, and of edges for each row.

    Those are ``[B, C, C]``, summed over time, where all steps share the scores, else
    ``[B, T-1, C, C]``.
    """
    if edge.ndim == 2:
        _, *rest = _shared_forward(node, edge, mask)
        return _shared_marginals(_SharedResiduals(node, edge, mask, *rest))
    total, pull = jax.vjp(lambda n, e: _stepwise(n, e, mask), node, edge)
    return pull(jnp.ones_like(total))


def _edge_posterior(before, edge, entering, g, inner):
    """``w[i, j] g[j]``, ``[B, C, C]``: the probability of the labels i before and j here."""
    entering = jnp.where(entering == -jnp.inf, 0, entering)  # of labels whose posterior is 0
    w = jnp.exp(before[:, :, None] + edge - entering[:, None, :])
    return jnp.where(inner[:, None, None], w * g[:, None, :], 0)


# --- edge scores for every step ---


def _stepwise_forward(node, edge, mask):
    """In logarithms, reading the edge scores where they lie."""
    dtype = accumulator(node, edge)
    here, inner = mask.T, entered(mask).T
    u, taken = _without_largest(masked(node, mask).astype(dtype).swapaxes(0, 1))

    def step(a, inputs):
        t, u, here, inner = inputs
        now = lax.dynamic_index_in_dim(edge, jnp.maximum(t - 1, 0), axis=1, keepdims=False)
        a, entering, top = advance(a, _log_sum(a, now.astype(dtype)), u, here, inner)
        return a, (a, entering, top)

    inputs = jnp.arange(len(u)), u, here, inner
    _, (states, entering, tops) = lax.scan(step, jnp.zeros_like(u[0]), inputs)
    return _ending(states, tops + taken, here), states, entering


def _stepwise_reference(node, edge, mask):
    """``ln Z`` by the recursion in logarithms, time-major, as autodiff likes it."""
    dtype = accumulator(node, edge)
    here, inner = mask.T, entered(mask).T
    u, taken = _without_largest(masked(node, mask).astype(dtype).swapaxes(0, 1))
    edge = masked(edge.astype(dtype).swapaxes(0, 1), inner[1:])

    def step(a, inputs):
        u, edge, here, inner = inputs
        a, _, top = advance(a, _log_sum(a, edge), u, here, inner)
        return a, (a, top)

    _, (states, tops) = lax.scan(step, u[0], (u[1:], edge, here[1:], inner[1:]))
    states = jnp.concatenate([u[:1], states])
    tops = jnp.concatenate([jnp.zeros_like(taken[:1]), tops])
    return _ending(states, tops + taken, here)


def _stepwise_total(node, edge, mask):
    return _stepwise_forward(node, edge, mask)[0]


_stepwise = jax.custom_vjp(_stepwise_total)


class _StepwiseResiduals(NamedTuple):
    node: jax.Array  # [B, T, C]
    edge: jax.Array  # [B, T-1, C, C]
    mask: jax.Array  # [B, T]
    states: jax.Array  # [T, B, C]
    entering: jax.Array  # [T, B, C]


def _stepwise_fwd(node, edge, mask):
    total, states, entering = _stepwise_forward(node, edge, mask)
    return total, _StepwiseResiduals(node, edge, mask, states, entering)


def _stepwise_bwd(res: _StepwiseResiduals, ct):
    d_node, d_edge = _stepwise_marginals(res, ct)
    return *cast_like((d_node, d_edge), (res.node, res.edge)), None


_stepwise.defvjp(_stepwise_fwd, _stepwise_bwd)


def _stepwise_marginals_fast(res: _StepwiseResiduals, ct):
    """Marginals times ``ct [B]``; every step's edge marginals are written where they belong."""
    dtype = res.states.dtype
    here, inner = res.mask.T, entered(res.mask).T
    ct = ct.astype(dtype)
    last = _normalised(jnp.exp(res.states[-1]))

    def step(carry, inputs):
        g, d_edge = carry
        t, before, entering, inner = inputs
        edge = lax.dynamic_index_in_dim(res.edge, t, axis=1, keepdims=False).astype(dtype)
        both = _edge_posterior(before, edge, entering, g, inner)
        back = jnp.where(inner[:, None], _normalised(both.sum(axis=2)), g)
        now = (both * ct[:, None, None]).astype(d_edge.dtype)
        return (back, lax.dynamic_update_index_in_dim(d_edge, now, t, axis=1)), g

    steps = jnp.arange(res.edge.shape[1]), res.states[:-1], res.entering[1:], inner[1:]
    (first, d_edge), g = lax.scan(step, (last, jnp.zeros_like(res.edge)), steps, reverse=True)
    g = jnp.concatenate([first[None], g])
    return masked(g * ct[None, :, None], here).swapaxes(0, 1), d_edge


_stepwise_marginals = jax.custom_vjp(_stepwise_marginals_fast)


def _stepwise_marginals_fwd(res: _StepwiseResiduals, ct):
    return _stepwise_marginals_fast(res, ct), (res, ct)


def _stepwise_marginals_bwd(res, cotangents) -> Any:
    """Second order: the plain recursion differentiated twice."""
    res, ct = res
    node, edge, mask, states, entering = res

    def gradient(node, edge, ct):
        return jax.vjp(lambda n, e: _stepwise_reference(n, e, mask), node, edge)[1](ct)

    cotangents = cast_like(cotangents, (node, edge))
    d_node, d_edge, d_ct = jax.vjp(gradient, node, edge, ct)[1](cotangents)
    of_states: Any = jnp.zeros_like(states), jnp.zeros_like(entering)
    no_mask: Any = None
    return _StepwiseResiduals(d_node, d_edge, no_mask, *of_states), d_ct


_stepwise_marginals.defvjp(_stepwise_marginals_fwd, _stepwise_marginals_bwd)
