"""Files labelled piece by piece: what a stop leaves, and going on from there."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rntn_jax.cli import sentiment
from rntn_jax.cli.inputs import read
from rntn_jax.cli.unfinished import Unfinished

WORDS = "not good bad a film is the very and but dull funny zyx Wow it".split()
CHILD = """
import sys
from pathlib import Path
from rntn_jax.cli.inputs import read
from rntn_jax.cli.unfinished import Unfinished
out = Unfinished(sys.argv[1], {"input": sys.argv[2]}, 0)
print("begun", flush=True)
for n in range(out.state, 400):
    out.write(f"line {n}, of some length\\n" * 20, n + 1)
out.finish()
"""


@pytest.fixture(scope="module")
def annotator():
    return sentiment.load(None, None)


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sentiment, "CHUNK", 8)  # the compiled programs of a few sentences
    rng = random.Random(0)
    lines = [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) for _ in range(60)]
    lines[3:3] = ["", "   "]
    (tmp_path / "texts").write_text("\n".join(lines) + "\n")
    return tmp_path / "texts"


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_stopped_run_is_gone_on_with(annotator, texts, tmp_path, form, monkeypatch, capsys):
    whole, other = tmp_path / "whole", tmp_path / "other"
    sentiment.predict(annotator, str(texts), "text", form, str(whole))
    told = capsys.readouterr().err.splitlines()[-2:]
    assert "unknown to the model: " in told[0] and "zyx" in told[0]
    if form == "json":
        rows = [json.loads(line) for line in whole.read_text().splitlines()]
        assert [row["id"] for row in rows] == list(range(1, 61))
        assert [row["text"] for row in rows] == texts.read_text().split("\n")[:3] + [
            line for line in texts.read_text().split("\n")[5:] if line
        ]
    labelled, stop_at = [], [0]
    real = sentiment.annotate
    first = {tuple(text): n for n, text in enumerate(read(str(texts), "text"))}

    def stops(annotator, found, total):
        at = first[tuple(found[0])]
        if at == stop_at[0]:
            raise KeyboardInterrupt
        labelled.append(at)
        return real(annotator, found, total)

    monkeypatch.setattr(sentiment, "annotate", stops)
    for stop_at[0], done in ((16, 18), (24, 26)):  # texts before, and lines, of which two are blank
        with pytest.raises(KeyboardInterrupt, match=f"{done} of 62 lines are done"):
            sentiment.predict(annotator, str(texts), "text", form, str(other))
        assert not other.exists()
    stop_at[0] = -1
    sentiment.predict(annotator, str(texts), "text", form, str(other))
    assert other.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "texts", "whole"]
    assert labelled.count(0) == labelled.count(8) == 1  # what was written is not done again
    assert capsys.readouterr().err.splitlines()[-2:] == told


def test_another_input_begins_anew(annotator, texts, tmp_path, capsys):
    out = tmp_path / "out"
    with Unfinished(out, {"of": "something else"}, 0) as unfinished:
        unfinished.write("rubbish\n", 7)
    sentiment.predict(annotator, str(texts), "text", "brackets", str(out))
    assert "begun anew" in capsys.readouterr().err
    assert len(out.read_text().splitlines()) == 60 and "rubbish" not in out.read_text()


def test_devices_and_typed_texts(annotator, tmp_path, capfd):
    sentiment.predict(annotator, "good", "auto", "brackets", "/dev/null")
    sentiment.predict(annotator, "good", "auto", "brackets", str(tmp_path / "one"))
    assert (tmp_path / "one").read_text().endswith(" good)\n")


def test_two_processes_do_not_write_one_output(tmp_path):
    with Unfinished(tmp_path / "out", {}, 0) as out:
        out.write("mine\n", 1)
        with pytest.raises(OSError, match=r"out\.part: another process is writing it"):
            Unfinished(tmp_path / "out", {}, 0)
        out.finish()
    assert (tmp_path / "out").read_text() == "mine\n"


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"about": {}, "bytes": "x", "state": 1}'])
def test_a_damaged_note_begins_anew(tmp_path, content):
    with Unfinished(tmp_path / "out", {}, 0) as out:
        out.write("one\n", 1)
    (tmp_path / "out.part.json").write_text(content)
    with Unfinished(tmp_path / "out", {}, 0) as out:
        assert out.state == 0
        out.write("two\n", 1)
        out.finish()
    assert (tmp_path / "out").read_text() == "two\n"


@pytest.mark.parametrize("kills", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_kills_lose_and_repeat_nothing(tmp_path, kills):
    rng = random.Random(kills)
    out, killed = tmp_path / "out", 0
    command = [sys.executable, "-c", CHILD, str(out), "a"]
    while not out.exists():
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        if killed < kills:
            time.sleep(rng.uniform(0, 0.05))
            child.send_signal(signal.SIGKILL)
            killed += child.wait() == -signal.SIGKILL
        else:
            assert child.wait(timeout=120) == 0
        child.stdout.close()
    assert killed
    expected = "".join(f"line {n}, of some length\n" * 20 for n in range(400))
    assert out.read_text() == expected
    assert os.listdir(tmp_path) == ["out"]
