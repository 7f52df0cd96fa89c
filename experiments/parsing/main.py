"""Dependency parsing, by transitions or by scores of arcs: train, parse, from raw text too."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from experiments import processes
from experiments.command import Command, check_flags, check_output, model_file, run
from experiments.flags import config_from_flags, define_config_flags, define_run_flags, entry_point
from experiments.folders import default_folder, use_model
from experiments.parsing.config import PRESETS, Config

define_config_flags(Config, PRESETS, "demo")
_WORKDIR, _FRESH = define_run_flags("runs/parsing/PRESET, or one for each --train")
_PARSE = flags.DEFINE_string("parse", None, "parse a tagged CoNLL-U file (- for standard input)")
_TEXT = flags.DEFINE_string(
    "text", None, "find sentences, words, tags and trees of this raw text, or of that in this file "
    "(- for standard input)"
)  # fmt: skip
_EVALUATE = flags.DEFINE_string(
    "evaluate_text", None, "score the analysis of the raw text of this treebank (CoNLL-U)"
)
_FORMAT = flags.DEFINE_enum(
    "format", "conllu", ["conllu", "text", "json", "svg", "html"], "what to write"
)
_OUTPUT = flags.DEFINE_string("output", None, "file to write (default: standard output)")
_MARGINALS = flags.DEFINE_bool(
    "marginals", False, "write the probability of each arc into MISC (of a run with --model=graph)"
)  # fmt: skip
_MODEL = flags.DEFINE_string(
    "model_file", None, "model file (default of --parse: the run's; for raw text, one that "
    "./launch.sh ud_pipeline trained; default: that in the package)"
)  # fmt: skip

COMMAND = Command(
    name="parsing",
    about=__doc__ or "",
    examples=(
        ("", "train on the embedded treebank: seconds"),
        ("--preset=graph --train=train.conllu", "by scores of arcs, on CoNLL-U files of your own"),
        ("--parse=tagged.conllu", "parse with the model that was trained so"),
        ('--text "The dog ate my homework."', "raw text, or that of a file"),
    ),
    settings=Config,
    verbs={
        "parse": ("model_file", "marginals", "workdir", "preset", "train"),
        "text": ("model_file", "format", "output"),
        "evaluate_text": ("model_file", "output"),
    },
    run=("preset", "workdir", "fresh", *processes.FLAGS),
    for_text="--text {}",
    for_file="--parse={}",
)


def _main() -> None:
    config = config_from_flags(Config, PRESETS)
    verbs = check_flags(COMMAND, config)
    if len(verbs) > 1:
        raise ValueError(f"give one of --{' and --'.join(verbs)}")
    check_output(_OUTPUT.value)
    preset = str(flags.FLAGS["preset"].value)
    workdir = Path(_WORKDIR.value or default_folder("parsing", preset, config.train))
    if _PARSE.value is not None:
        path = model_file(COMMAND, _MODEL.value, workdir, "model_file")
        from experiments.parsing import predict

        predict.parse(path, _PARSE.value, marginals=_MARGINALS.value)
        return
    if verbs:
        from rntn_jax.cli import parse

        if _TEXT.value is not None:
            parse.parse(_MODEL.value, _TEXT.value, _FORMAT.value, _OUTPUT.value)
        else:
            parse.evaluate(_MODEL.value, str(_EVALUATE.value), _OUTPUT.value)
        return

    from experiments.parsing import train

    result = train.run(config, workdir, fresh=_FRESH.value)
    print(f"best epoch on dev: {result['epoch']} of {result['epochs_run']}")
    for split in ("dev", "test"):
        if f"{split}_uas" not in result:
            continue
        uas, las, clas = (100 * result[f"{split}_{name}"] for name in ("uas", "las", "clas"))
        print(f"{split}: UAS {uas:.2f}  LAS {las:.2f}  CLAS {clas:.2f}")
        if (count := result.get(f"{split}_nonprojective_sentences")) is not None:
            error = 100 * result[f"{split}_calibration_error"]
            said = f"calibration error of the arcs {error:.2f} %"
            if count:
                uas, las = (100 * result[f"{split}_nonprojective_{s}"] for s in ("uas", "las"))
                said += f"; {count} sentences with crossing arcs: UAS {uas:.2f}  LAS {las:.2f}"
            print(f"{split}: {said}")
    print(f"report: {result['report']}")
    print(f"parse a file by this model: {use_model(COMMAND.name, workdir, '--parse=FILE')}")


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
