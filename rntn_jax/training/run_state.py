"""What a run carries from update to update, saved and restored as one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rntn_jax.training.checkpoint import Checkpointer, CheckpointError
from rntn_jax.training.metrics import without_times
from rntn_jax.training.step import init_state, running_mean

__all__ = ["RunState"]

_PROGRESS: dict[str, Any] = {
    "epoch": int,
    "step": int,
    "best_epoch": int,
    "best_score": int | float,
    "rows": list,
}


class RunState:
    """State, running mean of the weights, best weights, and how far a run has come.

    Made anew, or as the newest intact checkpoint of ``folder`` has it: a run that goes on from
    there ends bit for bit as if it had not been stopped.

    Args:
        folder: of the checkpoints.
        params: initial parameters.
        optimizer: any optax gradient transformation.
        key: PRNG key of the updates.
        average: decay an update of the running mean; 0: the weights themselves count.
        keep: how many checkpoints to keep.

    Attributes:
        state: a `TrainState`; what the train step returns is put here.
        best: the weights with the best score.
        epoch, step, best_epoch, best_score: how far the run has come.
        resumed: whether there was a checkpoint.
        rows: the row of metrics of each epoch, without times; kept in the checkpoints.
        skipped_checkpoints: newer ones that were damaged, and what is wrong with each.

    Raises:
        CheckpointError: when all checkpoints are damaged, or do not match.

    Example:
        >>> import tempfile
        >>> state = RunState(tempfile.mkdtemp(), jnp.zeros(2), optax.sgd(0.1), jax.random.key(0))
        >>> state.advance(5)
        >>> state.finish_epoch(0.7), state.finish_epoch(0.6)
        (True, False)
        >>> state.epoch, state.best_epoch, state.step
        (2, 1, 5)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        params: Any,
        optimizer: optax.GradientTransformation,
        key: jax.Array,
        *,
        average: float = 0.0,
        keep: int = 2,
    ):
        self.state = init_state(params, optimizer, key)
        self._average = average
        self._mean = jax.tree.map(jnp.copy, params) if average else None  # the state is donated
        self.best = jax.tree.map(jnp.copy, params)
        self.epoch, self.step, self.best_epoch, self.best_score = 0, 0, 0, -float("inf")
        self.rows: list[dict[str, Any]] = []
        self._checkpointer = Checkpointer(folder, keep=keep)
        restored = self._checkpointer.restore(self._arrays())
        self.resumed, self.skipped_checkpoints = restored is not None, []
        if restored is not None:
            arrays, progress, self.skipped_checkpoints = restored
            self.state, self._mean, self.best = jax.device_put(arrays)
            self._set_progress(progress, folder)

    def _arrays(self) -> tuple[Any, Any, Any]:
        return self.state, self._mean, self.best

    @property
    def params(self) -> Any:
        """What is to be judged: the running mean, or the weights where there is none."""
        return self.state.params if self._mean is None else self._mean

    def _set_progress(self, progress: dict[str, Any], folder: str | os.PathLike[str]) -> None:
        """Takes over how far the run of a checkpoint had come."""
        for name, kind in _PROGRESS.items():
            value = progress.get(name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise CheckpointError(f"a checkpoint in {folder} has {value!r:.40} as its {name}")
            setattr(self, name, value)

    def log_resume(self, say: Callable[[str], None]) -> None:
        """Says what was passed over, and where the run goes on, if it does."""
        for text in self.skipped_checkpoints:
            say(f"passed over: {text}")
        if self.resumed:
            say(f"resuming after epoch {self.epoch}")

    @property
    def waited(self) -> int:
        """Epochs since the best one."""
        return self.epoch - self.best_epoch

    def advance(self, updates: int) -> None:
        """Says that ``state`` is that many updates further."""
        if self._mean is not None:
            # Early on, the mean of all weights so far: no memory of the initial ones.
            decay = min(self._average**updates, self.step / (self.step + updates))
            self._mean = running_mean(self._mean, self.state.params, jnp.float32(decay))
        self.step += updates

    def finish_epoch(self, score: float, row: dict[str, Any] | None = None) -> bool:
        """Notes the score of `params` after an epoch, saves, and says whether it is the best.

        Args:
            score: the higher, the better.
            row: the epoch's row of metrics, for `rows`.

        Returns:
            Whether no epoch before had as high a score.
        """
        self.epoch += 1
        if row is not None:
            self.rows.append(without_times(row))
        better = score > self.best_score
        if better:
            self.best_score, self.best_epoch = score, self.epoch
            self.best = jax.tree.map(jnp.copy, self.params)
        progress = {name: getattr(self, name) for name in _PROGRESS}
        self._checkpointer.save(self.step, self._arrays(), progress)
        return better
