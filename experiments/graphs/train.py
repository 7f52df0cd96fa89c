"""Learning by each method in its turn: one model after the other, on the same minibatches."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.graphs import report
from experiments.graphs.chunking import Chunking
from experiments.graphs.config import Config
from experiments.graphs.denoising import Denoising
from experiments.graphs.task import Task, TrainedModel
from experiments.loop import check_finite, kept, logs, seconds_per_epoch, take_steps, total_seconds
from experiments.workdir import run_once, write_json
from rntn_jax.training import (
    MetricsWriter,
    NotFiniteError,
    ProgressBar,
    RunState,
    make_train_step,
    processes,
    save_pytree,
)

__all__ = ["NotFiniteError", "run"]


def run(config: Config, workdir: str | Path, *, fresh: bool = False) -> dict[str, Any]:
    """`run_once` of this experiment, by each method asked for.

    Returns:
        The content of ``result.json``: by model, its errors on test, and how it was trained.

    Raises:
        ImportError: when the images come with a package that is not there.
        ValueError: when the grid is too wide to learn exactly, as was asked.
    """
    return run_once(
        config, workdir, fresh, Denoising if config.task == "images" else Chunking, _run
    )


def _run(config: Config, workdir: Path, task: Task) -> dict[str, Any]:
    """`run` in a folder that is held."""
    trained = _train_models(config, workdir, task)
    params = {method: model.params for method, model in trained.items()}
    save_pytree(workdir / "model.safetensors", params, {})
    result, page = task.evaluate(trained)
    result["report"] = str(workdir / "report.html")
    report.write(workdir, config, page)
    write_json(workdir / "result.json", result)
    return result


def _train_models(config: Config, workdir: Path, task: Task) -> dict[str, TrainedModel]:
    """Trains models, or goes on training, each in a folder of checkpoints of its own."""
    total = config.epochs * task.updates
    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, total + 1))
    states = {
        method: RunState(
            workdir / "checkpoints" / method,
            jax.tree.map(jnp.array, task.params),  # copies: states are donated
            optimizer,
            jax.random.key(config.seed, impl="rbg"),  # it compiles quicker
            average=config.average,
            keep=config.keep_checkpoints,
            placement=task.where,
        )
        for method in task.methods
    }
    # Models are trained one after the other, so that this is how far the run had come.
    done = sum(state.step for state in states.values())
    known = [row for state in states.values() for row in state.rows]
    begun = sum(state.begun for state in states.values())
    running = logs(workdir, known, done, begun, len(states) * total, task.unit)
    with kept(*states.values()), running as (metrics, bar):
        if done:
            bar.say(f"resuming after {done} of {len(states) * total} updates")
        for place, (method, state) in enumerate(states.items()):
            for text in state.skipped_checkpoints:
                bar.say(f"passed over: {text}")
            loss = task.where.loss(partial(task.loss, method), task.count)
            step = make_train_step(loss, optimizer, stochastic=True)
            while state.epoch < config.epochs:
                row = _train_epoch(task, method, state, step, workdir, bar)
                metrics.write(place * total + state.step, **row)
                # The last model counts: to choose is to choose noise.
                state.finish_epoch(row["epoch"], metrics.rows[-1])
    if not processes.is_first():
        raise SystemExit(0)  # nothing is left to do
    return {method: _trained_model(method, state, metrics) for method, state in states.items()}


def _train_epoch(
    task: Task, method: str, state: RunState, step: Any, workdir: Path, bar: ProgressBar
) -> dict[str, Any]:
    """An epoch of a model: its row of ``metrics.jsonl``."""
    epoch, begun = state.epoch + 1, time.monotonic()
    nats: list[float] = []
    times = [begun]
    minibatches = ((batch, 1, count) for batch, count in task.epoch(method, epoch))
    for count, out in take_steps(state, step, minibatches):
        check_finite(out, workdir, f"epoch {epoch} of {method}, minibatch {len(nats)}")
        nats.append(float(out["loss"]))
        times.append(time.monotonic())
        bar.advance(1, count, f"{method}, epoch {epoch}", loss=nats[-1])
    seconds, error = time.monotonic() - begun, task.dev_error(method, state.params)
    bar.say(
        f"{method}, epoch {epoch}: loss {np.mean(nats):.4f}, dev error {100 * error:.2f} %, "
        f"{seconds:.1f} s"
    )
    return {
        "model": method,
        "epoch": epoch,
        "train_loss": float(np.mean(nats)),
        "dev_error": error,
        "seconds": round(seconds, 3),
        "step_ms": round(1e3 * float(np.median(np.diff(times))), 2),
    }


def _trained_model(method: str, state: RunState, metrics: MetricsWriter) -> TrainedModel:
    rows = [row for row in metrics.rows if row["model"] == method]
    times = [row["step_ms"] for row in rows if "step_ms" in row]
    return TrainedModel(
        jax.device_get(state.best),
        total_seconds(rows),
        seconds_per_epoch(rows),
        float(np.median(times or [0.0])),
    )
