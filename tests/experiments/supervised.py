"""Commands run as users run them, in several processes, from outside: what happens to them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 600  # seconds that a run may take between two events before it counts as hanging


def command_environment(programs: Path, **more: str) -> dict[str, str]:
    """The environment of runs that share a folder of compiled programs."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(programs),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_FLAGS": "",
        **more,
    }


def start_command(
    name: str, workdir: Path, environment: dict[str, str], *flags: str
) -> subprocess.Popen[bytes]:
    """Starts a run; what it prints goes to a file: a pipe that nobody reads would stop it."""
    command = [sys.executable, "-m", f"experiments.{name}.main", *flags, f"--workdir={workdir}"]
    with open(f"{workdir}.printed", "wb") as printed:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=printed, stderr=subprocess.STDOUT
        )


def printed(workdir: Path) -> str:
    return Path(f"{workdir}.printed").read_text(errors="replace")


def finish(process: subprocess.Popen[bytes], workdir: Path) -> None:
    process.wait(timeout=PATIENCE)
    assert process.returncode == 0, printed(workdir)[-5000:]


def workers(supervisor: int) -> list[int]:
    """Process ids of the workers, in their order; empty while they begin or end."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            arguments = (entry / "cmdline").read_bytes().decode().split("\0")
        except (OSError, ValueError, IndexError):
            continue
        if parent == supervisor:
            found |= {a: int(entry.name) for a in arguments if a.startswith("--process_id=")}
    return [found[name] for name in sorted(found)] if len(found) == 2 else []


def newest(workdir: Path) -> str:
    return max((path.name for path in workdir.glob("checkpoints/**/step-*")), default="")


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[bytes]) -> bool:
    """Waits; whether the process still runs then."""
    end = time.monotonic() + PATIENCE
    while not condition() and process.poll() is None:
        assert time.monotonic() < end, "it hangs"
        time.sleep(0.01)
    return process.poll() is None
