"""`Vocabulary`: words to ids and back."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import json
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from rntn_jax.data.errors import DataError, shown

__all__ = ["Vocabulary"]

_SPECIALS = ("<pad>", "<unk>")
_PADDING_ID, _UNKNOWN_ID = range(2)
_PIECE = 1 << 16  # words that are counted at once
_FORMAT = "rntn_jax vocabulary 1"


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """A fixed list of words; the id of a word is its place in the list.

    Id 0 is padding (`<pad>`), id 1 the unknown word (`<unk>`). The words "<pad>" and "<unk>" in a
    text get these ids too (the Penn Treebank text holds `<unk>`). Usually made by
    `Vocabulary.build`; the constructor takes the finished list.

    Attributes:
        words: all words in the order of their ids, beginning with "<pad>" and "<unk>".
        lowercase: whether words are lower-cased before they are looked up.

    Raises:
        DataError: when `words` does not begin with the two special words, or holds a word twice, an
            item that is no string, or a word with capitals although `lowercase` is set.

    Example:
        >>> vocabulary = Vocabulary.build("the film is the best film".split())
        >>> vocabulary.words
        ('<pad>', '<unk>', 'the', 'film', 'is', 'best')
        >>> vocabulary.encode(["the", "worst", "film"])
        array([2, 1, 3], dtype=int32)
        >>> len(vocabulary), "best" in vocabulary, "worst" in vocabulary
        (6, True, False)
    """

    words: tuple[str, ...]
    lowercase: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", tuple(self.words))
        if self.words[:2] != _SPECIALS:
            raise DataError(
                f"a vocabulary begins with the words {_SPECIALS}, not {shown(self.words[:2])}",
                value=self.words[:2],
            )
        seen: set[str] = set()
        for word in self.words:
            if not isinstance(word, str):
                raise DataError(f"word {shown(word)} is not a string", value=word)
            if word in seen:
                raise DataError(f"word {shown(word)} stands twice in the vocabulary", value=word)
            if self.lowercase and word != word.lower():
                raise DataError(f"word {shown(word)} is not in lower case", value=word)
            seen.add(word)

    @classmethod
    def build(
        cls, tokens: Iterable[str], min_count: int = 1, lowercase: bool = False
    ) -> Vocabulary:
        """Makes the vocabulary of a text.

        Args:
            tokens: all words of the text, with their repetitions.
            min_count: rarer words are left out, and so become unknown.
            lowercase: lower-case all words, here and in `encode`.

        Returns:
            The words by descending count, words of equal count by first occurrence. Memory for the
            different words, however long the text is.

        Raises:
            TypeError: when `tokens` is one string, or holds anything but strings.
            ValueError: when `min_count` is less than 1.

        Example:
            >>> Vocabulary.build(["b", "A", "a", "c"], min_count=2, lowercase=True).words
            ('<pad>', '<unk>', 'a')
        """
        if min_count < 1:
            raise ValueError(f"min_count must be at least 1, not {min_count}")
        counts: collections.Counter[str] = collections.Counter()
        stream = iter(_no_string(tokens))
        while piece := _checked(itertools.islice(stream, _PIECE), lowercase):
            counts.update(piece)
        for word in _SPECIALS:
            counts.pop(word, None)
        kept = [word for word, count in counts.items() if count >= min_count]
        kept.sort(key=counts.__getitem__, reverse=True)  # stable: ties keep their order
        return cls((*_SPECIALS, *kept), lowercase)

    @functools.cached_property
    def _id_of(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def __repr__(self) -> str:
        words = ", ".join(map(repr, self.words[:8])) + (", ..." if len(self) > 8 else "")
        return f"Vocabulary({len(self)} words: {words}; lowercase={self.lowercase})"

    def __len__(self) -> int:
        """The number of words, the two special ones among them."""
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and (word.lower() if self.lowercase else word) in self._id_of

    def encode(self, tokens: Iterable[str]) -> npt.NDArray[np.int32]:
        """The ids of words.

        Args:
            tokens: `T` words.

        Returns:
            int32 `[T]`; words outside the vocabulary get id 1. About 0.1 microseconds a word.

        Raises:
            TypeError: when `tokens` is one string (split it first), or holds anything but strings.

        Example:
            >>> Vocabulary.build(["good", "film"]).encode(["good", "grief"]).tolist()
            [2, 1]
        """
        known = _checked(tokens, self.lowercase)
        ids = map(self._id_of.get, known, itertools.repeat(_UNKNOWN_ID))
        return np.fromiter(ids, np.int32, len(known))

    def decode(self, ids: npt.ArrayLike) -> list[str]:
        """The words of ids.

        Args:
            ids: integers `[T]`, a numpy or JAX array or a list.

        Returns:
            `T` words; id 0 gives "<pad>", id 1 "<unk>".

        Raises:
            DataError: for an id outside the vocabulary; `value` holds the id.
            TypeError, ValueError: when `ids` does not hold integers, or is not one-dimensional.

        Example:
            >>> Vocabulary.build(["good", "film"]).decode([2, 1, 0])
            ['good', '<unk>', '<pad>']
        """
        array = np.asarray(ids)
        if array.ndim != 1:
            raise ValueError(f"ids must be one-dimensional, not of shape {list(array.shape)}")
        if array.size and array.dtype.kind not in "iu":
            raise TypeError(f"ids must be integers, not {array.dtype}")
        words = self.words
        numbers: list[int] = array.tolist()
        for position, i in enumerate(numbers):
            if not 0 <= i < len(words):
                raise DataError(
                    f"id {i} at position {position} is outside the vocabulary of {len(words)}"
                    " words",
                    value=i,
                )
        return [words[i] for i in numbers]

    def to_json(self) -> str:
        """The vocabulary as JSON text; `from_json` reads it back.

        Example:
            >>> vocabulary = Vocabulary.build(["good", "film"])
            >>> Vocabulary.from_json(vocabulary.to_json()) == vocabulary
            True
        """
        content = {"format": _FORMAT, "lowercase": self.lowercase, "words": self.words}
        return json.dumps(content, indent=0)

    @classmethod
    def from_json(cls, text: str | bytes) -> Vocabulary:
        """Reads what `to_json` wrote.

        Args:
            text: JSON, as text or in UTF-8.

        Returns:
            The vocabulary.

        Raises:
            DataError: when the text is not JSON (with line and column), is not a vocabulary, or
                holds words that the constructor refuses.
        """
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(
                f"not JSON: {error.msg}", line=error.lineno, column=error.colno, value=error.msg
            ) from None
        except (ValueError, RecursionError) as error:  # bytes, too many digits, too many brackets
            raise DataError(f"not JSON: {error}") from None
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise DataError(f"not a vocabulary: the format is not {_FORMAT!r}")
        words, lowercase = content.get("words"), content.get("lowercase")
        if not isinstance(words, list):
            raise DataError("not a vocabulary: `words` is not a list", value=words)
        if not isinstance(lowercase, bool):
            raise DataError("not a vocabulary: `lowercase` is not true or false", value=lowercase)
        return cls(tuple(words), lowercase)


def _no_string(tokens: Iterable[str]) -> Iterable[str]:
    if isinstance(tokens, str):
        raise TypeError("tokens must be a list of words, not one string: split it first")
    return tokens


def _checked(tokens: Iterable[str], lowercase: bool) -> list[str]:
    """The tokens as a list, lower-cased where asked."""
    words = list(_no_string(tokens))
    for kind in set(map(type, words)):
        if not issubclass(kind, str):
            raise TypeError(f"tokens must be strings; there is one of type {kind.__name__}")
    return [word.lower() for word in words] if lowercase else words
