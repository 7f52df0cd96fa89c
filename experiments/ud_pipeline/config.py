"""Settings of the experiment from raw text to Universal Dependencies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments import settings
from experiments.flags import check_ranges, option

__all__ = ["PRESETS", "Config"]


@dataclass(frozen=True)
class Config:
    """What a run depends on; two runs with equal settings give equal parameters."""

    corpus: str = settings.corpus("ud_ewt", "UD English-EWT")
    data_dir: str | None = settings.data_dir("ud_ewt")
    train: str | None = option(None, "train on this CoNLL-U file instead")
    dev: str | None = settings.dev_file(what="models")
    test: str | None = settings.test_file("score the text of this file at the end")
    max_sentences: int | None = option(None, "use only that many sentences of each split")

    min_count: int = option(2, "rarer words and parts of words are unknown", group="models")
    segmenter_dim: int = option(80, "width of the segmenter's layers")
    tagger_dim: int = option(100, "width of the tagger's recurrent layers, of each direction")
    parser_rnn_dim: int = option(110, "the same of the parser's")
    parser_dim: int = option(200, "width of the parser's hidden layer")
    word_dim: int = option(64, "width of word vectors")
    column_dim: int = option(24, "width of the vectors of other columns")
    folds: int = option(
        2, "taggers trained without a part of train, whose tags there the parser learns from; "
        "0: it learns from the tags of the treebank"
    )  # fmt: skip

    seed: int = option(0, "seed of initialisation, order and dropout", group="training")
    segmenter_epochs: int = option(5, "passes over the characters")
    tagger_epochs: int = option(6, "passes over the sentences, of each tagger")
    parser_epochs: int = option(8, "passes over the parser's steps")
    learning_rate: float = option(3e-3, "step size of Adam, falling to 0 as a cosine")
    average: float = option(0.99, "decay per update of the running mean of the weights")
    unknown_rate: float = option(0.1, "rate at which words become unknown in training")
    input_dropout: float = option(0.3, "dropout rate on the vectors of words")
    hidden_dropout: float = option(0.4, "dropout rate on the layers over words")
    character_dropout: float = option(0.1, "dropout rate of the segmenter")

    keep_checkpoints: int = option(1, "how many checkpoints of a model to keep", group="execution")

    def __post_init__(self) -> None:
        sizes = ("segmenter_dim", "tagger_dim", "parser_rnn_dim", "parser_dim", "word_dim")
        epochs = ("segmenter_epochs", "tagger_epochs", "parser_epochs")
        check_ranges(
            self,
            at_least_one=(
                *("max_sentences", "min_count", "column_dim", "keep_checkpoints"),
                *sizes,
                *epochs,
            ),
            not_negative=("seed", "folds"),
            rates=(
                *("average", "unknown_rate", "input_dropout", "hidden_dropout"),
                "character_dropout",
            ),
            positive=("learning_rate",),
        )
        if self.folds == 1:
            raise ValueError("folds must be 0, or at least 2, got 1")
        settings.check_own_files(self)


_SMALL: dict[str, Any] = {
    "segmenter_dim": 24,
    "tagger_dim": 24,
    "parser_rnn_dim": 24,
    "parser_dim": 48,
    "word_dim": 24,
    "column_dim": 8,
    "average": 0.9,
    "learning_rate": 1e-2,
}
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": _SMALL
    | {"max_sentences": 60, "segmenter_epochs": 2, "tagger_epochs": 2, "parser_epochs": 2},
    "demo": _SMALL | {"segmenter_epochs": 4, "tagger_epochs": 4, "parser_epochs": 6},
    "paper": {"corpus": "ud_ewt"},
}
