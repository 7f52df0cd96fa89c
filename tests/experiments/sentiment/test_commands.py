"""The sentiment experiment as a command: answers, mistakes, status."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from experiments.sentiment import train
from experiments.workdir import read_json
from rntn_jax import data
from rntn_jax.cli import sentiment as labelling
from tests.experiments.sentiment.runs import (
    ROOT,
    SENTENCES,
    SHORT,
    environment_of_a_process,
)


class Answer(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


# Runs many commands in one process, so that JAX is imported once.
DRIVER = """
import contextlib, io, json, sys
from absl import app, flags
from experiments.sentiment import main
from tests.helpers import enable_x64

answers = []
for arguments, stdin in json.load(sys.stdin):
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode()))
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app.run(main.main, argv=["main.py", *arguments])
        except SystemExit as stop:
            code = stop.code or 0
            if isinstance(code, str):  # as the interpreter does
                print(code, file=sys.stderr)
                code = 1
    answers.append((code, out.getvalue(), err.getvalue()))
json.dump(answers, sys.__stdout__)
"""


Python = Callable[..., Answer]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Python:
    """`python(*arguments, stdin="")` runs a Python of its own."""
    environment = environment_of_a_process(tmp_path_factory)

    def python(*arguments: str, stdin: str = "") -> Answer:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return python


@pytest.fixture(scope="module")
def main(python: Python) -> Python:
    """`main(*flags, stdin="")` runs the experiment as a command."""
    return functools.partial(python, "-m", "experiments.sentiment.main")


@pytest.fixture(scope="module")
def commands(python: Python) -> Callable[[list[tuple[list[str], str]]], list[Answer]]:
    """`commands([(flags, stdin), ...])` runs many in one process."""

    def commands(calls: list[tuple[list[str], str]]) -> list[Answer]:
        done = python("-c", DRIVER, stdin=json.dumps(calls))
        assert done.code == 0, done.err
        return [Answer(*answer) for answer in json.loads(done.out)]

    return commands


def test_predict_reads_standard_input(model: Path, source: str, tmp_path: Path, main):
    found = main(f"--model_file={model}", "--predict=-", "--format=brackets", stdin=SENTENCES)
    assert found.code == 0, found.err
    labelling.predict(
        labelling.load(model, None), source, "auto", "brackets", str(tmp_path / "out.txt")
    )
    assert found.out == (tmp_path / "out.txt").read_text()


def test_a_bad_treebank_ends_the_command_with_status_1_and_a_place(
    model: Path, tmp_path: Path, main
):
    (tmp_path / "bad.txt").write_text("(3 good)\n(3 (2 a) (7 b))\n")
    found = main(f"--model_file={model}", f"--evaluate={tmp_path / 'bad.txt'}")
    assert (found.code, found.out) == (1, "")
    assert f"DataError: {tmp_path / 'bad.txt'}:2:11: label 7 " in found.err
    assert "Traceback" not in found.err


BAD_BANKS = {
    "unbalanced": (b"(3 (2 a) (4 b))\n(3 (2 a) (4 b)\n", r":2:\d+: "),
    "trailing": (b"(3 (2 a) (4 b)))\n", r":1:16: "),
    "label": (b"(3 (2 a) (7 b))\n", r":1:11: label 7 "),
    "word for a label": (b"(3 (2 a) (x b))\n", r":1:11: .*'x'"),
    "ternary": (b"(3 (2 a) (2 b) (2 c))\n", r":1:\d+: "),
    "empty": (b"", r":(?:1:1: no tree| there are no words)"),
    "blank": (b"\n \n", r":(?:\d+:\d+: no tree| there are no words)"),
    "not UTF-8": (b"(3 (2 a) (4 \xff))\n", r":1:13: .*UTF-8"),
}


def test_bad_treebanks_are_placed_without_a_traceback(model: Path, tmp_path: Path, commands):
    calls = []
    for name, (content, _) in BAD_BANKS.items():
        (tmp_path / f"{name}.txt").write_bytes(content)
        for verb in ("evaluate", "predict"):
            calls.append(([f"--model_file={model}", f"--{verb}={tmp_path / name}.txt"], ""))
    calls.append(([f"--model_file={model}", "--predict=-"], "(3 (2 a)\n"))
    calls.append(([f"--model_file={model}", f"--predict={tmp_path / 'none.txt'}"], ""))
    calls.append(([f"--model_file={model}", f"--predict={tmp_path}"], ""))
    answers = commands(calls)
    for (arguments, _), answer in zip(calls, answers, strict=True):
        assert (answer.code, answer.out) == (1, ""), arguments
        assert "Traceback" not in answer.err, arguments
    for i, (name, (_, pattern)) in enumerate(BAD_BANKS.items()):
        for answer in answers[2 * i : 2 * i + 2]:
            place = re.escape(f"DataError: {tmp_path / name}.txt")
            assert re.match(place + pattern, answer.err), (name, answer.err)
    assert re.match(r"DataError: <\w+>:1:\d+: ", answers[-3].err), answers[-3].err
    assert re.match(r"FileNotFoundError: .*none\.txt", answers[-2].err)
    assert str(tmp_path) in answers[-1].err


def test_commands_and_mistakes(run: Path, model: Path, source: str, tmp_path: Path, commands):
    data.write_trees(tmp_path / "test.txt", train.load_splits(SHORT)["test"])
    result = read_json(run / "result.json")
    small = ["--model=rnn", "--dim=2", "--max_trees=30", "--batch_size=15", "--epochs=1"]
    calls = [
        ([f"--workdir={run}", f"--evaluate={tmp_path / 'test.txt'}"], ""),
        ([f"--workdir={run}", f"--predict={source}", "--format=json"], ""),
        ([f"--workdir={run}", f"--predict={source}", "--format=svg"], ""),
        ([f"--workdir={run}", "--predict=-", "--format=html"], SENTENCES),
        ([f"--workdir={tmp_path / 'none'}", "--preset=smoke", "--predict=-"], SENTENCES),
        ([f"--workdir={tmp_path / 'none'}", f"--evaluate={source}"], ""),
        ([f"--model_file={source}", f"--predict={source}"], ""),
        ([f"--workdir={run}", "--preset=smoke"], ""),
        ([f"--workdir={tmp_path / 'x'}", "--corpus=sst", "--data_dir=/none"], ""),
        ([f"--workdir={tmp_path / 'y'}", *small, "--learning_rate=1e30"], ""),
    ]
    answers = commands(calls)
    assert [answer.code for answer in answers] == [0, 0, 1, 0, 1, 1, 1, 1, 1, 1]
    assert not any("Traceback" in answer.err for answer in answers)
    evaluated, predicted, pictures, page, *mistakes = answers
    shown = dict(line.split() for line in evaluated.out.splitlines()[1:])
    assert shown == {name: f"{100 * x:.2f}%" for name, x in result["test"].items()}
    assert [json.loads(line)["text"] for line in predicted.out.splitlines()] == [
        "not very bad", "a good film"
    ]  # fmt: skip
    assert "--output" in pictures.err and pictures.out == ""
    assert page.out[:15].lower() == "<!doctype html>"
    no_model, no_model_either, no_model_file, other_settings, no_corpus, not_finite = (
        mistake.err for mistake in mistakes
    )
    assert f"there is no model {tmp_path / 'none' / 'model.safetensors'}" in no_model
    assert "./launch.sh sentiment --preset=smoke" in no_model and "--model_file" in no_model
    assert "./launch.sh sentiment --preset=demo" in no_model_either
    assert no_model_file.startswith(f"CheckpointError: {source} is not a whole safetensors file")
    assert other_settings.startswith("RunMismatchError: ")
    assert "max_trees was 40 and is now 60" in other_settings
    assert no_corpus.startswith("DataError: /none: ") and "train.txt" in no_corpus
    assert not_finite.splitlines()[-1].startswith("NotFiniteError: the loss is ")
    assert not (tmp_path / "none").exists()


def test_closing_the_output_early_is_no_crash(model: Path, tmp_path: Path, tmp_path_factory):
    """`--predict ... | head -1`."""
    (tmp_path / "many.txt").write_text(SENTENCES * 3000)
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.sentiment.main", f"--model_file={model}",
         f"--predict={tmp_path / 'many.txt'}", "--format=brackets"],
        cwd=ROOT,
        env=environment_of_a_process(tmp_path_factory),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    with contextlib.closing(process.stdout), process.stderr:
        assert process.stdout.readline().startswith("(")
        process.stdout.close()
        told = process.stderr.read()
    process.wait(timeout=60)
    assert "Traceback" not in told
