"""A folder of checkpoints: the newest are kept, the damaged are passed over."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rntn_jax.training import (
    Checkpointer,
    CheckpointError,
)
from tests.training.checkpoint_samples import ROOT, damage


def names(checkpointer: Checkpointer) -> list[str]:
    return [path.name for path in checkpointer.paths()]


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_are_kept(tmp_path: Path, keep: int):
    checkpointer = Checkpointer(tmp_path / "a" / "b", keep=keep)
    assert names(checkpointer) == [] and checkpointer.restore({"x": np.zeros(1)}) is None
    steps = [0, 9, 10, 100, 2_000_000]
    for count, step in enumerate(steps, 1):
        written = checkpointer.save(step, {"x": np.full(1, step)}, {"step": step})
        assert written.exists()
        assert names(checkpointer) == [
            f"step-{s:010d}.safetensors" for s in steps[max(0, count - keep) : count]
        ]
    tree, info, skipped = Checkpointer(checkpointer.folder).restore({"x": np.zeros(1, int)})
    assert tree["x"] == 2_000_000 and info == {"step": 2_000_000} and skipped == []


def test_keep_must_be_positive(tmp_path: Path):
    with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
        Checkpointer(tmp_path, keep=0)


def test_a_step_saved_again_replaces_the_file(tmp_path: Path):
    checkpointer = Checkpointer(tmp_path)
    for value in (1.0, 2.0):
        checkpointer.save(4, {"x": np.full(1, value)}, {"value": value})
    assert names(checkpointer) == ["step-0000000004.safetensors"]
    assert checkpointer.restore({"x": np.zeros(1)})[1] == {"value": 2.0}


def test_what_has_just_been_saved_is_never_deleted(tmp_path: Path):
    checkpointer = Checkpointer(tmp_path, keep=2)
    for step in (5, 6, 1):
        assert checkpointer.save(step, {"x": np.ones(1)}, {}).exists()


def test_damaged_checkpoints_are_passed_over_and_told_of(tmp_path: Path):
    checkpointer = Checkpointer(tmp_path, keep=3)
    for step in (1, 2, 3):
        checkpointer.save(step, {"x": np.full(1, float(step))}, {"step": step})
    like = {"x": np.zeros(1)}
    paths = checkpointer.paths()
    damage(paths[2])
    tree, info, skipped = checkpointer.restore(like)
    assert tree["x"] == 2 and info == {"step": 2}
    assert len(skipped) == 1 and str(paths[2]) in skipped[0] and "damaged" in skipped[0]

    paths[1].write_bytes(b"")
    tree, info, skipped = checkpointer.restore(like)
    assert tree["x"] == 1
    assert [str(path) in text for path, text in zip(paths[:0:-1], skipped)] == [True, True]

    paths[0].write_bytes(paths[0].read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="no intact checkpoint") as caught:
        checkpointer.restore(like)
    assert all(path.name in str(caught.value) for path in paths)


def test_a_damaged_old_checkpoint_does_not_matter(tmp_path: Path):
    checkpointer = Checkpointer(tmp_path)
    for step in (1, 2):
        checkpointer.save(step, {"x": np.ones(1)}, {"step": step})
    damage(checkpointer.paths()[0])
    assert checkpointer.restore({"x": np.zeros(1)})[1:] == ({"step": 2}, [])


def test_an_intact_checkpoint_of_other_shapes_is_refused_not_passed_over(tmp_path: Path):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, {"x": np.ones(2)}, {})
    checkpointer.save(2, {"x": np.ones(3)}, {})
    with pytest.raises(CheckpointError, match=r"\['x'\] is float64\[3\], expected float64\[2\]"):
        checkpointer.restore({"x": np.ones(2)})


def test_left_overs_are_swept_and_other_files_left_alone(tmp_path: Path):
    checkpointer = Checkpointer(tmp_path)
    kept = checkpointer.save(3, {"x": np.ones(1)}, {"step": 3})
    leftover = tmp_path / ".step-0000000004.safetensors.4711.tmp"
    leftover.write_bytes(b"half")
    others = [tmp_path / name for name in ("notes.txt", "step-4.safetensors", "step-0000000009.st")]
    for other in others:
        other.write_text("mine")
    again = Checkpointer(tmp_path)
    assert not leftover.exists() and all(other.read_text() == "mine" for other in others)
    assert again.paths() == [kept]
    assert again.restore({"x": np.zeros(1)})[1] == {"step": 3}


KILLER = '''
"""Forks a writer again and again, kills it, and restores what it left."""
import os, random, signal, sys, time
import numpy as np
from rntn_jax.training.checkpoint import Checkpointer

folder, rounds = sys.argv[1], int(sys.argv[2])
like = {"x": np.zeros((200, 300)), "step": np.int32(0)}
chance = random.Random(0)
newest = 0
for attempt in range(rounds):
    writer = os.fork()
    if not writer:
        checkpointer = Checkpointer(folder)
        for step in range(newest + 1, 1_000_000):
            tree = {"x": np.full((200, 300), float(step)), "step": np.int32(step)}
            checkpointer.save(step, tree, {"step": step})
        os._exit(0)
    begin = time.monotonic()
    while attempt and not reader.paths() and time.monotonic() - begin < 30:
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.05))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    reader = Checkpointer(folder)
    restored = reader.restore(like)
    if restored is None:
        assert newest == 0
        continue
    tree, info, skipped = restored
    assert not skipped, skipped
    assert (tree["x"] == info["step"]).all() and tree["step"] == info["step"] >= newest
    assert not [name for name in os.listdir(folder) if name.endswith(".tmp")]
    newest = info["step"]
# A writer that dies before it removes old ones leaves them; the next that lives removes them.
reader.save(newest + 1, like, {"step": newest + 1})
assert len(os.listdir(folder)) == len(reader.paths()) <= 2
print(newest)
'''


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_killed_writer_leaves_something_to_go_on_from(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore::RuntimeWarning", "-c", KILLER, tmp_path / "c", "12"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 0
