"""The README's commands, in their order, one after the other in one folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.folders import default_folder
from rntn_jax import data

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = ("sentiment", "language_model", "chunking", "parsing")
VERBS = ("predict", "evaluate", "label", "score", "generate", "tag", "parse", "text")

# Runs several commands of one experiment in one process.
DRIVER = """
import contextlib, importlib, io, json, sys
from absl import flags
from experiments import command

main = importlib.import_module(f"experiments.{sys.argv[1]}.main")
answers = []
for arguments in json.load(sys.stdin):
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    sys.argv = ["main.py", *arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            command.run(main.main, main.COMMAND)
        except SystemExit as stop:
            code = stop.code or 0
    answers.append((code, out.getvalue(), err.getvalue()))
json.dump(answers, sys.__stdout__)
"""


def run_all(
    experiment: str, calls: list[list[str]], folder: Path
) -> list[tuple[int | str, str, str]]:
    """Status (0, or the message of a failure), output and errors of each command."""
    cache = {
        "JAX_COMPILATION_CACHE_DIR": os.environ.get("RNTN_JAX_TESTS_CACHE", str(folder / "cache")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, experiment],
        cwd=folder,
        env=os.environ | cache | {"PYTHONPATH": str(ROOT)},
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(answer) for answer in json.loads(done.stdout)]


def commands_of_the_readme() -> list[tuple[str, list[str]]]:
    """Experiments and arguments of the commands that need no corpus from elsewhere."""
    text = (ROOT / "README.md").read_text("utf-8")
    found = []
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] != ["./launch.sh"] or len(words) < 2 or words[1] not in EXPERIMENTS:
                continue
            if not re.search(r"DIR|\$|paper|crfsuite|--summary", line):
                found.append((words[1], words[2:]))
    return found


def own_files(folder: Path) -> dict[str, str]:
    """A file for each FILE of the README, by the experiment (and the verb) that reads it."""
    trees = data.demo_sentiment.sentiment_trees(24, seed=3)
    data.write_trees(folder / "train.txt", trees)
    data.write_trees(folder / "dev.txt", trees[:9])
    (folder / "texts.txt").write_text("A fine film.\n\nDull.\n")
    (folder / "labelled.txt").write_text(
        "1 The plot is thin but I loved it\n4 I loved it\n0 thin\n"
    )
    splits = data.demo_tags.splits()
    data.write_columns(folder / "columns.txt", splits["train"][:30])
    data.write_conllu(folder / "trees.conllu", data.demo_dependencies.sentences(30))
    for name, sentences in data.demo_text.splits().items():
        lines = (" ".join(sentence) for sentence in sentences[:30])
        (folder / f"text-{name}.txt").write_text("\n".join(lines) + "\n")
    return {
        "sentiment": "train.txt", "predict": "texts.txt", "label": "labelled.txt",
        "language_model": "text-train.txt", "chunking": "columns.txt", "parsing": "trees.conllu",
        "text": "texts.txt",
    }  # fmt: skip


def made_tiny(experiment: str, arguments: list[str], files: dict[str, str]) -> list[str]:
    """With files in the place of FILE, and the smallest preset where a run is meant."""
    verb = next((v for v in VERBS if any(a.startswith(f"--{v}") for a in arguments)), "")
    shipped = experiment == "sentiment" and verb and not any("--train" in a for a in arguments)
    shipped = shipped or verb == "text"  # a model in the package answers
    filled = []
    for argument in arguments:
        flag = argument.removeprefix("--").partition("=")[0]
        name = files.get(flag, files[experiment])
        filled.append(argument.replace("FILE", name).replace("generate=100", "generate=5"))
    return filled if shipped else [*filled, "--preset=smoke"]


def test_the_readme_has_commands_of_all_kinds():
    found = commands_of_the_readme()
    assert {name for name, _ in found} == set(EXPERIMENTS)
    flags = {argument.partition("=")[0] for _, arguments in found for argument in arguments}
    assert {f"--{name}" for name in ("train", *VERBS)} - flags == {"--evaluate"}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_readmes_commands_work_one_after_the_other(experiment: str, tmp_path: Path):
    files = own_files(tmp_path)
    calls = [
        made_tiny(name, arguments, files)
        for name, arguments in commands_of_the_readme()
        if name == experiment
    ]
    if experiment == "sentiment":  # a tree of one label is none to learn from
        calls = [[a.replace("--output=train.txt", "--output=made.txt") for a in c] for c in calls]
    assert len(calls) >= 3
    # And all of them once more: runs that have ended only say so.
    answers = run_all(experiment, calls + calls, tmp_path)
    for call, (code, out, err) in zip(calls + calls, answers):
        assert code == 0, (call, code, err)
        assert "Traceback" not in err and "RunMismatchError" not in out + err
    for (_, first, _), (_, again, _), call in zip(answers, answers[len(calls) :], calls):
        if not any(a.startswith("--generate") for a in call):
            assert again == first, call


def test_runs_on_own_files_do_not_get_in_each_others_way(tmp_path: Path, monkeypatch):
    """What the README does for each experiment, and what may go wrong, by the quickest one."""
    text = own_files(tmp_path)["language_model"]
    (tmp_path / "bad.txt").write_bytes(b"a b\n\xff\n")
    (tmp_path / "two.txt").write_text("the film is good\nthe film\n")
    # The same sentences as of the embedded text: nothing is compiled twice.
    tiny = ["--preset=smoke", "--max_sentences=30"]
    own = [f"--train={text}", "--dev=text-dev.txt", "--test=text-test.txt", "--seed=1", *tiny]
    calls = [
        tiny,
        own,
        ["--train=nosuch.txt", *tiny],
        ["--train=bad.txt", *tiny],
        [f"--train={text}", "--preset=smoke", "--score=two.txt"],
        ["--preset=smoke", "--score=two.txt"],
        own,
        [*own, "--epochs=3"],
        ["--workdir=runs/mine", "--train=nosuch.txt", *tiny],
    ]
    answers = run_all("language_model", calls, tmp_path)
    monkeypatch.chdir(tmp_path)
    folder = default_folder("language_model", "smoke", text)
    demo, first, missing, bad, mine, theirs, again, other, named = answers
    assert demo[0] == first[0] == again[0] == 0
    assert f"report: {folder / 'report.html'}" in first[1] and first[1] == again[1]
    # The command that is printed names the folder of the run.
    assert f"./launch.sh language_model --workdir={folder} --score=FILE" in first[1]
    for failed, file in ((missing, r"nosuch\.txt"), (bad, r"bad\.txt"), (named, r"nosuch\.txt")):
        assert re.search(file, str(failed[0])) and "RunMismatch" not in str(failed[0])
    assert mine[0] == theirs[0] == 0 and mine[1] != theirs[1]  # of two models
    assert "epochs was 2 and is now 3" in str(other[0]) and "--workdir" in str(other[0])
    # What failed has left no folder, and refuses nothing that comes after it.
    assert sorted(p.name for p in (tmp_path / "runs" / "language_model").iterdir()) == sorted(
        ["smoke", folder.name]
    )
    assert not (tmp_path / "runs" / "mine").exists()
