"""What training needs around a model: the step, checkpoints, metrics, progress.

What needs optax is imported when it is first used: loading a model does without.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rntn_jax.training import devices
from rntn_jax.training.checkpoint import (
    Checkpointer,
    CheckpointError,
    load_pytree,
    read_info,
    save_pytree,
)
from rntn_jax.training.files import DamagedFileError, write_whole
from rntn_jax.training.lbfgs import Lbfgs, LbfgsState, Stopping, lbfgs, minimize_l1
from rntn_jax.training.metrics import MetricsWriter, read_metrics
from rntn_jax.training.model_file import load_model, load_record, require, shapes_of, texts, tuples
from rntn_jax.training.progress import ProgressBar

if TYPE_CHECKING:
    from rntn_jax.training.run_state import RunState
    from rntn_jax.training.step import (
        NotFiniteError,
        RowBatch,
        TrainState,
        init_state,
        make_train_step,
        running_mean,
    )

_LATE = {
    "run_state": ("RunState",),
    "step": (
        "NotFiniteError",
        "RowBatch",
        "TrainState",
        "init_state",
        "make_train_step",
        "running_mean",
    ),
}

__all__ = [
    "CheckpointError",
    "Checkpointer",
    "DamagedFileError",
    "Lbfgs",
    "LbfgsState",
    "MetricsWriter",
    "NotFiniteError",
    "ProgressBar",
    "RowBatch",
    "RunState",
    "Stopping",
    "TrainState",
    "devices",
    "init_state",
    "lbfgs",
    "load_model",
    "load_record",
    "load_pytree",
    "make_train_step",
    "minimize_l1",
    "read_info",
    "read_metrics",
    "require",
    "running_mean",
    "save_pytree",
    "shapes_of",
    "texts",
    "tuples",
    "write_whole",
]


def __getattr__(name: str) -> Any:
    for module, names in _LATE.items():
        if name in names:
            return getattr(importlib.import_module(f"rntn_jax.training.{module}"), name)
    raise AttributeError(f"module 'rntn_jax.training' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
