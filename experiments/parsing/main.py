"""Dependency parsing by transitions over a window network: train, parse."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from experiments.command import Command, check_flags, model_file, run
from experiments.flags import config_from_flags, define_config_flags, define_run_flags, entry_point
from experiments.folders import default_folder, use_model
from experiments.parsing.config import PRESETS, Config

define_config_flags(Config, PRESETS, "demo")
_WORKDIR, _FRESH = define_run_flags("runs/parsing/PRESET, or one for each --train")
_PARSE = flags.DEFINE_string("parse", None, "parse a tagged CoNLL-U file (- for standard input)")
_MODEL = flags.DEFINE_string("model", None, "model file (default: the run's)")

COMMAND = Command(
    name="parsing",
    about=__doc__ or "",
    examples=(
        ("", "train on the embedded treebank: seconds"),
        ("--train=train.conllu --dev=dev.conllu", "train on CoNLL-U files of your own"),
        ("--parse=tagged.conllu", "parse with the model that was trained so"),
        ("--preset=paper --feats --data_dir=DIR", "UD English-EWT"),
    ),
    settings=Config,
    verbs={"parse": ("model", "workdir", "preset", "train")},
    run=("preset", "workdir", "fresh"),
    for_text="--parse={}",
    for_file="--parse={}",
)


def _main() -> None:
    config = config_from_flags(Config, PRESETS)
    check_flags(COMMAND, config)
    preset = str(flags.FLAGS["preset"].value)
    workdir = Path(_WORKDIR.value or default_folder("parsing", preset, config.train))
    if _PARSE.value is not None:
        path = model_file(COMMAND, _MODEL.value, workdir)
        from experiments.parsing import predict

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
    print(f"parse a file by this model: {use_model(COMMAND.name, workdir, '--parse=FILE')}")


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
