"""Beliefs in place of marginals: loopy belief propagation, tree-reweighted, and mean field.

Each method maximises an approximation of ``ln Z`` over beliefs ``b`` of nodes and edges::

    ln Z ~ sum_i <b_i, node_i> + sum_e <b_e, edge_e> + sum_i H(b_i) - sum_e r_e I(b_e)

with entropies H and mutual informations I. ``r = 1`` is Bethe's free energy, exact on trees; ``r``
the share of spanning forests that hold an edge makes the maximum an upper bound of ``ln Z``; and
beliefs that are products (``I = 0``) a lower one. As beliefs are where this is stationary, its
gradient with respect to the scores is the beliefs: the model marginals theorem holds for
approximations, too.

Messages ``m [C, D, I]`` come in to each node by slots; in one step all nodes send new ones::

    v_d[c]  = exp(node[c]) prod_{k != d} m_k[c]^r_k * m_d[c]^(r_d - 1)
    m[c]   ~  sum_c' exp(edge[c, c'] / r) v[c']           v of the neighbour, towards here

in probabilities where the scores of edges range over so little, and nodes have so few neighbours,
that no product of messages can be below ``exp(-MAX_MESSAGE_RANGE)``; else in logarithms.

Source: 004 leaves the approximation open.
"""

from __future__ import annotations

from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.graph.neighbours import Neighbours
from rntn_jax.crf.graph.scores import Parts
from rntn_jax.ops import accumulator, cast_like
from rntn_jax.ops.logspace import safe_log

__all__ = [
    "METHODS",
    "MAX_MESSAGE_RANGE",
    "Beliefs",
    "Options",
    "best_labels",
    "infer",
    "log_partition",
]

METHODS = ("loopy", "tree_reweighted", "mean_field")
MAX_MESSAGE_RANGE = 80.0  # nats; float32 ends at 87
_UNROLLED = 8  # labels and slots; XLA makes better loops of sums and products written out
_LOWEST = -1e5  # what forbids in a mean


class Options(NamedTuple):
    """How beliefs are found. Static."""

    max_iterations: int = 200
    tolerance: float = 1e-5  # largest change of a message (or belief) that counts as converged
    damping: float = 0.0  # share of the old message in the new
    schedule: str = "flooding"  # or "colours": nodes send colour by colour
    gradient: str = "implicit"  # or "unrolled": autodiff of all iterations


class Beliefs(NamedTuple):
    """What was found, and how well: beliefs that have not converged bound nothing."""

    log_partition: jax.Array  # [], in nats
    node: jax.Array  # [I, C]
    edge: jax.Array  # [E, C, C]
    residual: jax.Array  # [], the largest change in the last iteration
    iterations: jax.Array  # int32 []


def log_partition(method: str, options: Options, parts: Parts, plan: Neighbours) -> jax.Array:
    """The approximation of ``ln Z``; its gradient is the beliefs."""
    _, _, edges, node_mask, edge_mask = parts
    rest = edges, node_mask, edge_mask, plan
    if options.gradient == "unrolled":
        return infer(method, options, parts, plan).log_partition
    return _log_partition(method, options, parts.node, parts.edge, rest)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _log_partition(method, options, node, edge, rest):
    *others, plan = rest
    return infer(method, options, Parts(node, edge, *others), plan).log_partition


class _Residuals(NamedTuple):
    of_node: jax.Array  # [I, C], beliefs in the dtype of the scores
    of_edge: jax.Array  # [E, C, C]


def _fwd(method, options, node, edge, rest):
    *others, plan = rest
    found = infer(method, options, Parts(node, edge, *others), plan)
    return found.log_partition, _Residuals(*cast_like((found.node, found.edge), (node, edge)))


def _bwd(method, options, res: _Residuals, ct):
    return *cast_like((res.of_node * ct, res.of_edge * ct), tuple(res)), None


_log_partition.defvjp(_fwd, _bwd)


def infer(method: str, options: Options, parts: Parts, plan: Neighbours) -> Beliefs:
    """Beliefs, by iteration until they converge or the iterations are used up."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    if options.schedule not in ("flooding", "colours"):
        raise ValueError(f"schedule must be 'flooding' or 'colours', got {options.schedule!r}")
    if options.gradient not in ("implicit", "unrolled"):
        raise ValueError(f"gradient must be 'implicit' or 'unrolled', got {options.gradient!r}")
    if not 0 <= options.damping < 1:
        raise ValueError(f"damping must be in [0, 1), got {options.damping}")
    return (_mean_field if method == "mean_field" else _propagation)(method, options, parts, plan)


# Fixed points -----------------------------------------------------------------------------------


def _iterate(step, options: Options, args, start):
    """``x = step(args, x)``, the last change, and how many iterations it took."""

    def more(state):
        _, change, count = state
        return (count < options.max_iterations) & (change > options.tolerance)

    def body(state):
        x, _, count = state
        new = step(args, x)
        return new, jnp.abs(new - x).max(initial=0), count + 1

    change = jnp.full((), jnp.inf, start.dtype)
    return lax.while_loop(more, body, (start, change, jnp.int32(0)))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _fixed_point(step, options, args, start):
    return _iterate(step, options, args, start)


def _fixed_point_fwd(step, options, args, start):
    out = _iterate(step, options, args, start)
    return out, (args, out[0])


def _fixed_point_bwd(step, options, res, cts):
    """Implicit: ``l = ct + (d step / d x)^T l``, iterated as the fixed point was."""
    args, x = res
    _, pull = jax.vjp(step, args, x)
    adjoint, _, _ = _iterate(lambda ct, l: ct + pull(l)[1], options, cts[0], cts[0])
    return pull(adjoint)[0], jnp.zeros_like(x)


_fixed_point.defvjp(_fixed_point_fwd, _fixed_point_bwd)


def _solve(step, options: Options, args, start) -> Any:
    if options.gradient == "implicit":
        return _fixed_point(step, options, args, start)

    def body(state, _):
        x, _ = state
        new = step(args, x)
        return (new, jnp.abs(new - x).max(initial=0)), None

    initial = start, jnp.full((), jnp.inf, start.dtype)
    (x, change), _ = lax.scan(body, initial, None, length=options.max_iterations)
    return x, change, jnp.int32(options.max_iterations)


# Pieces -----------------------------------------------------------------------------------------


def _padded(x):
    """``x`` with a row of zeros at the end."""
    return jnp.concatenate([x, jnp.zeros_like(x, shape=(1, *x.shape[1:]))])


def _by_slot(edge, plan: Neighbours):
    """Edge scores ``[C here, C there, D, I]``; 0 where there is none."""
    both = _padded(jnp.concatenate([edge, edge.swapaxes(1, 2)]))
    return both[plan.link].transpose(2, 3, 0, 1)


def _arriving(x, plan: Neighbours):
    """``x [C, D, I]``, what each node has for its neighbours, where they read it.

    Where there is no neighbour, anything: an edge of score 0 makes the same of it for all labels.
    """
    flat = x.reshape(len(x), -1)
    return flat.at[:, plan.back.reshape(-1)].get(mode="clip").reshape(x.shape)


def _entropy(p, axes):
    return -(p * jnp.log(jnp.where(p > 0, p, 1))).sum(axes)


def _inner(p, scores):
    """``<p, scores>`` with ``0 times -inf = 0``, over all axes but the first."""
    product = jnp.where(p > 0, p * jnp.where(p > 0, scores, 0), 0)
    return product.sum(tuple(range(1, p.ndim)))


def _free_energy(parts: Parts, b_node, b_edge, weight):
    """The approximation of ``ln Z`` at these beliefs."""
    of_nodes = _inner(b_node, parts.node) + _entropy(b_node, 1)
    first, second = b_edge.sum(2), b_edge.sum(1)
    information = _entropy(first, 1) + _entropy(second, 1) - _entropy(b_edge, (1, 2))
    of_edges = _inner(b_edge, parts.edge) - weight * information
    of_nodes = jnp.where(parts.node_mask, of_nodes, 0)
    return of_nodes.sum() + jnp.where(parts.edge_mask, of_edges, 0).sum()


def _result(parts: Parts, b_node, b_edge, weight, change, count) -> Beliefs:
    b_node = jnp.where(parts.node_mask[:, None], b_node, 0)
    b_edge = jnp.where(parts.edge_mask[:, None, None], b_edge, 0)
    value = _free_energy(parts, b_node, b_edge, weight)
    impossible = (parts.node_mask & (b_node.sum(axis=1) == 0)).any()
    value = jnp.where(impossible, -jnp.inf, value)
    return Beliefs(value, b_node, b_edge, change, count)


def _over(x, total):
    return x / jnp.where(total == 0, 1, total)


# Belief propagation -----------------------------------------------------------------------------


def _others_product(factors):
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


def _sent_in_products(u, psi, m, weight, plan, best=False):
    """New messages, normalised to sum 1; ``u`` and ``psi`` are exponentials."""
    if weight is None:
        v = u[:, None] * _others_product(m)
    else:
        m = jnp.maximum(m, jnp.finfo(m.dtype).tiny)
        powered = m**weight
        v = u[:, None] * _others_product(powered) * (powered / m)
    # Barriers: left to itself XLA computes things several times.
    v = lax.optimization_barrier(v)
    v = lax.optimization_barrier(_arriving(v, plan))
    if len(v) > _UNROLLED:
        new = (psi * v[None]).max(axis=1) if best else (psi * v[None]).sum(axis=1)
        return _over(new, new.sum(axis=0, keepdims=True))
    terms = [psi[:, c] * v[None, c] for c in range(len(v))]
    new = reduce(jnp.maximum if best else jnp.add, terms)
    return _over(new, reduce(jnp.add, list(new))[None])


def _sent_in_logs(u, psi, m, weight, plan, best=False):
    """The same with ``u`` and ``psi`` as they are; messages are probabilities all the same."""
    logs = safe_log(m)
    if weight is None:
        finite = jnp.where(logs == -jnp.inf, 0, logs)
        blocked = (logs == -jnp.inf).astype(m.dtype)
        others = finite.sum(axis=1, keepdims=True) - finite
        blocked = blocked.sum(axis=1, keepdims=True) - blocked
        v = u[:, None] + jnp.where(blocked > 0, -jnp.inf, others)
    else:
        logs = jnp.maximum(logs, jnp.log(jnp.finfo(m.dtype).tiny))
        v = u[:, None] + (weight * logs).sum(axis=1, keepdims=True) - logs
    top = v.max(axis=0, keepdims=True)
    v = v - jnp.where(top == -jnp.inf, 0, top)
    z = psi + jnp.where(plan.other[None, None] < plan.other.shape[1], _arriving(v, plan)[None], 0)
    top = z.max(axis=(0, 1), keepdims=True)
    p = jnp.exp(z - jnp.where(top == -jnp.inf, 0, top))
    new = p.max(axis=1) if best else p.sum(axis=1)
    return _over(new, new.sum(axis=0, keepdims=True))


def _propagation(method: str, options: Options, parts: Parts, plan: Neighbours) -> Beliefs:
    weight, shares = None, jnp.ones(len(parts.edge), accumulator(parts.node, parts.edge))
    if method == "tree_reweighted":
        if plan.appearance is None:
            raise ValueError("the tree-reweighted method needs neighbours(..., forests=True)")
        shares = plan.appearance.astype(shares.dtype)
        weight = _padded(jnp.concatenate([shares, shares]))[plan.link][None]
        weight = jnp.where(weight == 0, 1, weight)
    u, scaled, args, start = _scaled(parts, shares, weight, plan)
    m, change, count = _solve(partial(_propagate, options), options, args, start)
    return _beliefs(parts, u, scaled, shares, m, plan, change, count, weight)


def _scaled(parts: Parts, shares, weight, plan: Neighbours):
    """Scores as messages need them, and messages to begin with."""
    dtype, classes = shares.dtype, parts.node.shape[1]
    u = jnp.where(parts.node_mask[:, None], parts.node, 0).astype(dtype).T
    scaled = parts.edge.astype(dtype) / shares[:, None, None]
    psi = _by_slot(scaled, plan)
    top = u.max(axis=0, keepdims=True)
    u = u - jnp.where(top == -jnp.inf, 0, top)
    off = psi.max(axis=(0, 1), keepdims=True)
    psi = psi - jnp.where(off == -jnp.inf, 0, off)
    # No message is below exp(-range) / C; the product of all at a node must not underflow.
    good = len(plan.other) * (jnp.log(classes) - psi.min(initial=0)) <= MAX_MESSAGE_RANGE
    args = u, jnp.exp(psi), good, weight, plan
    return u, scaled, args, jnp.full((classes, *plan.other.shape), 1 / classes, dtype)


def best_labels(options: Options, parts: Parts, plan: Neighbours) -> jax.Array:
    """Labels ``[I]`` by max-product: each node's best, were all that it hears independent."""
    shares = jnp.ones(len(parts.edge), accumulator(parts.node, parts.edge))
    u, _, args, start = _scaled(parts, shares, None, plan)
    m, _, _ = _iterate(partial(_propagate, options, best=True), options, args, start)
    labels = (u + safe_log(m).sum(axis=1)).argmax(axis=0)
    return jnp.where(parts.node_mask, labels, 0).astype(jnp.int32)


def _propagate(options: Options, args, m, best=False):
    """One iteration: all new messages, or those of each colour in turn; of sums or of maxima."""
    u, psi, good, weight, plan = args

    def new_messages(m):
        new = lax.cond(
            good,
            lambda m: _sent_in_products(jnp.exp(u), psi, m, weight, plan, best),
            lambda m: _sent_in_logs(u, safe_log(psi), m, weight, plan, best),
            m,
        )
        return options.damping * m + (1 - options.damping) * new if options.damping else new

    if options.schedule == "flooding":
        return new_messages(m)

    def of_colour(m, colour):
        sender = jnp.append(plan.colour, -1)[plan.other] == colour
        return jnp.where(sender[None], new_messages(m), m), None

    return lax.scan(of_colour, m, plan.palette)[0]


def _beliefs(parts, u, scaled, shares, m, plan, change, count, weight):
    """Beliefs of nodes and edges from messages."""
    logs = safe_log(m)
    logs = jnp.maximum(logs, jnp.log(jnp.finfo(m.dtype).tiny)) if weight is not None else logs
    b_node = jax.nn.softmax(u + ((1 if weight is None else weight) * logs).sum(axis=1), axis=0)
    b_node = jnp.where(jnp.isnan(b_node), 0, b_node).T
    if weight is None:
        own = jnp.where(logs == -jnp.inf, 0, logs)
        blocked = (logs == -jnp.inf).astype(m.dtype)
        blocked = blocked.sum(axis=1, keepdims=True) - blocked
        v = u[:, None] + jnp.where(blocked > 0, -jnp.inf, own.sum(axis=1, keepdims=True) - own)
    else:
        v = u[:, None] + (weight * logs).sum(axis=1, keepdims=True) - logs
    flat = jnp.pad(v.reshape(len(v), -1), ((0, 0), (0, 1)))
    first, second = (flat[:, plan.slot[:, k]].T for k in range(2))
    z = scaled + first[:, :, None] + second[:, None, :]
    top = z.max(axis=(1, 2), keepdims=True, initial=-jnp.inf)
    p = jnp.exp(z - jnp.where(top == -jnp.inf, 0, top))
    b_edge = _over(p, p.sum(axis=(1, 2), keepdims=True))
    return _result(parts, b_node, b_edge, shares, change, count)


# Mean field -------------------------------------------------------------------------------------


def _mean_field(method: str, options: Options, parts: Parts, plan: Neighbours) -> Beliefs:
    dtype = accumulator(parts.node, parts.edge)
    u = jnp.where(parts.node_mask[:, None], parts.node, 0).astype(dtype).T
    edge = jnp.maximum(parts.edge.astype(dtype), _LOWEST)

    start = jax.nn.softmax(u, axis=0)
    start = jnp.where(jnp.isnan(start), 0, start)
    args = u, _by_slot(edge, plan), plan
    q, change, count = _solve(partial(_ascend, options), options, args, start)
    both = q.T[parts.edges] if len(u.T) else jnp.zeros((0, 2, len(u)), dtype)
    b_edge = both[:, 0, :, None] * both[:, 1, None, :]
    bounded = parts._replace(edge=edge)
    return _result(bounded, q.T, b_edge, jnp.zeros((), dtype), change, count)


def _ascend(options: Options, args, q):
    """New beliefs of all nodes, colour by colour: the bound never falls."""
    u, psi, plan = args

    def of_colour(q, colour):
        there = jnp.pad(q, ((0, 0), (0, 1)))[:, plan.other]
        new = jax.nn.softmax(u + (psi * there[None]).sum(axis=(1, 2)), axis=0)
        new = jnp.where(jnp.isnan(new), 0, new)
        new = options.damping * q + (1 - options.damping) * new
        return jnp.where((plan.colour == colour)[None], new, q), None

    return lax.scan(of_colour, q, plan.palette)[0]
