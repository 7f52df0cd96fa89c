"""Training of recursive networks: trees a second, memory, growth; hand rules against autodiff."""

from __future__ import annotations

from absl import flags

from experiments.benchmark.options import (
    COMMON,
    common,
    corpus,
    define_common_flags,
    define_corpus_flags,
    numbers,
)
from experiments.benchmark.rntn.parts import CELLS, PARTS
from experiments.command import Command, run
from experiments.flags import entry_point

define_common_flags()
define_corpus_flags("sst")
_CELL = flags.DEFINE_enum("cell", "rntn", list(CELLS), "what composes two children")
_PARTS = flags.DEFINE_list(
    "parts",
    None,
    f"what to measure of {', '.join(PARTS)}; rule: the gradient of a sweep against autodiff's, all "
    "that there is of some cells (default: all)",
)
_DIMS = flags.DEFINE_list("dims", ["25", "50", "100"], "widths of the node states")
_BATCH_SIZES = flags.DEFINE_list(
    "batch_sizes", ["1", "27", "256"], "trees a minibatch, each for all widths"
)
_TORCH = flags.DEFINE_string("torch_python", None, "a Python with PyTorch (default: this one)")
_DYNET = flags.DEFINE_string("dynet_python", None, "a Python with DyNet (default: this one)")
_DGL = flags.DEFINE_string("dgl_python", None, "a Python with DGL and PyTorch (default: this one)")

COMMAND = Command(
    name="benchmark rntn",
    about=__doc__ or "",
    examples=(
        ("", "on the embedded treebank"),
        ("--corpus=sst --data_dir=DIR --threads=1 --batch_sizes=27", "the table of the README"),
        ("--cell=tree_lstm --dims=150 --batch_sizes=25", "Tree-LSTMs instead"),
    ),
    run=(
        "corpus",
        "data_dir",
        "cell",
        "parts",
        "dims",
        "batch_sizes",
        *COMMON,
        "torch_python",
        "dynet_python",
        "dgl_python",
    ),
)


def _main() -> None:
    values = common() | corpus()
    from experiments.benchmark.rntn.run import run as measure

    parts = _PARTS.value or list(CELLS[_CELL.value])
    pythons = {"torch": _TORCH.value, "dynet": _DYNET.value, "dgl": _DGL.value}
    measure(
        **values,
        dims=numbers(_DIMS),
        batch_sizes=numbers(_BATCH_SIZES),
        cell=_CELL.value,
        parts=parts,
        pythons={name: python for name, python in pythons.items() if python},
    )


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
