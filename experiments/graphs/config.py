"""Settings of learning on graphs, of both tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments import settings
from experiments.flags import check_ranges, option

__all__ = ["CHUNKING_METHODS", "CHUNKING_PRESETS", "METHODS", "PRESETS", "Config"]

METHODS = (
    "unary",
    "pseudo_likelihood",
    "cd",
    "mean_field",
    "tree_reweighted",
    "loopy",
    "exact",
)
CHUNKING_METHODS = ("chain", "tree_reweighted", "loopy", "exact")

IMAGES, CHUNKING = {"task": ("images",)}, {"task": ("chunking",)}  # settings of one task only
DRAWN = IMAGES | {"images": ("blobs",)}


@dataclass(frozen=True)
class Config:
    """What a run depends on; two runs with equal settings give equal parameters."""

    task: str = option("images", "what to learn", ("images", "chunking"), group="task")
    method: str = option(
        "all",
        "how to learn; the baseline (images: unary, without edges; chunking: chain, without skip "
        "edges) is always trained too",
        tuple(dict.fromkeys(("all", *METHODS, *CHUNKING_METHODS))),
    )

    images: str = option(
        "blobs",
        "blobs: drawn from a known grid; digits: scikit-learn's",
        ("blobs", "digits"),
        group="images",
        needs=IMAGES,
    )
    height: int = option(10, "of blobs, in pixels", needs=DRAWN)
    width: int = option(6, "of blobs, in pixels", needs=DRAWN)
    coupling: float = option(
        0.8, "score of equal neighbours where blobs are drawn; 0.88 is critical", needs=DRAWN
    )
    train_images: int = option(400, "how many to learn from", needs=IMAGES)
    dev_images: int = option(100, "how many to watch the error on", needs=IMAGES)
    test_images: int = option(400, "how many to report", needs=IMAGES)
    flip: float = option(0.0, "share of pixels that are flipped", needs=IMAGES)
    sigma: float = option(1.5, "standard deviation of the noise on pixels -1 and 1", needs=IMAGES)
    window: int = option(3, "side of the square of pixels that scores a node; odd", needs=IMAGES)

    corpus: str = option(
        "names",
        "names: drawn so that skip edges are needed; conll2000",
        ("names", "conll2000"),
        group="chunking",
        needs=CHUNKING,
    )
    data_dir: str | None = option(
        None,
        "where the corpus lies; default: a cache, else a download",
        needs=CHUNKING | {"corpus": ("conll2000",)},
    )
    max_sentences: int | None = option(
        None, "use only that many sentences of each split", needs=CHUNKING
    )
    dev_sentences: int = option(
        500, "without a dev set: hold out that many of the last of train", needs=CHUNKING
    )
    pos: bool = option(
        True, "features see the parts of speech, where the corpus has them", needs=CHUNKING
    )
    min_count: int = option(2, "rarer attributes are left out", needs=CHUNKING)
    c2: float = option(0.5, "L2 penalty, of all training sentences together", needs=CHUNKING)
    max_width: int = option(
        3,
        "largest bag of exact inference on sentences; what is wider is left to loopy BP",
        needs=CHUNKING,
    )
    granularity: int = option(
        16, "lengths of sentences are rounded up to multiples", needs=CHUNKING
    )

    iterations: int = option(
        50, "iterations of messages or mean fields, at most", group="inference"
    )
    tolerance: float = option(1e-4, "largest change at which messages count as converged")
    damping: float = option(0.0, "share of the old message in the new")
    sweeps: int = option(
        1,
        "Gibbs sweeps from the truth, of contrastive divergence",
        needs=IMAGES | {"method": ("all", "cd")},
    )

    seed: int = option(
        0, "seed of images, noise, names, order and Gibbs sampling", group="training"
    )
    epochs: int = option(15, "passes over the training data")
    batch_size: int = option(25, "images or sentences per minibatch")
    learning_rate: float = option(0.05, "step size of Adam, falling to 0 as a cosine")
    average: float = option(0.95, "decay per update of the running mean of the weights; 0: no mean")

    devices: int = settings.devices("images or sentences of a minibatch", group="execution")
    keep_checkpoints: int = option(2, "how many checkpoints of each method to keep")

    def __post_init__(self) -> None:
        check_ranges(
            self,
            at_least_one=(
                "height",
                "width",
                "train_images",
                "dev_images",
                "window",
                "iterations",
                "sweeps",
                "epochs",
                "batch_size",
                "devices",
                "keep_checkpoints",
                "max_sentences",
                "dev_sentences",
                "min_count",
                "granularity",
            ),
            not_negative=("seed", "sigma", "tolerance", "c2"),
            rates=("flip", "damping", "average"),
            positive=("learning_rate",),
        )
        known = METHODS if self.task == "images" else CHUNKING_METHODS
        if self.method not in ("all", *known):
            raise ValueError(
                f"task {self.task} knows no method {self.method!r}, only {', '.join(known)} and all"
            )
        if self.max_width < 3:
            raise ValueError(f"max_width must be at least 3, got {self.max_width}")
        if self.test_images < 2:
            raise ValueError(f"test_images must be at least 2, got {self.test_images}")
        if self.window % 2 == 0:
            raise ValueError(f"window must be odd, got {self.window}")
        if self.flip == 0 and self.sigma == 0:
            raise ValueError("without flip and sigma there is no noise")

    @property
    def methods(self) -> tuple[str, ...]:
        """Those to train by, the baseline first."""
        known = METHODS if self.task == "images" else CHUNKING_METHODS
        if self.method == "all":
            return known
        return tuple(dict.fromkeys((known[0], self.method)))


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"method": "loopy", "train_images": 100, "test_images": 100, "epochs": 2},
    "demo": {},
    "paper": {
        "images": "digits",
        "train_images": 800,
        "dev_images": 200,
        "test_images": 797,
        "flip": 0.15,
        "sigma": 0.0,
        "epochs": 20,
    },
}

CHUNKING_PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"task": "chunking", "method": "exact", "max_sentences": 60, "epochs": 2},
    "demo": {"task": "chunking", "epochs": 10},
    "paper": {
        "task": "chunking",
        "corpus": "conll2000",
        "epochs": 5,
        "batch_size": 64,
        "granularity": 40,
    },
}
