"""Raw text to sentences, tokens and words, by a neural tagger over characters.

Every character gets one of five labels: outside of tokens; inside; the end of a word within a token
of several words (`do|n't`); the end of a token; the end of a token and its sentence. The tagger is
`rntn_jax.models.tagger`: window and recurrent layers, and a chain CRF.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rntn_jax.crf import chain
from rntn_jax.data import Vocabulary
from rntn_jax.data.treebank_text import TextToken, TreebankText
from rntn_jax.models import tagger
from rntn_jax.shapes import shapes_repr

__all__ = [
    "LABELS",
    "Segmenter",
    "character_columns",
    "character_labels",
    "paragraphs",
    "pieces",
    "segment",
]

LABELS = ("outside", "inside", "word end", "token end", "sentence end")
OUTSIDE, INSIDE, WORD_END, TOKEN_END, SENTENCE_END = range(5)
SIZE, CONTEXT = 256, 48  # characters of a piece, and those at its ends that it does not answer for
LONGEST = 256  # tokens of a sentence
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")


class Segmenter(NamedTuple):
    """Everything needed to cut texts into words."""

    params: tagger.Params
    vocabularies: tuple[Vocabulary, ...]  # of the columns
    config: tagger.Config
    splits: dict[str, tuple[str, ...]]  # of tokens that are not their words one after the other

    __repr__ = shapes_repr


def character_columns(text: str) -> list[list[str]]:
    """What the network may know of characters: itself, its kind, and what it is a part of.

    Blanks are spaces, but for line ends; digits within the part, which is what stands between
    blanks, are zeros.

    Example:
        >>> character_columns("Ab 7")
        [['A', 'b', ' ', '7'], ['A', 'a', ' ', '0'], ['ab', 'ab', ' ', '0']]
    """
    characters = [" " if c.isspace() and c != "\n" else c for c in text]
    kinds = [_kind(c) for c in characters]
    parts: list[str] = []
    for part in re.findall(r"\s|\S+", text):
        known = " " if part.isspace() else re.sub(r"\d", "0", part.lower())
        parts += [known] * len(part)
    return [characters, kinds, parts]


def _kind(c: str) -> str:
    if c.isspace():
        return c
    if c.isalpha():
        return "A" if c.isupper() else "a" if c.islower() else "l"
    if c.isdigit():
        return "0"
    return c if c.isascii() else "?"


def character_labels(found: TreebankText) -> tuple[np.ndarray, dict[str, tuple[str, ...]]]:
    """The label of each character of a treebank's text, and the words of odd tokens.

    Odd tokens are those that are not their words one after the other: `du` is `de` and `le`.

    Args:
        found: of `rntn_jax.data.treebank_text`.
    """
    labels = np.full(len(found.text), OUTSIDE, np.int32)
    splits: dict[str, tuple[str, ...]] = {}
    for sentence in found.sentences:
        for begin, end, words in sentence:
            labels[begin:end] = INSIDE
            labels[end - 1] = TOKEN_END
            if len(words) == 1:
                continue
            form = found.text[begin:end]
            if "".join(words) == form:
                ends = begin - 1 + np.cumsum([len(word) for word in words[:-1]])
                labels[ends] = WORD_END
            else:
                splits.setdefault(form.lower(), tuple(word.lower() for word in words))
        labels[sentence[-1].end - 1] = SENTENCE_END
    return labels, splits


def paragraphs(text: str) -> list[tuple[int, int]]:
    """Begin and end of the parts of a text between blank lines, without blanks around them."""
    found, begin = [], 0
    for gap in [*_BLANK_LINE.finditer(text), None]:
        end = len(text) if gap is None else gap.start()
        own = text[begin:end]
        if own.strip():
            start = begin + len(own) - len(own.lstrip())
            found.append((start, start + len(own.strip())))
        begin = end if gap is None else gap.end()
    return found


def pieces(
    text: str, vocabularies: Sequence[Vocabulary], context: int = CONTEXT
) -> Iterator[tuple[int, np.ndarray, slice]]:
    """A text as rows of at most `SIZE` characters.

    Each paragraph stands between two line ends, by which the network sees where it begins and ends;
    longer ones are cut, with ``context`` characters before and after what a piece answers for.

    Args:
        text: all of it.
        vocabularies: of the columns of characters.
        context: characters around what a piece answers for.

    Yields:
        Of each piece, the place in the text of its first character, ids ``[n, columns]``, and the
        part of it that it answers for.
    """
    for begin, end in paragraphs(text):
        own = re.sub(r"\s", " ", text[begin:end])
        columns = character_columns(f"\n{own}\n")
        ids = np.stack([v.encode(column) for v, column in zip(vocabularies, columns)], axis=1)
        count, at = len(ids), 0
        while True:
            stop = min(at + SIZE, count)
            first = at + context if at else 1
            last = stop - context if stop < count else count - 1
            yield begin - 1 + at, ids[at:stop], slice(first - at, last - at)
            if stop == count:
                break
            at = last - context


@jax.jit
def _best(params: tagger.Params, batch: tagger.Batch) -> jax.Array:
    return chain.argmax(tagger.apply(params, batch))[0]


def predict_labels(segmenter: Segmenter, text: str) -> np.ndarray:
    """The label ``[n]`` of each character."""
    labels = np.full(len(text), OUTSIDE, np.int32)
    rows = list(pieces(text, segmenter.vocabularies))
    size = 64 if len(rows) > 8 else 8 if len(rows) > 1 else 1
    for at in range(0, len(rows), size):
        own = rows[at : at + size]
        batch = padded(size, [ids for _, ids, _ in own])
        best = np.asarray(_best(segmenter.params, batch))
        for row, (place, _, answered) in enumerate(own):
            labels[place + answered.start : place + answered.stop] = best[row, answered]
    return labels


def padded(
    rows: int, ids: Sequence[np.ndarray], labels: Sequence[np.ndarray] | None = None
) -> tagger.Batch:
    """Pieces as one batch."""
    batch: Any = tagger.Batch(
        np.zeros((rows, SIZE, ids[0].shape[1]), np.int32),
        np.zeros((rows, SIZE), np.int32),
        np.zeros((rows, SIZE), bool),
    )
    for row, own in enumerate(ids):
        batch.ids[row, : len(own)] = own
        batch.mask[row, : len(own)] = True
        if labels is not None:
            batch.labels[row, : len(own)] = labels[row]
    return batch


def segment(segmenter: Segmenter, text: str) -> list[list[TextToken]]:
    """Sentences of tokens, with their places in the text.

    A blank line ends a sentence; other line ends are blanks. Blanks are outside of tokens, and
    end them, whatever the network says; everything else is part of one. A sentence of more than
    `LONGEST` tokens is cut.

    Args:
        segmenter: a trained one.
        text: any.

    Returns:
        Sentences, none without tokens; none for a text of blanks.
    """
    labels = predict_labels(segmenter, text)
    sentences = []
    for begin, end in paragraphs(text):
        tokens: list[TextToken] = []
        for run in re.finditer(r"\S+", text[begin:end]):
            first, stop = begin + run.start(), begin + run.end()
            cuts: list[int] = []
            for at in range(first, stop):
                label = labels[at]
                if label == WORD_END and at + 1 < stop:
                    cuts.append(at + 1)
                elif label >= TOKEN_END or at + 1 == stop:
                    tokens.append(_token(segmenter, text, first, at + 1, cuts))
                    first, cuts = at + 1, []
                    if label == SENTENCE_END or len(tokens) == LONGEST:
                        sentences.append(tokens)
                        tokens = []
        if tokens:
            sentences.append(tokens)
    return sentences


def _token(segmenter: Segmenter, text: str, begin: int, end: int, cuts: Sequence[int]) -> TextToken:
    form = text[begin:end]
    if not cuts and (words := segmenter.splits.get(form.lower())):
        if form[:1].isupper():
            words = (words[0][:1].upper() + words[0][1:], *words[1:])
        return TextToken(begin, end, words)
    ends = [begin, *cuts, end]
    return TextToken(begin, end, tuple(text[i:j] for i, j in itertools.pairwise(ends)))
