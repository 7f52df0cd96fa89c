"""What the training loops share: a run's state and logs, results one call late, when to stop."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import optax

from rntn_jax.signals import Terminated, uninterrupted
from rntn_jax.training import MetricsWriter, NotFiniteError, ProgressBar, RunState, processes
from rntn_jax.training.devices import Placement, data_mesh

__all__ = [
    "Training",
    "ahead",
    "check_finite",
    "kept",
    "logs",
    "minibatches_a_call",
    "one_behind",
    "out_of_patience",
    "placement",
    "seconds_per_epoch",
    "start_training",
    "take_steps",
    "total_seconds",
]

Item = TypeVar("Item")
ONE_DEVICE = Placement()


class Training(NamedTuple):
    """A run that is under way."""

    state: RunState
    metrics: MetricsWriter
    bar: ProgressBar


def placement(config: Any, shards: int = 1, specs: Any = None) -> Placement:
    """Where a run lies: ``devices`` of its settings in each process; one device is no mesh.

    Args:
        config: the settings.
        shards: so many of the devices share the vocabulary.
        specs: how parameters then lie; see `Placement`.

    Raises:
        ValueError: when there are not so many devices.
    """
    if config.devices * jax.process_count() == 1:
        return ONE_DEVICE
    mesh = data_mesh(config.devices // shards, shards)
    return Placement(mesh, specs if shards > 1 else None)


@contextlib.contextmanager
def start_training(
    config: Any,
    workdir: Path,
    params: Any,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    *,
    total: int,
    unit: str,
    place: Placement = ONE_DEVICE,
    carry: Any = None,
) -> Iterator[Training]:
    """A run from its start, or from its newest checkpoint, with its logs.

    SIGTERM within it saves where the run stands. Of several processes, all but the first have
    nothing left to do when training has ended, and leave.

    Args:
        config: the settings; of them ``average``, ``keep_checkpoints`` and ``tensorboard``.
        workdir: folder of the run.
        params: initial parameters.
        optimizer: any optax gradient transformation.
        key: PRNG key of the updates.
        total: updates of the whole run.
        unit: what the progress bar counts.
        place: on which devices it lies.
        carry: what goes from update to update beside the state: see `RunState`.

    Raises:
        SystemExit: at the end, with status 0, in all processes but the first.
    """
    state = RunState(
        workdir / "checkpoints",
        params,
        optimizer,
        key,
        average=config.average,
        keep=config.keep_checkpoints,
        placement=place,
        carry=carry,
    )
    events = workdir / "tensorboard" if config.tensorboard else None
    with kept(state):
        known = state.rows, state.step, state.begun
        with logs(workdir, *known, total, unit, events) as (metrics, bar):
            state.log_resume(bar.say)
            yield Training(state, metrics, bar)
    if not processes.is_first():
        raise SystemExit(0)


@contextlib.contextmanager
def kept(*states: RunState) -> Iterator[None]:
    """Waits for the checkpoints of runs; SIGTERM saves where their epochs stand.

    Several processes then leave together.
    """
    with contextlib.ExitStack() as stack:
        for state in states:
            stack.callback(state.close)
        try:
            yield
        except Terminated:
            for state in states:
                state.save_within_epoch()
            processes.from_first(True)  # the first process has written
            raise


@contextlib.contextmanager
def logs(
    workdir: Path,
    known: Sequence[dict[str, Any]],
    step: int,
    begun: int,
    total: int,
    unit: str,
    tensorboard: Path | None = None,
) -> Iterator[tuple[MetricsWriter, ProgressBar]]:
    """``metrics.jsonl``, with the rows that the checkpoints hold, and a progress bar.

    The bar goes on from ``begun``, where the epoch began: `take_steps` yields its steps again.
    Of several processes, the first one's alone are to be seen.
    """
    first = processes.is_first()
    path = workdir / "metrics.jsonl" if first else None
    metrics = MetricsWriter(path, step, tensorboard if first else None, known)
    with metrics, ProgressBar(total, done=begun, unit=unit, quiet=not first) as bar:
        if metrics.fault is not None:
            bar.say(metrics.fault)
        yield metrics, bar


def minibatches_a_call(count: int, most: int) -> int:
    """So many of an epoch's that there is no rest, which would be a program of its own to compile.

    Args:
        count: minibatches of an epoch.
        most: in one call of the device; there are more than half as many where that works out.

    Returns:
        ``most`` where it does not.

    Example:
        >>> minibatches_a_call(75, 8), minibatches_a_call(73, 8)
        (5, 8)
    """
    return next((n for n in range(most, most // 2, -1) if count % n == 0), most)


def one_behind(calls: Iterable[Item]) -> Iterator[Item]:
    """What calls of the device return, each handed on when the next one is under way.

    Who looks at a result waits for it; looking one call late, the device never waits for us.

    Example:
        >>> def calls():
        ...     for number in range(3):
        ...         print("call", number)
        ...         yield number
        >>> for number in one_behind(calls()):
        ...     print("seen", number)
        call 0
        call 1
        seen 0
        call 2
        seen 1
        seen 2
    """
    waiting: list[Item] = []
    for call in calls:
        yield from waiting
        waiting = [call]
    yield from waiting


def ahead(items: Iterable[Item], count: int = 2) -> Iterator[Item]:
    """Items made by a thread of its own, so many of them before they are asked for.

    An error in making one comes where the item would have come.

    Example:
        >>> list(ahead(number * number for number in range(4)))
        [0, 1, 4, 9]
    """
    source, none = iter(items), object()
    with ThreadPoolExecutor(1, thread_name_prefix="minibatches") as executor:
        made = collections.deque(executor.submit(next, source, none) for _ in range(count))
        try:
            while (item := made.popleft().result()) is not none:
                made.append(executor.submit(next, source, none))
                yield item  # type: ignore[misc]
        finally:
            executor.shutdown(cancel_futures=True)


def take_steps(
    state: RunState,
    step: Callable[[Any, Any], tuple[Any, dict[str, Any]]],
    minibatches: Iterable[tuple[Any, int, Item]],
    *,
    also: Sequence[str] = (),
) -> Iterator[tuple[Item, dict[str, Any]]]:
    """Takes a train step with each minibatch; yields what it returned, one call late.

    Where an epoch was stopped within, its first minibatches have been taken: what they returned is
    yielded again, without a step.

    Args:
        state: of the run; it goes on.
        step: of `make_train_step`.
        minibatches: each with the number of its updates, and anything to be handed on.
        also: which of the step's metrics to yield besides ``loss``, ``grad_norm`` and ``finite``.

    Yields:
        What was to be handed on, and the step's metrics as NumPy arrays.

    Raises:
        Terminated: when one of several processes was sent SIGTERM, between two steps.
    """
    names = ("loss", "grad_norm", "finite", *also)
    taken = len(state.outputs)

    def calls() -> Iterator[tuple[Item, int]]:
        for number, (batch, updates, item) in enumerate(minibatches):
            if number >= taken:
                with uninterrupted():
                    state.state, out = step(state.state, batch)
                    state.advance(updates)
                    state.outputs.append({name: out[name] for name in names})
                if processes.stop_agreed(next(state.calls)):
                    raise Terminated
            yield item, number

    for item, number in one_behind(calls()):
        yield item, state.output(number)


def check_finite(out: dict[str, Any], workdir: Path, where: str | Callable[[int], str]) -> None:
    """Checks what a train step returned, one minibatch or several.

    Args:
        out: its metrics.
        workdir: folder of the run.
        where: which minibatch it was; of several, a function that says it of each, from 0.

    Raises:
        NotFiniteError: naming the first minibatch whose loss or gradient is not finite.
    """
    finite = np.atleast_1d(out["finite"])
    if finite.all():
        return
    at = int(np.argmin(finite))
    loss, norm = (float(np.atleast_1d(out[name])[at]) for name in ("loss", "grad_norm"))
    which = where if isinstance(where, str) else where(at)
    raise NotFiniteError(
        f"the loss is {loss} and the gradient's norm {norm} in {which}. The last good "
        f"checkpoint is kept in {workdir / 'checkpoints'}. A smaller --learning_rate or "
        "--clip_norm may help."
    )


def out_of_patience(patience: int | None, state: RunState) -> bool:
    """Whether the best epoch lies too many epochs back."""
    return patience is not None and state.waited >= patience


def _seconds(rows: Sequence[dict[str, Any]]) -> list[float]:
    return [row["seconds"] for row in rows if "seconds" in row]


def seconds_per_epoch(rows: Sequence[dict[str, Any]]) -> float:
    """Median time of an epoch, of those whose time is known; 0 where none is.

    Example:
        >>> seconds_per_epoch([{"epoch": 1, "seconds": 3.0}, {"epoch": 2}])
        3.0
    """
    return float(np.median(_seconds(rows) or [0.0]))


def total_seconds(rows: Sequence[dict[str, Any]]) -> float:
    """Time of all epochs together; an epoch whose time was lost counts as the median."""
    return float(sum(_seconds(rows))) + seconds_per_epoch(rows) * (len(rows) - len(_seconds(rows)))
