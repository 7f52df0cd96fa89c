"""Chunking by conditional random fields, over sparse features or neural: train, tag."""

from __future__ import annotations

from pathlib import Path

from absl import app, flags

from experiments.chunking.config import PRESETS, Config
from experiments.flags import config_from_flags, define_config_flags, entry_point

define_config_flags(Config, PRESETS, "demo")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "folder of the run (default: runs/chunking/PRESET); resumed if it exists"
)
_FRESH = flags.DEFINE_bool("fresh", False, "start the run over instead of resuming it")
_TAG = flags.DEFINE_string("tag", None, "tag a file of columns (- for standard input)")
_MARGINALS = flags.DEFINE_bool("marginals", False, "--tag prints the labels' probabilities too")
_MODEL = flags.DEFINE_string("model_file", None, "model file (default: the run's)")


def _main() -> None:
    config = config_from_flags(Config, PRESETS)
    preset = flags.FLAGS["preset"].value
    workdir = Path(_WORKDIR.value or f"runs/chunking/{preset}")
    if _TAG.value is not None:
        from experiments.chunking import predict

        path = Path(_MODEL.value or workdir / "model.safetensors")
        if not path.exists():
            raise FileNotFoundError(
                f"there is no model {path}: train one first (./launch.sh chunking "
                f"--preset={preset}), or name one with --model_file"
            )
        predict.tag(path, _TAG.value, marginals=_MARGINALS.value, constrained=config.constrained)
        return

    from experiments.chunking import train

    result = train.run(config, workdir, fresh=_FRESH.value)
    for split in ("dev", "test"):
        if f"{split}_f1" in result:
            print(
                f"{split}: F1 {100 * result[f'{split}_f1']:.2f}, accuracy "
                f"{100 * result[f'{split}_accuracy']:.2f}, "
                f"{result[f'{split}_nats']:.4f} nats a token"
            )
    if "best_test_accuracy" in result:
        print(
            f"best possible on test: accuracy {100 * result['best_test_accuracy']:.2f}, "
            f"{result['best_test_nats']:.4f} nats a token"
        )
    print(f"{result['seconds']:.1f} s; report: {result['report']}")


main = entry_point(_main)

if __name__ == "__main__":
    app.run(main)
