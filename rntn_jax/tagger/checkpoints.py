"""Trainings of the sparse CRF that were stopped, and go on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rntn_jax.tagger.encoding import TrainingData
from rntn_jax.tagger.training_log import Logger
from rntn_jax.training import Checkpointer, CheckpointError

__all__ = ["EVERY", "Saves"]

EVERY = 10  # iterations from one checkpoint to the next
_FIGURES = ("num", "loss", "feature_norm", "error_norm", "active_features", "time")


def _fingerprint(data: TrainingData, arguments: dict[str, Any]) -> str:
    """Of all that a training depends on but for its length."""
    own = {k: v for k, v in arguments.items() if k not in ("max_iterations", "verbose")}
    digest = hashlib.sha256(json.dumps(own, sort_keys=True, default=str).encode())
    for part in data:
        array = np.ascontiguousarray(0 if part is None else part)
        digest.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


class Saves:
    """Checkpoints of a training, in a folder; or nowhere.

    Args:
        folder: None: nothing is saved.
        data: what is learnt from.
        arguments: of `arguments.resolve`.
        logger: it gets the iterations of before; of held-out sentences they have no figures.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        data: TrainingData,
        arguments: dict[str, Any],
        logger: Logger,
    ):
        self._checkpointer = None if folder is None else Checkpointer(folder)
        self._training = "" if folder is None else _fingerprint(data, arguments)
        self._logger, self._newest, self._saved = logger, (0, None, []), 0

    def restore(self, like: Any) -> tuple[Any, list[float]] | None:
        """What was saved last, and all losses so far; None where there is nothing.

        Raises:
            CheckpointError: when it is of a training with other data or arguments, or damaged.
        """
        found = None if self._checkpointer is None else self._checkpointer.restore(like)
        if found is None or self._checkpointer is None:
            return None
        tree, info, _ = found
        if info.get("training") != self._training:
            raise CheckpointError(
                f"{self._checkpointer.folder} holds checkpoints of a training with other data or "
                "arguments: choose another folder"
            )
        for row in info["rows"]:
            self._logger.again(row)
        self._saved = len(info["rows"])
        return tree, info["losses"]

    def note(self, number: int, tree: Any, losses: Sequence[float]) -> None:
        """Says where a training stands; now and then that is saved.

        Args:
            number: of the iteration.
            tree: what it goes on from.
            losses: of all iterations so far, nats.
        """
        self._newest = number, tree, [*losses]
        if number % EVERY == 0:
            self.save()

    def save(self) -> None:
        """Saves what was noted last, unless it has been."""
        number, tree, losses = self._newest
        if self._checkpointer is None or number == self._saved or tree is None:
            return
        log = self._logger.log[:number]
        rows = [{k: row[k] for k in _FIGURES if k in row} for row in log]
        info = {"training": self._training, "losses": losses, "rows": rows}
        self._checkpointer.save(number, tree, info)
        self._saved = number

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Saves once more where Ctrl-C or SIGTERM ends it.

        Raises:
            KeyboardInterrupt: the one that came.
        """
        try:
            yield
        except KeyboardInterrupt:
            self.save()
            raise
