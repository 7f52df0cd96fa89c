"""Runs whose disk fails at random moments end as if nothing had happened, or say what is wrong."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.lock import WorkdirInUseError, held
from rntn_jax.training import CheckpointError, RunState, files, make_train_step

ROUNDS, EPOCHS, UPDATES = 20, 6, 3
OPTIMIZER = optax.adam(0.1)
STEP = make_train_step(
    lambda w, x: (((w - x) ** 2).sum(), None), OPTIMIZER
)  # one program for all runs


def begun(folder: Path) -> RunState:
    return RunState(folder, jnp.arange(3.0), OPTIMIZER, jax.random.key(0), average=0.9)


def epoch(run: RunState) -> None:
    for _ in range(UPDATES):
        run.state, _ = STEP(run.state, jnp.full(3, float(run.step)))
        run.advance(1)
    run.finish_epoch(-float(np.abs(run.params).sum()), {"epoch": run.epoch + 1})


def finished(run: RunState) -> list[np.ndarray]:
    while run.epoch < EPOCHS:
        epoch(run)
    run.close()
    assert len(run.rows) == EPOCHS
    data = jax.random.key_data(run.state.key)
    return [np.asarray(x) for x in jax.tree.leaves((run.state[:3], data, run.params, run.best))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> list[np.ndarray]:
    return finished(begun(tmp_path_factory.mktemp("whole")))


def newest(folder: Path) -> Path:
    return max(folder.glob("step-*"))


def cut_short(folder: Path, chance: random.Random) -> None:
    content = newest(folder).read_bytes()
    newest(folder).write_bytes(content[: chance.randrange(len(content))])


def bit_flipped(folder: Path, chance: random.Random) -> None:
    content = bytearray(newest(folder).read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    newest(folder).write_bytes(content)


@pytest.mark.parametrize("damage", [cut_short, bit_flipped])
def test_a_damaged_checkpoint_is_passed_over(
    damage: Callable[[Path, random.Random], None], tmp_path: Path, whole
):
    chance, passed_over = random.Random(damage.__name__), 0
    for round_ in range(ROUNDS):
        folder = tmp_path / str(round_)
        run = begun(folder)
        for _ in range(chance.randint(2, EPOCHS)):  # two checkpoints, of which one stays intact
            epoch(run)
        run.close()
        damage(folder, chance)
        run = begun(folder)
        passed_over += len(run.skipped_checkpoints)
        for own, other in zip(finished(run), whole, strict=True):
            np.testing.assert_array_equal(own, other)
    assert passed_over == ROUNDS


def test_where_no_checkpoint_is_intact_nothing_is_made_up(tmp_path: Path):
    run = begun(tmp_path)
    epoch(run)
    run.close()
    cut_short(tmp_path, random.Random(0))
    with pytest.raises(CheckpointError, match="no intact checkpoint"):
        begun(tmp_path)


def test_a_full_disk_loses_an_epoch_at_most(tmp_path: Path, whole, monkeypatch):
    chance, struck = random.Random(0), 0
    for round_ in range(ROUNDS):
        folder = tmp_path / str(round_)
        calls = iter(range(chance.randint(0, 2 * EPOCHS - 2)))

        def full(number: int, calls=calls, fsync=os.fsync) -> None:
            if next(calls, None) is None:  # of files and of folders in turn; then for good
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(number)

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "fsync", full)
            with pytest.raises(OSError, match="No space left on device"):
                finished(begun(folder))
        struck += 1
        assert not [*folder.glob(".*.tmp")]
        for own, other in zip(finished(begun(folder)), whole, strict=True):
            np.testing.assert_array_equal(own, other)
    assert struck == ROUNDS


def test_a_second_run_on_the_folder_is_refused_and_harms_nothing(tmp_path: Path, whole):
    chance, refused = random.Random(0), 0
    for round_ in range(ROUNDS):
        folder, when = tmp_path / str(round_), chance.randrange(EPOCHS)
        folder.mkdir()
        with held(folder / "lock"):
            run = begun(folder)
            while run.epoch < when:
                epoch(run)
            with pytest.raises(WorkdirInUseError), held(folder / "lock"):
                begun(folder)
            refused += 1
            for own, other in zip(finished(run), whole, strict=True):
                np.testing.assert_array_equal(own, other)
    assert refused == ROUNDS
