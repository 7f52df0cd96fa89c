"""What the commands say: help, flags that do nothing, slips. No command here imports JAX."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.command import check_output

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = [
    "sentiment",
    "language_model",
    "chunking",
    "parsing",
    "graphs",
    "tree_builder",
    "ud_pipeline",
]

# Runs many commands in one process.
DRIVER = """
import contextlib, importlib, io, json, sys
from absl import flags
from experiments import command

main = importlib.import_module(sys.argv[1])
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
    if isinstance(code, str):  # as the interpreter does
        err.write(code)
        code = 1
    answers.append((code, out.getvalue(), err.getvalue()))
json.dump(answers, sys.__stdout__)
"""


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory):
    """`commands(module, [arguments, ...])`: status, output and errors of each."""
    folder = tmp_path_factory.mktemp("stub")
    (folder / "jax.py").write_text("raise SystemExit('jax was imported')\n")

    def commands(module: str, calls: list[list[str]]) -> list[tuple[int, str, str]]:
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, module],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])},
            input=json.dumps(calls),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return [tuple(answer) for answer in json.loads(done.stdout)]

    return commands


# Arguments, and what the one line about them says.
MISTAKES: dict[str, list[tuple[list[str], str]]] = {
    "sentiment": [
        (["This film is great"], "did you mean --predict 'This film is great'?"),
        (["This", "film", "is", "great"], "did you mean --predict 'This film is great'?"),
        (["--predict", "This", "film is", "great"], "did you mean --predict 'This film is great'?"),
        (["reviews.txt"], "did you mean --predict=reviews.txt?"),
        (["predict"], "did you mean --predict?"),
        (["epochs=3"], "did you mean --epochs=3?"),
        (["paper"], "did you mean --preset=paper?"),
        (["--format=json"], "--format does nothing without --predict"),
        (["--input=text"], "--input does nothing without --predict"),
        (["--brackets=built"], "--brackets does nothing without --evaluate"),
        (["--output=x"], "--output does nothing without --predict or --label"),
        (
            ["--model_file=x"],
            "without --predict, --evaluate, --evaluate_text, --label, --export or",
        ),
        (["--ensemble=x"], "without --predict, --evaluate, --evaluate_text or --serve"),
        (["--port=1"], "--port does nothing without --serve"),
        (
            ["--serve", "--format=json"],
            "--format does nothing with --serve; it goes with --predict",
        ),
        (["--predict=hello", "--epochs=3"], "--epochs does nothing with --predict: it is for"),
        (["--predict=hello", "--fresh"], "--fresh does nothing with --predict: it is for training"),
        (["--predict=hello", "--brackets=built"], "with --predict; it goes with --evaluate"),
        (["--summary=x", "--format=json"], "--format does nothing with --summary; it goes with"),
        (["--model=rnn", "--l2_tensor=1"], "--l2_tensor does nothing with --model=rnn"),
        (["--optimizer=sgd", "--initial_accumulator=1"], "does nothing with --optimizer=sgd"),
        (["--data_dir=x"], "--data_dir does nothing with --corpus=demo"),
        (["--corpus=sst", "--train=x"], "--corpus does nothing with --train=x"),
        (["--dev=x"], "dev needs train"),
        (["--predict=hello", "--output=/none/x"], "--output=/none/x: there is no folder /none"),
        (["--label=x", "--output=/none/x"], "--output=/none/x: there is no folder /none"),
        (["--export=/none/x"], "--export=/none/x: there is no folder /none"),
        (["--predict=hello", f"--output={ROOT}"], "is a folder, not a file"),
    ],
    "language_model": [
        (["the film"], "did you mean --generate=100 --prompt 'the film'?"),
        (["text.txt"], "did you mean --score=text.txt?"),
        (["--prompt=a"], "--prompt does nothing without --generate"),
        (["--format=json"], "--format does nothing without --score"),
        (["--score=x", "--temperature=1"], "with --score; it goes with --generate"),
        (["--score=x", "--seed=1"], "--seed does nothing with --score: it is for training"),
        (["--generate=5", "--epochs=1"], "--epochs does nothing with --generate: it is for"),
        (["--hidden_dropout=0.5"], "--hidden_dropout does nothing with --layers=1"),
        (["--level=char"], "--level does nothing without --train"),
    ],
    "chunking": [
        (["words.txt"], "did you mean --tag=words.txt?"),
        (["--marginals"], "--marginals does nothing without --tag"),
        (["--model=neural", "--c1=0.5"], "--c1 does nothing with --model=neural"),
        (["--epochs=3"], "--epochs does nothing with --model=crf"),
        (["--preset=paper", "--template=token"], "--template does nothing with --model=neural"),
        (["--scheme=none", "--constrained"], "--constrained does nothing with --scheme=none"),
        (["--tag=x", "--c2=1"], "--c2 does nothing with --tag: it is for training"),
        (["--dev=x", "--train=x", "--dev_sentences=3"], "--dev_sentences does nothing with --dev"),
    ],
    "parsing": [
        (["some.conllu"], "did you mean --parse=some.conllu?"),
        (["--parse=x", "--feats"], "--feats does nothing with --parse: it is for training"),
        (["--rnn_dim=3"], "--rnn_dim does nothing with --rnn_layers=0"),
        (["--model_file=x"], "--model_file does nothing without --parse, --text or --evaluate_"),
        (["--projective"], "--projective does nothing with --model=transitions"),
        (["--marginals"], "--marginals does nothing without --parse"),
        (["The", "dog", "barks."], "did you mean --text 'The dog barks.'?"),
        (["--format=svg"], "--format does nothing without --text"),
        (["--text=a", "--epochs=3"], "--epochs does nothing with --text: it is for training"),
        (["--text=a", "--preset=demo"], "with --text: it is for training; it goes with --parse"),
        (["--evaluate_text=x", "--format=svg"], "with --evaluate_text; it goes with --text"),
        (["--parse=x", "--output=y"], "--output does nothing with --parse; it goes with --text"),
        (["--text=a", "--output=/none/x"], "--output=/none/x: there is no folder /none"),
        (["--text=a", "--parse=x"], "give one of --parse and --text"),
    ],
    "ud_pipeline": [
        (["--data_dir=x"], "--data_dir does nothing with --corpus=demo"),
        (["--dev=x"], "dev needs train"),
        (["--folds=1"], "folds must be 0, or at least 2, got 1"),
        (["paper"], "did you mean --preset=paper?"),
    ],
    "graphs": [
        (["chunking"], "did you mean --task=chunking?"),
        (["loopy"], "did you mean --method=loopy?"),
        (["something"], "unexpected argument 'something': did you mean --help?"),
        (["--corpus=names"], "--corpus does nothing with --task=images"),
        (["--task=chunking", "--flip=0.1"], "--flip does nothing with --task=chunking"),
        (["--images=digits", "--height=3"], "--height does nothing with --images=digits"),
        (["--method=loopy", "--sweeps=3"], "--sweeps does nothing with --method=loopy"),
        (["--task=chunking", "--data_dir=x"], "--data_dir does nothing with --corpus=names"),
        (["model.uai"], "did you mean --infer=model.uai?"),
        (["--query=pr"], "--query does nothing without --infer"),
        (["--infer=x", "--epochs=3"], "--epochs does nothing with --infer: it is for training"),
        (["--infer=x", "--output=/none/x"], "--output=/none/x: there is no folder /none"),
    ],
    "tree_builder": [
        (["trees.txt"], "did you mean --evaluate=trees.txt?"),
        (["--output=x"], "--output does nothing without --combine"),
        (["--combine=x", "--output=/none/x"], "there is no folder /none"),
        (["--tag_weight=1"], "--tag_weight does nothing without --phrases"),
        (["--evaluate=x", "--workdir=/none"], "there is no model /none/model.safetensors"),
    ],
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_help_and_mistakes(name: str, commands):
    calls = [["--help"], *(arguments for arguments, _ in MISTAKES[name]), ["--preset=smoke"]]
    (status, shown, err), *answers, start = commands(f"experiments.{name}.main", calls)
    assert (status, err) == (0, "")
    title, examples, *groups = shown.split("\n\n")
    assert title.endswith(".") and "\n" not in title
    assert examples.startswith("examples:\n")
    assert 3 <= examples.count(f"  ./launch.sh {name}") == examples.count("\n") <= 4
    assert "(default: None)" not in shown and max(map(len, shown.splitlines())) <= 110
    assert [group.split("\n")[0] for group in groups].index("the run:") <= 1
    defined = re.findall(r"^  --(?:\[no\])?(\w+): ", shown, re.M)
    assert len(defined) == len(set(defined)) > 20
    for flag in re.findall(rf"{name}.* --(\w+)[= ]", examples):
        assert flag in defined
    for (arguments, expected), (status, out, err) in zip(MISTAKES[name], answers, strict=True):
        assert (status, out) == (1, ""), arguments
        assert expected in err and len(err.splitlines()) == 1, (arguments, err)
        assert "jax was imported" not in err
    assert start == (1, "", "jax was imported")  # and nothing is said of a command that is right


def test_notebooks_have_help_and_no_stray_arguments(commands):
    shown, stray = commands("experiments.notebooks.main", [["--help"], ["rntn_gradient"]])
    assert (shown[0], shown[2]) == (0, "") and "  ./launch.sh notebooks" in shown[1]
    assert "repeat this option" not in shown[1]
    assert stray[2].endswith("did you mean --name=rntn_gradient?")


@pytest.mark.parametrize(
    "name", ["crf", "graphs", "parser", "rnn_lm", "rntn", "structures", "tagger", "text"]
)
def test_every_benchmark_has_its_own_flags(name: str, commands):
    calls = [["--help"], ["--output=/none/x"], ["--rounds=0"], ["some word"]]
    shown, output, rounds, stray = commands(f"experiments.benchmark.{name}.main", calls)
    assert shown[0] == 0 and shown[2] == ""
    assert shown[1].count(f"  ./launch.sh benchmark {name}") == 3
    own = {"crf": "shape", "graphs": "shape", "tagger": "data_dir", "rntn": "dynet_python",
           "rnn_lm": "vocab_size", "parser": "udpipe_model",
           "structures": "dynamax_python", "text": "udpipe_train"}  # fmt: skip
    defined = re.findall(r"^  --(?:\[no\])?(\w+): ", shown[1], re.M)
    assert {"systems", "threads", "output", own[name]} <= set(defined)
    assert not (set(own.values()) - {own[name], "data_dir", "shape"}) & set(defined)
    assert (output[0], output[2]) == (1, "FileNotFoundError: --output=/none/x: there is no folder "
                                         "/none")  # fmt: skip
    assert rounds[0] == 1 and "--rounds=0" in rounds[2]
    assert stray[0] == 1 and stray[2].startswith("unexpected argument 'some word'")


def test_outputs_are_looked_at_before_the_work(tmp_path: Path):
    check_output(None)
    check_output(str(tmp_path / "new"))
    check_output("here.txt")
    with pytest.raises(FileNotFoundError, match=r"--export=.*/a/b: there is no folder .*/a$"):
        check_output(str(tmp_path / "a" / "b"), "export")
    with pytest.raises(IsADirectoryError, match=r"--output=.* is a folder"):
        check_output(str(tmp_path))
