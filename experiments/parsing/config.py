"""Settings of the parsing experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments import settings
from experiments.flags import check_ranges, option

__all__ = ["PRESETS", "Config"]

GRAPH = {"model": ("graph",)}  # settings of one model only


@dataclass(frozen=True)
class Config:
    """What a run depends on; two runs with equal settings give equal parameters."""

    corpus: str = settings.corpus("ud_ewt", "UD English-EWT")
    data_dir: str | None = settings.data_dir("ud_ewt")
    train: str | None = option(None, "train on this CoNLL-U file instead")
    dev: str | None = settings.dev_file()
    test: str | None = settings.test_file()
    max_sentences: int | None = option(None, "use only that many sentences of each split")

    model: str = option(
        "transitions",
        "transitions: greedy steps; graph: exact likelihood of trees by scores of arcs",
        ("transitions", "graph"),
        group="model",
    )
    projective: bool = option(
        False, "only trees without crossing arcs (slower, O(T^3))", needs=GRAPH
    )
    feats: bool = option(False, "read the column FEATS too")
    xpos: bool = option(False, "read the column XPOS too")
    suffixes: bool = option(True, "read the last three letters of words too")
    prefixes: bool = option(False, "read the first three letters of words too")
    min_count: int = option(2, "rarer words are unknown")
    word_dim: int = option(64, "width of word vectors")
    column_dim: int = option(32, "width of the vectors of tags, other columns and relations")
    rnn_layers: int = option(
        0, "recurrent layers that read the sentence first; 0: windows of words"
    )
    rnn_dim: int = option(
        100, "width of their states, of each direction", needs={"rnn_layers": range(1, 1000)}
    )
    cell: str = settings.cell()
    hidden_dim: int = option(200, "width of the hidden layer (graph: of heads and dependents)")
    relation_dim: int = option(100, "width of the hidden layer of relations", needs=GRAPH)
    activation: str = option(
        "relu",
        "activation of the hidden layer",
        ("relu", "cube", "tanh"),
        needs={"model": ("transitions",)},
    )
    word_range: float = option(0.2, "half-width of the initial vectors")
    unknown_rate: float = option(0.0, "rate at which words become unknown in training")
    input_dropout: float = option(
        0.0, "dropout rate on the vectors (slower: nothing is precomputed)"
    )
    hidden_dropout: float = option(0.3, "dropout rate on the hidden layer")

    seed: int = option(0, "seed of initialisation, order and dropout", group="training")
    epochs: int = option(10, "passes over the training steps")
    batch_size: int = option(
        1024, "steps of the parser, two a word, per minibatch (with recurrent layers: at most)"
    )
    learning_rate: float = option(2e-3, "step size of Adam, falling to 0 as a cosine")
    clip_norm: float | None = option(5.0, "clip the gradient to this global norm")
    average: float = option(0.0, "decay per update of the running mean of the weights; 0: no mean")

    devices: int = settings.devices("steps or sentences of a minibatch", group="execution")
    keep_checkpoints: int = option(2, "how many checkpoints to keep")
    tensorboard: bool = option(False, "also write TensorBoard events (needs the extra)")

    def __post_init__(self) -> None:
        check_ranges(
            self,
            at_least_one=(
                "max_sentences",
                "min_count",
                "word_dim",
                "column_dim",
                "rnn_dim",
                "hidden_dim",
                "relation_dim",
                "epochs",
                "batch_size",
                "devices",
                "keep_checkpoints",
            ),
            not_negative=("seed", "word_range", "rnn_layers"),
            rates=("unknown_rate", "input_dropout", "hidden_dropout", "average"),
            positive=("learning_rate", "clip_norm"),
        )
        settings.check_own_files(self)
        if self.model == "graph" and not self.rnn_layers:
            raise ValueError("rnn_layers must be at least 1 where model is graph, got 0")


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"max_sentences": 60, "epochs": 2, "hidden_dim": 32, "batch_size": 128},
    "demo": {"epochs": 6, "hidden_dim": 64, "batch_size": 256, "learning_rate": 5e-3},
    "paper": {
        "corpus": "ud_ewt",
        "rnn_layers": 1,
        "rnn_dim": 125,
        "batch_size": 2048,
        "unknown_rate": 0.1,
        "input_dropout": 0.3,
        "hidden_dropout": 0.4,
        "average": 0.998,
    },
    "graph": {  # trees by scores of arcs
        "corpus": "ud_ewt",
        "model": "graph",
        "rnn_layers": 2,
        "rnn_dim": 200,
        "cell": "lstm",
        "word_dim": 100,
        "epochs": 20,
        "unknown_rate": 0.1,
        "input_dropout": 0.3,
        "hidden_dropout": 0.33,
        "prefixes": True,
        "average": 0.998,
    },
    "windows": {  # as Chen and Manning: no encoder
        "corpus": "ud_ewt",
        "hidden_dim": 300,
        "hidden_dropout": 0.5,
        "unknown_rate": 0.1,
        "average": 0.999,
    },
}
