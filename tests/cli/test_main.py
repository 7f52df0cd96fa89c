"""The command of an installed package: its help, each of its commands, its mistakes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from rntn_jax import __version__, data, tagger
from rntn_jax.cli import process
from rntn_jax.cli.main import main
from rntn_jax.data import read_trees
from rntn_jax.tagger import column_tagger
from tests.helpers import enable_x64

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ["sentiment", "label", "tag", "parse", "infer"]


@pytest.fixture(scope="module", autouse=True)
def as_users_run():
    """Without 64-bit types."""
    with enable_x64(False):
        yield


def test_help_and_mistakes_need_no_jax(tmp_path: Path):
    (tmp_path / "jax.py").write_text("raise SystemExit('jax was imported')\n")
    code = """
import io, json, sys, contextlib
from rntn_jax.cli.main import main
answers = []
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as stop:
            answers.append((stop.code, out.getvalue(), err.getvalue()))
json.dump(answers, sys.stdout)
"""
    calls = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
    calls += [[], ["sentimnt", "x"], ["tag", "x"], ["infer", "x", "--query=mpe"]]
    calls += [["infer", "x", "--output=/none/x"], ["sentiment"]]
    calls += [["parse"], ["parse", "--evaluate=x", "--format=svg"]]
    calls += [["parse", "a", "--format=svg", "--output=/none/x"], ["infer", "x"]]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        input=json.dumps(calls), capture_output=True, text=True, check=True,
    )  # fmt: skip
    shown, version, *rest = json.loads(done.stdout)
    assert shown[0] == 0 and version[1] == f"rntn_jax {__version__}\n"
    for name, (status, text, _) in zip(COMMANDS, rest):
        assert re.search(rf"^    {name}\b", shown[1], re.M), "listed"
        assert re.search(rf"^  rntn-jax {name} ", shown[1], re.M), "an example"
        assert status == 0 and re.search(rf"^  rntn-jax {name} ", text, re.M)
        options = set(re.findall(r"--(\w+)", text))
        for example in re.findall(rf"^  rntn-jax {name} .*", text + shown[1], re.M):
            assert set(re.findall(r"--(\w+)", example)) <= options
    nothing, command, model, query, output, text, *parse, start = rest[len(COMMANDS) :]
    assert "required: COMMAND" in nothing[2] and "invalid choice: 'sentimnt'" in command[2]
    assert "required: --model" in model[2] and "invalid choice: 'mpe'" in query[2]
    assert output[0] == "FileNotFoundError: --output=/none/x: there is no folder /none"
    assert text[0] == "ValueError: sentiment takes either a text or --serve"
    assert [answer[0] for answer in parse] == [
        "ValueError: parse takes either a text or --evaluate",
        "ValueError: --format does nothing with --evaluate",
        "FileNotFoundError: --output=/none/x: there is no folder /none",
    ]
    assert start[0] == "jax was imported"  # and nothing is said of a command that is right


def test_sentiment_of_words_and_files(tmp_path: Path, capsys):
    main(["sentiment", "A", "good", "film."])  # without quotation marks
    assert capsys.readouterr().out.startswith("positive")
    (tmp_path / "texts").write_text("A good film.\nA bad film.\n")
    output = str(tmp_path / "out")
    main(["sentiment", str(tmp_path / "texts"), "--format=json", f"--output={output}"])
    rows = [json.loads(line) for line in Path(output).read_text().splitlines()]
    assert [row["text"] for row in rows] == ["A good film.", "A bad film."]
    assert rows[0]["label"] > 2 > rows[1]["label"]
    with pytest.raises(SystemExit, match=r"FileNotFoundError: there is no file 'none\.txt'"):
        main(["sentiment", "none.txt"])


def test_label_makes_training_trees(tmp_path: Path, capsys):
    (tmp_path / "labelled").write_text("3 A good film .\n4 good\n")
    main(["label", str(tmp_path / "labelled"), f"--output={tmp_path / 'trees'}"])
    (tree,) = read_trees(tmp_path / "trees")
    assert tree.tokens == ("A", "good", "film", ".") and tree.labels[-1] == 3
    assert tree.labels[1] == 4 and "1 trees, 2 labelled nodes" in capsys.readouterr().err


@pytest.fixture(scope="module")
def crf() -> tagger.CRF:
    X = [[["w=the"], ["w=film", "last"]], [["w=a"], ["w=plot", "last"]]] * 3
    return tagger.CRF(c2=0.1, max_iterations=10).fit(X, [["D", "N"]] * 6)


def test_tag_by_a_model_of_attributes(tmp_path: Path, capsys, crf: tagger.CRF):
    """Attributes after tabs, as many as a token has; they may hold spaces."""
    crf.save(tmp_path / "model")
    (tmp_path / "file").write_text("w=the\nw=film\tlast\n\n\nw=a new\nw=plot\n")
    main(["tag", f"--model={tmp_path / 'model'}", str(tmp_path / "file"), "--marginals"])
    head, *lines = capsys.readouterr().out.split("\n")
    assert head == "# columns\ttag\tD\tN"
    cells = [line.split("\t") for line in lines]
    assert [row[:-2] for row in cells if row != [""]] == [
        ["w=the", "D"], ["w=film", "last", "N"], ["w=a new", "D"], ["w=plot", "N"]
    ]  # fmt: skip
    expected = crf.predict_marginals([[["w=the"], ["w=film", "last"]]])[0][0]["D"]
    np.testing.assert_allclose(float(cells[0][2]), expected, atol=1e-4)
    main(["tag", f"--model={tmp_path / 'model'}", str(tmp_path / "file")])
    assert capsys.readouterr().out == (
        "w=the\tD\nw=film\tlast\tN\n\nw=a new\tD\nw=plot\tN\n\n"
    )  # fmt: skip
    with pytest.raises(SystemExit, match=r"--constrained: .*does not say in which scheme"):
        main(["tag", f"--model={tmp_path / 'model'}", str(tmp_path / "file"), "--constrained"])
    (tmp_path / "file").write_text("\n \n")
    with pytest.raises(SystemExit, match=r"DataError: .*file: there are no tokens"):
        main(["tag", f"--model={tmp_path / 'model'}", str(tmp_path / "file")])


def test_tag_by_a_model_of_columns(tmp_path: Path, capsys):
    """As `./launch.sh chunking` writes it: a word, its tag; the tag may stand there already."""
    rows = [[("the",), ("film",)], [("a",), ("plot",)]]
    X = [column_tagger.attributes(one, "token") for one in rows]
    info = {"scheme": "bio", "inner": "bio", "columns": 2, "template": "token"}
    model = tagger.CRF(max_iterations=10).fit(X, [["B-X", "I-X"]] * 2)
    column_tagger.save_model(tmp_path / "model", column_tagger.Sparse(model, info))
    (tmp_path / "file").write_text("the B-X\nplot I-X\n")
    output = tmp_path / "out"
    main(["tag", f"--model={tmp_path / 'model'}", str(tmp_path / "file"), f"--output={output}"])
    assert output.read_text() == "the\tB-X\tB-X\nplot\tI-X\tI-X\n\n"
    out, err = capsys.readouterr()
    assert out == "" and "100.00" in err
    (tmp_path / "file").write_text("the DT B-X\n")
    with pytest.raises(SystemExit, match="3 columns; the model was trained on 1 and the tag"):
        main(["tag", f"--model={tmp_path / 'model'}", str(tmp_path / "file")])


def test_parse_of_words_and_of_a_treebank(tmp_path: Path, capsys):
    main(["parse", "We", "saw", "the", "film.", "--format=text"])  # without quotation marks
    assert capsys.readouterr().out.split("\n") == [
        "saw VERB root", "├─ We PRON nsubj", "├─ film NOUN obj", "│  └─ the DET det",
        "└─ . PUNCT punct", "",
    ]  # fmt: skip
    (tmp_path / "text").write_text("We saw the film.\n")
    main(["parse", str(tmp_path / "text"), f"--output={tmp_path / 'trees'}"])
    main(["parse", f"--evaluate={tmp_path / 'trees'}"])  # what it found itself
    assert re.search(r"^LAS +100\.00", capsys.readouterr().out, re.M)


def test_infer(tmp_path: Path, capsys):
    data.write_uai(tmp_path / "x.uai", np.zeros((2, 2)), np.eye(2)[None], np.array([[0, 1]]))
    main(["infer", str(tmp_path / "x.uai"), "--query=mar"])
    assert capsys.readouterr().out == "MAR\n2 2 0.5 0.5 2 0.5 0.5\n"
    assert not jax.config.jax_enable_x64, "it computes in 64 bits and leaves the setting alone"


def test_messages_end_a_process_in_one_line(capsys):
    for error, status in [
        (ValueError("no"), "ValueError: no"),
        (OSError("gone"), "OSError: gone"),
        (KeyboardInterrupt(), 130),
        (process.Terminated("kept"), 143),
    ]:
        with pytest.raises(SystemExit) as stop, process.messages():
            raise error
        assert stop.value.code == status
    assert capsys.readouterr().err == "stopped by Ctrl-C\nstopped by SIGTERM: kept\n"
    with pytest.raises(TypeError), process.messages():  # a fault of ours has a traceback
        raise TypeError
