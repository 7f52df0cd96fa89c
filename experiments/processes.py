"""``--processes=N``: cooperating processes on this host, started again where one of them dies.

The supervisor is a process without JAX. It starts the same command N times, as one program under
JAX's distributed runtime on the loopback interface, and watches. When a process dies, all are ended
and started again from the last checkpoint, after a pause that doubles each time; what a process
refuses, in one line and with status 1, is refused. On several hosts the same command runs under the
cluster's own starter, with ``--distributed=auto``, or with coordinator and numbers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, Any, NamedTuple

from absl import flags

__all__ = [
    "CRASHED", "FLAGS", "are_several", "define", "is_worker", "join", "supervise", "wanted",
]  # fmt: skip

FLAGS = (
    "processes", "restarts", "pause", "heartbeat", "distributed", "coordinator", "num_processes",
    "process_id",
)  # fmt: skip
CRASHED = 70  # status of a worker that an exception ended
REFUSED = (1, 2)  # of one that said why in a line
STOPPED = (130, 143)
LONGEST = 60  # pauses, of the first one
SOUND = 300.0  # seconds; who ran that long was well
GRACE = 60.0  # seconds from SIGTERM to SIGKILL
NOTICE = 1.0  # seconds in which the others notice that one has died
_PIPE = "RNTN_JAX_SUPERVISOR"  # a descriptor that ends when the supervisor does


def define() -> None:
    """Defines the flags."""
    flags.DEFINE_integer(
        "processes", None, "train in that many processes on this host, started again when one dies",
        0,
    )  # fmt: skip
    flags.DEFINE_integer("restarts", 5, "how often to start again before giving up", 0)
    flags.DEFINE_float(
        "pause", 1.0, "seconds before the first restart; doubled each time, sixtyfold at most", 0.0
    )
    flags.DEFINE_integer(
        "heartbeat", 30, "seconds without a sign of life after which a process counts as dead", 1
    )
    flags.DEFINE_enum(
        "distributed", None, ["auto"],
        "one process of many, as Slurm, a TPU pod or Kubernetes has started them",
    )  # fmt: skip
    flags.DEFINE_string("coordinator", None, "address:port of the first process, where it listens")
    flags.DEFINE_integer("num_processes", None, "how many processes there are", 1)
    flags.DEFINE_integer("process_id", None, "which of them this is, from 0", 0)


def _value(name: str) -> Any:
    return flags.FLAGS[name].value if name in flags.FLAGS else None


def wanted() -> int | None:
    """How many processes are to be started, if any."""
    return _value("processes") or None


def are_several() -> bool:
    """Whether more than one process is asked for."""
    numbers = _value("processes") or 1, _value("num_processes") or 1
    return max(numbers) > 1 or _value("distributed") is not None


def is_worker() -> bool:
    """Whether this is one of several processes, or has a supervisor."""
    return bool(_PIPE in os.environ or _value("coordinator") or _value("distributed"))


def join() -> None:
    """Joins the other processes, if there are any; to be called before JAX is used.

    Raises:
        ValueError: when a flag is missing.
    """
    if _PIPE in os.environ:
        _end_with_supervisor()
    address, count, number = map(_value, ("coordinator", "num_processes", "process_id"))
    if address is None and _value("distributed") is None:
        if count is not None or number is not None:
            raise ValueError("--num_processes and --process_id need --coordinator")
        return
    if address is not None and (count is None or number is None):
        raise ValueError("--coordinator needs --num_processes and --process_id")
    from rntn_jax.training import processes

    processes.connect(address, count, number, heartbeat=int(_value("heartbeat") or 30))


def _end_with_supervisor() -> None:
    """A worker whose supervisor has died ends too, whatever it is doing."""
    reading = int(os.environ[_PIPE])

    def watch() -> None:
        with contextlib.suppress(OSError):
            os.read(reading, 1)  # nothing is ever written: this is the end of it
        os._exit(CRASHED)

    threading.Thread(target=watch, daemon=True).start()


# --- the supervisor ---


class _Worker(NamedTuple):
    process: subprocess.Popen[bytes]
    said: IO[bytes] | None  # what it has printed; the first prints for itself


def supervise(command: Sequence[str], count: int) -> int:
    """Runs a command in several processes until they have finished.

    By the flags, ``restarts`` times in a row it is started again; who ran for five minutes begins a
    new count.

    Args:
        command: what to run; `join` is called there.
        count: processes.

    Returns:
        The exit status: 0, that of a refusal (1, 2), 130 after Ctrl-C, 143 after SIGTERM, or
        `CRASHED` where it was given up.

    Raises:
        ValueError: on a system without what it takes.
    """
    if os.name != "posix":
        raise ValueError("--processes needs Linux or macOS")
    restarts, heartbeat = int(_value("restarts")), int(_value("heartbeat"))
    tries, pause = 0, float(_value("pause"))
    while True:
        begun = time.monotonic()
        more = ["--nofresh"] if tries and "--fresh" in command else []
        status, what = _attempt([*command, *more], count, heartbeat)
        if status != CRASHED:
            if status in REFUSED and what:
                _say(what)
            return status
        if time.monotonic() - begun > SOUND:
            tries, pause = 0, float(_value("pause"))
        if tries == restarts:
            _say(
                f"{what}. Given up after {tries} restarts in a row: the same command goes on from "
                "the last checkpoint"
            )
            return CRASHED
        tries += 1
        _say(f"{what}. From the last checkpoint in {pause:g} s (restart {tries} of {restarts})")
        time.sleep(pause)
        pause = min(2 * pause, LONGEST * float(_value("pause")))


def _attempt(command: Sequence[str], count: int, heartbeat: int) -> tuple[int, str]:
    """Starts all processes and waits: the status, and what happened."""
    reading, writing = os.pipe()
    workers: list[_Worker] = []
    try:
        with _signals() as came:
            workers += _start(command, count, heartbeat, reading)
            return _watch(workers, came, heartbeat)
    finally:
        for worker in workers:
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()
            if worker.said is not None:
                worker.said.close()
        os.close(reading)
        os.close(writing)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals to stop that come meanwhile."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda n, _: came.append(n)) for number in numbers]
    try:
        yield came
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)


def _start(command: Sequence[str], count: int, heartbeat: int, reading: int) -> Iterator[_Worker]:
    """Starts the processes, in sessions of their own: Ctrl-C is the supervisor's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for number in range(count):
        own = ["--processes=0", f"--heartbeat={heartbeat}"]
        if count > 1:
            own += [f"--coordinator=127.0.0.1:{port}", f"--num_processes={count}"]
            own += [f"--process_id={number}"]
        said = tempfile.TemporaryFile() if number else None
        process = subprocess.Popen(
            [*command, *own],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said and subprocess.STDOUT,
            env=os.environ | {_PIPE: str(reading)},
            pass_fds=(reading,),
            start_new_session=True,
        )
        yield _Worker(process, said)


def _watch(workers: list[_Worker], came: list[int], heartbeat: int) -> tuple[int, str]:
    """Until all have ended or one has failed, or a signal came."""
    stopped_since: dict[int, float] = {}
    while True:
        if came:
            return _stop(workers, came)
        codes = [worker.process.poll() for worker in workers]
        if all(code == 0 for code in codes):
            return 0, ""
        if any(codes) and all(code in (None, *STOPPED) for code in codes) and None in codes:
            return _stop(workers, [signal.SIGTERM])  # somebody else has sent it
        if any(codes):
            time.sleep(NOTICE)  # who was first is told by its status
            return _verdict(workers)
        for number, worker in enumerate(workers):
            if not _stands_still(worker.process.pid):
                stopped_since.pop(number, None)
            elif time.monotonic() - stopped_since.setdefault(number, time.monotonic()) > heartbeat:
                return CRASHED, f"{_name(workers, number)} stood still for {heartbeat} s"
        time.sleep(0.05)


def _stands_still(pid: int) -> bool:
    """Whether a process was stopped, by SIGSTOP for example."""
    if not hasattr(os, "waitid"):
        return False
    with contextlib.suppress(ChildProcessError):
        options = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, pid, options) is not None
    return False


def _stop(workers: list[_Worker], came: list[int]) -> tuple[int, str]:
    """Passes SIGTERM on and waits until all have saved; Ctrl-C ends them at once."""
    if came[0] == signal.SIGTERM:
        for worker in workers:
            if worker.process.poll() is None:
                worker.process.terminate()
        end = time.monotonic() + GRACE
        while time.monotonic() < end and len(came) < 2:
            codes = [worker.process.poll() for worker in workers]
            if None not in codes:
                return (0 if not any(codes) else 143), ""
            time.sleep(0.05)
        return 143, ""
    return 130, ""


def _verdict(workers: list[_Worker]) -> tuple[int, str]:
    """What a failure was, by how the processes have ended."""
    codes = [worker.process.poll() for worker in workers]
    ended = [(number, code) for number, code in enumerate(codes) if code]
    for kind, status in ((REFUSED, None), (STOPPED, 143)):
        if all(code in kind for _, code in ended) and codes[0] is not None:
            return status or ended[0][1], ""
    # A peer that died aborts the others: the one that was killed, or fell first, is to blame.
    later = (-signal.SIGABRT, CRASHED, *REFUSED)
    blame = sorted(ended, key=lambda own: own[1] in later)[0]
    number, code = blame
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
    what = f"{_name(workers, number)} ended {how}"
    if (said := workers[number].said) is not None:
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()[-10:]
        what = "\n  ".join([f"{what}; its last lines:", *lines]) if lines else what
    only_refused = all(code in REFUSED for _, code in ended)
    return (ended[0][1] if only_refused else CRASHED), what


def _name(workers: list[_Worker], number: int) -> str:
    return f"process {number} of {len(workers)}"


def _say(text: str) -> None:
    print(f"supervisor: {text}", file=sys.stderr, flush=True)
