"""Loopy belief propagation, its tree-reweighted form, and max-product.

Messages ``m [C, D, I]`` come in to each node by slots; in one step all nodes send new ones::

    v_d[c]  = exp(node[c]) prod_{k != d} m_k[c]^r_k * m_d[c]^(r_d - 1)
    m[c]   ~  sum_c' exp(edge[c, c'] / r) v[c']           v of the neighbour, towards here

in probabilities where the scores of edges range over so little, and nodes have so few neighbours,
that no product of messages can be below ``exp(-MAX_MESSAGE_RANGE)`` (of two labels as one number a
message, ``m[1] / m[0]``); else in logarithms, which are the plain oracle of the former. Under
`jax.vmap` both are computed.
"""

from __future__ import annotations

from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.graph.fixed_point import (
    Found,
    Options,
    difference,
    iterate,
    log_difference,
    solve,
)
from rntn_jax.crf.graph.free_energy import Beliefs, make_beliefs, normalize_first, softmax
from rntn_jax.crf.graph.neighbours import Neighbours
from rntn_jax.crf.graph.scores import Parts
from rntn_jax.ops import accumulator
from rntn_jax.ops.logspace import finite_max, logsumexp, safe_log
from rntn_jax.ops.masking import append_zeros

__all__ = ["MAX_MESSAGE_RANGE", "best_labels", "edges_by_slot", "propagate"]

# Nats; float32 ends at 87, and what is left keeps labels whose node score alone underflows.
MAX_MESSAGE_RANGE = 70.0
_UNROLLED = 8  # labels and slots; XLA makes better loops of sums and products written out


class _Inputs(NamedTuple):
    """What messages are made of."""

    u: jax.Array  # [C, I], node scores, the largest being 0
    psi: jax.Array  # [C here, C there, D, I], edge scores / r, the largest being 0; 0 = no edge
    weight: jax.Array | None  # [1, D, I], r; None = 1 everywhere
    plan: Neighbours


def propagate(tree_reweighted: bool, options: Options, parts: Parts, plan: Neighbours) -> Beliefs:
    """Beliefs by loopy propagation, or the tree-reweighted one.

    Args:
        tree_reweighted: whether edges weigh by their share of spanning forests.
        options: of the iterations.
        parts: checked scores.
        plan: neighbours.

    Returns:
        `Beliefs`, in at least float32. Cost O(D I C^2) an iteration.
    """
    dtype = accumulator(parts.node, parts.edge)
    weight, shares = None, jnp.ones(len(parts.edge), dtype)
    if tree_reweighted:
        shares = jnp.asarray(plan.appearance, dtype)
        weight = append_zeros(jnp.concatenate([shares, shares]))[plan.link][None]
        weight = jnp.where(weight == 0, 1, weight)
    inputs, scaled = _inputs(parts, shares, weight, plan)
    two_labels = weight is None and len(inputs.u) == 2

    def by_products(inputs: _Inputs):
        products = inputs._replace(u=jnp.exp(inputs.u), psi=jnp.exp(inputs.psi))
        start = jnp.full((len(inputs.u), *plan.other.shape), 1 / len(inputs.u), dtype)
        step = partial(_step, _send_products, options)
        search = _search_ratios if two_labels else iterate
        m, *rest = solve(step, options, products, start, search=search)
        return safe_log(m), *rest

    def by_logs(inputs: _Inputs):
        start = jnp.full((len(inputs.u), *plan.other.shape), -jnp.log(len(inputs.u)), dtype)
        return solve(partial(_step, _send_logs, options), options, inputs, start, log_difference)

    in_range = _in_range(inputs)
    if two_labels:  # ratios are 0 / 0 of a node that has no label
        in_range &= (inputs.u.max(axis=0) > -jnp.inf).all()
    logs, change, count = lax.cond(in_range, by_products, by_logs, inputs)
    return _beliefs(parts, inputs, scaled, shares, logs, change, count)


def best_labels(options: Options, parts: Parts, plan: Neighbours) -> jax.Array:
    """Labels by max-product: each node's best, were all that it hears independent.

    Args:
        options: of the iterations.
        parts: checked scores.
        plan: neighbours.

    Returns:
        int32 ``[I]``, 0 where masked.
    """
    dtype = accumulator(parts.node, parts.edge)
    inputs, _ = _inputs(parts, jnp.ones(len(parts.edge), dtype), None, plan)
    start = jnp.full((len(inputs.u), *plan.other.shape), -jnp.log(len(inputs.u)), dtype)
    step = partial(_step, partial(_send_logs, best=True), options)
    logs, _, _ = iterate(step, options, inputs, start, log_difference)
    labels = (inputs.u + logs.sum(axis=1)).argmax(axis=0)
    return jnp.where(parts.node_mask, labels, 0).astype(jnp.int32)


# Pieces -----------------------------------------------------------------------------------------


def edges_by_slot(edge: jax.Array, plan: Neighbours) -> jax.Array:
    """Edge scores as nodes read them; 0 where there is no edge.

    Args:
        edge: ``[E, C, C]``.
        plan: neighbours.

    Returns:
        ``[C here, C there, D, I]``.
    """
    both = append_zeros(jnp.concatenate([edge, edge.swapaxes(1, 2)]))
    return both[plan.link].transpose(2, 3, 0, 1)


def _inputs(
    parts: Parts, shares: jax.Array, weight: jax.Array | None, plan: Neighbours
) -> tuple[_Inputs, jax.Array]:
    """Scores as messages need them, and those of edges ``[E, C, C]``; without their maxima."""
    u = parts.node.astype(shares.dtype).T
    scaled = parts.edge.astype(shares.dtype)
    scaled = (scaled - finite_max(scaled, (1, 2))) / shares[:, None, None]
    return _Inputs(u - finite_max(u, 0), edges_by_slot(scaled, plan), weight, plan), scaled


def _in_range(inputs: _Inputs) -> jax.Array:
    """Whether products of messages are right: none is below ``exp(-range) / C``."""
    least = jnp.log(len(inputs.u)) - inputs.psi.min(initial=0)
    return len(inputs.plan.other) * least <= MAX_MESSAGE_RANGE


def _arriving(x: jax.Array, plan: Neighbours) -> jax.Array:
    """``x [C, D, I]``, what each node has for its neighbours, where they read it.

    Where there is no neighbour, anything: an edge of score 0 makes the same of it for all labels.
    """
    flat = x.reshape(len(x), -1)
    return flat.at[:, plan.back.reshape(-1)].get(mode="clip").reshape(x.shape)


def _step(send, options: Options, inputs: _Inputs, m: jax.Array) -> jax.Array:
    """One iteration: all new messages, or those of each colour in turn."""
    plan = inputs.plan

    def new_messages(m):
        return send(inputs, m, options.damping)

    if options.schedule == "flooding":
        return new_messages(m)

    def one_colour(m, colour):
        sender = jnp.append(plan.colour, -1)[plan.other] == colour
        return jnp.where(sender[None], new_messages(m), m), None

    return lax.scan(one_colour, m, plan.colour_ids)[0]


# In probabilities -------------------------------------------------------------------------------


def _others_product(factors: jax.Array) -> jax.Array:
    """The product of all slots but each, ``[C, D, I]``, without a division."""
    classes, slots = factors.shape[:2]
    if max(classes, slots) > _UNROLLED:
        before, after = (
            lax.associative_scan(jnp.multiply, factors, axis=1, reverse=r) for r in (False, True)
        )
        ones = jnp.ones_like(factors[:, :1])
        before = jnp.concatenate([ones, before[:, :-1]], axis=1)
        return before * jnp.concatenate([after[:, 1:], ones], axis=1)

    def others(m):  # of one label
        before, after = [jnp.ones_like(m[0])], [jnp.ones_like(m[0])]
        for d in range(slots - 1):
            before.append(before[-1] * m[d])
            after.append(after[-1] * m[slots - 1 - d])
        return jnp.stack([b * a for b, a in zip(before, after[::-1], strict=True)])

    return jnp.stack([others(factors[c]) for c in range(classes)])


def _send_products(inputs: _Inputs, m: jax.Array, damping: float) -> jax.Array:
    """New messages, normalised to sum 1; ``u`` and ``psi`` are exponentials."""
    u, psi, weight, plan = inputs
    if weight is None:
        v = u[:, None] * _others_product(m)
    else:
        positive = jnp.maximum(m, jnp.finfo(m.dtype).tiny)
        powered = positive**weight
        v = u[:, None] * _others_product(powered) * (powered / positive)
    # Barriers: left to itself XLA computes things several times.
    v = lax.optimization_barrier(v)
    v = lax.optimization_barrier(_arriving(v, plan))
    if len(v) > _UNROLLED:
        new = normalize_first((psi * v[None]).sum(axis=1))
    else:
        new = reduce(jnp.add, [psi[:, c] * v[None, c] for c in range(len(v))])
        total = reduce(jnp.add, list(new))[None]
        new = new / jnp.where(total == 0, 1, total)
    return damping * m + (1 - damping) * new if damping else new


# Of two labels, as ratios ------------------------------------------------------------------------


def _search_ratios(
    step: Any, options: Options, inputs: _Inputs, m: jax.Array, change: Any
) -> Found:
    """The fixed point of `_send_products` by messages ``r = m[1] / m[0]``, ``[1, D, I]``."""
    u, psi, _, plan = inputs
    there = _arriving(jnp.broadcast_to(u[:, None], m.shape), plan)
    weighted = inputs._replace(psi=psi * there[None])  # what a neighbour says in any case
    of_ratios = partial(_step, _send_ratios, options)
    r, last, count = iterate(of_ratios, options, weighted, m[1:] / m[:1], _ratio_difference)
    return jnp.concatenate([1 / (1 + r), r / (1 + r)]), last, count


def _ratio_difference(new: jax.Array, old: jax.Array) -> jax.Array:
    """The largest change of a probability."""
    return difference(new / (1 + new), old / (1 + old))


def _send_ratios(inputs: _Inputs, r: jax.Array, damping: float) -> jax.Array:
    """New ratios, of ``psi [2, 2, D, I]`` times the neighbours' ``u``."""
    psi = inputs.psi
    # Barriers: left to itself XLA computes things several times.
    v = lax.optimization_barrier(_others_product(r))
    v = lax.optimization_barrier(_arriving(v, inputs.plan))
    first, second = (psi[c, :1] + psi[c, 1:] * v for c in range(2))  # [1, D, I]
    if not damping:
        return second / first
    old, new = damping / (1 + r), (1 - damping) / (first + second)
    return (old * r + new * second) / (old + new * first)


# In logarithms ----------------------------------------------------------------------------------


def _sent(inputs: _Inputs, logs: jax.Array) -> jax.Array:
    """``ln v [C, D, I]`` of messages' logarithms; what a neighbour forbids is not told to it."""
    u, _, weight, _ = inputs
    blocked = logs == -jnp.inf
    finite = jnp.where(blocked, 0, logs)
    weighted = finite if weight is None else weight * finite
    others = weighted.sum(axis=1, keepdims=True) - finite
    blocked = blocked.astype(logs.dtype)
    blocked = blocked.sum(axis=1, keepdims=True) - blocked
    return u[:, None] + jnp.where(blocked > 0, -jnp.inf, others)


def _send_logs(inputs: _Inputs, logs: jax.Array, damping: float, best: bool = False) -> jax.Array:
    """Logarithms of new messages, of sums or of maxima."""
    _, psi, _, plan = inputs
    v = _sent(inputs, logs)
    v = _arriving(v - finite_max(v, 0), plan)
    z = psi + jnp.where(plan.other[None, None] < plan.other.shape[1], v[None], 0)
    new = z.max(axis=1) if best else logsumexp(z, 1)
    total = logsumexp(new, 0)[None]
    new = new - jnp.where(total == -jnp.inf, 0, total)
    if not damping:
        return new
    both = jnp.stack([logs + jnp.log(damping), new + jnp.log1p(-damping)])
    return logsumexp(both, 0)


def _beliefs(
    parts: Parts,
    inputs: _Inputs,
    scaled: jax.Array,
    shares: jax.Array,
    logs: jax.Array,
    change: jax.Array,
    count: jax.Array,
) -> Beliefs:
    """Beliefs of nodes and edges from the logarithms of messages."""
    u, _, weight, plan = inputs
    b_node = softmax(u + (logs if weight is None else weight * logs).sum(axis=1)).T
    v = _sent(inputs, logs)
    flat = jnp.pad(v.reshape(len(v), -1), ((0, 0), (0, 1)))
    first, second = (flat[:, plan.slot[:, k]].T for k in range(2))
    z = scaled + first[:, :, None] + second[:, None, :]
    p = jnp.exp(z - finite_max(z, (1, 2)))
    total = p.sum(axis=(1, 2), keepdims=True)
    b_edge = p / jnp.where(total == 0, 1, total)
    return make_beliefs(parts, b_node, b_edge, shares, change, count)
