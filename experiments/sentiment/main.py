"""Sentiment trees by recursive neural tensor networks: train, evaluate, predict."""

from __future__ import annotations

from pathlib import Path

from absl import app, flags

from experiments.flags import config_from_flags, define_config_flags, entry_point
from experiments.sentiment.config import PRESETS, Config

define_config_flags(Config, PRESETS, "demo")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "folder of the run (default: runs/sentiment/PRESET); resumed if it exists"
)
_FRESH = flags.DEFINE_bool("fresh", False, "start the run over instead of resuming it")
_EVALUATE = flags.DEFINE_string("evaluate", None, "score a treebank file with the trained model")
_BRACKETS = flags.DEFINE_enum(
    "brackets",
    "gold",
    ["gold", "built", "balanced", "right"],
    "with --evaluate: the file's brackets, or others over the same words (then roots are scored)",
)
_PREDICT = flags.DEFINE_string(
    "predict",
    None,
    "label this text, or a file (- for standard input): a text on each line, or trees, or parses",
)
_INPUT = flags.DEFINE_enum(
    "input",
    "auto",
    ["auto", "text", "trees", "parses"],
    "what --predict reads: texts, sentiment trees, or Penn Treebank parses of another parser",
)
_LABEL = flags.DEFINE_string(
    "label", None, "make training trees (--output) of a file of labelled sentences and phrases"
)
_EXPORT = flags.DEFINE_string("export", None, "write --model and --builder to this file as one")
_SUMMARY = flags.DEFINE_string(
    "summary", None, "print mean and best of the finished runs whose folders match this pattern"
)
_MODEL = flags.DEFINE_string(
    "model",
    None,
    "model file (default: that of --workdir or --preset, else the one in the package)",
)
_BUILDER = flags.DEFINE_string(
    "builder", None, "model file of the tree builder (default: the one in the package)"
)
_FORMAT = flags.DEFINE_enum(
    "format", "text", ["text", "json", "brackets", "svg", "html"], "what --predict writes"
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "file for --predict to write (default: standard output); a folder for svg"
)


def _main() -> None:
    if _SUMMARY.value is not None:
        from experiments.sentiment.summary import summarize

        return summarize(_SUMMARY.value)
    config = config_from_flags(Config, PRESETS)
    preset = flags.FLAGS["preset"].value
    workdir = Path(_WORKDIR.value or f"runs/sentiment/{preset}")
    verbs = (_EVALUATE, _PREDICT, _LABEL, _EXPORT)
    if any(verb.value is not None for verb in verbs):
        model = _MODEL.value
        if model is None and (_WORKDIR.present or flags.FLAGS["preset"].present):
            model = workdir / "model.safetensors"
        if model is not None and not Path(model).exists():
            raise FileNotFoundError(
                f"there is no model {model}: train one first (./launch.sh sentiment "
                f"--preset={preset}), or name one with --model"
            )
        from experiments.sentiment import predict

        annotator = predict.load(model, _BUILDER.value)
        if _EVALUATE.value is not None:
            predict.evaluate(annotator, _EVALUATE.value, _BRACKETS.value)
        if _PREDICT.value is not None:
            predict.predict(annotator, _PREDICT.value, _INPUT.value, _FORMAT.value, _OUTPUT.value)
        if _LABEL.value is not None:
            predict.label(annotator, _LABEL.value, _OUTPUT.value)
        if _EXPORT.value is not None:
            predict.export(annotator, _EXPORT.value)
        return

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


main = entry_point(_main)

if __name__ == "__main__":
    app.run(main)
