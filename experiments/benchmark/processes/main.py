"""Training steps of several processes on this host: our rules against autodiff, in turns."""

from __future__ import annotations

from absl import flags

from experiments.command import Command, check_output, run
from experiments.flags import entry_point

_PROCESSES = flags.DEFINE_integer("count", 2, "how many processes share a minibatch", 1)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "rounds, of which ratios are the medians", 1)
_SCALING = flags.DEFINE_bool(
    "scaling", False, "steps of many sizes on 1, 2, 4 processes and devices, and a model of them"
)
_OUTPUT = flags.DEFINE_string("output", None, "also write the figures to this JSON file")

COMMAND = Command(
    name="benchmark processes",
    about=__doc__ or "",
    examples=(
        ("", "the table"),
        ("--count=1", "how it is without anybody to talk to"),
        ("--scaling", "the plan, fitted"),
    ),
    run=("scaling", "count", "rounds", "output"),
)


def _main() -> None:
    check_output(_OUTPUT.value)
    from experiments.benchmark.processes.run import run as measure
    from experiments.benchmark.processes.run import run_scaling

    if _SCALING.value:
        run_scaling(_OUTPUT.value)
    else:
        measure(_PROCESSES.value, _ROUNDS.value, _OUTPUT.value)


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
