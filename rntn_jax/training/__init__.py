"""What training needs around a model: the step, checkpoints, metrics, progress."""

from rntn_jax.training.checkpoint import (
    Checkpointer,
    CheckpointError,
    load_pytree,
    read_info,
    save_pytree,
)
from rntn_jax.training.metrics import MetricsWriter, read_metrics
from rntn_jax.training.progress import ProgressBar
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
    "MetricsWriter",
    "NotFiniteError",
    "ProgressBar",
    "RowBatch",
    "TrainState",
    "init_state",
    "load_pytree",
    "make_train_step",
    "read_info",
    "read_metrics",
    "running_mean",
    "save_pytree",
]
