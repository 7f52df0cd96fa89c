"""Settings of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments.flags import check_ranges, option

__all__ = ["PRESETS", "ROWS", "Config"]

ROWS = ("nb", "svm", "binb", "vec_avg", "rnn", "mv_rnn", "rntn", "tree_lstm")


@dataclass(frozen=True)
class Config:
    """Which rows, on what, and how often."""

    corpus: str = option(
        "sst", "demo: embedded; sst: Stanford Sentiment Treebank", ("demo", "sst"), group="table"
    )
    data_dir: str | None = option(
        None, "where the corpus lies; default: a cache, else a download", needs={"corpus": ("sst",)}
    )
    rows: str = option("all", f"all, or some with commas between them, of {', '.join(ROWS)}")
    seeds: int = option(3, "runs of each network, from seed 0 on")
    rntn_seeds: int = option(5, "and of the RNTN")
    epochs: int | None = option(None, "passes over the trees (default: of the sentiment preset)")
    max_trees: int | None = option(None, "use only that many trees of each split")

    def __post_init__(self) -> None:
        check_ranges(self, at_least_one=("seeds", "rntn_seeds", "epochs", "max_trees"))
        for name in self.rows.split(","):
            if name not in ("all", *ROWS):
                raise ValueError(f"rows must be all, or some of {', '.join(ROWS)}, got {name!r}")

    def names(self) -> list[str]:
        """The rows that were asked for, in the table's order."""
        return [name for name in ROWS if self.rows == "all" or name in self.rows.split(",")]

    def seeds_of(self, name: str) -> range:
        """Seeds of a row; the Naive Bayes models have no use for several."""
        if name in ("nb", "binb", "svm"):
            return range(1)
        return range(self.rntn_seeds if name == "rntn" else self.seeds)


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"corpus": "demo", "seeds": 1, "rntn_seeds": 1, "epochs": 1, "max_trees": 30},
    "hour": {"seeds": 1, "rntn_seeds": 1},
    "paper": {},
}
