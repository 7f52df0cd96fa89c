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
_COMBINE = flags.DEFINE_string(
    "combine", None, "write the builders of the runs whose folders match this pattern as one"
)
_EVALUATE = flags.DEFINE_string("evaluate", None, "score a treebank file with the trained model")
_MODEL = flags.DEFINE_string("model", None, "model file for --evaluate (default: the run's)")
_OUTPUT = flags.DEFINE_string("output", "builder.safetensors", "file for --combine to write")


def _main() -> None:
    if _COMBINE.value is not None:
        from experiments.tree_builder import predict

        return predict.combine(_COMBINE.value, _OUTPUT.value)
    config = config_from_flags(Config, PRESETS)
    preset = flags.FLAGS["preset"].value
    workdir = Path(_WORKDIR.value or f"runs/tree_builder/{preset}")
    if _EVALUATE.value is not None:
        from experiments.tree_builder import predict

        predict.evaluate(_MODEL.value or str(workdir / "model.safetensors"), _EVALUATE.value)
        return
    from experiments.tree_builder import train

    result = train.run(config, workdir, fresh=_FRESH.value)
    print(f"best epoch on dev: {result['epoch']} of {result['epochs_run']}")
    for split in ("dev", "test"):
        if split not in result:
            continue
        scores = {name: 100 * value for name, value in result[split].items()}
        print(
            f"{split}: F1 {scores['f1']:.2f}  below the root {scores['f1_below_root']:.2f}  "
            f"exact {scores['exact']:.2f}  root's join {scores['root']:.2f}"
        )
    print(f"report: {result['report']}")


main = entry_point(_main)

if __name__ == "__main__":
    app.run(main)
