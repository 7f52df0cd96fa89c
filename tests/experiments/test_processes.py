"""The supervisor: workers that die, stand still, refuse or finish; here they are without JAX."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals")

# A worker writes its pid, then does what the script says of its number and its attempt.
WORKER = """
import os, signal, sys, time
options = dict(a[2:].split("=") for a in sys.argv[1:] if "=" in a)
number, folder = int(options.get("process_id", 0)), options["folder"]
marks = os.path.join(folder, f"started-{number}")
attempt = os.path.getsize(marks) if os.path.exists(marks) else 0
open(os.path.join(folder, f"pid-{number}"), "w").write(str(os.getpid()))
open(marks, "a").write("x")
"""
SUPERVISOR = """
import os, sys
from absl import flags
from experiments import processes
processes.define()
flags.FLAGS(["main", "--pause=0.01", *sys.argv[4:]])
processes.GRACE = 5.0
processes.NOTICE = float(os.environ.get("NOTICE", "1"))
command = [sys.executable, "-I", "-S", "-c", sys.argv[1], f"--folder={sys.argv[2]}"]
sys.exit(processes.supervise(command, int(sys.argv[3])))
"""


def supervisor(folder: Path, script: str, *flags: str, count: int = 2) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, WORKER + script, str(folder), str(count), *flags],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def answer(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        printed, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    return process.returncode, printed


def attempts(folder: Path) -> int:
    return (folder / "started-0").stat().st_size


def pids(folder: Path) -> list[int]:
    """Of both workers, as soon as they have begun."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        found = [path.read_text() for path in sorted(folder.glob("pid-*"))]
        if len(found) == 2 and all(found):
            return [int(text) for text in found]
        time.sleep(0.01)
    raise AssertionError("no workers")


def test_all_finish(tmp_path: Path):
    script = "print(number, options['num_processes'], options['coordinator'][:10])"
    status, printed = answer(supervisor(tmp_path, script))
    assert (status, printed) == (0, "0 2 127.0.0.1:\n")  # the first alone is to be seen
    assert attempts(tmp_path) == 1


@pytest.mark.parametrize(("number", "what"), [(0, "SIGKILL"), (1, "SIGKILL"), (1, "SIGSEGV")])
def test_where_one_dies_all_begin_again(tmp_path: Path, number: int, what: str):
    script = (
        f"if attempt < 2 and number == {number}: os.kill(os.getpid(), signal.{what})\n"
        "time.sleep(60 if attempt < 2 else 0)"
    )
    status, printed = answer(supervisor(tmp_path, script))
    assert status == 0 and attempts(tmp_path) == 3
    assert printed.count(f"process {number} of 2 ended by {what}") == 2
    assert "(restart 2 of 5)" in printed


def test_restarts_are_bounded_and_the_last_words_are_heard(tmp_path: Path):
    script = "if number == 1: print('the disk has', 'melted'); sys.exit(70)\ntime.sleep(60)"
    status, printed = answer(supervisor(tmp_path, script, "--restarts=2"))
    assert status == 70 and attempts(tmp_path) == 3
    assert "process 1 of 2 ended with status 70; its last lines:\n  the disk has melted" in printed
    assert "Given up after 2 restarts in a row: the same command goes on from the last" in printed


@pytest.mark.parametrize("number", [0, 1])
def test_what_is_refused_is_refused_at_once(tmp_path: Path, number: int):
    script = f"if number == {number}: sys.exit('ValueError: no such corpus')\ntime.sleep(60)"
    status, printed = answer(supervisor(tmp_path, script))
    assert status == 1 and attempts(tmp_path) == 1
    assert printed.count("ValueError: no such corpus") == 1


def test_who_stands_still_counts_as_dead(tmp_path: Path):
    script = "if attempt == 0 and number: os.kill(os.getpid(), signal.SIGSTOP)\n"
    script += "time.sleep(0 if attempt else 60)"
    status, printed = answer(supervisor(tmp_path, script, "--heartbeat=1"))
    assert status == 0 and "process 1 of 2 stood still for 1 s" in printed


@pytest.mark.parametrize("to", ["supervisor", "worker"])
def test_sigterm_goes_to_all_and_nothing_is_begun_again(tmp_path: Path, to: str):
    script = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
open(os.path.join(folder, f"up-{number}"), "w").close()
time.sleep(60)
"""
    process = supervisor(tmp_path, script)
    end = time.monotonic() + 120
    while len(list(tmp_path.glob("up-*"))) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(process.pid if to == "supervisor" else pids(tmp_path)[1], signal.SIGTERM)
    assert answer(process) == (143, "")
    assert attempts(tmp_path) == 1


# Each worker sums up numbers, and goes on from what it has on the disk: a run without JAX. It does
# not end before it has been struck as often as it is to be.
COUNTING = """
state = os.path.join(folder, f"state-{number}")
total, step = map(int, open(state).read().split()) if os.path.exists(state) else (0, 0)
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
while step < 400:
    if step == 300 and attempt < int(os.environ["STRIKES"]):
        if stop:
            sys.exit(143)
        time.sleep(0.002)
        continue
    step += 1
    total = (31 * total + step) % 1000003
    with open(state + ".tmp", "w") as file:
        file.write(f"{total} {step}")
    os.replace(state + ".tmp", state)
    if stop:
        sys.exit(143)
    time.sleep(0.002)
"""


def counted() -> str:
    total = 0
    for step in range(1, 401):
        total = (31 * total + step) % 1000003
    return f"{total} 400"


@pytest.mark.parametrize(
    ("number", "what", "strikes"),
    [(1, "SIGKILL", 5), (0, "SIGKILL", 5), (1, "SIGSTOP", 2), (0, "SIGTERM", 5)],
)
def test_struck_at_random_moments_it_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch, number: int, what: str, strikes: int
):
    monkeypatch.setenv("NOTICE", "0.05")
    monkeypatch.setenv("STRIKES", str(strikes))
    chance, struck = random.Random(f"{what} {number}"), 0
    begin = lambda: supervisor(tmp_path, COUNTING, "--heartbeat=1", "--restarts=20")
    process, before = begin(), ["", ""]
    while struck < strikes:
        end = time.monotonic() + 120  # until both workers of this attempt have begun
        while (now := started(tmp_path)) == before or "" in now or len({*map(len, now)}) > 1:
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.002)
        before, own = now, pids(tmp_path)
        time.sleep(chance.uniform(0, 0.05))
        os.kill(own[number], getattr(signal, what))
        struck += 1
        if what == "SIGTERM":
            assert answer(process) == (143, "")
            process = begin()
    status, printed = answer(process)
    assert status == 0, printed
    assert printed.count("(restart") == (0 if what == "SIGTERM" else strikes)
    for worker in (0, 1):
        assert (tmp_path / f"state-{worker}").read_text() == counted()


def started(folder: Path) -> list[str]:
    """A mark for each start of either worker."""
    paths = [folder / f"started-{number}" for number in (0, 1)]
    return [path.read_text() if path.exists() else "" for path in paths]


def test_ctrl_c_ends_all(tmp_path: Path):
    process = supervisor(tmp_path, "time.sleep(60)")
    own = pids(tmp_path)
    process.send_signal(signal.SIGINT)
    assert answer(process)[0] == 130
    for pid in own:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_worker_ends_with_its_supervisor(tmp_path: Path):
    """Whatever it is doing; here it does nothing."""
    script = """
import os, sys
sys.path.insert(0, sys.argv[1])
from experiments import processes
processes._end_with_supervisor()
print("up", flush=True)
import time; time.sleep(60)
"""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(ROOT)],
        env=os.environ | {"RNTN_JAX_SUPERVISOR": str(reading)},
        pass_fds=(reading,),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    os.close(writing)
    assert process.wait(timeout=30) == 70
    process.stdout.close()
    os.close(reading)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--process_id=1",), "need --coordinator"),
        (("--coordinator=a:1", "--num_processes=2"), "--coordinator needs --num_processes and"),
    ],
)
def test_flags_that_lack_others_are_named(given, message):
    script = "import sys; from absl import flags; from experiments import processes\n"
    script += "processes.define(); flags.FLAGS(['main', *sys.argv[1:]]); processes.join()"
    done = subprocess.run(
        [sys.executable, "-c", script, *given],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and message in done.stderr
