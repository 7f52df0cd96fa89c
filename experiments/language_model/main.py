"""Recurrent language models by backpropagation through time: train, score, generate."""

from __future__ import annotations

from pathlib import Path

from absl import app, flags

from experiments.flags import config_from_flags, define_config_flags, entry_point
from experiments.language_model.config import PRESETS, Config

define_config_flags(Config, PRESETS, "demo")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "folder of the run (default: runs/language_model/PRESET); resumed if it exists"
)
_FRESH = flags.DEFINE_bool("fresh", False, "start the run over instead of resuming it")
_SCORE = flags.DEFINE_string(
    "score", None, "perplexity of a text and of each of its sentences (- for standard input)"
)
_FORMAT = flags.DEFINE_enum("format", "text", ["text", "json"], "what --score writes")
_GENERATE = flags.DEFINE_integer("generate", None, "draw that many tokens", lower_bound=1)
_PROMPT = flags.DEFINE_string("prompt", "", "what --generate carries on")
_TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "of --generate; 0: the most probable tokens")
_TOP_K = flags.DEFINE_integer("top_k", None, "--generate draws from that many tokens only")
_MODEL = flags.DEFINE_string("model", None, "model file (default: the run's)")


def _main() -> None:
    config = config_from_flags(Config, PRESETS)
    preset = flags.FLAGS["preset"].value
    workdir = Path(_WORKDIR.value or f"runs/language_model/{preset}")
    model_path = Path(_MODEL.value or workdir / "model.safetensors")
    if _SCORE.value is not None or _GENERATE.value is not None:
        from experiments.language_model import predict

        if not model_path.exists():
            raise FileNotFoundError(
                f"there is no model {model_path}: train one first (./launch.sh language_model "
                f"--preset={preset}), or name one with --model"
            )
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


main = entry_point(_main)

if __name__ == "__main__":
    app.run(main)
