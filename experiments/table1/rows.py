"""The rows of the table: published figures, and the settings with which each is trained here."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

from experiments.sentiment import config as sentiment
from experiments.sentiment.scores import COLUMNS
from experiments.table1.config import Config

__all__ = ["NAMES", "NEGATION", "PUBLISHED", "command", "run_config", "settings"]

NAMES = {
    "nb": "NB",
    "svm": "SVM",
    "binb": "BiNB",
    "vec_avg": "VecAvg",
    "rnn": "RNN",
    "mv_rnn": "MV-RNN",
    "rntn": "RNTN",
    "tree_lstm": "Tree-LSTM",
}
# Socher et al. (2013), Table 1, test set; quoted from memory.
PUBLISHED = {
    name: dict(zip(COLUMNS, figures))
    for name, figures in {
        "nb": (67.2, 41.0, 82.6, 81.8),
        "svm": (64.3, 40.7, 84.6, 79.4),
        "binb": (71.0, 41.9, 82.7, 83.1),
        "vec_avg": (73.3, 32.7, 85.1, 80.1),
        "rnn": (79.0, 43.2, 86.1, 82.4),
        "mv_rnn": (78.7, 44.4, 86.8, 82.9),
        "rntn": (80.7, 45.7, 87.6, 85.4),
    }.items()
}
# Its Table 2 and section 5.3: negated positive and negative sentences, "X but Y"; from memory too.
NEGATION = {
    "binb": (19.0, 27.3, 27.0),
    "rnn": (33.3, 45.5, 36.0),
    "mv_rnn": (52.4, 54.6, 37.0),
    "rntn": (71.4, 81.8, 41.0),
}

# What differs from the paper preset of the sentiment experiment; the README says what was searched.
_OWN: dict[str, dict[str, Any]] = {
    "nb": {"smoothing": 0.5, "length_weight": 0.1},
    "binb": {"smoothing": 0.2, "length_weight": 0.2},
    "svm": {"svm_c": 0.05, "length_weight": 0.25},
    "vec_avg": {
        "dim": 50,
        "epochs": 15,
        "l2_words": 0.0,
        "l2_head": 0.0,
        "leaf_dropout": 0.0,
        "hidden_dropout": 0.0,
        "learning_rate": 1.5,
        "length_weight": -0.9,
    },
    "rnn": {},
    "mv_rnn": {"dim": 20, "rank": 3, "epochs": 20, "l2_words": 3e-3, "learning_rate": 0.1},
    "rntn": {},
    "tree_lstm": {
        "dim": 80,
        "embed_dim": 25,
        "epochs": 12,
        "l2_weights": 1e-3,
        "l2_words": 3e-3,
        "learning_rate": 0.2,
    },
}


def settings(config: Config, name: str, seed: int) -> tuple[str, dict[str, Any]]:
    """Preset and further settings of the sentiment experiment with which a row is trained."""
    if config.corpus == "demo":
        own: dict[str, Any] = {"dim": 8} if name not in sentiment.BAGS else {}
        preset = "demo"
    else:
        own, preset = dict(_OWN[name]), "paper"
    if name not in sentiment.BAGS and config.epochs is not None:
        own["epochs"] = config.epochs
    for field in ("max_trees", "data_dir"):
        if getattr(config, field) is not None:
            own[field] = getattr(config, field)
    return preset, {"model": name, **own, "seed": seed}


def run_config(preset: str, own: dict[str, Any]) -> sentiment.Config:
    """Settings of the sentiment experiment."""
    return sentiment.Config(**{**sentiment.PRESETS[preset], **own})


def command(preset: str, own: dict[str, Any]) -> str:
    """What to type for such a run; the folder of the corpus is the reader's own."""
    defaults = dataclasses.asdict(sentiment.Config(**sentiment.PRESETS[preset]))
    given = [
        f"--{name}={'DIR' if name == 'data_dir' else value}"
        for name, value in own.items()
        if value != defaults[name] or name in ("model", "seed")
    ]
    return shlex.join(["./launch.sh", "sentiment", f"--preset={preset}", *given])
