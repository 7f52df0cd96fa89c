"""Recurrent language models by backpropagation through time: train, score, generate."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from experiments import processes
from experiments.command import Command, check_flags, model_file, run
from experiments.flags import config_from_flags, define_config_flags, define_run_flags, entry_point
from experiments.folders import default_folder, use_model
from experiments.language_model.config import PRESETS, Config

define_config_flags(Config, PRESETS, "demo")
_WORKDIR, _FRESH = define_run_flags("runs/language_model/PRESET, or one for each --train")
_SCORE = flags.DEFINE_string(
    "score", None, "perplexity of a text and of each of its sentences (- for standard input)"
)
_FORMAT = flags.DEFINE_enum("format", "text", ["text", "json"], "what to write")
_GENERATE = flags.DEFINE_integer("generate", None, "draw that many tokens", lower_bound=1)
_PROMPT = flags.DEFINE_string("prompt", "", "the words before those that are drawn")
_TEMPERATURE = flags.DEFINE_float(
    "temperature", 1.0, "of the distribution; 0: the most probable tokens", lower_bound=0.0
)
_TOP_K = flags.DEFINE_integer(
    "top_k", None, "draw from that many of the most probable tokens only", lower_bound=1
)
_MODEL = flags.DEFINE_string("model", None, "model file (default: the run's)")
_CHOICE = ("model", "workdir", "preset", "train")  # which model answers

COMMAND = Command(
    name="language_model",
    about=__doc__ or "",
    examples=(
        ("", "train on the embedded text: seconds"),
        ("--train=train.txt --dev=dev.txt", "train on a text of your own"),
        ("--score=text.txt", "perplexity of each sentence of a text"),
        ('--generate=100 --prompt="the film"', "carry on a text"),
    ),
    settings=Config,
    verbs={
        "score": ("format", *_CHOICE),
        "generate": ("prompt", "temperature", "top_k", "seed", *_CHOICE),
    },
    run=("preset", "workdir", "fresh", *processes.FLAGS),
    for_text="--generate=100 --prompt {}",
    for_file="--score={}",
    notes="""
    Texts hold one sentence a line; empty lines are skipped. A model adds <eos> to each sentence; a
    text that has its own gets no second one, and that is said on standard error.
    """,
)


def _main() -> None:
    config = config_from_flags(Config, PRESETS)
    verbs = check_flags(COMMAND, config)
    preset = str(flags.FLAGS["preset"].value)
    workdir = Path(_WORKDIR.value or default_folder("language_model", preset, config.train))
    if verbs:
        model_path = model_file(COMMAND, _MODEL.value, workdir)
        from experiments.language_model import predict

        if _SCORE.value is not None:
            predict.score(model_path, _SCORE.value, _FORMAT.value)
        if _GENERATE.value is not None:
            predict.write_text(
                model_path,
                _PROMPT.value,
                _GENERATE.value,
                _TEMPERATURE.value,
                _TOP_K.value,
                config.seed,
            )
        return

    from experiments.language_model import train

    result = train.run(config, workdir, fresh=_FRESH.value)
    print(f"best epoch on dev: {result['epoch']} of {result['epochs_run']}")
    for split in ("dev", "test"):
        if f"{split}_perplexity" in result:
            print(f"{split} perplexity {result[f'{split}_perplexity']:.2f}")
    if "best_test_perplexity" in result:
        print(f"best possible on test {result['best_test_perplexity']:.2f}")
    print(f"report: {result['report']}")
    print(f"score a text by this model: {use_model(COMMAND.name, workdir, '--score=FILE')}")


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
