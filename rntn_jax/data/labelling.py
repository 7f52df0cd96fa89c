"""Training trees from texts that people have labelled: whole sentences, and phrases of them.

`read_labelled_text` reads the files that CoreNLP's `BuildBinarizedDataset` takes, `label_tree` puts
the labels into a tree over the sentence, made by whatever parser (see `parse_constituents`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import IO, NamedTuple

import numpy as np

from rntn_jax.data._bracket_parser import check_num_classes, parse_label
from rntn_jax.data.errors import DataError, shown
from rntn_jax.data.text import read_text
from rntn_jax.data.tokenizer import tokenize
from rntn_jax.data.tree import Tree

__all__ = ["LabelledText", "label_tree", "read_labelled_text"]

Phrase = tuple[tuple[str, ...], int]
_LINE = re.compile(r"(\S+)(\s*)(.*)", re.DOTALL)


class LabelledText(NamedTuple):
    """A sentence with its label, and phrases of it with theirs.

    Attributes:
        tokens: the words of the sentence.
        label: the label of the sentence; -1 means unlabelled.
        phrases: pairs of the words of a phrase and its label.
    """

    tokens: tuple[str, ...]
    label: int
    phrases: tuple[Phrase, ...] = ()


def read_labelled_text(
    source: str | os.PathLike[str] | IO[str] | IO[bytes],
    *,
    num_classes: int | None = 5,
    tokenizer: Callable[[str], Sequence[str]] = tokenize,
) -> list[LabelledText]:
    r"""Reads sentences with labels, in one of two forms.

    - Blocks, as CoreNLP has them: empty lines part the sentences. The first line of a block is the
      label, a blank and the sentence; each further line the label, a blank and a phrase of it.
    - One sentence a line: the label, a tab and the sentence. Empty lines mean nothing.

    Both may stand in one file, but not in one block.

    Args:
        source: a path, or an open text or binary stream, read to its end; UTF-8.
        num_classes: labels must be in `0 .. num_classes-1`, or -1 for unlabelled; None: no upper
            limit.
        tokenizer: makes the words of sentences and phrases, `str.split` where blanks part them
            already.

    Returns:
        The sentences in the order of the file, at least one. O(length) time, but for phrases of
        words that are all frequent in a long sentence.

    Raises:
        DataError: with file, line, column and value, for a label that is missing, no integer or out
            of range, a line without words, a phrase that is no part of its sentence or has two
            labels, a block of both forms, a file without sentences, and what
            `rntn_jax.data.text.read_text` refuses.
        OSError: when the file cannot be opened.
        ValueError: for a bad `num_classes`.

    Example:
        >>> import io
        >>> block = "1 It isn't good.\n3 good\n1 isn't good\n"
        >>> read_labelled_text(io.StringIO(block))[0].phrases
        ((('good',), 3), (('is', "n't", 'good'), 1))
        >>> [text.label for text in read_labelled_text(io.StringIO("0\tAwful.\n4\tSuperb!\n"))]
        [0, 4]
    """
    check_num_classes(num_classes)
    file, content = read_text(source)
    texts: list[LabelledText] = []
    block: _Block | None = None  # None between blocks
    form = ""
    for number, line in enumerate(content.split("\n"), 1):
        match = _LINE.search(line)
        if match is None:
            texts, block = _closed(texts, block), None
            continue
        try:
            label = parse_label(match[1], num_classes)
            tokens = tuple(tokenizer(match[3]))
            if not tokens:
                raise DataError(f"no words after the label {label}", value=line)
            separator = "\t" if "\t" in match[2] else " "
            if block is not None and separator != form:
                message = "a tab after the label of one line, a blank after that of another"
                raise DataError(f"{message}: is this a phrase or a sentence?", value=line)
            if block is None or separator == "\t":
                texts, block, form = _closed(texts, block), _Block(tokens, label), separator
            else:
                block.add(tokens, label)
        except DataError as error:
            column = match.start(1) + 1
            raise DataError(
                error.message, file=file, line=number, column=column, value=error.value
            ) from None
    texts = _closed(texts, block)
    if not texts:
        raise DataError("there are no sentences", file=file)
    return texts


def _closed(texts: list[LabelledText], block: _Block | None) -> list[LabelledText]:
    if block is not None:
        texts.append(LabelledText(block.tokens, block.label, tuple(block.phrases.items())))
    return texts


class _Block:
    """A sentence whose phrases are still to come."""

    def __init__(self, tokens: tuple[str, ...], label: int):
        self.tokens, self.label = tokens, label
        self.phrases: dict[tuple[str, ...], int] = {}
        self.places: dict[str, list[int]] = {}  # of each word
        for place, token in enumerate(tokens):
            self.places.setdefault(token, []).append(place)

    def add(self, phrase: tuple[str, ...], label: int) -> None:
        """Adds a phrase, or raises DataError."""
        if phrase == self.tokens:
            known = self.label
        else:
            known = self.phrases.setdefault(phrase, label)
        words = " ".join(phrase)
        if known != label:
            raise DataError(f"{shown(words)} has two labels, {known} and {label}", value=words)
        rarest = min(phrase, key=lambda token: len(self.places.get(token, ())))
        offset = phrase.index(rarest)
        starts = (place - offset for place in self.places.get(rarest, ()) if place >= offset)
        if not any(self.tokens[start : start + len(phrase)] == phrase for start in starts):
            raise DataError(
                f"the phrase {shown(words)} is no part of the sentence"
                f" {shown(' '.join(self.tokens))} (sentences need an empty line between them, or a"
                " tab after the label)",
                value=words,
            )


def label_tree(
    tree: Tree,
    phrases: Iterable[tuple[Sequence[str], int]] = (),
    *,
    label: int = -1,
    inherit: bool = False,
) -> tuple[Tree, list[Phrase]]:
    """Puts labels on the nodes of a tree whose words are those of labelled phrases.

    Every node over a phrase gets its label, wherever in the sentence it stands. The other nodes
    keep what they have: -1 in a tree of `parse_constituents`, which losses leave out, or what a
    model predicted.

    Args:
        tree: the tree.
        phrases: pairs of the words of a phrase and its label.
        label: the label of the root, -1 to leave it.
        inherit: give the label of the root to the nodes that have none, as CoreNLP does. It teaches
            the model that the words of a good film are good, and is seldom what one wants.

    Returns:
        The labelled tree, and the phrases that are not the words of any node: those that cross the
        constituents of the tree or do not occur in it. Their labels are in no tree.

    Raises:
        DataError: when a phrase has two labels, or the whole sentence has another than `label`; for
            a label below -1.

    Example:
        >>> from rntn_jax.data import parse_tree
        >>> tree = parse_tree("(-1 (-1 not) (-1 (-1 good) (-1 fun)))")
        >>> labelled, unused = label_tree(tree, [(["good"], 3), (["not", "good"], 1)], label=1)
        >>> labelled.to_brackets()
        '(1 (-1 not) (-1 (3 good) (-1 fun)))'
        >>> unused
        [(('not', 'good'), 1)]
    """
    wanted: dict[tuple[str, ...], int] = {} if label == -1 else {tree.tokens: label}
    given: list[Phrase] = [(tuple(tokens), value) for tokens, value in phrases]
    for tokens, value in given:
        if wanted.setdefault(tokens, value) != value:
            phrase = " ".join(tokens)
            raise DataError(
                f"{shown(phrase)} has two labels, {wanted[tokens]} and {value}", value=phrase
            )
    labels = tree.labels.copy()
    sizes = {len(tokens) for tokens in wanted}
    found = set()
    for node, (start, stop) in enumerate(tree.spans().tolist()):
        words = tree.tokens[start:stop] if stop - start in sizes else ()
        if words in wanted:
            found.add(words)
            labels[node] = wanted[words]
    if inherit:
        labels = np.where(labels == -1, labels[-1], labels)
    unused = dict.fromkeys(phrase for phrase in given if phrase[0] not in found)
    return Tree(tree.tokens, tree.children, labels), list(unused)
