"""What training needs around a model: the step, checkpoints, metrics, progress."""

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
from rntn_jax.training.run_state import RunState
from rntn_jax.training.step import (
    NotFiniteError,
    RowBatch,
    TrainState,
    init_state,
    make_train_step,
    running_mean,
)

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


def __dir__() -> list[str]:
    return sorted(__all__)
