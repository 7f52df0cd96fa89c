"""CRFs on graphs, learnt in several ways: noisy images on grids, chunking by skip-chains."""

from __future__ import annotations

from pathlib import Path

from absl import app, flags

from experiments.flags import config_from_flags, define_config_flags, entry_point
from experiments.graphs.config import CHUNKING_PRESETS, PRESETS, Config

define_config_flags(Config, PRESETS, "demo")
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "folder of the run (default: runs/graphs/TASK/PRESET); resumed if it exists",
)
_FRESH = flags.DEFINE_bool("fresh", False, "start the run over instead of resuming it")


def _main() -> None:
    task = flags.FLAGS["task"].value or "images"
    presets = {"images": PRESETS, "chunking": CHUNKING_PRESETS}[task]
    config = config_from_flags(Config, presets)
    workdir = Path(_WORKDIR.value or f"runs/graphs/{task}/{flags.FLAGS['preset'].value}")
    from experiments.graphs import report, text_report, train

    result = train.run(config, workdir, fresh=_FRESH.value)
    table = {"images": report.table, "chunking": text_report.table}[task]
    print(report.table_text(table(result)))
    print(f"report: {result['report']}")


main = entry_point(_main)

if __name__ == "__main__":
    app.run(main)
