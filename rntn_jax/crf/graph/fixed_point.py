"""Fixed points of one step of inference, and their gradient without unrolling it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops.varying import vary_like

__all__ = ["Found", "Options", "difference", "iterate", "log_difference", "solve"]


class Options(NamedTuple):
    """How beliefs are found. Static: plain Python values."""

    max_iterations: int = 200
    tolerance: float = 1e-5  # largest change of a message (or belief) that counts as converged
    damping: float = 0.0  # share of the old message in the new
    schedule: str = "flooding"  # or "colours": nodes send colour by colour
    gradient: str = "implicit"  # or "unrolled": autodiff of all iterations

    def check(self) -> None:
        """Looks at the values.

        Raises:
            ValueError: naming an option, what it must be and what came.
        """
        if self.max_iterations < 0:
            raise ValueError(f"max_iterations must not be negative, got {self.max_iterations}")
        if self.schedule not in ("flooding", "colours"):
            raise ValueError(f"schedule must be 'flooding' or 'colours', got {self.schedule!r}")
        if self.gradient not in ("implicit", "unrolled"):
            raise ValueError(f"gradient must be 'implicit' or 'unrolled', got {self.gradient!r}")
        if not 0 <= self.damping < 1:
            raise ValueError(f"damping must be in [0, 1), got {self.damping}")


Step = Callable[[Any, jax.Array], jax.Array]
Found = tuple[jax.Array, jax.Array, jax.Array]  # x, the last change, the number of iterations


_LOOK_EVERY = 4  # iterations
_LEAST_LOG = -12.0  # where a probability no longer shows what its logarithm does

Change = Callable[[jax.Array, jax.Array], jax.Array]
Search = Callable[[Step, Options, Any, jax.Array, Change], Found]


def difference(new: jax.Array, old: jax.Array) -> jax.Array:
    """The largest change of an entry.

    Args:
        new: an array.
        old: the one before.

    Returns:
        A scalar; NaN where an entry is.
    """
    return jnp.abs(new - old).max(initial=0)


def log_difference(new: jax.Array, old: jax.Array) -> jax.Array:
    """That of probabilities given their logarithms; of the tiniest, relative, of the logarithms.

    Args:
        new: logarithms.
        old: those before.

    Returns:
        A scalar; NaN where an entry is.
    """
    new, old = jnp.where(new == old, 0, new), jnp.where(new == old, 0, old)
    of_logs = jnp.abs(new - old) / jnp.maximum(1, jnp.minimum(jnp.abs(new), jnp.abs(old)))
    tiny = jnp.minimum(new, old) < _LEAST_LOG
    return jnp.where(tiny, of_logs, jnp.abs(jnp.exp(new) - jnp.exp(old))).max(initial=0)


def iterate(
    step: Step, options: Options, args: Any, start: jax.Array, change: Change = difference
) -> Found:
    """``x = step(args, x)`` until it changes no more; a change to NaN is the last, too.

    The change is looked at after every fourth iteration: it costs a good part of one.

    Args:
        step: closes over no traced array.
        options: of which the tolerance and the largest number of iterations are read.
        args: what the step reads.
        start: the first ``x``.
        change: how far a new ``x`` is from the old one.

    Returns:
        ``x``, its last change, and how many iterations it took.
    """

    def more(state):
        _, last, count = state
        return (count < options.max_iterations) & (last > options.tolerance)

    def body(state):
        x, _, count = state
        unseen = jnp.minimum(_LOOK_EVERY, options.max_iterations - count) - 1
        x = lax.fori_loop(0, unseen, lambda _, x: step(args, x), x)
        new = step(args, x)
        return new, change(new, x), count + unseen + 1

    last = jnp.full_like(start, jnp.inf, shape=())
    return lax.while_loop(more, body, vary_like((start, last, jnp.int32(0)), args))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3))
def _fixed_point(
    search: Search, step: Step, options: Options, change: Change, args: Any, start
) -> Found:
    return search(step, options, args, start, change)


def _fixed_point_fwd(search, step, options, change, args, start) -> tuple[Found, tuple[Any, Any]]:
    out = search(step, options, args, start, change)
    return out, (args, out[0])


def _fixed_point_bwd(search, step, options, change, res, cts) -> tuple[Any, Any]:
    """Implicit: ``l = ct + (d step / d x)^T l``, iterated as the fixed point was.

    Its plain oracle is the unrolled form, in `solve`.
    """
    args, x = res
    _, pull = jax.vjp(step, args, x)
    adjoint, _, _ = iterate(lambda ct, l: ct + pull(l)[1], options, cts[0], cts[0])
    return pull(adjoint)[0], jnp.zeros_like(x)


_fixed_point.defvjp(_fixed_point_fwd, _fixed_point_bwd)


def solve(
    step: Step,
    options: Options,
    args: Any,
    start: jax.Array,
    change: Change = difference,
    search: Search = iterate,
) -> Found:
    """`iterate` with a gradient: the implicit one, or that of all iterations.

    Args:
        step: closes over no traced array.
        options: which gradient, and when to stop.
        args: what the step reads, and what the gradient is with respect to.
        start: the first ``x``.
        change: how far a new ``x`` is from the old one.
        search: what finds the fixed point of the step; another than `iterate` for a quicker form of
            the same step. The unrolled gradient needs the step itself.

    Returns:
        ``x``, its last change, and how many iterations it took (unrolled: all).
    """
    args, start = vary_like((args, start))
    if options.gradient == "implicit":
        return _fixed_point(search, step, options, change, args, start)

    def body(state, _):
        x, _ = state
        new = step(args, x)
        return (new, change(new, x)), None

    initial = vary_like((start, jnp.full_like(start, jnp.inf, shape=())), args)
    (x, last), _ = lax.scan(body, initial, None, length=options.max_iterations)
    return x, last, jnp.int32(options.max_iterations)
