"""Settings of the language model experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments import settings
from experiments.flags import check_ranges, option

__all__ = ["PRESETS", "Config"]


@dataclass(frozen=True)
class Config:
    """What a run depends on; two runs with equal settings give equal parameters."""

    corpus: str = settings.corpus("ptb", "Penn Treebank text")
    data_dir: str | None = settings.data_dir("ptb")
    train: str | None = option(None, "train on this file instead (one sentence a line)")
    dev: str | None = settings.dev_file("the last tenth of --train")
    test: str | None = settings.test_file()
    level: str = option(
        "word",
        "whether the tokens of a file are words or characters",
        ("word", "char"),
        needs=settings.WITH_TRAIN,
    )
    stream: bool = option(
        False,
        "train on a text larger than memory: --train is a file, a folder of files or a pattern, "
        "whose ids lie in a file of the run's folder; needs --dev",
        needs=settings.WITH_TRAIN,
    )
    min_count: int = option(1, "rarer words become <unk>")
    max_sentences: int | None = option(None, "use only that many sentences of each split")

    embed_dim: int = option(200, "width of the word vectors", group="model")
    hidden_dim: int = option(200, "width of the states")
    layers: int = option(1, "recurrent layers")
    tied: bool = option(False, "the output weights are the word vectors")
    activation: str = option("tanh", "activation of the states", ("tanh", "sigmoid", "relu"))
    word_range: float = option(0.1, "half-width of the initial word vectors")
    recurrent_scale: float = option(0.9, "scale of the initial recurrent weights, a rotation")
    input_dropout: float = option(0.0, "dropout rate on word vectors")
    hidden_dropout: float = option(
        0.0, "dropout rate between layers", needs={"layers": range(2, 1000)}
    )
    recurrent_dropout: float = option(0.0, "dropout rate on the state, one mask per segment")
    output_dropout: float = option(0.0, "dropout rate before the output layer")

    seed: int = option(0, "seed of initialisation and dropout", group="training")
    epochs: int = option(10, "passes over the training text")
    batch_size: int = option(20, "streams the text is cut into")
    steps: int = option(35, "tokens of a segment: the reach of backpropagation")
    optimizer: str = option("adam", "direction of the steps", ("adam", "sgd", "adagrad"))
    learning_rate: float = option(2e-3, "step size")
    warmup: int = option(200, "updates over which the step size grows from 0")
    schedule: str = option("cosine", "how the step size changes", ("constant", "cosine", "linear"))
    clip_norm: float | None = option(1.0, "clip the gradient to this global norm")
    weight_decay: float = option(0.0, "decoupled weight decay, of all weights")
    average: float = option(0.0, "decay per update of the running mean of the weights; 0: no mean")
    patience: int | None = option(None, "stop after that many epochs without a better dev score")

    chunk: int = option(160, "rows of logits that are computed at a time", group="execution")
    devices: int = settings.devices("streams")
    vocabulary_shards: int = option(
        1,
        "so many of the devices share the words of the embedding and the softmax, instead of the "
        "streams",
        free=True,
    )
    keep_checkpoints: int = option(2, "how many checkpoints to keep")
    save_steps: int | None = option(
        None, "save within an epoch too, after so many segments each time", free=True
    )
    tensorboard: bool = option(False, "also write TensorBoard events (needs the extra)")

    def __post_init__(self) -> None:
        check_ranges(
            self,
            at_least_one=(
                "embed_dim",
                "hidden_dim",
                "layers",
                "epochs",
                "batch_size",
                "steps",
                "min_count",
                "chunk",
                "devices",
                "vocabulary_shards",
                "keep_checkpoints",
                "patience",
                "save_steps",
                "max_sentences",
            ),
            not_negative=("seed", "warmup", "weight_decay", "word_range", "recurrent_scale"),
            rates=(
                "input_dropout",
                "hidden_dropout",
                "recurrent_dropout",
                "output_dropout",
                "average",
            ),
            positive=("learning_rate", "clip_norm"),
        )
        if self.tied and self.embed_dim != self.hidden_dim:
            raise ValueError(
                f"tied needs embed_dim = hidden_dim, got {self.embed_dim} and {self.hidden_dim}"
            )
        if self.devices % self.vocabulary_shards:
            raise ValueError(
                f"vocabulary_shards={self.vocabulary_shards} do not divide devices={self.devices}"
            )
        settings.check_devices(self, self.devices // self.vocabulary_shards)
        settings.check_own_files(self)
        if self.stream and self.dev is None:
            raise ValueError("stream needs dev: nothing is held out of a text larger than memory")


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"max_sentences": 200, "epochs": 2, "embed_dim": 16, "hidden_dim": 16, "steps": 10},
    "demo": {
        "embed_dim": 32,
        "hidden_dim": 64,
        "epochs": 6,
        "learning_rate": 5e-3,
        "warmup": 50,
    },
    "paper": {
        "corpus": "ptb",
        "embed_dim": 400,
        "hidden_dim": 400,
        "tied": True,
        "epochs": 13,
        "learning_rate": 2e-3,
        "input_dropout": 0.4,
        "output_dropout": 0.5,
        "chunk": 350,
    },
}
