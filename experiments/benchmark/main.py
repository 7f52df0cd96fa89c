"""Benchmarks: speed and memory of the hand-derived rules against autodiff and other libraries."""

from __future__ import annotations

import sys

from absl import app, flags

_NAME = flags.DEFINE_enum("name", "rntn", ["rntn"], "which benchmark")
_CORPUS = flags.DEFINE_enum("corpus", "demo", ["demo", "sst"], "whose trees")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "where the corpus lies")
_DIMS = flags.DEFINE_list("dims", ["25", "50", "100"], "widths of the node states")
_BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["1", "27", "256"], "trees a minibatch")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "times each system is run, in turn", lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", 2, "CPU threads for every system", lower_bound=1)
_SYSTEMS = flags.DEFINE_list(
    "systems",
    [],
    "only these: ours, autodiff, torch_hand, torch_levels, torch_nodes, dynet, dynet_autobatch, "
    "dgl",
)
_DYNET = flags.DEFINE_string("dynet_python", None, "a Python with DyNet (which: other_rntn.py)")
_DGL = flags.DEFINE_string("dgl_python", None, "a Python with DGL and PyTorch")
_PARTS = flags.DEFINE_list("parts", ["speed", "epoch", "growth"], "speed, epoch, growth")
_OUTPUT = flags.DEFINE_string("output", None, "also write the figures to this JSON file")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    from experiments.benchmark import rntn

    try:
        rntn.run(
            corpus=_CORPUS.value,
            data_dir=_DATA_DIR.value,
            dims=[int(d) for d in _DIMS.value],
            batch_sizes=[int(b) for b in _BATCH_SIZES.value],
            rounds=_ROUNDS.value,
            threads=_THREADS.value,
            systems=_SYSTEMS.value,
            parts=_PARTS.value,
            pythons={
                name: python
                for name, python in (("dynet", _DYNET.value), ("dgl", _DGL.value))
                if python
            },
            output=_OUTPUT.value,
        )
    except (ValueError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    app.run(main)
