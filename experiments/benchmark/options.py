"""The flags that all benchmarks have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from absl import flags

from experiments.command import check_output

__all__ = ["COMMON", "common", "define_common_flags", "numbers"]

COMMON = ("systems", "rounds", "threads", "output")


def define_common_flags() -> None:
    """Defines them."""
    flags.DEFINE_list("systems", [], "only these systems (a wrong name lists them; default: all)")
    flags.DEFINE_integer("rounds", 9, "times each system is run, in turn", lower_bound=1)
    flags.DEFINE_integer("threads", 2, "CPU threads for every system", lower_bound=1)
    flags.DEFINE_string("output", None, "also write the figures to this JSON file")


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
