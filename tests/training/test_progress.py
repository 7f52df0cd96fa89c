"""The progress bar, with a terminal and without."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace

import pytest

from rntn_jax.training import ProgressBar, progress


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time that the progress bar sees, in `now`."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""  # standard output is for results
    return captured.err.splitlines()


def test_without_a_terminal_it_prints_lines(clock, capsys):
    with ProgressBar(8, unit="trees", interval=10) as bar:
        clock.now += 4
        bar.advance(2, 100, "epoch 1", loss=0.123456, best=7)
        assert lines(capsys) == []
        clock.now += 6
        bar.advance(2, 100, "epoch 1", loss=12345.678, best=7)
        assert lines(capsys) == ["epoch 1  50%  loss 1.235e+04  best 7  trees/s 20"]
        clock.now += 9.5
        bar.advance(2, 100, "epoch 2", loss=1.0)
        assert lines(capsys) == []
        clock.now += 0.5
        bar.advance(2, 100, "epoch 2", loss=1.0)
        assert lines(capsys) == ["epoch 2  100%  loss 1  trees/s 20"]
    assert lines(capsys) == []


def test_the_rate_counts_this_run_and_the_share_all_runs(clock, capsys):
    with ProgressBar(10, done=6, interval=1) as bar:
        clock.now += 2
        bar.advance(1, 30, "epoch 7")
    assert lines(capsys) == ["epoch 7  70%  items/s 15"]


def test_no_time_at_all_is_no_fault(clock, capsys):
    with ProgressBar(1, interval=0) as bar:
        bar.advance(1, 1, "now")
    (line,) = lines(capsys)
    assert line.startswith("now  100%")


def test_what_is_said_is_printed(capsys):
    with ProgressBar(3) as bar:
        bar.say("epoch 1: [bold] loss 3.0 /tmp/x *")
    assert lines(capsys) == ["epoch 1: [bold] loss 3.0 /tmp/x *"]


def test_on_a_terminal_it_draws_a_bar(clock, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    for name in ("NO_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with ProgressBar(4, done=1, unit="trees") as bar:
        clock.now += 2
        bar.advance(2, 60, "epoch 1", loss=0.25)
        bar.say("epoch 1: loss 0.25")
        bar.say("passed over: /a/[b]/step-0000000001.safetensors")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "75%" in shown and "loss 0.25  trees/s 30" in shown
    said = [line.rstrip() for line in shown.replace("\r", "\n").split("\n")]
    assert "epoch 1: loss 0.25" in said
    assert "passed over: /a/[b]/step-0000000001.safetensors" in said


def test_an_error_inside_ends_the_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(ArithmeticError), ProgressBar(4):
        raise ArithmeticError
    shown = terminal.getvalue()
    if "\x1b[?25l" in shown:  # the cursor was hidden: it has to come back
        assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
