"""Table 1 of Socher et al. (2013): every row trained, published figures beside ours."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from experiments import processes
from experiments.command import Command, check_flags, run
from experiments.flags import config_from_flags, define_config_flags, define_run_flags, entry_point
from experiments.folders import default_folder
from experiments.table1.config import PRESETS, Config

define_config_flags(Config, PRESETS, "hour")
_WORKDIR, _FRESH = define_run_flags("runs/table1/PRESET")

COMMAND = Command(
    name="table1",
    about=__doc__ or "",
    examples=(
        ("--preset=smoke", "a few trees of the embedded corpus: does it run?"),
        ("--preset=hour --data_dir=DIR", "one seed of each row"),
        ("--preset=paper --data_dir=DIR", "three seeds of each row, five of the RNTN"),
        ("--rows=rnn,tree_lstm --data_dir=DIR", "two rows"),
    ),
    settings=Config,
    run=("preset", "workdir", "fresh", *processes.FLAGS),
    notes="""
    The same command again goes on where it was stopped. Each run lies in a folder of its own below
    --workdir, table.md and report.html beside them. The row svm needs scikit-learn (the extra
    baselines).
    """,
)


def _main() -> None:
    config = config_from_flags(Config, PRESETS)
    check_flags(COMMAND, config)
    preset = str(flags.FLAGS["preset"].value)
    workdir = Path(_WORKDIR.value or default_folder("table1", preset))

    from experiments.table1 import train

    result = train.run(config, workdir, fresh=_FRESH.value)
    print((workdir / "table.md").read_text("utf-8"), end="")
    print(f"report: {result['report']}")


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
