"""Settings of the tree builder's training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments import settings
from experiments.flags import GIVEN, check_ranges, option

__all__ = ["PRESETS", "Config"]


@dataclass(frozen=True)
class Config:
    """What a run depends on; two runs with equal settings give equal parameters."""

    corpus: str = settings.corpus("sst", "Stanford treebank")
    data_dir: str | None = option(None, settings.DATA_DIR)
    train: str | None = option(None, "train on the brackets of this file instead")
    dev: str | None = settings.dev_file()
    test: str | None = settings.test_file()
    phrases: str | None = option(
        None, "also learn from phrases and tags of dependency trees: ud_ewt, or a CoNLL-U file"
    )
    max_trees: int | None = option(None, "use only that many trees of each split")

    min_count: int = option(2, "rarer words and word shapes are unknown", group="model")
    word_dim: int = option(50, "width of word vectors")
    shape_dim: int = option(25, "width of the vectors of word shapes (capital, last three letters)")
    rnn_layers: int = option(1, "recurrent layers, each in both directions")
    rnn_dim: int = option(100, "width of the recurrent states, of each direction")
    cell: str = settings.cell()
    hidden_dim: int = option(100, "width of the hidden layer")
    unknown_rate: float = option(0.1, "rate at which words become unknown in training")
    input_dropout: float = option(0.3, "dropout rate on the vectors")
    hidden_dropout: float = option(0.3, "dropout rate on the states and the hidden layer")

    seed: int = option(0, "seed of initialisation, order and dropout", group="training")
    epochs: int = option(20, "passes over the training trees")
    batch_size: int = option(32, "trees per minibatch")
    phrase_epochs: int = option(
        12, "how many of the first epochs also learn from phrases", needs={"phrases": GIVEN}
    )
    phrase_weight: float = option(0.5, "weight of the loss of phrases", needs={"phrases": GIVEN})
    tag_weight: float = option(
        0.3, "weight of the loss of their words' tags", needs={"phrases": GIVEN}
    )
    learning_rate: float = option(2e-3, "step size of Adam, falling to 0 as a cosine")
    clip_norm: float | None = option(1.0, "clip the gradient to this global norm")
    average: float = option(
        0.998, "decay per update of the running mean of the weights; 0: no mean"
    )

    devices: int = settings.devices("trees of a minibatch", group="execution")
    keep_checkpoints: int = option(2, "how many checkpoints to keep")
    tensorboard: bool = option(False, "also write TensorBoard events (needs the extra)")

    def __post_init__(self) -> None:
        check_ranges(
            self,
            at_least_one=(
                "max_trees",
                "min_count",
                "word_dim",
                "shape_dim",
                "rnn_layers",
                "rnn_dim",
                "hidden_dim",
                "epochs",
                "batch_size",
                "devices",
                "keep_checkpoints",
            ),
            not_negative=("seed", "phrase_epochs"),
            rates=("unknown_rate", "input_dropout", "hidden_dropout", "average"),
            positive=("learning_rate", "clip_norm", "phrase_weight", "tag_weight"),
        )
        settings.check_own_files(self)
        settings.check_devices(self)


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"max_trees": 60, "epochs": 2, "rnn_dim": 16, "hidden_dim": 16},
    "demo": {"epochs": 4, "rnn_dim": 32, "hidden_dim": 32},
    "paper": {
        "corpus": "sst",
        "rnn_dim": 150,
        "hidden_dim": 150,
        "unknown_rate": 0.2,
        "input_dropout": 0.5,
        "hidden_dropout": 0.4,
        "phrases": "ud_ewt",
    },
}
