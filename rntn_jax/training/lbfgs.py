"""Full-batch minimisation by L-BFGS, with CRFsuite's rules for when to stop.

optax and SciPy are imported when something is minimised: whoever loads a model does without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from rntn_jax.shapes import shapes_repr

__all__ = ["Lbfgs", "LbfgsState", "Stopping", "lbfgs", "minimize_l1"]


class LbfgsState(NamedTuple):
    """Everything that an iteration reads and writes."""

    params: Any
    opt_state: Any
    value: jax.Array  # of the loss at params
    grad: Any

    __repr__ = shapes_repr


class Stopping(NamedTuple):
    """When to stop: whatever comes first."""

    max_iterations: int = 1000
    delta: float = 1e-5  # relative gain in the loss over `period` iterations
    period: int = 10
    epsilon: float = 1e-5  # norm of the gradient over that of the weights (at least 1)

    def done(self, values: list[float], grad_norm: float, norm: float) -> bool:
        """Whether it is time to stop.

        Args:
            values: losses of all iterations so far, that of the start included.
            grad_norm: Euclidean norm of the gradient.
            norm: that of the parameters.

        Returns:
            True when one of the criteria is met.

        Example:
            >>> Stopping(period=2, delta=0.1).done([3.0, 2.1, 2.0, 2.0], 1.0, 1.0)
            True
        """
        if len(values) > self.max_iterations or grad_norm <= self.epsilon * max(1.0, norm):
            return True
        if len(values) <= self.period:
            return False
        return values[-1 - self.period] - values[-1] < self.delta * abs(values[-1])


class Lbfgs(NamedTuple):
    """What `lbfgs` returns."""

    init: Callable[..., LbfgsState]  # init(params, *data)
    step: Callable[..., LbfgsState]  # step(state, *data)


@partial(jax.jit, static_argnames=("memory",))
def _direct(grad: Any, opt_state: Any, params: Any, memory: int) -> tuple[Any, Any, Any]:
    """Direction, state, and slope along the direction."""
    import optax

    preconditioner = optax.scale_by_lbfgs(memory_size=memory)
    direction, opt_state = preconditioner.update(grad, opt_state, params)
    direction = optax.tree.scale(-1, direction)
    return direction, opt_state, optax.tree.vdot(direction, grad)


@jax.jit
def _move(params: Any, direction: Any, length: jax.Array) -> Any:
    return jax.tree.map(lambda p, d: p + length * d, params, direction)


@jax.jit
def _slope_along(direction: Any, grad: Any) -> Any:
    import optax

    return optax.tree.vdot(direction, grad)


def lbfgs(
    evaluate: Callable[..., tuple[jax.Array, Any]],
    memory: int = 6,
    *,
    max_trials: int = 20,
    strong: bool = False,
) -> Lbfgs:
    """L-BFGS with a line search on the host, so that the loss is compiled once.

    The direction is that of `optax.scale_by_lbfgs`. A step's length is found by bisection until it
    satisfies both conditions of Wolfe; most often the first, 1, does. Where rounding leaves none,
    the parameters stay, and the next step starts with the steepest descent.

    Args:
        evaluate: ``evaluate(params, *data) -> (value, gradient)``, jitted.
        memory: pairs that L-BFGS remembers.
        max_trials: lengths that are tried at most.
        strong: the conditions are the strong ones: the slope must not be much above 0, either.

    Returns:
        `Lbfgs`: ``init(params, *data)`` and ``step(state, *data)``, which give a state.

    Example:
        >>> evaluate = jax.jit(jax.value_and_grad(lambda x, center: jnp.square(x - center).sum()))
        >>> method = lbfgs(evaluate)
        >>> center = jnp.array([1.0, 2.0])
        >>> state = method.init(jnp.zeros(2), center)
        >>> for _ in range(3):
        ...     state = method.step(state, center)
        >>> state.params.round(3).tolist()
        [1.0, 2.0]
    """
    import optax

    preconditioner = optax.scale_by_lbfgs(memory_size=memory)

    def init(params: Any, *data) -> LbfgsState:
        value, grad = evaluate(params, *data)
        return LbfgsState(params, preconditioner.init(params), value, grad)

    def step(state: LbfgsState, *data) -> LbfgsState:
        direction, opt_state, slope = _direct(state.grad, state.opt_state, state.params, memory)
        start, slope = float(state.value), float(slope)
        low, high, length = 0.0, np.inf, 1.0
        for _ in range(max_trials):
            params = _move(state.params, direction, jnp.asarray(length, state.value.dtype))
            value, grad = evaluate(params, *data)
            after = float(_slope_along(direction, grad))
            if not float(value) <= start + 1e-4 * length * slope:  # NaN is too far, too
                high = length
            elif after < 0.9 * slope:
                low = length
            elif strong and after > -0.9 * slope:
                high = length
            else:
                return LbfgsState(params, opt_state, value, grad)
            length = (low + high) / 2 if high < np.inf else 2 * length
        return state._replace(opt_state=preconditioner.init(state.params))

    return Lbfgs(init, step)


def minimize_l1(
    evaluate: Callable[..., tuple[jax.Array, Any]],
    params: Any,
    data: tuple[Any, ...],
    l1: float,
    stopping: Stopping,
    *,
    memory: int = 6,
    max_trials: int = 20,
    report: Callable[[int, float, float, Any], None] | None = None,
    before: Sequence[float] = (),
) -> tuple[Any, list[float]]:
    """Minimises a loss ``+ l1 |params|_1``: most weights end at exactly 0.

    Each weight is the difference of two that must not be negative, for which the penalty is linear;
    these are found by L-BFGS-B (SciPy).

    Args:
        evaluate: ``evaluate(params, *data) -> (loss, gradient)``, jitted.
        params: where to start.
        data: further arguments of ``evaluate``.
        l1: strength of the penalty, positive.
        stopping: when to stop; the norms are those of the projected gradient.
        memory: pairs that L-BFGS remembers.
        max_trials: lengths that a line search tries at most.
        report: called after each iteration with its number, the loss, the gradient's norm and the
            parameters.
        before: losses of the iterations that led to ``params``, where a minimisation goes on.

    Returns:
        The parameters, and the loss, penalty included, after each iteration, those before as well.

    Example:
        >>> evaluate = jax.jit(jax.value_and_grad(lambda x, center: jnp.square(x - center).sum()))
        >>> center = jnp.array([2.0, 0.3])
        >>> params, values = minimize_l1(evaluate, jnp.zeros(2), (center,), 1.0, Stopping())
        >>> [round(x, 3) for x in params.tolist()]
        [1.5, 0.0]
    """
    start, unravel = ravel_pytree(params)
    size = len(start)
    values = [*before]
    last: dict[str, Any] = {}

    def joined(parts: np.ndarray) -> np.ndarray:
        return (parts[:size] - parts[size:]).astype(start.dtype)

    def objective(parts: np.ndarray) -> tuple[float, np.ndarray]:
        value, grad = evaluate(unravel(jnp.asarray(joined(parts))), *data)
        grad = np.asarray(ravel_pytree(grad)[0], np.float64)
        last.update(value=float(value) + l1 * parts.sum(), grad=grad, parts=parts)
        return last["value"], np.concatenate([grad + l1, l1 - grad])

    def callback(intermediate_result):
        parts = intermediate_result.x
        values.append(float(intermediate_result.fun))
        both = np.concatenate([last["grad"] + l1, l1 - last["grad"]])
        projected = np.where(parts > 0, both, np.minimum(both, 0))
        grad_norm = float(np.linalg.norm(projected))
        if report is not None:
            report(len(values), values[-1], grad_norm, unravel(jnp.asarray(joined(parts))))
        if stopping.done(values, grad_norm, float(np.linalg.norm(parts))):
            raise StopIteration

    import scipy.optimize

    x = np.asarray(start, np.float64)
    result = scipy.optimize.minimize(
        objective,
        np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)]),
        jac=True,
        method="L-BFGS-B",
        bounds=scipy.optimize.Bounds(0, np.inf),
        callback=callback,
        options={
            "maxcor": memory,
            "maxiter": max(stopping.max_iterations - len(before), 0),
            "maxfun": np.inf,
            "maxls": max_trials,
            "ftol": 0,
            "gtol": 0,
        },
    )
    return unravel(jnp.asarray(joined(result.x))), values
