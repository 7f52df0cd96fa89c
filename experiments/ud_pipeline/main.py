"""From raw text to Universal Dependencies: train segmenter, tagger and parser, and score a text."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from experiments import processes
from experiments.command import Command, check_flags, run
from experiments.flags import config_from_flags, define_config_flags, define_run_flags, entry_point
from experiments.folders import default_folder
from experiments.ud_pipeline.config import PRESETS, Config

define_config_flags(Config, PRESETS, "demo")
_WORKDIR, _FRESH = define_run_flags("runs/ud_pipeline/PRESET, or one for each --train")

COMMAND = Command(
    name="ud_pipeline",
    about=__doc__ or "",
    examples=(
        ("", "train on the embedded treebank"),
        ("--train=train.conllu --dev=dev.conllu", "train on CoNLL-U files of your own"),
        ("--preset=paper --data_dir=DIR", "UD English-EWT: the model in the package"),
    ),
    settings=Config,
    run=("preset", "workdir", "fresh", *processes.FLAGS),
    notes="To use a model: ./launch.sh parsing --text=FILE --model_file=RUN/model.safetensors",
)


def _main() -> None:
    config = config_from_flags(Config, PRESETS)
    check_flags(COMMAND, config)
    preset = str(flags.FLAGS["preset"].value)
    workdir = Path(_WORKDIR.value or default_folder("ud_pipeline", preset, config.train))
    from experiments.ud_pipeline import train

    result = train.run(config, workdir, fresh=_FRESH.value)
    for split in ("dev", "test"):
        if f"{split}_las" in result:
            names = ("tokens", "words", "sentences", "upos", "ufeats", "uas", "las")
            shown = "  ".join(f"{n} {100 * result[f'{split}_{n}']:.2f}" for n in names)
            print(f"{split}, F1 from raw text: {shown}")
    model = workdir / "model.safetensors"
    print(f"parse a text by this model: ./launch.sh parsing --text=FILE --model_file={model}")


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
