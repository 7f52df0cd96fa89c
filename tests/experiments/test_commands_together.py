"""Every command trains in several processes as in one, and goes on in other numbers of them."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rntn_jax.training import read_metrics
from tests.experiments.supervised import (
    PATIENCE,
    command_environment,
    finish,
    newest,
    printed,
    start_command,
    wait_for,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sends signals"),
]

# Without dropout: each device draws random numbers of its own.
READER = (
    "--preset=smoke", "--max_sentences=40", "--word_dim=4", "--column_dim=3", "--hidden_dim=6",
    "--learning_rate=0.01", "--hidden_dropout=0", "--input_dropout=0", "--epochs=12",
)  # fmt: skip
RNN = ("--rnn_layers=1", "--rnn_dim=4")
TAGGER = (
    "--max_sentences=60", "--word_dim=4", "--column_dim=3", "--hidden_dim=6", "--rnn_layers=1",
    "--hidden_dropout=0", "--input_dropout=0", "--epochs=12", "--batch_size=8",
)  # fmt: skip
COMMANDS: dict[str, tuple[str, ...]] = {
    "language_model": (
        "--preset=smoke", "--max_sentences=60", "--embed_dim=6", "--hidden_dim=6", "--epochs=12",
        "--batch_size=8", "--steps=8", "--input_dropout=0", "--output_dropout=0", "--average=0.9",
    ),
    "sentiment": (
        "--preset=smoke", "--max_trees=20", "--dim=3", "--batch_size=8", "--lanes=4",
        "--updates_per_dispatch=1", "--epochs=12",
    ),
    "chunking, neural": (*TAGGER, "--model=neural"),
    "chunking, segments": (*TAGGER, "--model=segments"),
    "parsing, windows": (*READER, "--batch_size=150"),
    "parsing, transitions": (*READER, *RNN, "--batch_size=150"),
    "parsing, graph": (*READER, *RNN, "--batch_size=150", "--model=graph", "--relation_dim=3"),
    "graphs": (
        "--preset=smoke", "--height=4", "--width=3", "--train_images=30", "--test_images=10",
        "--batch_size=10", "--tolerance=1e-7", "--iterations=200", "--epochs=200",
    ),
    "graphs, skip chains": (
        "--preset=smoke", "--task=chunking", "--max_sentences=40", "--batch_size=10",
        "--epochs=12",
    ),
    "tree_builder": (
        "--preset=smoke", "--max_trees=20", "--rnn_dim=4", "--hidden_dim=4", "--epochs=12",
        "--input_dropout=0", "--hidden_dropout=0", "--unknown_rate=0", "--batch_size=8",
    ),
}  # fmt: skip


def figures(workdir: Path) -> Iterator[tuple[str, float]]:
    """The losses of a run."""
    for row in read_metrics(workdir / "metrics.jsonl"):
        for name, value in row.items():
            if name.startswith("train_") and "seconds" not in name:
                yield f"{row.get('model')} {row['epoch']} {name}", value


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """In double precision: Adam makes a whole step of a gradient that is nothing but rounding."""
    return command_environment(tmp_path_factory.mktemp("programs"), JAX_ENABLE_X64="1")


@pytest.mark.parametrize("name", COMMANDS)
def test_processes_train_as_one_and_go_on_in_other_numbers(name, tmp_path, environment):
    def start(folder: str, *flags: str):
        command = name.partition(",")[0]
        return start_command(command, tmp_path / folder, environment, *COMMANDS[name], *flags)

    finish(start("one"), tmp_path / "one")
    expected = dict(figures(tmp_path / "one"))
    assert len({*expected.values()}) > 6  # something is learnt
    finish(start("two", "--processes=2"), tmp_path / "two")
    assert dict(figures(tmp_path / "two")) == pytest.approx(expected, rel=1e-5)
    stops, steps = 0, []
    for flags in (("--processes=2",), (), ("--processes=2", "--devices=2"), ("--devices=2",)):
        steps.append(newest(tmp_path / "parts"))
        process = start("parts", *flags)
        if flags != ("--devices=2",):  # the last
            wait_for(lambda: newest(tmp_path / "parts") > steps[-1], process)
            time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=PATIENCE)
        stops += process.returncode == 143
        assert process.returncode in (0, 143), printed(tmp_path / "parts")[-5000:]
    assert stops >= 1, steps
    print({"stopped": stops, "steps": steps})
    assert dict(figures(tmp_path / "parts")) == pytest.approx(expected, rel=1e-5)
