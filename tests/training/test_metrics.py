"""Metrics files: rows appended, cut off on resume, and TensorBoard events."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

from rntn_jax.training import MetricsWriter, read_metrics


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def write(path: Path, steps: range, **options) -> MetricsWriter:
    with MetricsWriter(path, **options) as metrics:
        for step in steps:
            metrics.write(step, loss=1 / step, name=f"é {step}")
    return metrics


def row(step: int) -> dict[str, object]:
    return {"step": step, "loss": 1 / step, "name": f"é {step}"}


def test_no_file_no_rows(path: Path):
    assert read_metrics(path) == []


def test_rows_come_back(path: Path):
    assert write(path, range(1, 4)).rows == [row(1), row(2), row(3)] == read_metrics(path)
    assert len(path.read_text("utf-8").splitlines()) == 3


def test_a_row_is_in_the_file_when_write_returns(path: Path):
    with MetricsWriter(path) as metrics:
        for count in (1, 2):
            metrics.write(count, loss=0.5)
            assert len(read_metrics(path)) == count


def test_a_writer_goes_on_where_the_last_one_stopped(path: Path):
    write(path, range(1, 3))
    metrics = write(path, range(3, 5), step=2)
    assert metrics.rows == [row(1), row(2), row(3), row(4)] == read_metrics(path)


def test_rows_after_the_step_are_cut_off(path: Path):
    write(path, range(1, 6))
    with MetricsWriter(path, 3) as metrics:
        assert metrics.rows == [row(1), row(2), row(3)] == read_metrics(path)
    write(path, range(4, 7), step=3)
    assert read_metrics(path) == [row(step) for step in range(1, 7)]


def test_a_run_from_the_start_begins_with_an_empty_file(path: Path):
    write(path, range(1, 4))
    assert write(path, range(0), step=0).rows == [] == read_metrics(path)


@pytest.mark.parametrize("kept", range(1, 60, 7))
def test_a_half_written_last_line_is_dropped(path: Path, kept: int):
    write(path, range(1, 4))
    content = path.read_bytes()
    last = content.rstrip(b"\n").rindex(b"\n") + 1
    assert last + kept < len(content)
    path.write_bytes(content[: min(last + kept, len(content) - 1)])
    assert read_metrics(path) == [row(1), row(2)]
    write(path, range(3, 5), step=3)
    assert read_metrics(path) == [row(step) for step in range(1, 5)]


def test_a_whole_row_without_its_line_end_counts_as_unfinished(path: Path):
    write(path, range(1, 3))
    path.write_bytes(path.read_bytes()[:-1])
    assert read_metrics(path) == [row(1)]


def test_numbers_that_are_none_come_back(path: Path):
    with MetricsWriter(path) as metrics:
        metrics.write(1, loss=float("nan"), norm=float("inf"), best=None)
    (found,) = read_metrics(path)
    assert math.isnan(found["loss"]) and found["norm"] == math.inf and found["best"] is None


def test_tensorboard_events_are_written(path: Path, tmp_path: Path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    folder = tmp_path / "tensorboard"
    write(path, range(1, 4), tensorboard=folder)
    content = b"".join(file.read_bytes() for file in folder.iterdir())
    assert content.count(b"loss") == 3 and b"name" not in content  # text is no event
    # Events are named by the second: whether a second file appears is not to be relied on.
    write(path, range(3, 5), step=2, tensorboard=folder)
    assert read_metrics(path) == [row(step) for step in range(1, 5)]


def test_without_tensorboard_the_extra_is_named(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install 'rntn_jax\[tensorboard\]'"):
        MetricsWriter(path, tensorboard=path.parent / "tensorboard")
    # Who does not ask for it does not need it.
    assert write(path, range(1, 3)).rows == read_metrics(path) == [row(1), row(2)]
