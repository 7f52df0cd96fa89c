"""Sentiment trees by recursive networks and their baselines: train, evaluate, predict."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from experiments import processes
from experiments.command import Command, check_flags, check_output, model_file, run
from experiments.flags import config_from_flags, define_config_flags, define_run_flags, entry_point
from experiments.folders import default_folder, use_model
from experiments.sentiment.config import BAGS, PRESETS, Config

define_config_flags(Config, PRESETS, "demo")
_WORKDIR, _FRESH = define_run_flags("runs/sentiment/PRESET, or one for each --train")
_PREDICT = flags.DEFINE_string(
    "predict", None, "label this text, or the texts, trees or parses in this file (- for standard "
    "input; see the end)"
)  # fmt: skip
_EVALUATE = flags.DEFINE_string("evaluate", None, "score a treebank file with the trained model")
_EVALUATE_TEXT = flags.DEFINE_string(
    "evaluate_text", None, "how many of the sentences in this file come out on the right side: "
    "lines of group, label and sentence, with tabs between (the group may be left out)"
)  # fmt: skip
_ENSEMBLE = flags.DEFINE_string(
    "ensemble", None, "answer by the mean of all models whose files, or folders of runs, match "
    "this pattern"
)  # fmt: skip
_LABEL = flags.DEFINE_string(
    "label", None, "make training trees (--output) of a file of labelled sentences and phrases"
)
_EXPORT = flags.DEFINE_string(
    "export", None, "write --model_file and --builder to this file as one"
)
_SUMMARY = flags.DEFINE_string(
    "summary", None, "print mean and best of the finished runs whose folders match this pattern"
)
_SERVE = flags.DEFINE_bool(
    "serve", None, "serve a page on this machine: type sentences, see their trees, correct them"
)
_PORT = flags.DEFINE_integer("port", 8765, "of the page; 0: any that is free", 0, 65535)
_OPEN = flags.DEFINE_bool("open", True, "open a browser, where there is one")
_CORRECTIONS = flags.DEFINE_string(
    "corrections",
    "runs/sentiment/corrections.txt",
    "file to which the page writes every correction",
)
_FORMAT = flags.DEFINE_enum(
    "format", "text", ["text", "json", "brackets", "svg", "html"], "what to write"
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "file to write (default: standard output); a folder for several svg"
)
_INPUT = flags.DEFINE_enum(
    "input",
    "auto",
    ["auto", "text", "trees", "parses"],
    "what --predict is given: texts, sentiment trees, or Penn Treebank parses of another parser; "
    "auto: a guess",
)
_MODEL = flags.DEFINE_string(
    "model_file",
    None,
    "model file (default: that of --workdir or --preset, else the one in the package)",
)
_BUILDER = flags.DEFINE_string(
    "builder", None, "model file of the tree builder (default: the one in the package)"
)
_BRACKETS = flags.DEFINE_enum(
    "brackets",
    "gold",
    ["gold", "built", "balanced", "right"],
    "the file's brackets, or others over the same words (then roots are scored)",
)
_TRAIN = "./launch.sh sentiment --train={}"
_CHOICE = ("model_file", "builder", "workdir", "preset", "train")  # which model answers
_CHOICES = (*_CHOICE, "ensemble")

COMMAND = Command(
    name="sentiment",
    about=__doc__ or "",
    examples=(
        (
            '--predict "A gorgeous, witty film."',
            "label a text; =FILE: each of its lines",
        ),
        ("--serve", "a page to type sentences and correct trees"),
        ("", "train on the embedded corpus: about a minute"),
        ("--train=train.txt --dev=dev.txt", "train on trees of your own"),
    ),
    settings=Config,
    verbs={
        "predict": ("format", "output", "input", *_CHOICES),
        "evaluate": ("brackets", *_CHOICES),
        "evaluate_text": _CHOICES,
        "label": ("output", *_CHOICE),
        "export": _CHOICE,
        "summary": (),
        "serve": ("port", "open", "corrections", *_CHOICES),
    },
    run=("preset", "workdir", "fresh", *processes.FLAGS),
    for_text="--predict {}",
    for_file="--predict={}",
    notes="""
    what --predict takes its argument for (--input says it outright):
      - a file, if there is one of that name, else a text; what looks like the name of a file
        (a/b, film.txt) and is none is an error, unless --input=text
      - trees, if it begins with a bracket, an integer label, and a word or further brackets:
        (3 (2 a) (4 film))    (3 film)
      - parses, if it begins with Penn Treebank labels, or others in capitals, around a word:
        (ROOT (S (NP (DT A) (NN film))))    (s (np (dt a) (nn film)))    (NN Yes)
      - else texts, one a line, also where they begin with a bracket: (2 thumbs up) Nice.
    What a file was taken for is said on standard error.
    """,
)


def _answer(workdir: Path) -> None:
    """What a trained model does."""
    model = None
    if _ENSEMBLE.value is not None and _MODEL.value is not None:
        raise ValueError("--ensemble and --model_file name different models: give one")
    if _ENSEMBLE.value is None and any(
        flags.FLAGS[name].present for name in ("model_file", "workdir", "preset", "train")
    ):
        model = model_file(COMMAND, _MODEL.value, workdir, "model_file")
    if _LABEL.value is not None or _FORMAT.value != "svg":  # a folder for pictures is made
        check_output(_OUTPUT.value)
    check_output(_EXPORT.value, "export")
    from experiments.sentiment import predict
    from rntn_jax.cli import label, sentiment

    if _ENSEMBLE.value is None:
        annotator = sentiment.load(model, _BUILDER.value)
    else:
        first, *others = predict.model_files(_ENSEMBLE.value)
        annotator = sentiment.load(first, _BUILDER.value, *others)
    if _PREDICT.value is not None:
        sentiment.predict(annotator, _PREDICT.value, _INPUT.value, _FORMAT.value, _OUTPUT.value)
    if _EVALUATE.value is not None:
        predict.evaluate(annotator, _EVALUATE.value, _BRACKETS.value)
    if _EVALUATE_TEXT.value is not None:
        predict.evaluate_text(annotator, _EVALUATE_TEXT.value)
    if _LABEL.value is not None:
        label.label(annotator, _LABEL.value, _OUTPUT.value)
    if _EXPORT.value is not None:
        predict.export(annotator, _EXPORT.value)
    if _SERVE.value:
        from rntn_jax.annotate.serve import serve

        serve(annotator, _CORRECTIONS.value, port=_PORT.value, command=_TRAIN, browser=_OPEN.value)


def _main() -> None:
    config = config_from_flags(Config, PRESETS)
    verbs = check_flags(COMMAND, config)
    preset = str(flags.FLAGS["preset"].value)
    if config.model != "rntn":
        preset += f"-{config.model}"
    workdir = Path(_WORKDIR.value or default_folder("sentiment", preset, config.train))
    if _SUMMARY.value is not None:
        from experiments.sentiment.summary import summarize

        summarize(_SUMMARY.value)
    if verbs:
        return _answer(workdir) if set(verbs) != {"summary"} else None

    from experiments.sentiment import train

    result = train.run(config, workdir, fresh=_FRESH.value)
    splits = [split for split in ("dev", "test") if split in result]
    columns = [name for name in result["dev"] if "corenlp" not in name]
    print(f"best epoch on dev: {result['epoch']} of {result['epochs_run']}")
    print(f"{'':14}" + "".join(f"{name:>13}" for name in columns))
    for split in splits:
        print(f"{split:14}" + "".join(f"{100 * result[split][c]:>12.2f}%" for c in columns))
    if "best_possible" in result:
        best = 100 * result["best_possible"]
        print(f"{'best possible':14}" + "".join(f"{best:>12.2f}%" for _ in columns))
    print(f"report: {result['report']}")
    if config.model in BAGS:
        return
    print(f"label texts by this model: {use_model(COMMAND.name, workdir, '--predict=FILE')}")


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
