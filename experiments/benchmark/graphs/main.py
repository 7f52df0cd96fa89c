"""CRFs on trees and graphs: exact marginals, loopy propagation, Gibbs sampling; growth."""

from __future__ import annotations

from absl import flags

from experiments.benchmark.options import COMMON, common, define_common_flags, define_peers_python
from experiments.command import Command, run
from experiments.flags import entry_point

define_common_flags()
_SHAPES = flags.DEFINE_multi_string(
    "shape",
    None,
    "trees,HOW MANY,NODES,LABELS, or grids|loopy|gibbs,HOW MANY,WIDTH,LENGTH,LABELS; may be given "
    "several times (default: fourteen)",
)
_PARTS = flags.DEFINE_list(
    "parts", ["trees", "grids", "loopy", "gibbs", "growth"], "which questions to ask"
)
_PYTHON = define_peers_python("the other packages")

COMMAND = Command(
    name="benchmark graphs",
    about=__doc__ or "",
    examples=(
        ("", "all shapes"),
        ("--shape=trees,1,1000,5 --shape=grids,1,8,100,2", "a tree and a grid"),
        ("--peers_python=PYTHON --threads=1", "against the packages of another Python"),
    ),
    run=("shape", "parts", *COMMON, "peers_python"),
)


def _main() -> None:
    values = common()
    from experiments.benchmark.graphs.run import SHAPES
    from experiments.benchmark.graphs.run import run as measure

    shapes = _SHAPES.value or SHAPES
    measure(**values, shapes=shapes, parts=_PARTS.value, python=_PYTHON.value)


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
