"""Metrics files: rows appended, cut off on resume, and TensorBoard events."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

import pytest

from rntn_jax.training import DamagedFileError, MetricsWriter, read_metrics
from rntn_jax.training.metrics import without_times


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


@pytest.mark.parametrize("bits", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_every_flipped_bit_is_noticed_and_its_line_named(bits: int, path: Path):
    """Of every byte one of its bits, or all."""
    write(path, range(1, 4))
    content = bytearray(path.read_bytes())
    for at in range(len(content) - 1):  # the last is the line end: without it, an unfinished row
        for bit in [at % 8] if bits == 1 else range(8):
            content[at] ^= 1 << bit
            path.write_bytes(content)
            with pytest.raises(DamagedFileError, match=r"metrics\.jsonl, line [123]"):
                read_metrics(path)
            content[at] ^= 1 << bit


def test_a_lost_row_is_noticed(path: Path):
    write(path, range(1, 5))
    lines = path.read_bytes().splitlines(keepends=True)
    for gone in range(3):
        path.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
        with pytest.raises(DamagedFileError, match=rf"line {gone + 1} is damaged, or the line be"):
            read_metrics(path)
    path.write_bytes(b"".join(lines[:2][::-1]))
    with pytest.raises(DamagedFileError, match="line 1"):
        read_metrics(path)


@pytest.mark.parametrize(
    "line", ["{}", "[]", "3", "null", '"step"', '{"step": "1"}', "\xff", "[" * 9999, '{"step": 1}']
)
def test_what_is_no_row_is_named(path: Path, line: str):
    write(path, range(1, 2))
    with open(path, "ab") as file:
        file.write(line.encode("latin-1") + b"\n")
    with pytest.raises(DamagedFileError, match=r"metrics\.jsonl, line 2"):
        read_metrics(path)


def timed(path: Path, steps: range, **options) -> MetricsWriter:
    with MetricsWriter(path, **options) as metrics:
        for step in steps:
            metrics.write(step, loss=math.nan if step == 2 else 1 / step, seconds=float(step))
    return metrics


def test_rows_that_a_checkpoint_holds_are_those_that_count(path: Path):
    rows = timed(path, range(1, 4)).rows
    known = [dict(sorted(without_times(row).items())) for row in rows]  # as JSON in checkpoints
    assert "seconds" in rows[0] and "seconds" not in known[0]
    whole = path.read_bytes()
    # As they were: nothing is said. A row that came after the checkpoint is dropped.
    for count in (3, 2):
        metrics = timed(path, range(0), known=known[:count])
        assert metrics.fault is None and len(metrics.rows) == count
        assert all("seconds" in row for row in metrics.rows)
    # Lost, emptied, changed: they come from the checkpoint, and that is said.
    lines = whole.splitlines(keepends=True)
    for content, said, kept in (
        (b"", "is not that of the checkpoint: 3 of 3 rows", 0),
        (b"".join(lines[:2]), "is not that of the checkpoint: 1 of 3 rows", 2),
        (whole.replace(b'"seconds": 2.0', b'"seconds": 3.0'), "line 2 is damaged", 1),
        (b"[]\n" + whole, r"line 1: '\[\]' is no row of metrics: 3 of 3", 0),
    ):
        path.write_bytes(content)
        metrics = timed(path, range(4, 5), known=known)
        assert re.search(rf"metrics\.jsonl.*{said}", str(metrics.fault))
        found = [dict(sorted(without_times(row).items())) for row in metrics.rows[:3]]
        assert repr(found) == repr(known)
        assert [row.get("seconds") for row in metrics.rows] == (
            [1.0, 2.0, 3.0][:kept] + [None] * (3 - kept) + [4.0]
        )
        assert repr(read_metrics(path)) == repr(metrics.rows)
    path.unlink()
    assert timed(path, range(0), known=known).fault is not None
    # A start from nothing does not care what was there.
    path.write_bytes(b"3\n")
    assert timed(path, range(1, 2), known=[]).fault is None


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
