"""Optimisers and step sizes of all experiments, by the names that their flags have."""

from __future__ import annotations

import optax

__all__ = ["clip", "direction", "schedule", "warmup_cosine"]


def clip(norm: float | None) -> optax.GradientTransformation:
    """Clips the gradient to a global norm; None: leaves it."""
    return optax.identity() if norm is None else optax.clip_by_global_norm(norm)


def direction(name: str, initial_accumulator: float = 0.1) -> optax.GradientTransformation:
    """The direction of an update, before the step size.

    Args:
        name: adagrad, sgd, momentum (0.9) or adam.
        initial_accumulator: AdaGrad's sum of squares at the start.
    """
    return {
        "adagrad": lambda: optax.scale_by_rss(initial_accumulator),
        "sgd": optax.identity,
        "momentum": lambda: optax.trace(0.9),
        "adam": optax.scale_by_adam,
    }[name]()


def schedule(name: str, rate: float, updates: int) -> optax.Schedule:
    """The step size over so many updates: constant, or falling to 0 by a cosine or a line."""
    return {
        "constant": lambda: optax.constant_schedule(rate),
        "cosine": lambda: optax.cosine_decay_schedule(rate, updates),
        "linear": lambda: optax.linear_schedule(rate, 0.0, updates),
    }[name]()


def warmup_cosine(rate: float, updates: int, longest: int = 200) -> optax.Schedule:
    """The step size grows for a tenth of the updates, ``longest`` at most, then falls to 0."""
    warmup = min(updates // 10 + 1, longest)
    return optax.warmup_cosine_decay_schedule(0.0, rate, warmup, updates + 1)
