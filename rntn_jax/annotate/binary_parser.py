"""Binary trees over tokenised sentences, by a trained span parser."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from rntn_jax import sequences
from rntn_jax.data import DataError, Tree, Vocabulary
from rntn_jax.models import encoder, span_parser
from rntn_jax.shapes import shapes_repr
from rntn_jax.training import load_record, require, save_pytree, shapes_of, tuples

__all__ = ["BinaryParser", "build_trees", "load_parser", "pad", "save_parser", "word_features"]

LONGEST = 256  # words of a sentence that is built in one piece
ROWS, AREA = 256, 1 << 18  # of a batch: sentences, and sentences times padded length squared
OF_CACHE = 4  # a processor takes batches so many times smaller: their tables stay in its cache
FEW = 8  # sentences, which share a few programs
MANY = 1 << 14  # sentences, which repay two programs more with less padding


class BinaryParser(NamedTuple):
    """Everything needed to build trees."""

    params: tuple[span_parser.Params, ...]  # of several networks, whose scores are averaged
    vocabularies: tuple[Vocabulary, ...]  # of the columns that `word_features` gives
    config: span_parser.Config

    __repr__ = shapes_repr


def word_features(tokens: Sequence[str]) -> list[list[str]]:
    """The columns of what the network may know of words: lower-cased, and their shapes.

    A shape is ``A`` for a capital, ``0`` where there is a digit, else ``a``; and the last three
    letters.

    Example:
        >>> word_features(["The", "21st", "splash"])
        [['the', '21st', 'splash'], ['Athe', '01st', 'aash']]
    """
    columns = zip(*map(_features, tokens))
    return [list(column) for column in columns] or [[], []]


@lru_cache(maxsize=1 << 16)
def _features(token: str) -> tuple[str, str]:
    """Of one word, of which most come again."""
    lower = token.lower()
    if token[:1].isupper():
        return lower, "A" + lower[-3:]
    return lower, ("0" if any(map(str.isdigit, token)) else "a") + lower[-3:]


def pad(
    vocabularies: Sequence[Vocabulary],
    sentences: Sequence[Sequence[str]],
    rows: int,
    words: int,
    phrases: Sequence[Sequence[tuple[int, int]]] | None = None,
) -> span_parser.Batch:
    """Sentences as one batch of ``rows`` rows of ``words`` words.

    With phrases, only spans are allowed that do not cross any of their sentence.

    Args:
        vocabularies: one for each column of `rntn_jax.data.word_features`.
        sentences: the tokens of each, at most ``words``.
        rows: ``B``, at least as many as there are sentences.
        words: ``T``.
        phrases: of each sentence, the spans ``(i, j)`` that no span may cross; None allows all
            spans.

    Returns:
        The batch: ids int32 ``[B, T, columns]``, length int32 ``[B]``, and with phrases
        ``allowed``, bool ``[B, T+1, T+1]``.
    """
    ids = np.zeros((rows, words, len(vocabularies)), np.int32)
    length = np.zeros(rows, np.int32)
    for row, tokens in enumerate(sentences):
        length[row] = len(tokens)
        for k, column in enumerate(word_features(tokens)):
            ids[row, : len(tokens), k] = vocabularies[k].encode(column)
    if phrases is None:
        return span_parser.Batch(ids, length)
    allowed = np.ones((rows, words + 1, words + 1), bool)
    for row, own in enumerate(phrases):
        for i, j in own:
            allowed[row, :i, i + 1 : j] = False
            allowed[row, i + 1 : j, j + 1 :] = False
    return span_parser.Batch(ids, length, allowed=allowed)


def _batches(sizes: np.ndarray, total: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """Members of batches of like length, with rows and words to pad to; few different ones."""
    part = OF_CACHE if jax.default_backend() == "cpu" else 1

    def rows(words: int, fitting: int) -> int:
        most = max(1, min(ROWS, AREA // words**2) // part)
        return min(most, FEW) if fitting <= FEW else most

    def padded(words: int) -> int:
        size = sequences.power_of_two(words, least=16)
        return size * 3 // 4 if total >= MANY and size > 16 and words <= size * 3 // 4 else size

    return sequences.padded_batches(sizes, padded, rows, longest_first=True)


def build_trees(
    parser: BinaryParser,
    sentences: Sequence[Sequence[str]],
    phrases: Sequence[Sequence[tuple[int, int]]] | None = None,
    *,
    total: int = 0,
) -> list[Tree]:
    """A binary tree over each sentence; its nodes are unlabelled (-1).

    A sentence of more than `LONGEST` words is built in pieces, then combined from the left.

    Args:
        parser: a trained one.
        sentences: of tokens, as `rntn_jax.data.tokenize` makes them.
        phrases: of each sentence, the spans ``begin, end`` that its tree must have.
        total: how many sentences there will be, if these are a part of them: many are padded to
            more different lengths, which takes longer to compile and is quicker then.

    Returns:
        The trees, in the order of the sentences.

    Raises:
        DataError: naming the sentence that has no words, a token that cannot be one, or phrases
            that cross each other.
    """
    for number, tokens in enumerate(sentences, 1):
        if not tokens:
            raise DataError(f"sentence {number} has no words")
    parts = [_pieces(tokens) for tokens in sentences]
    flat = [piece for pieces in parts for piece in pieces]
    if phrases is not None:
        for number, own in enumerate(phrases, 1):
            _check_phrases(own, number)
        # Of a sentence in pieces, those inside of one; a piece begins where the others end.
        kept = []
        for pieces, own in zip(parts, phrases, strict=True):
            begin = 0
            for piece in pieces:
                end = begin + len(piece)
                kept.append([(i - begin, j - begin) for i, j in own if begin <= i and j <= end])
                begin = end
    else:
        kept = None
    children = iter(_children(parser, flat, kept, max(total, len(flat))))
    trees = []
    for tokens, pieces in zip(sentences, parts):
        internal = _combined([next(children) for _ in pieces], [len(piece) for piece in pieces])
        trees.append(Tree(tuple(tokens), internal, np.full(2 * len(tokens) - 1, -1, np.int32)))
    return trees


def _pieces(tokens: Sequence[str]) -> list[Sequence[str]]:
    """A sentence in pieces of at most `LONGEST` words, cut after a stop or comma if possible."""
    pieces, begin = [], 0
    while len(tokens) - begin > LONGEST:
        window = range(begin + LONGEST, begin + LONGEST // 2, -1)
        stops = ({".", "!", "?", "...", ";"}, {",", ":", "--"})
        cuts = [end for marks in stops for end in window if tokens[end - 1] in marks]
        end = cuts[0] if cuts else begin + LONGEST
        pieces.append(tokens[begin:end])
        begin = end
    return [*pieces, tokens[begin:]]


def _combined(children: list[np.ndarray], sizes: list[int]) -> np.ndarray:
    """Children of the tree over pieces, combined from the left."""
    if len(sizes) == 1:
        return children[0]
    words, internal, first, root = sum(sizes), [], 0, -1
    for own, size in zip(children, sizes):
        before = words + len(internal)
        own = np.where(own < size, own + first, own - size + before)
        internal += own.tolist()
        top = words + len(internal) - 1 if size > 1 else first
        if first:
            internal.append([root, top])
            top = words + len(internal) - 1
        root, first = top, first + size
    return np.array(internal, np.int32)


def _check_phrases(phrases: Sequence[tuple[int, int]], number: int) -> None:
    for i, j in phrases:
        for k, m in phrases:
            if i < k < j < m:
                raise DataError(
                    f"phrases of sentence {number} cross each other: words {i} to {j - 1} and "
                    f"{k} to {m - 1}",
                    value=((i, j), (k, m)),
                )


def _children(
    parser: BinaryParser,
    sentences: Sequence[Sequence[str]],
    phrases: Sequence[Sequence[tuple[int, int]]] | None,
    total: int,
) -> list[np.ndarray]:
    """Children of the internal nodes of each sentence's tree."""
    sizes = np.array([len(tokens) for tokens in sentences], int)
    found = []
    for members, rows, words in _batches(sizes, total):
        own = [sentences[int(m)] for m in members]
        of_own = None if phrases is None else [phrases[int(m)] for m in members]
        batch = pad(parser.vocabularies, own, rows, words, of_own)
        found.append((members, span_parser.decode(parser.params, batch)))  # not waited for
    children: list[Any] = [np.zeros((0, 2), np.int32)] * len(sentences)
    for members, rows in found:
        for row, member in zip(np.asarray(rows), members):
            children[member] = row[: sizes[member] - 1]
    return children


def info_of(parser: BinaryParser) -> dict[str, Any]:
    """What a file has to say about a parser besides its parameters."""
    return {
        "networks": len(parser.params),
        "config": dataclasses.asdict(parser.config),
        "vocabularies": [json.loads(v.to_json()) for v in parser.vocabularies],
    }


def from_info(info: dict[str, Any]) -> BinaryParser:
    """A parser with the shapes of its parameters in their place.

    Raises:
        ValueError: for an object that is none of `info_of`; of malformed ones others too.
    """
    sizes, networks = tuples(info["config"]), info["networks"]
    reader = encoder.Config(**sizes["encoder"])
    config = span_parser.Config(**sizes | {"encoder": reader})
    vocabularies = tuple(Vocabulary.from_json(json.dumps(v)) for v in info["vocabularies"])
    words = tuple(map(len, vocabularies))
    require(
        words == reader.vocab_sizes and len(words) == 2,
        f"the vocabularies have {words} words, the model {reader.vocab_sizes}",
    )
    require(type(networks) is int and networks > 0, f"networks is {networks!r:.40}")
    return BinaryParser((shapes_of(span_parser.init, config),) * networks, vocabularies, config)


def save_parser(path: str | os.PathLike[str], parser: BinaryParser) -> None:
    """Writes a parser to one safetensors file.

    Args:
        path: the file; it is replaced if it exists.
        parser: what is written.
    """
    save_pytree(path, parser.params, {"kind": "tree_builder", **info_of(parser)})


def load_parser(path: str | os.PathLike[str]) -> BinaryParser:
    """Reads what `save_parser` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when the file is damaged or holds something else.
    """
    return load_record(path, "tree_builder", "a tree builder", from_info)
