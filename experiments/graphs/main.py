"""CRFs on graphs, learnt in several ways: noisy images on grids, chunking by skip-chains."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from experiments.command import Command, check_flags, run
from experiments.flags import config_from_flags, define_config_flags, define_run_flags, entry_point
from experiments.graphs.config import CHUNKING_PRESETS, PRESETS, Config

define_config_flags(Config, PRESETS, "demo")
_WORKDIR, _FRESH = define_run_flags("runs/graphs/TASK/PRESET")

COMMAND = Command(
    name="graphs",
    about=__doc__ or "",
    examples=(
        ("", "noisy images by a CRF on a grid, learnt in several ways"),
        ("--preset=paper", "handwritten digits; needs the extra images"),
        ("--task=chunking", "skip-chain CRFs: equal capitalised words are neighbours"),
    ),
    settings=Config,
    run=("preset", "workdir", "fresh"),
)


def _main() -> None:
    task = flags.FLAGS["task"].value or "images"
    presets = {"images": PRESETS, "chunking": CHUNKING_PRESETS}[task]
    config = config_from_flags(Config, presets)
    check_flags(COMMAND, config)
    workdir = Path(_WORKDIR.value or f"runs/graphs/{task}/{flags.FLAGS['preset'].value}")
    from experiments.graphs import report, text_report, train

    result = train.run(config, workdir, fresh=_FRESH.value)
    table = {"images": report.table, "chunking": text_report.table}[task]
    print(report.table_text(table(result)))
    print(f"report: {result['report']}")


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
