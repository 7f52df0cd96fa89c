"""What a run carries."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rntn_jax.training import CheckpointError, RunState, make_train_step
from rntn_jax.training.devices import Placement, data_mesh

OPTIMIZER = optax.adam(0.1)


def new(folder: Path, average: float = 0.9) -> RunState:
    params = {"w": jnp.array([1.0, -2.0], jnp.float32)}
    return RunState(folder, params, OPTIMIZER, jax.random.key(3), average=average)


def train(run: RunState, updates: int) -> None:
    def loss(params, x):
        return ((params["w"] - x) ** 2).sum(), None

    step = make_train_step(loss, OPTIMIZER)
    for _ in range(updates):
        run.state, _ = step(run.state, jnp.arange(2.0, dtype=jnp.float32))
        run.advance(1)


def same(one, other) -> bool:
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in leaves)


def test_a_session_goes_on_where_it_was_saved(tmp_path: Path):
    whole = new(tmp_path / "whole")
    train(whole, 3)
    whole.finish_epoch(0.5)
    train(whole, 4)
    whole.finish_epoch(0.4)

    first = new(tmp_path / "parts")
    train(first, 3)
    first.finish_epoch(0.5)
    first.close()
    train(first, 2)  # lost: never saved
    second = new(tmp_path / "parts")
    assert second.resumed and second.step == 3 and second.epoch == 1
    train(second, 4)
    second.finish_epoch(0.4)
    second.close()
    assert same(second.state.params, whole.state.params)
    assert same(second.params, whole.params) and same(second.best, whole.best)
    assert (second.step, second.epoch, second.best_epoch, second.best_score) == (7, 2, 1, 0.5)


def test_the_best_weights_are_those_of_the_best_epoch(tmp_path: Path):
    run = new(tmp_path)
    train(run, 1)
    assert run.finish_epoch(0.1)
    worse = jax.device_get(run.params)
    train(run, 1)
    assert run.finish_epoch(0.3)
    best = jax.device_get(run.params)
    train(run, 1)
    assert not run.finish_epoch(0.2)
    assert same(run.best, best) and not same(run.best, worse)


def test_the_early_mean_is_that_of_all_weights_so_far(tmp_path: Path):
    run = new(tmp_path, average=0.999)
    seen = []
    for _ in range(5):
        train(run, 1)
        seen.append(np.asarray(run.state.params["w"]))
    np.testing.assert_allclose(run.params["w"], np.mean(seen, axis=0), rtol=1e-5)


def test_without_a_mean_the_weights_count(tmp_path: Path):
    run = new(tmp_path, average=0.0)
    train(run, 2)
    assert run.params is run.state.params


def test_a_session_of_another_shape_is_refused(tmp_path: Path):
    run = new(tmp_path)
    run.finish_epoch(0.0)
    run.close()
    with pytest.raises(CheckpointError, match="w"):
        RunState(tmp_path, {"w": jnp.zeros(3)}, OPTIMIZER, jax.random.key(0), average=0.9)


def test_rows_of_metrics_are_kept_without_their_times(tmp_path: Path):
    run = new(tmp_path)
    for epoch in (1, 2):
        train(run, 1)
        run.finish_epoch(0.5, {"step": epoch, "loss": 1 / epoch, "seconds": 3.0})
    run.close()
    again = new(tmp_path)
    assert again.rows == run.rows == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_within_an_epoch_goes_on_there_and_is_replaced(tmp_path: Path):
    run = new(tmp_path)
    run.save_within_epoch()  # nothing yet
    assert names(tmp_path) == []
    train(run, 2)
    run.finish_epoch(0.5)
    for loss in (0.1, 0.2):
        train(run, 1)
        run.outputs.append({"loss": jnp.float32(loss), "aux": jnp.ones(2)})
        run.save_within_epoch()
        run.save_within_epoch()
    run.close()
    assert names(tmp_path) == ["step-0000000002.safetensors", "step-0000000004.safetensors"]

    again = new(tmp_path)
    assert (again.epoch, again.begun, again.step, len(again.outputs)) == (1, 2, 4, 2)
    assert same(again.state.params, run.state.params) and same(again.params, run.params)
    assert np.float32(again.output(1)["loss"]) == np.float32(0.2)
    assert again.output(0)["aux"].tolist() == [1.0, 1.0]
    said: list[str] = []
    again.log_resume(said.append)
    assert said == ["resuming after epoch 1 and 2 calls"]
    train(again, 1)
    again.finish_epoch(0.6)
    again.close()
    assert names(tmp_path) == ["step-0000000002.safetensors", "step-0000000005.safetensors"]
    assert new(tmp_path).outputs == []


def test_a_disk_that_is_full_is_told_of_and_keeps_what_was_saved(tmp_path: Path, monkeypatch):
    run = new(tmp_path)
    for _ in range(2):
        train(run, 1)
        run.finish_epoch(0.5)
    run._wait()
    newest = max(tmp_path.iterdir())

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    train(run, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        run.finish_epoch(0.5)
        with pytest.raises(OSError, match="No space left on device; the last checkpoint") as caught:
            run.close()
    assert newest.name in str(caught.value)
    again = new(tmp_path)
    assert again.step == 2 and not again.skipped_checkpoints
    assert names(tmp_path) == [newest.name]  # the older one made room


def test_a_run_goes_on_with_other_devices(tmp_path: Path):
    """Rows that go from update to update are shared out anew."""
    rows = np.arange(8.0, dtype=np.float32).reshape(4, 2)

    def begun(folder: Path, count: int) -> tuple[Placement, RunState]:
        place = Placement(data_mesh(count) if count > 1 else None)
        params = {"w": jnp.array([1.0, -2.0], jnp.float32)}
        key = jax.random.key(3)
        return place, RunState(folder, params, OPTIMIZER, key, placement=place, carry=rows)

    for count, others in ((1, 2), (2, 4), (4, 1)):
        _, run = begun(tmp_path / str(count), count)
        train(run, 1)
        run.carry = jax.tree.map(lambda x: x + 1, run.carry)
        run.outputs.append({"loss": jnp.float32(0.0)})
        run.save_within_epoch()
        run.close()
        place, again = begun(tmp_path / str(count), others)
        assert again.step == 1 and same(again.params, run.params)
        np.testing.assert_array_equal(place.joined(again.carry), rows + 1)
        assert len(again.state.params["w"].devices()) == others
        train(again, 1)
        again.finish_epoch(0.0)
        np.testing.assert_array_equal(place.joined(again.carry), rows)  # as an epoch begins
        again.close()


@pytest.mark.parametrize(
    "progress",
    [{}, {"epoch": 1, "step": 2, "best_epoch": 1, "best_score": "high", "rows": []},
     {"epoch": True, "step": 2, "best_epoch": 1, "best_score": 0.1, "rows": []},
     {"epoch": 1, "step": 2, "best_epoch": 1, "best_score": 0.1, "rows": {}},
     {"epoch": 1, "step": 2, "best_epoch": 1, "best_score": 0.1, "rows": [], "outputs": 3},
     {"epoch": 1, "step": 2, "best_epoch": 1, "best_score": 0.1, "rows": [], "outputs": [{}],
      "begun": "1"}],
)  # fmt: skip
def test_a_checkpoint_that_says_nonsense_is_refused(tmp_path: Path, progress):
    run = new(tmp_path)
    run._checkpointer.save(2, run._arrays(), progress)
    with pytest.raises(CheckpointError, match=r"as its (epoch|best_score|rows|begun)|outputs"):
        new(tmp_path)


def test_what_was_skipped_and_where_it_goes_on_is_said(tmp_path: Path):
    run = new(tmp_path)
    for _ in range(2):
        train(run, 1)
        run.finish_epoch(0.5)
    run.close()
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    said: list[str] = []
    new(tmp_path).log_resume(said.append)
    assert len(said) == 2 and newest.name in said[0] and said[1] == "resuming after epoch 1"
