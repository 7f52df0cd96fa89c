"""Dependency parsing by transitions over a window network: train, parse."""

from __future__ import annotations

from pathlib import Path

from absl import app, flags

from experiments.flags import config_from_flags, define_config_flags, entry_point
from experiments.parsing.config import PRESETS, Config

define_config_flags(Config, PRESETS, "demo")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "folder of the run (default: runs/parsing/PRESET); resumed if it exists"
)
_FRESH = flags.DEFINE_bool("fresh", False, "start the run over instead of resuming it")
_PARSE = flags.DEFINE_string("parse", None, "parse a tagged CoNLL-U file (- for standard input)")
_MODEL = flags.DEFINE_string("model", None, "model file (default: the run's)")


def _main() -> None:
    config = config_from_flags(Config, PRESETS)
    preset = flags.FLAGS["preset"].value
    workdir = Path(_WORKDIR.value or f"runs/parsing/{preset}")
    if _PARSE.value is not None:
        from experiments.parsing import predict

        path = Path(_MODEL.value or workdir / "model.safetensors")
        if not path.exists():
            raise FileNotFoundError(
                f"there is no model {path}: train one first (./launch.sh parsing "
                f"--preset={preset}), or name one with --model"
            )
        predict.parse(path, _PARSE.value)
        return

    from experiments.parsing import train

    result = train.run(config, workdir, fresh=_FRESH.value)
    print(f"best epoch on dev: {result['epoch']} of {result['epochs_run']}")
    for split in ("dev", "test"):
        if f"{split}_uas" not in result:
            continue
        uas, las, clas = (100 * result[f"{split}_{name}"] for name in ("uas", "las", "clas"))
        print(f"{split}: UAS {uas:.2f}  LAS {las:.2f}  CLAS {clas:.2f}")
    print(f"report: {result['report']}")


main = entry_point(_main)

if __name__ == "__main__":
    app.run(main)
