"""Settings of the sentiment experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments import settings
from experiments.flags import check_ranges, option

__all__ = ["BAGS", "MODELS", "PRESETS", "Config"]


BAGS = ("nb", "binb", "svm")  # of words: no order, no epochs
MODELS = ("rntn", "rnn", "mv_rnn", "tree_lstm", "vec_avg", *BAGS)
COMPOSED = {"model": ("rntn", "rnn", "mv_rnn")}  # what a setting of some models needs
TENSOR, MATRICES = {"model": ("rntn",)}, {"model": ("rntn", "mv_rnn")}

SELECTIONS = ("fine_all", "fine_root", "binary_all", "binary_root", "mean")


@dataclass(frozen=True)
class Config:
    """What a run depends on; two runs with equal settings give equal parameters."""

    corpus: str = settings.corpus("sst", "Stanford Sentiment Treebank")
    data_dir: str | None = settings.data_dir("sst")
    train: str | None = option(None, "train on this file of trees instead")
    dev: str | None = settings.dev_file()
    test: str | None = settings.test_file()
    lowercase: bool = option(True, "lower-case the words")
    num_classes: int = option(5, "5, or 2: positive against negative, neutral nodes unlabelled")
    max_trees: int | None = option(None, "use only that many trees of each split")

    model: str = option(
        "rntn",
        "rntn: tensor network; rnn: without the tensor; mv_rnn: a matrix for each word; tree_lstm; "
        "vec_avg: mean of the word vectors; nb, binb: Naive Bayes of words, and of pairs too; svm",
        MODELS,
        group="model",
    )
    dim: int = option(25, "width of the node states")
    embed_dim: int | None = option(
        None, "width of the word vectors (default: dim)", needs={"model": ("tree_lstm",)}
    )
    kind: str = option(
        "binary",
        "binary: weights for each child; child_sum: the same for both",
        ("binary", "child_sum"),
        needs={"model": ("tree_lstm",)},
    )
    rank: int | None = option(
        None, "rank of the words' matrices (default: full)", needs={"model": ("mv_rnn",)}
    )
    tensor_scale: float = option(
        1.0, "initial scale of the tensor, times CoreNLP's range", needs=TENSOR
    )
    vectors: str | None = option(
        None, "file of word vectors to begin with: GloVe's or word2vec's text format, .gz too"
    )
    word_scale: float = option(0.1, "standard deviation of the initial word vectors")
    activation: str = option(
        "tanh",
        "activation of internal nodes",
        ("tanh", "sigmoid", "relu", "identity"),
        needs=COMPOSED,
    )
    leaf_activation: str = option(
        "tanh", "activation of the word vectors; identity: none", ("tanh", "identity"),
        needs=COMPOSED,
    )  # fmt: skip
    smoothing: float = option(1.0, "added to every count", needs={"model": ("nb", "binb")})
    length_weight: float = option(
        0.0,
        "a phrase of n words weighs n to the minus this in the loss, the counts, or as an example; "
        "below 0, long ones weigh more",
    )
    svm_c: float = option(0.1, "C of the SVM: weight of its errors", needs={"model": ("svm",)})
    leaf_dropout: float = option(0.0, "dropout rate on the leaves' states")
    hidden_dropout: float = option(0.0, "dropout rate on all states before the classifier")

    seed: int = option(
        0, "seed of initialisation, order of the trees, and dropout", group="training"
    )
    epochs: int = option(10, "passes over the training trees")
    batch_size: int = option(27, "trees per minibatch")
    optimizer: str = option(
        "adagrad", "adagrad as in the paper, or another", ("adagrad", "sgd", "momentum", "adam")
    )
    learning_rate: float = option(0.05, "step size")
    tensor_learning_rate: float = option(
        0.02, "step size of the tensor or the matrices, as a factor of the above", needs=MATRICES
    )
    word_learning_rate: float = option(
        1.0, "step size of the word vectors, as a factor; 0: they stay as they begin"
    )
    initial_accumulator: float = option(
        0.0, "AdaGrad's sum of squares at the start", needs={"optimizer": ("adagrad",)}
    )
    schedule: str = option(
        "constant", "how the learning rate changes", ("constant", "cosine", "linear")
    )
    clip_norm: float | None = option(None, "clip the gradient to this global norm")
    l2_tensor: float = option(1e-3, "L2 weight of the tensor", needs=TENSOR)
    l2_weights: float = option(1e-3, "L2 weight of the cell: W and its bias, the gates")
    l2_head: float = option(1e-4, "L2 weight of the classifier, without its bias")
    l2_words: float = option(1e-4, "L2 weight of the word vectors of the minibatch")
    average: float = option(0.0, "decay per update of the running mean of the weights; 0: no mean")
    select: str = option("fine_all", "dev score that chooses the model", SELECTIONS)
    patience: int | None = option(None, "stop after that many epochs without a better dev score")

    lanes: int = option(16, "internal nodes per step", group="execution")
    updates_per_dispatch: int = option(8, "minibatches in one call of the device")
    devices: int = settings.devices("trees of a minibatch")
    keep_checkpoints: int = option(2, "how many checkpoints to keep")
    tensorboard: bool = option(False, "also write TensorBoard events (needs the extra)")

    def __post_init__(self) -> None:
        check_ranges(
            self,
            at_least_one=(
                "dim",
                "embed_dim",
                "rank",
                "epochs",
                "batch_size",
                "lanes",
                "updates_per_dispatch",
                "devices",
                "keep_checkpoints",
                "patience",
                "max_trees",
            ),
            not_negative=(
                "seed",
                "tensor_learning_rate",
                "word_learning_rate",
                "tensor_scale",
                "word_scale",
                "initial_accumulator",
                "l2_tensor",
                "l2_weights",
                "l2_head",
                "l2_words",
            ),
            rates=("leaf_dropout", "hidden_dropout", "average"),
            positive=("learning_rate", "clip_norm", "smoothing", "svm_c"),
        )
        settings.check_own_files(self)
        if not -3 <= self.length_weight <= 3:
            raise ValueError(f"length_weight must be from -3 to 3, got {self.length_weight}")
        if self.rank is not None and 2 * self.rank + 1 >= self.dim:
            raise ValueError(f"rank must save numbers, 2 rank + 1 < dim, got {self.rank}")
        if self.num_classes not in (2, 5):
            raise ValueError(f"num_classes must be 2 or 5, got {self.num_classes}")
        if self.num_classes == 2 and self.select.startswith("binary"):
            raise ValueError(
                "with num_classes=2 every score is binary: select=fine_all or fine_root"
            )


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"max_trees": 60, "epochs": 2},
    "demo": {"epochs": 16, "select": "fine_all"},
    "paper": {
        "corpus": "sst",
        "dim": 35,
        "epochs": 20,
        "learning_rate": 0.05,
        "tensor_learning_rate": 0.05,
        "schedule": "cosine",
        "l2_tensor": 3e-2,
        "l2_weights": 5e-3,
        "l2_words": 1e-3,
        "leaf_dropout": 0.3,
        "hidden_dropout": 0.4,
        "average": 0.999,
    },
}
