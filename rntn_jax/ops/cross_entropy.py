"""Softmax and cross-entropy as one operation, alone and fused with the linear layer before it.

``y_hat - y`` is the whole gradient (source 000, equation 1; source 002, identity 7).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops.checks import check
from rntn_jax.ops.masking import accumulator, cast_like, masked
from rntn_jax.ops.varying import vary_like

__all__ = ["linear_cross_entropy", "linear_cross_entropy_sum", "softmax_cross_entropy"]


def _check_rows(
    rows: tuple[int, ...], classes: int, **arrays: tuple[jax.Array | None, str]
) -> None:
    """One number of some kind a row, by name; None is not asked."""
    for name, (x, kind) in arrays.items():
        if x is not None:
            check(name, x, kind, " ".join(map(str, rows)))
    if classes < 1:
        raise ValueError("there must be at least one class")


def _check_head(x: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> jax.Array:
    """Checks the linear layer; its bias, zeros for None."""
    sizes: dict[str, int] = {}
    check("kernel", kernel, "float", "D C", sizes)
    rows = " ".join(map(str, x.shape[:-1]))
    check("x", x, "float", f"{rows} D", sizes)
    if bias is None:
        return jnp.zeros(kernel.shape[1], kernel.dtype)
    return check("bias", bias, "float", "C", sizes)


@jax.jit
def softmax_cross_entropy(
    logits: jax.Array, labels: jax.Array, where: jax.Array | None = None
) -> jax.Array:
    """Cross-entropy of the softmax of ``logits`` with integer labels.

    Computes ``-log softmax(logits)[label] = logsumexp(logits) - logits[label]``.
    Gradient: ``y_hat - y``.

    Source: 000, equation 1 with the sign of a loss; 002, identity 7; 001, dJ/dz2.
    Differs from source: 000 sums over d where the C classes are meant, and its E is the
    log-likelihood, so that every gradient changes sign (errata 000).

    Args:
        logits: ``[..., C]`` floating point; ``-inf`` forbids a class.
        labels: integer ``[...]`` in ``0 .. C-1``.
        where: bool ``[...]``; false entries count 0, have gradient 0, and may hold anything.

    Returns:
        ``[...]`` nats, in at least float32. Residuals: the logits and one number a row.

    Raises:
        AssertionError: when shapes or dtype kinds do not match.

    Example:
        >>> loss = softmax_cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))
        >>> round(float(loss[0]), 4)  # log 4
        1.3863
    """
    *rows, classes = logits.shape or (0,)
    check("logits", logits, "float", " ".join(map(str, (*rows, "C"))))
    _check_rows(tuple(rows), classes, labels=(labels, "int"), where=(where, "bool"))
    return _softmax_cross_entropy(*vary_like((logits, labels, where)))


def _safe_logits(logits, labels, where) -> tuple[jax.Array, jax.Array]:
    """Masked rows become zeros with label 0, before anything is computed."""
    logits = masked(logits.astype(accumulator(logits)), where)
    labels = labels if where is None else jnp.where(where, labels, 0)
    return logits, labels


def largest(logits) -> jax.Array:
    """``[..., 1]``, a constant: what shifts all logits alike has no derivative."""
    top = logits.max(axis=-1, keepdims=True)
    return lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0))


def _softmax_cross_entropy_reference(logits, labels, where) -> jax.Array:
    logits, labels = _safe_logits(logits, labels, where)
    # Shifted by the largest before anything is subtracted: exact where all logits are large.
    top = largest(logits)
    picked = jnp.take_along_axis(logits, labels[..., None], axis=-1) - top
    return masked(jnp.log(jnp.exp(logits - top).sum(-1)) - picked[..., 0], where)


_softmax_cross_entropy = jax.custom_vjp(_softmax_cross_entropy_reference)


class _SoftmaxCrossEntropyResiduals(NamedTuple):
    logits: jax.Array  # [..., C]
    labels: jax.Array  # [...]
    where: jax.Array | None


def _softmax_cross_entropy_fwd(
    logits, labels, where
) -> tuple[jax.Array, _SoftmaxCrossEntropyResiduals]:
    # Not `_softmax_cross_entropy`: inside a scan, JAX 0.10 mixes up the residuals of a rule whose
    # forward function calls the rule itself, once it is differentiated twice.
    nats = _softmax_cross_entropy_reference(logits, labels, where)
    return nats, _SoftmaxCrossEntropyResiduals(logits, labels, where)


def _error(logits, labels) -> jax.Array:
    """``y_hat - y`` for sanitised logits; written without exp so that it differentiates well."""
    one_hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return jax.nn.softmax(logits, axis=-1) - one_hot


def _softmax_cross_entropy_bwd(
    res: _SoftmaxCrossEntropyResiduals, g
) -> tuple[jax.Array, None, None]:
    logits, labels = _safe_logits(res.logits, res.labels, res.where)
    delta = _error(logits, labels) * masked(g, res.where)[..., None]
    return cast_like(masked(delta, res.where), res.logits), None, None


_softmax_cross_entropy.defvjp(_softmax_cross_entropy_fwd, _softmax_cross_entropy_bwd)


@partial(jax.jit, static_argnames=("chunk",))
def linear_cross_entropy(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None,
    labels: jax.Array,
    where: jax.Array | None = None,
    chunk: int | None = None,
) -> jax.Array:
    """Linear layer, softmax and cross-entropy as one operation.

    Computes ``softmax_cross_entropy(x @ kernel + bias, labels, where)``. With
    ``delta = g (y_hat - y)`` the gradients are ``dx = delta kernel^T``, ``dkernel = x^T delta``,
    ``dbias = sum of delta``. The logits are formed again in the backward pass instead of being
    kept; with ``chunk`` only that many rows of them exist at any time.

    Source: 000, equations 10 and 12 (classification weight and bias) and the first factor of 4;
    002, identities 5 and 7; 001, dJ/dU.
    Differs from source: 000's sign (errata 000), and its two cases of section 4 are swapped.

    Args:
        x: ``[..., D]`` floating point.
        kernel: ``[D, C]``.
        bias: ``[C]`` or None.
        labels: integer ``[...]`` in ``0 .. C-1``.
        where: bool ``[...]``; false rows count 0, have gradient 0, and may hold anything.
        chunk: most rows at a time; None means all at once.

    Returns:
        ``[...]`` nats, in at least float32. Cost O(rows D C), three times; residuals: the
        arguments; temporary memory O(chunk C).

    Raises:
        AssertionError: when shapes or dtype kinds do not match.
        ValueError: when ``chunk`` is not positive.

    Example:
        >>> loss = linear_cross_entropy(jnp.ones((1, 2)), jnp.zeros((2, 4)), None, jnp.array([0]))
        >>> round(float(loss[0]), 4)
        1.3863
    """
    bias = _check_head(x, kernel, bias)
    rows = x.shape[:-1]
    _check_rows(rows, kernel.shape[1], labels=(labels, "int"), where=(where, "bool"))
    where = jnp.ones(rows, bool) if where is None else where
    (x, labels, where), unsplit = in_pieces(chunk, labels.size, x, labels, where)
    args = vary_like((x, kernel, bias, labels, where))
    return unsplit(_linear_cross_entropy(*args)).reshape(rows)


def in_pieces(
    chunk: int | None, count: int, x, *others
) -> tuple[Any, Callable[[jax.Array], jax.Array]]:
    """Rows as ``[pieces, n <= chunk, ...]``, alike in size, padded by zeros; and the inverse."""
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    pieces = max(1, 1 if chunk is None else -(-count // chunk))
    size = -(-count // pieces)

    def split(a, *width):
        a = a.reshape(count, *width)
        if pieces * size > count:
            a = jnp.pad(a, [(0, pieces * size - count)] + [(0, 0)] * len(width))
        return a.reshape(pieces, size, *width)

    parts = split(x, x.shape[-1]), *map(split, others)
    return parts, lambda nats: nats.reshape(-1)[:count]


def logits_of(x, kernel, bias, where) -> tuple[jax.Array, jax.Array]:
    """Rows without what the mask hides, and their logits ``[n, C]``."""
    dtype = accumulator(x, kernel)
    x = masked(x, where)
    return x, jnp.matmul(x, kernel, preferred_element_type=dtype) + bias.astype(dtype)[None]


def _linear_cross_entropy_reference(x, kernel, bias, labels, where) -> jax.Array:
    """On rows in pieces ``[pieces, n, ...]``, one piece after the other."""

    def one_piece(piece):
        x, labels, where = piece
        _, logits = logits_of(x, kernel, bias, where)
        return _softmax_cross_entropy_reference(logits, labels, where)

    return lax.map(one_piece, (x, labels, where))


_linear_cross_entropy = jax.custom_vjp(_linear_cross_entropy_reference)


class _LinearCrossEntropyResiduals(NamedTuple):
    x: jax.Array  # [pieces, n, D]
    kernel: jax.Array  # [D, C]
    bias: jax.Array  # [C]
    labels: jax.Array  # [pieces, n]
    where: jax.Array  # [pieces, n]


def _linear_cross_entropy_fwd(*args) -> tuple[jax.Array, _LinearCrossEntropyResiduals]:
    return _linear_cross_entropy_reference(*args), _LinearCrossEntropyResiduals(*args)


def _linear_cross_entropy_bwd(
    res: _LinearCrossEntropyResiduals, g
) -> tuple[jax.Array, jax.Array, jax.Array, None, None]:
    _, kernel, bias, *_ = res
    dtype = accumulator(res.x, kernel)

    def one_piece(totals, piece):
        (d_kernel, d_bias), (x, labels, where, g) = totals, piece
        x, logits = logits_of(x, kernel, bias, where)
        logits, labels = _safe_logits(logits, labels, where)
        delta = masked(_error(logits, labels) * masked(g, where)[:, None], where)
        d_kernel = d_kernel + jnp.matmul(x.T, delta, preferred_element_type=dtype)
        d_x = jnp.matmul(delta, kernel.T, preferred_element_type=dtype)
        return (d_kernel, d_bias + delta.sum(0)), d_x.astype(x.dtype)

    zeros = jnp.zeros_like(kernel, dtype), jnp.zeros_like(bias, dtype)
    pieces = res.x, res.labels, res.where, g
    (d_kernel, d_bias), d_x = lax.scan(one_piece, zeros, pieces)
    cotangents = d_x, d_kernel, d_bias
    return *cast_like(cotangents, (res.x, kernel, bias)), None, None


_linear_cross_entropy.defvjp(_linear_cross_entropy_fwd, _linear_cross_entropy_bwd)


@partial(jax.jit, static_argnames=("chunk",))
def linear_cross_entropy_sum(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None,
    labels: jax.Array,
    weights: jax.Array,
    chunk: int | None = None,
) -> jax.Array:
    """Weighted sum of `linear_cross_entropy` over all rows, a fourth cheaper.

    Computes ``sum_n weights_n softmax_cross_entropy(x_n @ kernel + bias, label_n)``. The cotangent
    being one number that multiplies everything, the gradients are formed while the logits are
    there, in the forward pass: three matrix products in place of four.

    Source: as `linear_cross_entropy`.

    Args:
        x: ``[..., D]`` floating point.
        kernel: ``[D, C]``.
        bias: ``[C]`` or None.
        labels: integer ``[...]`` in ``0 .. C-1``.
        weights: ``[...]`` floating point; rows of weight 0 may hold anything. Their own gradient
            is the rows' cross-entropy (0 where the weight is).
        chunk: most rows at a time; None means all at once.

    Returns:
        ``[]`` nats, in at least float32. Residuals: the gradients; temporary memory O(chunk C).

    Raises:
        AssertionError: when shapes or dtype kinds do not match.
        ValueError: when ``chunk`` is not positive.

    Example:
        >>> args = jnp.ones((2, 2)), jnp.zeros((2, 4)), None, jnp.array([0, 3])
        >>> round(float(linear_cross_entropy_sum(*args, weights=jnp.full(2, 0.5))), 4)
        1.3863
    """
    bias = _check_head(x, kernel, bias)
    rows = x.shape[:-1]
    _check_rows(rows, kernel.shape[1], labels=(labels, "int"), weights=(weights, "float"))
    (x, labels, weights), _ = in_pieces(chunk, labels.size, x, labels, weights)
    return _linear_cross_entropy_sum(*vary_like((x, kernel, bias, labels, weights)))


def _linear_cross_entropy_sum_reference(x, kernel, bias, labels, weights) -> jax.Array:
    nats = _linear_cross_entropy_reference(x, kernel, bias, labels, weights != 0)
    return (nats * weights).sum()


_linear_cross_entropy_sum = jax.custom_vjp(_linear_cross_entropy_sum_reference)


class _LinearCrossEntropySumResiduals(NamedTuple):
    """Gradients for a cotangent of 1, and the arguments for their dtypes."""

    gradients: tuple[jax.Array, ...]  # of x, kernel, bias, weights
    primals: tuple[jax.Array, ...]


def _linear_cross_entropy_sum_fwd(
    x, kernel, bias, labels, weights
) -> tuple[jax.Array, _LinearCrossEntropySumResiduals]:
    dtype = accumulator(x, kernel)

    def one_piece(totals, piece):
        (total, d_kernel, d_bias), (x, labels, weights) = totals, piece
        where = weights != 0
        x, logits = logits_of(x, kernel, bias, where)
        logits, labels = _safe_logits(logits, labels, where)
        # As `_softmax_cross_entropy_reference` and `_error`, the exponentials taken once.
        top = largest(logits)
        powers = jnp.exp(logits - top)
        total_power = powers.sum(axis=-1, keepdims=True)
        picked = jnp.take_along_axis(logits, labels[:, None], axis=-1) - top
        nats = masked((jnp.log(total_power) - picked)[:, 0], where)
        weights = weights.astype(dtype)[:, None]
        one_hot = labels[:, None] == jnp.arange(logits.shape[-1])[None]
        delta = masked(powers * (weights / total_power) - jnp.where(one_hot, weights, 0), where)
        delta = delta.astype(x.dtype)  # in half precision the products are too; the sums are not
        d_kernel = d_kernel + jnp.matmul(x.T, delta, preferred_element_type=dtype)
        d_x = jnp.matmul(delta, kernel.T, preferred_element_type=dtype).astype(x.dtype)
        total = total + (nats * weights[:, 0]).sum()
        return (total, d_kernel, d_bias + delta.sum(0, dtype=dtype)), (d_x, nats)

    zeros = tuple(jnp.zeros_like(x, dtype) for x in (bias[0], kernel, bias))
    (total, d_kernel, d_bias), (d_x, nats) = lax.scan(one_piece, zeros, (x, labels, weights))
    gradients = d_x, d_kernel, d_bias, nats
    return total, _LinearCrossEntropySumResiduals(gradients, (x, kernel, bias, weights))


def _linear_cross_entropy_sum_bwd(
    res: _LinearCrossEntropySumResiduals, g
) -> tuple[jax.Array, jax.Array, jax.Array, None, jax.Array]:
    scaled = tuple(g * gradient for gradient in res.gradients)
    d_x, d_kernel, d_bias, d_weights = cast_like(scaled, res.primals)
    return d_x, d_kernel, d_bias, None, d_weights


_linear_cross_entropy_sum.defvjp(_linear_cross_entropy_sum_fwd, _linear_cross_entropy_sum_bwd)
