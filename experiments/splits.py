"""Train, dev and test: of a user's own files, the embedded corpora, or those by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rntn_jax import data
from rntn_jax.data import DataError

__all__ = ["check_tagged", "load_conllu", "read_corpus", "read_splits"]

Item = TypeVar("Item")

EVERY = 10  # one of so many is held out when there is no dev file


def read_splits(
    read: Callable[[str | Path], list[Item]],
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


def read_corpus(
    config: Any,
    read: Callable[[str | Path], list[Item]],
    demo: Callable[[], Mapping[str, Sequence[Item]]],
    *,
    noun: str,
    in_order: bool = False,
) -> dict[str, list[Item]]:
    """Train, dev and test of the files that were given, else of the corpus that was named.

    Args:
        config: settings, with the fields of `experiments.settings`.
        read: reads a file.
        demo: makes the embedded corpus.
        noun: as `read_splits` takes it.
        in_order: likewise.

    Returns:
        The items of each split.

    Raises:
        DataError: when a file is not there, faulty, or too small to hold something out.
    """
    if config.train is not None:
        files = config.train, config.dev, config.test
        return read_splits(read, *files, noun=noun, in_order=in_order)
    if config.corpus == "demo":
        return {name: list(items) for name, items in demo().items()}
    files = dict(data.corpora.find(config.corpus, config.data_dir))
    return {name: read(files[name]) for name in ("train", "dev", "test")}


def load_conllu(config: Any, *, in_order: bool = False) -> dict[str, Sequence[data.ConlluSentence]]:
    """`read_corpus` of dependency trees, ``max_sentences`` of each.

    Args:
        config: settings.
        in_order: as `read_splits` takes it.

    Returns:
        The sentences of each split.

    Raises:
        DataError: as `read_corpus`, and when no word of train has the relation root.
    """
    demo = data.demo_dependencies.splits
    found = read_corpus(config, data.read_conllu, demo, noun="sentences", in_order=in_order)
    splits: dict[str, Sequence[data.ConlluSentence]] = {
        name: sentences[: config.max_sentences] for name, sentences in found.items()
    }
    if not any("root" in sentence.relations for sentence in splits["train"]):
        raise DataError(
            "no word has the relation root, which the parser gives to the word whose head is 0",
            file=config.train,
        )
    return splits


Tagged = list[list[tuple[str, ...]]]  # sentences of rows, whose last column is the tag


def check_tagged(
    splits: Mapping[str, Tagged],
    file: str,
    *,
    max_sentences: int | None,
    dev_sentences: int,
    scheme: str,
) -> dict[str, Tagged]:
    """Tagged sentences, shortened, with something held out, after a check of columns and tags.

    Args:
        splits: sentences of train and, where there are, dev and test.
        file: which train is, for messages.
        max_sentences: only that many of each split.
        dev_sentences: without a dev set, that many of the last of train become one.
        scheme: of the tags, which are checked; or none.

    Returns:
        The sentences of each split.

    Raises:
        DataError: for columns that are missing or unequal, and tags against their scheme.
        ValueError: when ``dev_sentences`` leaves nothing to train on.
    """
    widths = {name: len(sentences[0][0]) for name, sentences in splits.items()}
    if widths["train"] < 2:
        raise DataError(
            "one column, but there must be at least two: a word first and its tag last, with "
            "blanks between them",
            file=file,
            value=splits["train"][0][0],
        )
    for name, width in widths.items():
        if width != widths["train"]:
            raise DataError(
                f"{name} has {width} column{'s' * (width > 1)} and train {widths['train']}: there "
                "must be equally many, a word first and its tag last"
            )
    found = {name: sentences[:max_sentences] for name, sentences in splits.items()}
    if dev_sentences and "dev" not in found:
        kept = len(found["train"]) - dev_sentences
        if kept < 1:
            raise ValueError(f"dev_sentences {dev_sentences} leaves nothing to train on")
        found |= {"train": found["train"][:kept], "dev": found["train"][kept:]}
    if scheme != "none":
        for name, sentences in found.items():
            _check_tags(name, sentences, scheme)
    return found


def _check_tags(split: str, sentences: Tagged, scheme: Any) -> None:
    for number, rows in enumerate(sentences):
        try:
            data.chunks.validate([row[-1] for row in rows], scheme)
        except DataError as error:
            raise DataError(
                f"{split}, sentence {number} (from 0): {error.message}; --scheme names another, "
                "or none",
                value=error.value,
            ) from None
