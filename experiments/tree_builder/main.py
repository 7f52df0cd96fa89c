"""Binary trees over sentences, by scores of spans: train."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from experiments import processes
from experiments.command import Command, check_flags, check_output, model_file, run
from experiments.flags import config_from_flags, define_config_flags, define_run_flags, entry_point
from experiments.folders import default_folder, use_model
from experiments.tree_builder.config import PRESETS, Config

define_config_flags(Config, PRESETS, "demo")
_WORKDIR, _FRESH = define_run_flags("runs/tree_builder/PRESET, or one for each --train")
_COMBINE = flags.DEFINE_string(
    "combine", None, "write the builders of the runs whose folders match this pattern as one"
)
_EVALUATE = flags.DEFINE_string("evaluate", None, "score a treebank file with the trained model")
_MODEL = flags.DEFINE_string("model", None, "model file (default: the run's)")
_OUTPUT = flags.DEFINE_string("output", "builder.safetensors", "file to write")

COMMAND = Command(
    name="tree_builder",
    about=__doc__ or "",
    examples=(
        ("", "train on the embedded treebank"),
        ("--train=train.txt --dev=dev.txt", "train on the brackets of trees of your own"),
        ("--evaluate=test.txt", "score the trained model on a treebank"),
        ("--preset=paper --data_dir=DIR", "the Stanford Sentiment Treebank"),
    ),
    settings=Config,
    verbs={"evaluate": ("model", "workdir", "preset", "train"), "combine": ("output",)},
    run=("preset", "workdir", "fresh", *processes.FLAGS),
    for_file="--evaluate={}",
)


def _main() -> None:
    config = config_from_flags(Config, PRESETS)
    verbs = check_flags(COMMAND, config)
    preset = str(flags.FLAGS["preset"].value)
    workdir = Path(_WORKDIR.value or default_folder("tree_builder", preset, config.train))
    if _COMBINE.value is not None:
        check_output(_OUTPUT.value)
    if verbs:
        path = model_file(COMMAND, _MODEL.value, workdir) if "evaluate" in verbs else None
        from experiments.tree_builder import predict

        if _EVALUATE.value is not None:
            predict.evaluate(str(path), _EVALUATE.value)
        if _COMBINE.value is not None:
            predict.combine(_COMBINE.value, _OUTPUT.value)
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
            f"exact {scores['exact']:.2f}  root's split {scores['root']:.2f}"
        )
    print(f"report: {result['report']}")
    print(f"score a treebank by this model: {use_model(COMMAND.name, workdir, '--evaluate=FILE')}")


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
