"""The loop: one model after the other, each by its own loss, on the same minibatches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.graphs.config import Config
from experiments.loop import (
    check_finite,
    logs,
    seconds_per_epoch,
    take_steps,
    total_seconds,
)
from rntn_jax.training import RunState, make_train_step

__all__ = ["Learnt", "Task", "learn"]


class Task(NamedTuple):
    """What is to be learnt. Models have names."""

    params: Any  # initial ones, of all models
    batches: int  # in an epoch
    epoch: Callable[[str, int], Iterator[tuple[Any, int]]]  # a model's minibatches, and their sizes
    loss: Callable[[str], Callable[..., Any]]  # of a model: loss(params, batch, *, key)
    dev: Callable[[str, Any], float]  # error of a model's parameters on dev, lower is better
    unit: str  # of items


class Learnt(NamedTuple):
    """A trained model."""

    params: Any
    seconds: float  # of training, with compilation
    epoch_seconds: float  # median time of an epoch's updates
    step_ms: float  # median time of an update


def learn(config: Config, workdir: Path, names: Sequence[str], task: Task) -> dict[str, Learnt]:
    """Trains models, or goes on training, each in a folder of checkpoints of its own."""
    total = config.epochs * task.batches
    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, total + 1))
    sessions = {
        name: RunState(
            workdir / "checkpoints" / name,
            jax.tree.map(jnp.array, task.params),  # copies: states are donated
            optimizer,
            jax.random.key(config.seed, impl="rbg"),  # it compiles quicker
            average=config.average,
            keep=config.keep_checkpoints,
        )
        for name in names
    }
    # Models are trained one after the other, so that this is how far the run had come.
    done = sum(session.step for session in sessions.values())
    known = [row for session in sessions.values() for row in session.rows]
    with logs(workdir, known, done, len(names) * total, task.unit) as (metrics, bar):
        if done:
            bar.say(f"resuming after {done} of {len(names) * total} updates")
        for place, (name, session) in enumerate(sessions.items()):
            for text in session.skipped_checkpoints:
                bar.say(f"passed over: {text}")
            step = make_train_step(task.loss(name), optimizer, stochastic=True)
            while session.epoch < config.epochs:
                epoch, begun = session.epoch + 1, time.monotonic()
                nats: list[float] = []
                times: list[float] = []
                last = begun
                minibatches = ((batch, 1, count) for batch, count in task.epoch(name, epoch))
                for count, out in take_steps(session, step, minibatches):
                    where = f"epoch {epoch} of {name}, minibatch {len(nats)}"
                    check_finite(out, workdir, where)
                    nats.append(float(out["loss"]))
                    now = time.monotonic()
                    times.append(now - last)
                    last = now
                    bar.advance(1, count, f"{name}, epoch {epoch}", loss=nats[-1])
                trained = time.monotonic() - begun
                error = task.dev(name, session.params)
                metrics.write(
                    place * total + session.step,
                    model=name,
                    epoch=epoch,
                    train_loss=float(np.mean(nats)),
                    dev_error=error,
                    seconds=round(trained, 3),
                    step_ms=round(1e3 * float(np.median(times)), 2),
                )
                row = metrics.rows[-1]
                session.finish_epoch(epoch, row)  # the last counts: to choose is to choose noise
                bar.say(
                    f"{name}, epoch {epoch}: loss {np.mean(nats):.4f}, dev error "
                    f"{100 * error:.2f} %, {trained:.1f} s"
                )
    rows = {name: [row for row in metrics.rows if row["model"] == name] for name in names}
    return {
        name: Learnt(
            jax.device_get(session.best),
            total_seconds(rows[name]),
            seconds_per_epoch(rows[name]),
            float(np.median([row["step_ms"] for row in rows[name] if "step_ms" in row] or [0.0])),
        )
        for name, session in sessions.items()
    }
