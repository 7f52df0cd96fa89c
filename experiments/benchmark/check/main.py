"""Measures a few ratios of each benchmark anew, and says which fell by more than a fifth."""

from __future__ import annotations

from absl import flags

from experiments.benchmark.options import define_rounds
from experiments.command import Command, check_output, run
from experiments.flags import entry_point

_ONLY = flags.DEFINE_list("only", [], "only these (a wrong name lists them; default: all)")
_ROUNDS = define_rounds(5)
_OUTPUT = flags.DEFINE_string("output", None, "write the ratios to this JSON file, too")

COMMAND = Command(
    name="benchmark check",
    about=__doc__ or "",
    examples=(("", "all; some minutes"), ("--only=crf,rnn_lm", "some")),
    run=("only", "rounds", "output"),
)


def _main() -> None:
    check_output(_OUTPUT.value)
    from experiments.benchmark.check.run import run as measure

    if measure(only=_ONLY.value, rounds=_ROUNDS.value, output=_OUTPUT.value):
        raise SystemExit(1)


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
