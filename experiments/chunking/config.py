"""Settings of the chunking experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments import settings
from experiments.flags import check_ranges, option

__all__ = ["PRESETS", "Config"]

SCHEMES = ("bio", "iob1", "bioes", "bilou", "bmewo", "bmes")
SPARSE = {"model": ("crf",)}  # settings of some models only
NEURAL = {"model": ("neural", "segments")}


@dataclass(frozen=True)
class Config:
    """What a run depends on; two runs with equal settings give equal parameters."""

    corpus: str = settings.corpus("conll2000", "chunking")
    data_dir: str | None = settings.data_dir("conll2000")
    train: str | None = option(None, "train on this file of columns instead; the last is the tag")
    test: str | None = settings.test_file("score this file at the end (default: none)")
    dev: str | None = option(
        None,
        "score this file too, and choose the neural model by it (default: its last epoch)",
        needs=settings.WITH_TRAIN,
    )
    dev_sentences: int = option(
        0, "without a dev set: hold out that many of the last to train on", needs={"dev": (None,)}
    )
    max_sentences: int | None = option(None, "use only that many sentences of each split")
    scheme: str = option("bio", "scheme of the tags", (*SCHEMES, "none"))
    inner: str | None = option(
        None,
        "scheme of the model's own labels (default: that of the tags)",
        ("bio", "bioes"),
        needs={"model": ("crf", "neural")},
    )
    constrained: bool = option(
        False, "only well-formed sequences of tags when decoding", needs={"scheme": SCHEMES}
    )

    model: str = option(
        "crf",
        "crf: sparse features; neural; segments: neural, under a semi-Markov CRF",
        ("crf", "neural", "segments"),
        group="model",
    )
    template: str = option(
        "crfsuite",
        "sparse features: CRFsuite's tutorial; the token alone",
        ("crfsuite", "token"),
        needs=SPARSE,
    )
    c1: float = option(0.0, "L1 penalty of the sparse CRF", needs=SPARSE)
    c2: float = option(1.0, "L2 penalty of the sparse CRF", needs=SPARSE)
    min_freq: float = option(0.0, "rarer sparse features are left out", needs=SPARSE)
    max_iterations: int = option(1000, "iterations of L-BFGS, at most", needs=SPARSE)
    word_dim: int = option(64, "width of word vectors", needs=NEURAL)
    vectors: str | None = option(
        None,
        "file of word vectors to begin with: GloVe's or word2vec's text format, .gz too (words are "
        "lower-cased, digits 0)",
        needs=NEURAL,
    )
    column_dim: int = option(
        32, "width of the vectors of affixes, shape and other columns", needs=NEURAL
    )
    min_count: int = option(2, "rarer words are unknown", needs=NEURAL)
    windows: str = option(
        "5,3", "tokens that each window layer sees, odd; empty: none", needs=NEURAL
    )
    rnn_layers: int = option(0, "bidirectional recurrent layers above", needs=NEURAL)
    cell: str = settings.cell(**NEURAL)
    hidden_dim: int = option(200, "width of the layers", needs=NEURAL)
    unknown_rate: float = option(0.0, "rate at which training words become unknown", needs=NEURAL)
    input_dropout: float = option(0.3, "dropout rate on the vectors of tokens", needs=NEURAL)
    hidden_dropout: float = option(0.3, "dropout rate on the layers", needs=NEURAL)

    seed: int = option(
        0,
        "seed of initialisation, order and dropout",
        group="training of the neural models",
        needs=NEURAL,
    )
    epochs: int = option(10, "passes over the training sentences", needs=NEURAL)
    batch_size: int = option(32, "sentences per minibatch", needs=NEURAL)
    learning_rate: float = option(2e-3, "step size of Adam, falling to 0 as a cosine", needs=NEURAL)
    word_learning_rate: float = option(
        1.0,
        "step size of the word vectors, as a factor; 0: they stay as they begin",
        needs=NEURAL,
    )
    weight_decay: float = option(0.0, "decoupled weight decay, of all weights", needs=NEURAL)
    clip_norm: float | None = option(5.0, "clip the gradient to this global norm", needs=NEURAL)
    average: float = option(
        0.0, "decay per update of the running mean of the weights; 0: no mean", needs=NEURAL
    )

    granularity: int = option(
        16,
        "lengths of neural minibatches are rounded up to multiples",
        group="execution",
        needs=NEURAL,
    )
    devices: int = settings.devices("sentences of a minibatch", needs=NEURAL)
    keep_checkpoints: int = option(2, "how many checkpoints to keep", needs=NEURAL)
    tensorboard: bool = option(
        False, "also write TensorBoard events (needs the extra)", needs=NEURAL
    )

    def __post_init__(self) -> None:
        check_ranges(
            self,
            at_least_one=(
                "max_sentences",
                "max_iterations",
                "word_dim",
                "column_dim",
                "min_count",
                "hidden_dim",
                "epochs",
                "batch_size",
                "granularity",
                "devices",
                "keep_checkpoints",
            ),
            not_negative=(
                "dev_sentences",
                "c1",
                "c2",
                "min_freq",
                "rnn_layers",
                "seed",
                "weight_decay",
                "word_learning_rate",
            ),
            rates=("unknown_rate", "input_dropout", "hidden_dropout", "average"),
            positive=("learning_rate", "clip_norm"),
        )
        settings.check_own_files(self)
        settings.check_devices(self)
        if self.model == "segments" and self.scheme == "none":
            raise ValueError("model segments needs tags of chunks, got scheme none")
        if self.inner is not None and self.scheme == "none":
            raise ValueError("inner needs a scheme to translate from")
        self.window_sizes()

    def window_sizes(self) -> tuple[int, ...]:
        """``windows`` as numbers.

        Raises:
            ValueError: when they are none, or even.
        """
        try:
            sizes = tuple(int(size) for size in self.windows.split(",") if size.strip())
        except ValueError:
            sizes = (0,)
        if any(size < 1 or size % 2 == 0 for size in sizes):
            raise ValueError(f"windows must be odd numbers, as in 5,3, got {self.windows!r}")
        return sizes


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"max_sentences": 60, "max_iterations": 5, "template": "token"},
    "demo": {"template": "token", "c2": 0.1},
    "crfsuite": {"corpus": "conll2000"},
    "paper": {
        "corpus": "conll2000",
        "model": "neural",
        "inner": "bioes",
        "windows": "3",
        "rnn_layers": 1,
        "hidden_dim": 250,
        "unknown_rate": 0.2,
        "input_dropout": 0.5,
        "hidden_dropout": 0.5,
        "average": 0.999,
        "epochs": 12,
    },
    "segments": {  # the same network
        "corpus": "conll2000",
        "model": "segments",
        "windows": "3",
        "rnn_layers": 1,
        "hidden_dim": 250,
        "unknown_rate": 0.2,
        "input_dropout": 0.5,
        "hidden_dropout": 0.5,
        "average": 0.999,
        "epochs": 12,
    },
}
