"""Chain CRFs: milliseconds for loss and gradients, and for decoding; temporary memory."""

from __future__ import annotations

from absl import flags

from experiments.benchmark.options import COMMON, common, define_common_flags, define_peers_python
from experiments.command import Command, run
from experiments.flags import entry_point

define_common_flags()
_SHAPES = flags.DEFINE_multi_string(
    "shape",
    ["32,50,9", "32,128,32", "16,512,64", "8,1024,128", "1,10000,16"],
    "B,T,C: rows, tokens, labels; may be given several times",
)
_PARTS = flags.DEFINE_list(
    "parts", ["shared", "steps", "decode"], "shared or own edge scores, decoding"
)
_PYTHON = define_peers_python("pytorch-crf and torch-struct")

COMMAND = Command(
    name="benchmark crf",
    about=__doc__ or "",
    examples=(
        ("", "all shapes"),
        ("--shape=32,50,9 --parts=shared", "one shape, one task"),
        ("--peers_python=PYTHON --output=crf.json", "against the packages of another Python"),
    ),
    run=("shape", "parts", *COMMON, "peers_python"),
)


def _main() -> None:
    values = common()
    from experiments.benchmark.crf.run import run as measure

    measure(**values, shapes=_SHAPES.value, parts=_PARTS.value, python=_PYTHON.value)


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
