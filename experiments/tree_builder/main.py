"""Binary trees over sentences, by scores of spans: train."""

from __future__ import annotations

from pathlib import Path

from absl import app, flags

from experiments.flags import config_from_flags, define_config_flags, entry_point
from experiments.tree_builder.config import PRESETS, Config

define_config_flags(Config, PRESETS, "demo")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "folder of the run (default: runs/tree_builder/PRESET); resumed if it exists"
)
_FRESH = flags.DEFINE_bool("fresh", False, "start the run over instead of resuming it")


def _main() -> None:
    config = config_from_flags(Config, PRESETS)
    preset = flags.FLAGS["preset"].value
    workdir = Path(_WORKDIR.value or f"runs/tree_builder/{preset}")
    from experiments.tree_builder import train

    result = train.run(config, workdir, fresh=_FRESH.value)
    print(f"best epoch on dev: {result['epoch']} of {result['epochs_run']}")
    for split in ("dev", "test"):
        scores = {name: 100 * value for name, value in result[split].items()}
        print(
            f"{split}: F1 {scores['f1']:.2f}  below the root {scores['f1_below_root']:.2f}  "
            f"exact {scores['exact']:.2f}  root's join {scores['root']:.2f}"
        )
    print(f"report: {result['report']}")


main = entry_point(_main)

if __name__ == "__main__":
    app.run(main)
