"""Structured distributions: milliseconds for sums with gradients and best structures; memory."""

from __future__ import annotations

from absl import flags

from experiments.benchmark.options import COMMON, common, define_common_flags, define_peers_python
from experiments.benchmark.structures.problem import SHAPES, TASKS
from experiments.command import Command, run
from experiments.flags import entry_point

define_common_flags()
_PARTS = flags.DEFINE_list("parts", list(TASKS), "what to measure")
_SHAPES = flags.DEFINE_multi_string(
    "shape",
    [],
    "sizes, as in 32,50; may be given several times (default: "
    + "; ".join(f"{task} {' '.join(shapes)}" for task, shapes in SHAPES.items())
    + ")",
)
_PYTHON = define_peers_python("torch-struct, SuPar, flash-semicrf, NetworkX")
_DYNAMAX = flags.DEFINE_string("dynamax_python", None, "a Python with dynamax (default: this one)")

COMMAND = Command(
    name="benchmark structures",
    about=__doc__ or "",
    examples=(
        ("", "everything"),
        ("--parts=projective --shape=32,50", "one task, one size"),
        ("--peers_python=PYTHON --output=structures.json", "against packages of another Python"),
    ),
    run=("parts", "shape", *COMMON, "peers_python", "dynamax_python"),
)


def _main() -> None:
    values = common()
    from experiments.benchmark.structures.run import run as measure

    measure(
        **values,
        shapes=_SHAPES.value,
        parts=_PARTS.value,
        python=_PYTHON.value,
        dynamax_python=_DYNAMAX.value,
    )


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
