"""What a run carries from update to update, saved and restored as one."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rntn_jax.training import devices, processes
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
_ONE_DEVICE = devices.Placement()


class RunState:
    """State, running mean of the weights, best weights, and how far a run has come.

    Made anew, or as the newest intact checkpoint of ``folder`` has it: a run that goes on from
    there ends bit for bit as if it had not been stopped, also on another number of devices or
    processes, but for rounding then. Checkpoints are written by a thread of its own, which `close`
    waits for; of several processes the first reads and writes, and all go on with what it read.

    Args:
        folder: of the checkpoints.
        params: initial parameters.
        optimizer: any optax gradient transformation.
        key: PRNG key of the updates.
        average: decay an update of the running mean; 0: the weights themselves count.
        keep: how many checkpoints to keep.
        placement: on which devices the state lies.
        carry: what goes from update to update within an epoch, beside the state: rows, on the host,
            as an epoch begins with them.

    Attributes:
        state: a `TrainState`; what the train step returns is put here.
        carry: shared out to the devices; None where there is none.
        outputs: metrics of the train steps of this epoch so far, as they came or as JSON holds
            them; with it a run that was stopped within an epoch goes on there.
        calls: numbers for the train steps of this process.
        best: the weights with the best score.
        epoch, step, best_epoch, best_score: how far the run has come.
        begun: the step at which the present epoch began: outputs are those from there on.
        resumed: whether there was a checkpoint.
        rows: the row of metrics of each epoch, without times; kept in the checkpoints.
        skipped_checkpoints: newer ones that were damaged, and what is wrong with each.

    Raises:
        CheckpointError: when all checkpoints are damaged, or do not match.
        OSError: of `finish_epoch` and `close`, when a checkpoint could not be written.

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
        placement: devices.Placement = _ONE_DEVICE,
        carry: Any = None,
    ):
        self._placement, self._first_carry = placement, carry
        self._average = average
        state = init_state(params, optimizer, key)
        mean = jax.tree.map(jnp.copy, params) if average else None  # the state is donated
        best = jax.tree.map(jnp.copy, params)
        self.epoch, self.step, self.best_epoch, self.best_score = 0, 0, 0, -float("inf")
        self.begun = 0
        self.rows: list[dict[str, Any]] = []
        self.outputs: list[dict[str, Any]] = []
        self.calls = itertools.count()  # of steps, of this process
        self._unfinished: list[int] = []  # steps of checkpoints within this epoch
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._writing: Future[Any] | None = None
        self._checkpointer = Checkpointer(folder, keep=keep) if processes.is_first() else None

        arrays = state, mean, best, carry
        self._shapes = jax.eval_shape(lambda: (state, mean))
        found = None if self._checkpointer is None else self._checkpointer.restore(arrays)
        said = processes.from_first(None if found is None else found[1:])
        self.resumed, self.skipped_checkpoints = said is not None, []
        if said is not None:
            self.skipped_checkpoints = said[1]
            self._set_progress(said[0], folder)
        arrays = processes.agreed(arrays if found is None else found[0])
        if self.resumed or placement.mesh is not None:
            self.state = placement.state(arrays[0], optimizer)
            self._mean = None if arrays[1] is None else placement.params(arrays[1])
            self.best = placement.local(jax.device_put(arrays[2]))
        else:
            self.state, self._mean, self.best, _ = arrays
        self.carry = placement.rows(arrays[3])

    def _arrays(self) -> tuple[Any, Any, Any, Any]:
        *host, best = devices.on_host((self.state, self._mean, self.best))
        return *devices.cut_like((*host,), self._shapes), best, self._placement.joined(self.carry)

    @property
    def params(self) -> Any:
        """What is to be judged: the running mean, or the weights where there is none.

        As this process's first device has them; with parts on other devices all processes must ask.
        """
        own = self._placement.local(self.state.params if self._mean is None else self._mean)
        shared = self._placement.specs is not None
        return devices.cut_like(own, self._shapes[0].params) if shared else own

    def _set_progress(self, progress: dict[str, Any], folder: str | os.PathLike[str]) -> None:
        """Takes over how far the run of a checkpoint had come."""
        for name, kind in _PROGRESS.items():
            value = progress.get(name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise CheckpointError(f"a checkpoint in {folder} has {value!r:.40} as its {name}")
            setattr(self, name, value)
        self.outputs = progress.get("outputs", [])
        if not isinstance(self.outputs, list):
            raise CheckpointError(f"a checkpoint in {folder} has outputs that are no list")
        self.begun = progress.get("begun", self.step) if self.outputs else self.step
        if not isinstance(self.begun, int):
            raise CheckpointError(f"a checkpoint in {folder} has {self.begun!r:.40} as its begun")
        self._unfinished = [self.step] if self.outputs else []

    def log_resume(self, say: Callable[[str], None]) -> None:
        """Says what was passed over, and where the run goes on, if it does."""
        for text in self.skipped_checkpoints:
            say(f"passed over: {text}")
        if self.resumed:
            within = f" and {len(self.outputs)} calls" if self.outputs else ""
            say(f"resuming after epoch {self.epoch}{within}")

    @property
    def waited(self) -> int:
        """Epochs since the best one."""
        return self.epoch - self.best_epoch

    def advance(self, updates: int) -> None:
        """Says that ``state`` is that many updates further."""
        if self._mean is not None:
            # Early on, the mean of all weights so far: no memory of the initial ones.
            decay = min(self._average**updates, self.step / (self.step + updates))
            self._mean = running_mean(self._mean, self.state.params, np.float32(decay))
        self.step += updates

    def output(self, number: int) -> dict[str, Any]:
        """What a train step of this epoch has returned, as NumPy arrays; waits for it."""
        own = self.outputs[number]
        if not isinstance(own.get("loss"), float | int | list):
            own = {name: np.asarray(x).tolist() for name, x in own.items()}
            self.outputs[number] = own
        return {name: np.asarray(x) for name, x in own.items()}

    def finish_epoch(self, score: float, row: dict[str, Any] | None = None) -> bool:
        """Notes the score of `params` after an epoch, saves, and says whether it is the best.

        Args:
            score: the higher, the better.
            row: the epoch's row of metrics, for `rows`.

        Returns:
            Whether no epoch before had as high a score.
        """
        self._wait()  # before anything changes: an error of the last save comes here
        score = processes.from_first(score)
        self.epoch += 1
        if row is not None:
            self.rows.append(without_times(row))
        better = score > self.best_score
        if better:
            self.best_score, self.best_epoch = score, self.epoch
            self.best = jax.tree.map(jnp.copy, self.params)
        self.outputs, self.carry = [], self._placement.rows(self._first_carry)
        self.begun = self.step
        self._save()
        self._unfinished = []
        return better

    def save_within_epoch(self) -> None:
        """Saves where the epoch stands, and waits until that is on the disk.

        The next checkpoint replaces it. Nothing happens at the beginning of an epoch.
        """
        self._wait()
        if self.outputs and self._unfinished != [self.step]:
            self._save()
            self._unfinished = [self.step]
        self._wait()

    def _save(self) -> None:
        """Hands a checkpoint to the writer; all processes take part, the first one writes."""
        arrays = self._arrays()
        progress = {name: getattr(self, name) for name in _PROGRESS} | {"rows": [*self.rows]}
        if self.outputs:
            for number in range(len(self.outputs)):
                self.output(number)
            progress |= {"outputs": [*self.outputs], "begun": self.begun}
        if self._checkpointer is not None:
            save, drop = self._checkpointer.save, self._unfinished
            self._writing = self._writer.submit(save, self.step, arrays, progress, drop)

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Waits for the last checkpoint; the writer ends.

        Raises:
            OSError: when it could not be written.
        """
        try:
            self._wait()
        finally:
            self._writer.shutdown()
