"""What a run carries."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rntn_jax.training import CheckpointError, RunState, make_train_step

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
    train(first, 2)  # lost: never saved
    second = new(tmp_path / "parts")
    assert second.resumed and second.step == 3 and second.epoch == 1
    train(second, 4)
    second.finish_epoch(0.4)
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
    with pytest.raises(CheckpointError, match="w"):
        RunState(tmp_path, {"w": jnp.zeros(3)}, OPTIMIZER, jax.random.key(0), average=0.9)


def test_rows_of_metrics_are_kept_without_their_times(tmp_path: Path):
    run = new(tmp_path)
    for epoch in (1, 2):
        train(run, 1)
        run.finish_epoch(0.5, {"step": epoch, "loss": 1 / epoch, "seconds": 3.0})
    again = new(tmp_path)
    assert again.rows == run.rows == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]


@pytest.mark.parametrize(
    "progress",
    [{}, {"epoch": 1, "step": 2, "best_epoch": 1, "best_score": "high", "rows": []},
     {"epoch": True, "step": 2, "best_epoch": 1, "best_score": 0.1, "rows": []},
     {"epoch": 1, "step": 2, "best_epoch": 1, "best_score": 0.1, "rows": {}}],
)  # fmt: skip
def test_a_checkpoint_that_says_nonsense_is_refused(tmp_path: Path, progress):
    run = new(tmp_path)
    run._checkpointer.save(2, run._arrays(), progress)
    with pytest.raises(CheckpointError, match=r"as its (epoch|best_score|rows)"):
        new(tmp_path)


def test_what_was_skipped_and_where_it_goes_on_is_said(tmp_path: Path):
    run = new(tmp_path)
    for _ in range(2):
        train(run, 1)
        run.finish_epoch(0.5)
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    said: list[str] = []
    new(tmp_path).log_resume(said.append)
    assert len(said) == 2 and newest.name in said[0] and said[1] == "resuming after epoch 1"
