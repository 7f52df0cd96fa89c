"""Settings that experiments have in common: the corpus, or files of one's own.

They are fields of a frozen dataclass, made by `experiments.flags.option`.
"""

from __future__ import annotations

from typing import Any

from experiments.flags import GIVEN, option

__all__ = [
    "DATA_DIR",
    "WITHOUT_TRAIN",
    "WITH_TRAIN",
    "cell",
    "check_devices",
    "check_own_files",
    "corpus",
    "data_dir",
    "dev_file",
    "devices",
    "dropout_rates",
    "test_file",
]

WITH_TRAIN, WITHOUT_TRAIN = {"train": GIVEN}, {"train": (None,)}  # files of one's own, or none
DATA_DIR = "where the corpus lies; default: a cache, else a download"


def corpus(name: str, title: str) -> Any:
    """``corpus``: the embedded one, or another, of that name; the first of the group "data".

    Args:
        name: of `rntn_jax.data.corpora`.
        title: what it is.

    Returns:
        A field.
    """
    text = f"demo: embedded; {name}: {title}"
    return option("demo", text, ("demo", name), group="data", needs=WITHOUT_TRAIN)


def data_dir(name: str) -> Any:
    """``data_dir``: where the corpus of that name lies."""
    return option(None, DATA_DIR, needs={"corpus": (name,), **WITHOUT_TRAIN})


def cell(**needs: Any) -> Any:
    """``cell``: which recurrent network reads.

    Args:
        **needs: further conditions than that it has layers.

    Returns:
        A field.
    """
    return option(
        "elman",
        "recurrent cells: elman, one tanh; lstm, gated (several times the arithmetic)",
        ("elman", "lstm"),
        needs={"rnn_layers": range(1, 1000), **needs},
    )


def dev_file(without: str = "a tenth of --train is held out", what: str = "model") -> Any:
    """``dev``: a file of one's own to choose the model by.

    Args:
        without: what happens when it is not given.
        what: is chosen.

    Returns:
        A field.
    """
    return option(None, f"choose the {what} by this file (default: {without})", needs=WITH_TRAIN)


def test_file(text: str = "score this file at the end (default: only dev is scored)") -> Any:
    """``test``: a file of one's own to score at the end."""
    return option(None, text, needs=WITH_TRAIN)


def devices(what: str, **options: Any) -> Any:
    """``devices``: that share what a minibatch consists of; a run may go on with others."""
    text = f"devices, in each process, that share the {what}; on a CPU, virtual ones"
    return option(1, text, free=True, **options)


def check_devices(config: Any, count: int | None = None) -> None:
    """Checks that rows of minibatches can be shared out equally.

    Args:
        config: its ``batch_size`` and ``devices``.
        count: devices that share the rows; None: all.

    Raises:
        ValueError: naming both settings.
    """
    if config.batch_size % (count or config.devices):
        raise ValueError(
            f"devices={config.devices} cannot share batch_size={config.batch_size} equally"
        )


def check_own_files(config: Any) -> None:
    """Checks that dev and test come with a file to train on.

    Raises:
        ValueError: naming the one that does not.
    """
    for name in ("dev", "test"):
        if getattr(config, name) is not None and config.train is None:
            raise ValueError(f"{name} needs train")


def dropout_rates(config: Any) -> dict[str, Any]:
    """The rates of unknown words and of dropout, as the losses of models over words take them."""
    names = ("unknown_rate", "input_dropout", "hidden_dropout")
    return {name: getattr(config, name) for name in names}
