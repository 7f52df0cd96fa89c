"""Train, dev and test of a user's own files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from rntn_jax.data import DataError

__all__ = ["read_splits"]

Item = TypeVar("Item")

EVERY = 10  # one of so many is held out when there is no dev file


def read_splits(
    read: Callable[[str], list[Item]],
    train: str,
    dev: str | None,
    test: str | None,
    *,
    noun: str,
    in_order: bool = False,
) -> dict[str, list[Item]]:
    """The files that were given; without a dev file a tenth of the training data becomes one.

    Which part is held out depends on the file alone, and is said on standard error. Without a
    test file there is no test split.

    Args:
        read: reads a file.
        train: file to train on.
        dev: file to choose the model by.
        test: file to score at the end.
        noun: what `read` gives a list of, for messages: "trees".
        in_order: the last tenth is held out, not every tenth: for texts that run on.

    Returns:
        The items of ``train``, ``dev`` and, where it was given, ``test``.

    Raises:
        DataError: when a file is faulty, or too small to hold something out.
    """
    # The files are read before a word is said of them.
    splits = {name: read(file) for name, file in (("train", train), ("dev", dev), ("test", test))
              if file is not None}  # fmt: skip
    if dev is None:
        items = splits["train"]
        if len(items) < 2:
            raise DataError(
                f"one of the {noun} is too few to hold out a part: give --dev", file=train
            )
        if in_order or len(items) < EVERY:
            count = max(len(items) // EVERY, 1)
            kept, held, part = items[:-count], items[-count:], f"the last {count}"
        else:
            kept = [item for i, item in enumerate(items) if i % EVERY != EVERY - 1]
            held, part = items[EVERY - 1 :: EVERY], f"every {EVERY}th"
        print(
            f"no --dev: the model is chosen by {part} of the {len(items)} {noun} in {train} "
            f"({len(kept)} to train on, {len(held)} held out)",
            file=sys.stderr,
        )
        splits |= {"train": kept, "dev": held}
    return splits
