"""Programs compiled for TPUs that are not there: memory and collectives of every training step."""

from __future__ import annotations

from absl import flags

from experiments.benchmark.options import numbers
from experiments.command import Command, check_output, run
from experiments.flags import entry_point

_PROGRAMS = flags.DEFINE_list("programs", [], "only these (a wrong name lists them; default: all)")
_CHIPS = flags.DEFINE_list("chips", ["1", "8", "256"], "how many TPU v5e chips share a minibatch")
_OUTPUT = flags.DEFINE_string("output", None, "also write the figures to this JSON file")

COMMAND = Command(
    name="benchmark compiled",
    about=__doc__ or "",
    examples=(
        ("", "the table"),
        ("--chips=8 --programs=RNTN", "one program"),
    ),
    run=("programs", "chips", "output"),
    notes="It needs the compiler for TPUs: ./launch.sh setup --extras=tpu. No TPU is needed.",
)


def _main() -> None:
    check_output(_OUTPUT.value)
    from experiments.benchmark.compiled.run import run as measure

    measure(_PROGRAMS.value, numbers(_CHIPS), _OUTPUT.value)


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
