"""Chunking by conditional random fields, over sparse features or neural: train, tag."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from experiments import processes
from experiments.chunking.config import PRESETS, Config
from experiments.command import Command, check_flags, model_file, run
from experiments.flags import config_from_flags, define_config_flags, define_run_flags, entry_point
from experiments.folders import default_folder, use_model

define_config_flags(Config, PRESETS, "demo")
_WORKDIR, _FRESH = define_run_flags("runs/chunking/PRESET, or one for each --train")
_TAG = flags.DEFINE_string("tag", None, "tag a file of columns (- for standard input)")
_MARGINALS = flags.DEFINE_bool("marginals", False, "print the probabilities of the labels too")
_MODEL = flags.DEFINE_string("model_file", None, "model file (default: the run's)")

COMMAND = Command(
    name="chunking",
    about=__doc__ or "",
    examples=(
        ("", "train on embedded sentences: seconds"),
        ("--train=train.txt --test=test.txt", "train on columns of your own, the tag last"),
        ("--tag=words.txt --marginals", "columns in, tags and probabilities out"),
        ("--preset=paper --data_dir=DIR", "CoNLL-2000, by the neural model"),
    ),
    settings=Config,
    verbs={"tag": ("marginals", "constrained", "model_file", "workdir", "preset", "train")},
    run=("preset", "workdir", "fresh", *processes.FLAGS),
    for_text="--tag={}",
    for_file="--tag={}",
)


def _main() -> None:
    config = config_from_flags(Config, PRESETS)
    check_flags(COMMAND, config)
    preset = str(flags.FLAGS["preset"].value)
    workdir = Path(_WORKDIR.value or default_folder("chunking", preset, config.train))
    if _TAG.value is not None:
        path = model_file(COMMAND, _MODEL.value, workdir, "model_file")
        from rntn_jax.cli import tag

        tag.tag(path, _TAG.value, marginals=_MARGINALS.value, constrained=config.constrained)
        return

    from experiments.chunking import train

    result = train.run(config, workdir, fresh=_FRESH.value)
    for split in ("dev", "test"):
        if f"{split}_accuracy" in result:
            chunks = f"F1 {100 * result[f'{split}_f1']:.2f}, " if f"{split}_f1" in result else ""
            print(
                f"{split}: {chunks}accuracy {100 * result[f'{split}_accuracy']:.2f}, "
                f"{result[f'{split}_nats']:.4f} nats a token"
            )
    if "best_test_accuracy" in result:
        print(
            f"best possible on test: accuracy {100 * result['best_test_accuracy']:.2f}, "
            f"{result['best_test_nats']:.4f} nats a token"
        )
    print(f"{result['seconds']:.1f} s; report: {result['report']}")
    print(f"tag a file by this model: {use_model(COMMAND.name, workdir, '--tag=FILE')}")


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
