"""Trainings of the sparse CRF that are stopped and go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rntn_jax import data, tagger
from rntn_jax.tagger.column_features import attributes
from rntn_jax.training import CheckpointError

SENTENCES = data.demo_tags.splits()["train"][:20]
X = [attributes([row[:-1] for row in rows], "token") for rows in SENTENCES]
Y = [[row[-1] for row in rows] for rows in SENTENCES]


def fitted(folder: Path | None, last: int | None = None, **options: Any) -> tagger.CRF:
    """A CRF; Ctrl-C comes in iteration ``last``."""
    crf = tagger.CRF(max_iterations=25, **options)

    def report(row: dict[str, Any]) -> None:
        if row["num"] == last:
            raise KeyboardInterrupt

    if last is None:
        return crf.fit(X, Y, checkpoints=folder)
    with pytest.raises(KeyboardInterrupt):
        crf.fit(X, Y, checkpoints=folder, report=report)
    return crf


def figures(crf: tagger.CRF) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "time"} for row in crf.training_log_]


def weights(crf: tagger.CRF) -> list[np.ndarray]:
    return jax.tree.leaves(jax.device_get(crf._fitted().model.params))


@pytest.mark.parametrize("last", [13, 25])
def test_it_goes_on_bit_for_bit(tmp_path: Path, last: int):
    whole = fitted(None, c2=0.01)
    assert len(whole.training_log_) == 25
    fitted(tmp_path, last, c2=0.01)
    again = fitted(tmp_path, c2=0.01)
    assert figures(again) == figures(whole)
    for own, other in zip(weights(whole), weights(again), strict=True):
        np.testing.assert_array_equal(own, other)


def test_with_an_l1_penalty_it_goes_on_to_the_same_minimum(tmp_path: Path):
    options = {"c1": 0.5, "delta": 1e-7}
    crf = tagger.CRF(**options).fit(X, Y)
    fitted(tmp_path, 14, **options)
    again = tagger.CRF(**options).fit(X, Y, checkpoints=tmp_path)
    assert [row["num"] for row in again.training_log_] == [*range(1, 1 + len(again.training_log_))]
    assert figures(again)[:13] == figures(crf)[:13]
    losses = [own.training_log_[-1]["loss"] for own in (crf, again)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_checkpoints_of_another_training_are_refused(tmp_path: Path):
    fitted(tmp_path, 11, c2=0.01)
    with pytest.raises(CheckpointError, match="of a training with other data or arguments"):
        fitted(tmp_path, c2=0.02)
    with pytest.raises(ValueError, match="checkpoints are lbfgs's, not those of ap"):
        tagger.CRF(algorithm="ap").fit(X, Y, checkpoints=tmp_path)
