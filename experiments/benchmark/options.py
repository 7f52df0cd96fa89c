"""The flags that all benchmarks have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from absl import flags

from experiments.command import check_output

__all__ = [
    "COMMON",
    "common",
    "corpus",
    "define_common_flags",
    "define_corpus_flags",
    "define_peers_python",
    "define_rounds",
    "numbers",
]

COMMON = ("systems", "rounds", "threads", "output")


def define_common_flags() -> None:
    """Defines them."""
    flags.DEFINE_list("systems", [], "only these systems (a wrong name lists them; default: all)")
    define_rounds(9)
    flags.DEFINE_integer("threads", 2, "CPU threads for every system", lower_bound=1)
    flags.DEFINE_string("output", None, "also write the figures to this JSON file")


def define_rounds(default: int) -> flags.FlagHolder[int]:
    """Defines and returns ``--rounds``."""
    text = "times each system is run, in turn"
    return flags.DEFINE_integer("rounds", default, text, lower_bound=1)


def define_peers_python(packages: str) -> flags.FlagHolder[Any]:
    """Defines and returns ``--peers_python``, the interpreter that has these packages."""
    return flags.DEFINE_string(
        "peers_python", None, f"a Python with {packages} (default: this one)"
    )


def define_corpus_flags(name: str) -> None:
    """Defines ``--corpus``, the embedded treebank or that of this name, and ``--data_dir``."""
    flags.DEFINE_enum("corpus", "demo", ["demo", name], "whose trees")
    text = f"where {name} lies (default: a cache, else a download)"
    flags.DEFINE_string("data_dir", None, text)


def corpus() -> dict[str, Any]:
    """Their values.

    Raises:
        ValueError: for a folder that would do nothing.
    """
    values = {name: flags.FLAGS[name].value for name in ("corpus", "data_dir")}
    if values["data_dir"] is not None and values["corpus"] == "demo":
        raise ValueError("--data_dir does nothing with --corpus=demo")
    return values


def common() -> dict[str, Any]:
    """Their values, after a look at whether the output can be written."""
    values = {name: flags.FLAGS[name].value for name in COMMON}
    check_output(values["output"])
    return values


def numbers(flag: flags.FlagHolder[Any]) -> list[int]:
    """The integers of a list.

    Raises:
        ValueError: naming the flag.
    """
    words: Sequence[str] = flag.value
    try:
        return [int(word) for word in words]
    except ValueError:
        raise ValueError(f"{flag.name} must be integers, got {','.join(words)}") from None
