"""`./launch.sh table1`: all rows on a few trees, resumed, with the table and the report."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from experiments.sentiment import config as sentiment
from experiments.sentiment.scores import COLUMNS
from experiments.table1 import rows, train
from experiments.table1.config import PRESETS, ROWS, Config


@pytest.mark.slow
def test_rows_are_trained_once_and_put_in_a_table(tmp_path: Path):
    config = dataclasses.replace(Config(**PRESETS["smoke"]), rows="nb,vec_avg")
    result = train.run(config, tmp_path)
    text = (tmp_path / "table.md").read_text("utf-8")
    for name in ("nb", "vec_avg"):
        mean = result["rows"][name]["mean"]
        (own,) = result["rows"][name]["runs"]
        assert mean == {column: own["test"][column] for column in COLUMNS}
        assert f"| {rows.NAMES[name]}, ours | {100 * mean['fine_all']:.2f} |" in text
        assert f"{rows.PUBLISHED[name]['fine_root']:.1f}" in text
        assert own["command"] in text
        assert "convincing" in (tmp_path / f"negated-{name}.svg").read_text("utf-8")
    page = (tmp_path / "report.html").read_text("utf-8")
    for heading in ("By length of the phrase", "Negation and contrast", "One negated sentence"):
        assert heading in page
    before = (tmp_path / "vec_avg-0" / "result.json").stat().st_mtime_ns
    (tmp_path / "result.json").unlink()  # stopped before its end
    assert train.run(config, tmp_path) == result
    assert (tmp_path / "vec_avg-0" / "result.json").stat().st_mtime_ns == before


def test_commands_are_those_of_the_runs():
    config = Config(data_dir="/somewhere")
    for name in ROWS:
        preset, own = rows.settings(config, name, 1)
        words = rows.command(preset, own).split()[3:]
        found = dict(word.removeprefix("--").split("=") for word in words)
        assert found["data_dir"] == "DIR" and found["model"] == name and found["seed"] == "1"
        given = {"data_dir": "/somewhere", **{n: v for n, v in found.items() if n != "data_dir"}}
        like = dataclasses.asdict(rows.run_config(preset, own))
        typed = {n: type(like[n])(v) for n, v in given.items()}
        assert sentiment.Config(**sentiment.PRESETS[preset] | typed) == rows.run_config(preset, own)


def test_rows_and_seeds_that_are_asked_for():
    assert Config(rows="rntn,nb").names() == ["nb", "rntn"]
    assert Config().names() == list(ROWS) == list(rows.NAMES)
    assert [len(Config().seeds_of(name)) for name in ("nb", "rnn", "rntn")] == [1, 3, 5]
    with pytest.raises(ValueError, match=r"rows must be all, or some of nb.* got 'lstm'"):
        Config(rows="rnn,lstm")
