"""What the two tasks have in common: what training asks of them, and what they get."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax

from experiments.graphs.report import Page
from rntn_jax.training.devices import Placement

__all__ = ["Task", "TrainedModel"]


class TrainedModel(NamedTuple):
    """A trained model."""

    params: Any
    seconds: float  # of training, with compilation
    epoch_seconds: float  # median time of an epoch's updates
    step_ms: float  # median time of an update


class Task(Protocol):
    """A task: one model a method, all on the same minibatches."""

    unit: str  # of items
    methods: Sequence[str]  # the baseline first
    params: Any  # initial ones, of all models
    updates: int  # in an epoch
    where: Placement  # of training

    def epoch(self, method: str, epoch: int) -> Iterator[tuple[Any, int]]:
        """An epoch's minibatches, and their sizes."""
        ...

    def loss(self, method: str, params: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, Any]:
        """The loss of a minibatch; of each method its own."""
        ...

    def count(self, batch: Any, aux: Any) -> jax.Array:
        """What the loss is a mean over."""
        ...

    def dev_error(self, method: str, params: Any) -> float:
        """Lower is better."""
        ...

    def evaluate(self, trained: Mapping[str, TrainedModel]) -> tuple[dict[str, Any], Page]:
        """The content of ``result.json``, and what to show, of the models by their methods."""
        ...
